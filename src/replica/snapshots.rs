//! Which older keychains are still in use by some request.

use std::sync::{Arc, Weak};

use crate::{ids::Epoch, keyring::Keychain};

/// The keychain for rewrapping, and a weak hold on every older one.
#[derive(Debug)]
pub(super) struct Snapshots {
    opening: Arc<Keychain>,
    older: Vec<Weak<Keychain>>,
}

impl Snapshots {
    pub(super) fn new(opening: Keychain) -> Self {
        Self { opening: Arc::new(opening), older: vec![] }
    }

    pub(super) fn opening(&self) -> Arc<Keychain> {
        Arc::clone(&self.opening)
    }

    /// Notes that `published` was replaced, and `opening` takes over for rewrapping.
    pub(super) fn replaced(&mut self, published: &Arc<Keychain>, opening: Keychain) {
        self.older.push(Arc::downgrade(published));
        self.older.push(Arc::downgrade(&self.opening));
        self.opening = Arc::new(opening);
    }

    /// Another keychain takes over for rewrapping, unless one of a newer epoch has.
    pub(super) fn reopened(&mut self, opening: Keychain) {
        if opening.epoch() >= self.opening.epoch() {
            self.older.push(Arc::downgrade(&self.opening));
            self.opening = Arc::new(opening);
        }
    }

    /// Notes that some request may hold `keychain`.
    pub(super) fn watch(&mut self, keychain: &Arc<Keychain>) {
        self.older.push(Arc::downgrade(keychain));
    }

    /// The newest epoch, at most `applied`, of which every older keychain is out of use.
    pub(super) fn settled(&mut self, applied: Epoch) -> Epoch {
        self.older.retain(|keychain| keychain.strong_count() > 0);
        let oldest = self.older.iter().filter_map(Weak::upgrade).map(|held| held.epoch()).min();
        oldest.map_or(applied, |oldest| oldest.min(applied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::KeychainHandle;

    #[test]
    fn an_epoch_settles_when_the_last_request_of_an_older_one_ends() {
        let handle = KeychainHandle::new(Keychain::new(Epoch(1)));
        let mut snapshots = Snapshots::new(Keychain::new(Epoch(1)));
        let request = handle.load_full();
        let brief = handle.load();

        let older = handle.load_full();
        handle.publish(Keychain::new(Epoch(2))).unwrap();
        snapshots.replaced(&older, Keychain::new(Epoch(2)));
        drop(older);

        assert_eq!(snapshots.settled(Epoch(2)), Epoch(1));
        drop(request);
        assert_eq!(snapshots.settled(Epoch(2)), Epoch(1), "a guard counts too");
        drop(brief);
        assert_eq!(snapshots.settled(Epoch(2)), Epoch(2));
    }
}
