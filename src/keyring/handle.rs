//! The one place where keys change under running requests.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::{catalog::Secret, ids::Epoch};

use super::{
    chain::{Keychain, NoKeyring},
    hold::{Hold, Holds},
};

/// A cheap, shared handle on the current keychain.
#[derive(Clone, Debug)]
pub struct KeychainHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    current: ArcSwap<Keychain>,
    holds: Holds,
}

/// One keychain, held by its reader until it is dropped.
pub type Snapshot = Guard<Arc<Keychain>>;

impl KeychainHandle {
    /// A handle that shows `keychain`.
    #[must_use]
    pub fn new(keychain: Keychain) -> Self {
        let current = ArcSwap::from_pointee(keychain);
        Self(Arc::new(Shared { current, holds: Holds::default() }))
    }

    /// The current keychain: no lock, no allocation. Keep it for one request.
    #[inline]
    #[must_use]
    pub fn load(&self) -> Snapshot {
        self.0.current.load()
    }

    /// The current keychain, to keep across awaits or hand to another task.
    #[must_use]
    pub fn load_full(&self) -> Arc<Keychain> {
        self.0.current.load_full()
    }

    /// The primary of `secret` in `keychain`, one of this handle's, in use until the hold
    /// is dropped, however long that takes: the keychain may be let go.
    ///
    /// # Errors
    /// [`NoKeyring`] when that keychain has none for it.
    pub fn hold(&self, secret: Secret, keychain: &Keychain) -> Result<Hold, NoKeyring> {
        self.0.holds.hold(secret, keychain)
    }

    /// The newest epoch up to which no credential that is held was replaced, as `seen`
    /// shows: the current keychain, or one that was until now.
    #[must_use]
    pub fn settled(&self, seen: &Keychain) -> Epoch {
        self.0.holds.settled(seen)
    }

    /// Shows `keychain` to every reader from now on. The same epoch may be
    /// published again; an older one never replaces a newer one.
    ///
    /// # Errors
    /// [`StaleEpoch`] when a newer keychain is published already; nothing changes.
    pub fn publish(&self, keychain: Keychain) -> Result<(), StaleEpoch> {
        let next = Arc::new(keychain);
        let mut current = self.0.current.load();
        loop {
            if next.epoch() < current.epoch() {
                return Err(StaleEpoch { published: current.epoch(), offered: next.epoch() });
            }
            let seen = self.0.current.compare_and_swap(&current, Arc::clone(&next));
            if Arc::ptr_eq(&seen, &current) {
                return Ok(());
            }
            current = seen;
        }
    }
}

/// A keychain that is older than the one in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("epoch {published} is published already; epoch {offered} is older")]
pub struct StaleEpoch {
    /// The epoch in use.
    pub published: Epoch,
    /// The epoch that was refused.
    pub offered: Epoch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_epoch_never_replaces_a_newer_one() {
        let handle = KeychainHandle::new(Keychain::new(Epoch(3)));
        let before = handle.load();
        assert_eq!(handle.publish(Keychain::new(Epoch(4))), Ok(()));
        assert_eq!(
            handle.publish(Keychain::new(Epoch(2))),
            Err(StaleEpoch { published: Epoch(4), offered: Epoch(2) })
        );
        assert_eq!(handle.load().epoch(), Epoch(4));
        assert_eq!(before.epoch(), Epoch(3), "a snapshot is kept to the end");
    }
}
