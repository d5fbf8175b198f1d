//! The primary key as one that makes something: lent for one making at a time, and
//! what was made is handed out only if the lease still runs then.

use std::sync::Arc;

use aes_gcm::Aes256Gcm;
use hmac::Hmac;
use sha2::Sha256;

use super::{
    fence::Fenced,
    key::{Key, SealBudget, Sealing, Signing},
    ring::Keyring,
    verbatim::Verbatim,
};
use crate::{ids::KeyId, material::Material};

/// The primary key of a keyring, lent by [`Keyring::make`]: the only way to seal or
/// sign with a key.
#[derive(Debug)]
pub struct Primary<'k, U>(&'k Key<U>);

impl<U> Keyring<U> {
    /// What `make` makes with the primary key, if the lease of this process still runs
    /// once it is made.
    ///
    /// The lease is looked at last: what passes was made in time, even if the process
    /// was stopped half-way through. What does not is dropped.
    ///
    /// # Errors
    /// [`Fenced`], or what `make` fails with.
    pub fn make<T, E: From<Fenced>>(
        &self,
        make: impl FnOnce(Primary<'_, U>) -> Result<T, E>,
    ) -> Result<T, E> {
        let made = make(Primary(self.primary()))?;
        self.fence().check()?;
        Ok(made)
    }
}

impl<'k, U> Primary<'k, U> {
    /// Its public name.
    #[must_use]
    pub const fn id(&self) -> &'k KeyId {
        self.0.id()
    }
}

impl<'k> Primary<'k, Sealing> {
    /// What counts its seals.
    #[must_use]
    pub const fn budget(&self) -> &'k Arc<SealBudget> {
        self.0.prepared().budget()
    }

    pub(crate) const fn cipher(&self) -> &'k Aes256Gcm {
        self.0.prepared().cipher()
    }

    pub(crate) const fn state_mac(&self) -> &'k Hmac<Sha256> {
        self.0.prepared().state_mac()
    }
}

impl<'k> Primary<'k, Signing> {
    pub(crate) const fn mac(&self) -> &'k Hmac<Sha256> {
        self.0.prepared().mac()
    }

    pub(crate) const fn encoding(&self) -> &'k jsonwebtoken::EncodingKey {
        self.0.prepared().encoding()
    }
}

impl<'k> Primary<'k, Verbatim> {
    /// The secret as it is.
    #[must_use]
    pub const fn expose(&self) -> &'k Material {
        self.0.prepared().expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::Secret,
        clock::Uptime,
        ids::Epoch,
        keyring::{AnyKeyring, Fence, KeyState, Keychain},
        material::Material,
    };

    #[test]
    fn what_is_made_after_the_end_of_the_lease_is_not_handed_out() {
        let id = KeyId::new("a").unwrap();
        let key = Key::signing(id, KeyState::Primary, false, &Material::new("m").unwrap());
        let ring = AnyKeyring::Signing(Keyring::new(vec![key]).unwrap());
        let fence = Fence::at(Uptime::now().plus(std::time::Duration::from_secs(60)));
        // Whichever comes first, the fence or the ring.
        let chain = Keychain::new(Epoch(1)).with(Secret::JwtSecret, ring).under(fence.clone());
        let ring = chain.signing(Secret::JwtSecret).unwrap();
        assert_eq!(ring.make(|key| Ok::<_, Fenced>(key.id().to_string())), Ok("a".to_owned()));
        // The process is stopped in the middle of it.
        let stopped = ring.make(|_| {
            fence.shut();
            Ok::<_, Fenced>("made too late")
        });
        assert_eq!(stopped, Err(Fenced));
    }
}
