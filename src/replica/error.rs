//! Why a replica could not join or refresh.

use crate::{
    keyring::{reconcile::Refusals, sources::Faults},
    material::{Fingerprint, NoEntropy},
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
    /// No root key that every live replica holds.
    #[error(
        "no key can be sealed: of the root keys at hand ({}) none is held by every live replica, or all of them agree on another; give this process the BREEZE_ROOT_KEY that the others have",
        at_hand.iter().map(Fingerprint::to_string).collect::<Vec<_>>().join(", ")
    )]
    NoRootKeyInCommon {
        /// The root keys that are there.
        at_hand: Vec<Fingerprint>,
    },
    /// Other replicas kept changing the keys meanwhile.
    #[error("other replicas kept changing the keys while this one joined; start it again")]
    Contended,
}
