//! Which older keychains are still in use by some request, and which credentials by work
//! that outlasts its request.

use std::sync::{Arc, Weak};

use crate::{
    ids::Epoch,
    keyring::{Keychain, KeychainHandle},
};

/// The keychain for rewrapping, and a weak hold on every older one.
#[derive(Debug)]
pub(super) struct Snapshots {
    handle: KeychainHandle,
    opening: Arc<Keychain>,
    older: Vec<Weak<Keychain>>,
}

impl Snapshots {
    pub(super) fn new(handle: KeychainHandle, opening: Keychain) -> Self {
        Self { handle, opening: Arc::new(opening), older: vec![] }
    }

    pub(super) fn opening(&self) -> Arc<Keychain> {
        Arc::clone(&self.opening)
    }

    /// Notes that `published` was replaced, and `opening` takes over for rewrapping.
    pub(super) fn replaced(&mut self, published: &Arc<Keychain>, opening: Keychain) {
        // What is held of it counts as of its epoch, whoever asks next.
        let _ = self.handle.settled(published);
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

    /// The newest epoch, at most `applied`, of which every older keychain is out of use, and
    /// every credential that it replaced.
    pub(super) fn settled(&mut self, applied: Epoch) -> Epoch {
        self.older.retain(|keychain| keychain.strong_count() > 0);
        let oldest = self.older.iter().filter_map(Weak::upgrade).map(|held| held.epoch()).min();
        // After the keychains: who lets one go for a hold has had the hold noted before.
        let held = self.handle.settled(&self.handle.load());
        oldest.into_iter().fold(held.min(applied), Epoch::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::Secret,
        ids::KeyId,
        keyring::{AnyKeyring, Key, KeyState, Keyring},
        material::Material,
    };

    #[test]
    fn an_epoch_settles_when_the_last_request_of_an_older_one_ends() {
        let handle = KeychainHandle::new(Keychain::new(Epoch(1)));
        let mut snapshots = Snapshots::new(handle.clone(), Keychain::new(Epoch(1)));
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

    fn chain(epoch: u64, credential: &str) -> Keychain {
        let (id, material) = (KeyId::new(credential).unwrap(), Material::new(credential).unwrap());
        let key = Key::verbatim(id, KeyState::Primary, material, Arc::default());
        let ring = AnyKeyring::Verbatim(Keyring::new(vec![key]).unwrap());
        Keychain::new(Epoch(epoch)).with(Secret::S3SecretKey, ring)
    }

    #[test]
    fn a_credential_that_is_held_keeps_its_own_rollover_waiting_and_no_other() {
        let handle = KeychainHandle::new(chain(1, "old"));
        let mut snapshots = Snapshots::new(handle.clone(), Keychain::new(Epoch(1)));
        let hold = handle.hold(Secret::S3SecretKey, &handle.load()).unwrap();
        let mut publish = |keychain: Keychain| {
            let (older, epoch) = (handle.load_full(), keychain.epoch());
            handle.publish(keychain).unwrap();
            snapshots.replaced(&older, Keychain::new(epoch));
            drop(older);
            snapshots.settled(epoch)
        };
        assert_eq!(publish(chain(2, "old")), Epoch(2));
        // Nobody has asked in between.
        assert_eq!(publish(chain(3, "new")), Epoch(2));
        drop(hold);
        assert_eq!(publish(chain(4, "new")), Epoch(4));
    }
}
