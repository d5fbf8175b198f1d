//! Which of its tokens an agent presents.

use crate::clock::Timestamp;

use super::Hash;

/// What is stored of one agent's tokens.
///
/// ```text
///            rotate                  first presented               its time is up
/// current ───────────► current ─────────────────────► pending ────────────────► current
///                      pending                        becomes current,
///                                                     current becomes previous
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct AgentHashes {
    /// Of the token that counts.
    pub current: Option<Hash>,
    /// Of the one that takes its place once it is presented, and until when.
    pub pending: Option<(Hash, Timestamp)>,
    /// Of the one whose place was taken, and until when it counts beside.
    pub previous: Option<(Hash, Timestamp)>,
}

/// The token that was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresentedToken {
    /// The one that counts.
    Current,
    /// The next one, which counts from now on.
    Pending,
    /// The one before: the agent has to be told that it was rotated.
    Previous,
}

impl AgentHashes {
    /// Which token `hash` is of: the current one, the pending or the previous one within
    /// its time, or none. Each is compared, in constant time.
    #[must_use]
    pub fn presented(&self, hash: &Hash, now: Timestamp) -> Option<PresentedToken> {
        let live = |token: Option<(Hash, Timestamp)>| {
            token.filter(|(_, until)| now < *until).map(|(hash, _)| hash)
        };
        let tokens = [
            (self.current, PresentedToken::Current),
            (live(self.pending), PresentedToken::Pending),
            (live(self.previous), PresentedToken::Previous),
        ];
        let mut found = None;
        for (stored, which) in tokens {
            let is_it = stored.is_some_and(|stored| stored == *hash);
            found = found.or(is_it.then_some(which));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_and_previous_tokens_count_until_their_time_is_up() {
        let until = Timestamp::from_seconds(100);
        let hashes = AgentHashes {
            current: Some(Hash::of("current")),
            pending: Some((Hash::of("pending"), until)),
            previous: Some((Hash::of("previous"), until)),
        };
        let at =
            |token, seconds| hashes.presented(&Hash::of(token), Timestamp::from_seconds(seconds));
        assert_eq!(at("current", 1000), Some(PresentedToken::Current));
        assert_eq!(at("pending", 99), Some(PresentedToken::Pending));
        assert_eq!(at("previous", 99), Some(PresentedToken::Previous));
        assert_eq!(at("pending", 100), None);
        assert_eq!(at("previous", 100), None);
        assert_eq!(at("another", 1), None);
    }
}
