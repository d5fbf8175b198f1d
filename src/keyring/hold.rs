//! Credentials that are in use by work which outlasts its request.
//!
//! 1. A credential that is held is not settled as replaced: its rollover does not have it
//!    revoked, on any replica, before the last hold on it is dropped.
//! 2. No rollover of another secret waits for it.
//! 3. A hold counts from the epoch of the keychain that it was taken from. It moves on with
//!    each newer one in which its key is primary still, and never back.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::{
    catalog::Secret,
    ids::{Epoch, KeyId},
};

use super::chain::{Keychain, NoKeyring};

/// One credential in use, until this value is dropped.
#[derive(Debug)]
pub struct Hold(
    #[expect(dead_code, reason = "it is counted, not read")] //
    Arc<()>,
);

/// Every hold on a credential, of whichever keychain.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<Vec<Noted>>);

#[derive(Debug)]
struct Noted {
    hold: Weak<()>,
    secret: Secret,
    key: KeyId,
    /// The newest one seen in which the key was primary.
    epoch: Epoch,
}

impl Holds {
    /// The primary of `secret` in `keychain`, in use from now on. Who calls this has the
    /// keychain, and lets it go afterwards: in between, it is what counts.
    pub(super) fn hold(&self, secret: Secret, keychain: &Keychain) -> Result<Hold, NoKeyring> {
        let (key, epoch) = (keychain.verbatim(secret)?.primary().id().clone(), keychain.epoch());
        let hold = Arc::new(());
        let noted = Noted { hold: Arc::downgrade(&hold), secret, key, epoch };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(noted);
        Ok(Hold(hold))
    }

    /// The newest epoch up to which no held credential was replaced, as `seen` shows.
    pub(super) fn settled(&self, seen: &Keychain) -> Epoch {
        let mut holds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        holds.retain(|noted| noted.hold.strong_count() > 0);
        for noted in holds.iter_mut() {
            let primary = seen.verbatim(noted.secret).map(|ring| ring.primary().id());
            if primary == Ok(&noted.key) {
                noted.epoch = noted.epoch.max(seen.epoch());
            }
        }
        holds.iter().map(|noted| noted.epoch).fold(seen.epoch(), Epoch::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        keyring::{AnyKeyring, Key, KeyState, Keyring},
        material::Material,
    };

    const SECRET: Secret = Secret::S3SecretKey;

    fn chain(epoch: u64, primary: &str) -> Keychain {
        let (id, material) = (KeyId::new(primary).unwrap(), Material::new(primary).unwrap());
        let key = Key::verbatim(id, KeyState::Primary, material, Arc::default());
        let ring = AnyKeyring::Verbatim(Keyring::new(vec![key]).unwrap());
        Keychain::new(Epoch(epoch)).with(SECRET, ring)
    }

    #[test]
    fn a_hold_settles_with_every_epoch_until_its_key_is_replaced() {
        let holds = Holds::default();
        let hold = holds.hold(SECRET, &chain(1, "old")).unwrap();
        assert_eq!(holds.settled(&chain(2, "old")), Epoch(2), "another secret's rollover");
        assert_eq!(holds.settled(&chain(3, "new")), Epoch(2));
        assert_eq!(holds.settled(&chain(4, "new")), Epoch(2), "it stays behind");
        let newer = holds.hold(SECRET, &chain(4, "new")).unwrap();
        assert_eq!(holds.settled(&chain(5, "old")), Epoch(4), "rolled back");
        drop(newer);
        assert_eq!(holds.settled(&chain(5, "old")), Epoch(5));
        assert_eq!(holds.settled(&chain(6, "newest")), Epoch(5));
        drop(hold);
        assert_eq!(holds.settled(&chain(6, "newest")), Epoch(6));
    }

    #[test]
    fn a_keychain_of_before_takes_no_hold_back() {
        let holds = Holds::default();
        let _hold = holds.hold(SECRET, &chain(3, "old")).unwrap();
        holds.settled(&chain(1, "old"));
        assert_eq!(holds.settled(&chain(4, "new")), Epoch(3));
    }

    #[test]
    fn what_is_not_there_is_not_held() {
        let none = Holds::default().hold(SECRET, &Keychain::new(Epoch(1)));
        assert_eq!(none.err(), Some(NoKeyring(SECRET)));
    }
}
