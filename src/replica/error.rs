//! Why a replica could not join or refresh.

use crate::{
    keyring::{reconcile::Refusals, sources::Faults},
    material::NoEntropy,
    store::{StoreError, custody::CustodyError},
};

/// A replica could not join or refresh. Never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Custody does not open.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// The environment is at fault.
    #[error(transparent)]
    Environment(#[from] Faults),
    /// The environment and the store disagree.
    #[error(transparent)]
    Disagreement(#[from] Refusals),
    /// No randomness.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    /// The database took too long.
    #[error(
        "the database did not answer within the time that the lease allows; see to it, or to the network"
    )]
    Late,
    /// Other replicas kept changing the keys meanwhile.
    #[error("other replicas kept changing the keys while this one joined; start it again")]
    Contended,
}
