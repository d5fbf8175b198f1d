//! Remembers verified tokens: a client sends the same one with every request.
//!
//! 1. What is remembered is an outcome of [`token::verify`](crate::token::verify) for
//!    the very same token under the very same keychain: a keychain that is published
//!    forgets all tokens at once, and so does a cut-off.
//! 2. Time is judged anew at each request.
//! 3. A caller learns nothing about tokens of others from how long an answer takes:
//!    only a token of the same keyed hash is compared, and that without early exit.
//! 4. Memory is bounded: one token a slot, and only tokens that were accepted.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    ptr,
    sync::{Arc, Weak},
};

use arc_swap::ArcSwapOption;
use zeroize::Zeroizing;

use crate::{clock::Timestamp, keyring::Keychain, token::Claims};

/// Slots, each of which takes a token of some 500 bytes with its claims.
pub(super) const SLOTS: usize = 4096;
/// Characters of a signature: the end of a token, as good as random.
const SIGNATURE: usize = 43;

/// Tokens that were verified lately.
pub(super) struct Memo {
    slots: Box<[ArcSwapOption<Verified>]>,
    hasher: RandomState,
}

struct Verified {
    /// Under which keychain. Held weakly, so that its requests alone keep it; and
    /// held at all, so that no other keychain takes its place in memory.
    keychain: Weak<Keychain>,
    /// When.
    at: Timestamp,
    hash: u64,
    token: Zeroizing<Box<[u8]>>,
    claims: Arc<Claims>,
}

impl Memo {
    /// Room for `slots` tokens.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots: (0..slots).map(|_| ArcSwapOption::empty()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The claims of `token`, if it was verified under `keychain` before, and is
    /// certainly valid at `now`.
    pub(super) fn get(
        &self,
        keychain: &Keychain,
        token: &str,
        now: Timestamp,
    ) -> Option<Arc<Claims>> {
        let hash = self.hash(token);
        let slot = self.slot(hash)?.load();
        let verified = slot.as_ref().filter(|verified| {
            verified.hash == hash
                && ptr::eq(verified.keychain.as_ptr(), keychain)
                && verified.is_valid(now)
                && is_same(&verified.token, token.as_bytes())
        })?;
        Some(Arc::clone(&verified.claims))
    }

    /// Remembers that `token` was verified under `keychain` at `at`.
    pub(super) fn put(
        &self,
        keychain: &Arc<Keychain>,
        token: &str,
        at: Timestamp,
        claims: &Arc<Claims>,
    ) {
        let hash = self.hash(token);
        let Some(slot) = self.slot(hash) else { return };
        slot.store(Some(Arc::new(Verified {
            keychain: Arc::downgrade(keychain),
            at,
            hash,
            token: Zeroizing::new(token.as_bytes().into()),
            claims: Arc::clone(claims),
        })));
    }

    fn hash(&self, token: &str) -> u64 {
        let token = token.as_bytes();
        self.hasher.hash_one(&token[token.len().saturating_sub(SIGNATURE)..])
    }

    /// `None` when there is no slot at all.
    fn slot(&self, hash: u64) -> Option<&ArcSwapOption<Verified>> {
        let index = hash.checked_rem(self.slots.len() as u64)?;
        self.slots.get(usize::try_from(index).ok()?)
    }
}

impl Verified {
    /// Whether a token that was valid then is valid `now`. One in its last second may
    /// be said not to be.
    fn is_valid(&self, now: Timestamp) -> bool {
        self.at <= now && now < self.claims.exp
    }
}

/// Looks at every byte, whatever the first ones are.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

/// A memo of the same size that remembers nothing.
impl Clone for Memo {
    fn clone(&self) -> Self {
        Self::new(self.slots.len())
    }
}

/// Shows no token.
impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::Epoch,
        token::{Scope, TokenKind},
    };

    const AT: Timestamp = Timestamp::from_seconds(1000);
    const EXP: Timestamp = Timestamp::from_seconds(1060);

    fn claims() -> Arc<Claims> {
        Arc::new(Claims {
            sub: "u".to_owned(),
            email: None,
            role_id: None,
            org_id: None,
            partner_id: None,
            scope: Some(Scope::Partner),
            kind: TokenKind::Access,
            mfa: false,
            mdid: None,
            fam: None,
            sid: None,
            jti: None,
            aep: None,
            mep: None,
            iat: None,
            exp: EXP,
        })
    }

    fn chain() -> Arc<Keychain> {
        Arc::new(Keychain::new(Epoch(1)))
    }

    #[test]
    fn the_same_token_under_the_same_keychain_is_remembered() {
        let (memo, keychain) = (Memo::new(8), chain());
        assert!(memo.get(&keychain, "a.b.c", AT).is_none());
        memo.put(&keychain, "a.b.c", AT, &claims());
        assert_eq!(memo.get(&keychain, "a.b.c", AT), Some(claims()));
        for other in ["a.b.d", "b.b.c", "a.b.cc", ""] {
            assert!(memo.get(&keychain, other, AT).is_none(), "{other}");
        }
    }

    #[test]
    fn another_token_with_the_same_signature_is_not_the_same() {
        let (memo, keychain) = (Memo::new(1), chain());
        let signature = "s".repeat(SIGNATURE);
        memo.put(&keychain, &format!("a.b.{signature}"), AT, &claims());
        assert!(memo.get(&keychain, &format!("a.x.{signature}"), AT).is_none());
        assert!(memo.get(&keychain, &format!("a.b.{signature}"), AT).is_some());
    }

    #[test]
    fn another_keychain_knows_nothing_and_an_older_one_is_let_go() {
        let (memo, keychain) = (Memo::new(8), chain());
        memo.put(&keychain, "a.b.c", AT, &claims());
        assert!(memo.get(&chain(), "a.b.c", AT).is_none(), "of the same epoch");
        assert_eq!(Arc::strong_count(&keychain), 1, "no rollover waits for the memo");
    }

    #[test]
    fn time_is_judged_at_each_request() {
        let (memo, keychain) = (Memo::new(8), chain());
        memo.put(&keychain, "a.b.c", AT, &claims());
        let is_known = |millis| memo.get(&keychain, "a.b.c", Timestamp::from_millis(millis));
        assert!(is_known(999_999).is_none(), "a clock that was set back starts anew");
        assert!(is_known(1_059_999).is_some());
        assert!(is_known(1_060_000).is_none());
    }

    #[test]
    fn a_full_slot_takes_the_newer_token_and_no_slot_takes_none() {
        let (memo, keychain) = (Memo::new(1), chain());
        memo.put(&keychain, "a.b.c", AT, &claims());
        memo.put(&keychain, "a.b.d", AT, &claims());
        assert!(memo.get(&keychain, "a.b.c", AT).is_none());
        assert!(memo.get(&keychain, "a.b.d", AT).is_some());
        let none = Memo::new(0);
        none.put(&keychain, "a.b.c", AT, &claims());
        assert!(none.get(&keychain, "a.b.c", AT).is_none());
    }
}
