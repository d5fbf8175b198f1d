//! The immutable set of keys of one secret.

use crate::ids::KeyId;

use super::{
    fence::Fence,
    key::{Key, KeyState},
};

/// All keys of one secret that are accepted, exactly one of them primary.
///
/// Keys that are retired or destroyed are not in it: what is not accepted is not
/// at hand. The order is the order of trial for values that name no key.
#[derive(Debug)]
pub struct Keyring<U> {
    keys: Vec<Key<U>>,
    primary: usize,
    fence: Fence,
}

impl<U> Keyring<U> {
    /// Checks and takes over `keys`, the likeliest first.
    ///
    /// # Errors
    /// [`InvalidKeyring`] unless every key is accepted, ids are unique and
    /// exactly one key is primary.
    pub fn new(keys: Vec<Key<U>>) -> Result<Self, InvalidKeyring> {
        let mut primary = None;
        for (index, key) in keys.iter().enumerate() {
            if !key.state().accepts() {
                return Err(InvalidKeyring::NotAccepted(key.id().clone()));
            }
            if keys[..index].iter().any(|earlier| earlier.id() == key.id()) {
                return Err(InvalidKeyring::DuplicateId(key.id().clone()));
            }
            if key.state() == KeyState::Primary && primary.replace(index).is_some() {
                return Err(InvalidKeyring::TwoPrimaries(key.id().clone()));
            }
        }
        let primary = primary.ok_or(InvalidKeyring::NoPrimary)?;
        Ok(Self { keys, primary, fence: Fence::never() })
    }

    /// The only key that signs or seals. To make something with it, see
    /// [`Keyring::make`].
    #[must_use]
    pub fn primary(&self) -> &Key<U> {
        &self.keys[self.primary]
    }

    /// The accepted key of this id, compared exactly.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Key<U>> {
        self.keys.iter().find(|key| key.id().as_str() == id)
    }

    /// The keys that may have made a value which names none, the likeliest first.
    pub fn unnamed(&self) -> impl Iterator<Item = &Key<U>> {
        self.keys.iter().filter(|key| key.is_unnamed())
    }

    /// Every accepted key, the likeliest first.
    pub fn keys(&self) -> impl Iterator<Item = &Key<U>> {
        self.keys.iter()
    }

    pub(super) const fn fence(&self) -> &Fence {
        &self.fence
    }

    pub(super) fn set_fence(&mut self, fence: Fence) {
        self.fence = fence;
    }
}

/// Keys that make no keyring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyring {
    /// No key is primary.
    #[error("no key is primary; exactly one must be")]
    NoPrimary,
    /// A second key is primary.
    #[error("key {0} is a second primary; exactly one key must be")]
    TwoPrimaries(KeyId),
    /// An id stands twice.
    #[error("key id {0} stands twice; give each key an id of its own")]
    DuplicateId(KeyId),
    /// A key of a state that is not accepted.
    #[error("key {0} is retired or destroyed, so it cannot be in a keyring")]
    NotAccepted(KeyId),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keyring::Signing, material::Material};

    fn key(id: &str, state: KeyState) -> Key<Signing> {
        let id = KeyId::new(id).expect("valid");
        Key::signing(id, state, false, &Material::new("m").expect("not empty"))
    }

    #[test]
    fn exactly_one_key_is_primary() {
        use KeyState::{Primary, Retired, Retiring, Staged};
        let ring = |keys| Keyring::new(keys).map(|ring| ring.primary().id().to_string());
        let id = |id| KeyId::new(id).expect("valid");
        assert_eq!(
            ring(vec![key("a", Retiring), key("b", Primary), key("c", Staged)]),
            Ok("b".to_owned())
        );
        assert_eq!(ring(vec![key("a", Retiring)]), Err(InvalidKeyring::NoPrimary));
        assert_eq!(ring(vec![]), Err(InvalidKeyring::NoPrimary));
        assert_eq!(
            ring(vec![key("a", Primary), key("b", Primary)]),
            Err(InvalidKeyring::TwoPrimaries(id("b")))
        );
        assert_eq!(
            ring(vec![key("a", Primary), key("a", Retiring)]),
            Err(InvalidKeyring::DuplicateId(id("a")))
        );
        assert_eq!(
            ring(vec![key("a", Primary), key("b", Retired)]),
            Err(InvalidKeyring::NotAccepted(id("b")))
        );
    }
}
