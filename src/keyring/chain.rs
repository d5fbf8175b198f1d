//! All keyrings of one epoch.

use std::fmt;

use crate::{catalog::Secret, ids::Epoch};

use super::{
    fence::Fence,
    key::{Sealing, Signing},
    ring::Keyring,
    verbatim::Verbatim,
};

const SECRETS: usize = crate::catalog::CATALOG.len();

/// All keyrings at one epoch. Immutable: a change is a new keychain.
#[derive(Default)]
pub struct Keychain {
    epoch: Epoch,
    fence: Fence,
    rings: [Option<AnyKeyring>; SECRETS],
}

/// A keyring of any class.
#[derive(Debug)]
pub enum AnyKeyring {
    /// Of a secret that seals.
    Sealing(Keyring<Sealing>),
    /// Of a secret that signs.
    Signing(Keyring<Signing>),
    /// Of a secret that is used as it is.
    Verbatim(Keyring<Verbatim>),
}

impl AnyKeyring {
    fn set_fence(&mut self, fence: &Fence) {
        match self {
            Self::Sealing(ring) => ring.set_fence(fence.clone()),
            Self::Signing(ring) => ring.set_fence(fence.clone()),
            Self::Verbatim(ring) => ring.set_fence(fence.clone()),
        }
    }
}

impl Keychain {
    /// An empty keychain of `epoch`.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// This keychain with `keyring` for `secret`.
    #[must_use]
    pub fn with(mut self, secret: Secret, mut keyring: AnyKeyring) -> Self {
        keyring.set_fence(&self.fence);
        self.rings[secret as usize] = Some(keyring);
        self
    }

    /// This keychain, of no use once `fence` is shut.
    #[must_use]
    pub fn under(mut self, fence: Fence) -> Self {
        self.rings.iter_mut().flatten().for_each(|ring| ring.set_fence(&fence));
        self.fence = fence;
        self
    }

    /// Until when it may be used.
    #[must_use]
    pub const fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Its version.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The keyring of a secret that seals.
    ///
    /// # Errors
    /// [`NoKeyring`] when this keychain has none for it.
    pub fn sealing(&self, secret: Secret) -> Result<&Keyring<Sealing>, NoKeyring> {
        match &self.rings[secret as usize] {
            Some(AnyKeyring::Sealing(ring)) => Ok(ring),
            _ => Err(NoKeyring(secret)),
        }
    }

    /// The keyring of a secret that signs.
    ///
    /// # Errors
    /// [`NoKeyring`] when this keychain has none for it.
    pub fn signing(&self, secret: Secret) -> Result<&Keyring<Signing>, NoKeyring> {
        match &self.rings[secret as usize] {
            Some(AnyKeyring::Signing(ring)) => Ok(ring),
            _ => Err(NoKeyring(secret)),
        }
    }

    /// The keyring of a secret that is used as it is: a pepper, one that others share,
    /// a credential, or a generation of what is issued.
    ///
    /// # Errors
    /// [`NoKeyring`] when this keychain has none for it.
    pub fn verbatim(&self, secret: Secret) -> Result<&Keyring<Verbatim>, NoKeyring> {
        match &self.rings[secret as usize] {
            Some(AnyKeyring::Verbatim(ring)) => Ok(ring),
            _ => Err(NoKeyring(secret)),
        }
    }

    /// Every secret that has a keyring here.
    pub fn secrets(&self) -> impl Iterator<Item = (Secret, &AnyKeyring)> {
        Secret::all().filter_map(|secret| Some((secret, self.rings[secret as usize].as_ref()?)))
    }
}

impl fmt::Debug for Keychain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keychain")
            .field("epoch", &self.epoch)
            .field("rings", &self.secrets().collect::<Vec<_>>())
            .finish()
    }
}

/// A keychain that lacks a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no key for {0}; set it in the environment or roll it over")]
pub struct NoKeyring(pub Secret);
