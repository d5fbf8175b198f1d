//! Why a step could not be done.

use crate::{
    catalog::Secret,
    envelope::SealError,
    ids::KeyId,
    keyring::NoKeyring,
    material::NoEntropy,
    replica::ReplicaError,
    rollover::IllegalTransition,
    store::{StoreError, custody::CustodyError},
};

use super::{queue::QueueError, rewrap::RewrapError};

/// A step could not be done. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing can be sealed.
    #[error("nothing can be sealed: {0}")]
    Seal(SealError),
    /// Custody does not open, or does not seal.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// The change was committed, and this process could not apply it yet.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The queue did not take a task.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The phase does not allow the step.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// No randomness.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    /// A chore was refused what it asked for.
    #[error("{0}")]
    Chore(String),
    /// A secret has no key.
    #[error(transparent)]
    NoKeyring(#[from] NoKeyring),
    /// A rollover names a key that is not in custody.
    #[error(
        "key {key} of {secret} is not in custody, though a rollover names it; restore the key store from its backup"
    )]
    NoKey {
        /// Whose key.
        secret: Secret,
        /// Which.
        key: KeyId,
    },
}

impl From<RewrapError> for DriveError {
    fn from(error: RewrapError) -> Self {
        match error {
            RewrapError::Store(error) => Self::Store(error),
            RewrapError::Seal(error) => Self::Seal(error),
        }
    }
}
