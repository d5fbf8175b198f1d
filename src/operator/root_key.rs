//! What operators see of a rollover of the root key. Fingerprints, never keys.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Operator, Refusal};
use crate::{
    ids::ReplicaId,
    material::Fingerprint,
    replica::RootStatus,
    store::{Store, StoreError, custody::RootPlan},
};

/// How far a rollover of the root key is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RootKeyView {
    /// Whether every key is sealed under one root key, and every live replica knows.
    pub is_settled: bool,
    /// The current root key of every live replica; absent while they disagree.
    pub root_key: Option<Fingerprint>,
    /// What it waits for.
    pub blocked_by: Option<String>,
    /// How many keys are sealed under each root key.
    pub sealed: BTreeMap<Fingerprint, u64>,
    /// Root keys that some live replica still holds, and that nothing needs any more.
    pub may_be_taken_away: BTreeSet<Fingerprint>,
    /// Who serves.
    pub replicas: Vec<RootKeyHolder>,
}

/// Which root keys one live replica holds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RootKeyHolder {
    /// Which replica.
    pub id: ReplicaId,
    /// Its name, for people.
    pub name: String,
    /// Its root keys, the current one first; none: it does not tell.
    pub root_keys: Vec<Fingerprint>,
}

impl RootKeyView {
    /// As `store` tells it; no root key is needed to ask.
    ///
    /// # Errors
    /// [`StoreError`] when it does not answer.
    pub async fn of(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(RootStatus::of(store).await?.into())
    }
}

impl From<RootStatus> for RootKeyView {
    fn from(status: RootStatus) -> Self {
        let (is_settled, root_key, blocked_by) = match &status.plan {
            RootPlan::Settled(root_key) => (true, Some(*root_key), None),
            RootPlan::Reseal(root_key) => (false, Some(*root_key), None),
            RootPlan::Wait(blocker) => (false, None, Some(blocker.to_string())),
        };
        Self {
            is_settled,
            root_key,
            blocked_by,
            may_be_taken_away: status.may_be_taken_away(),
            sealed: status.sealed,
            replicas: status
                .live
                .into_iter()
                .map(|replica| RootKeyHolder {
                    id: replica.id,
                    name: replica.name,
                    root_keys: replica.root_keys,
                })
                .collect(),
        }
    }
}

impl Operator {
    /// How far a rollover of the root key is.
    ///
    /// # Errors
    /// [`Refusal`] when the store does not answer.
    pub async fn root_key(&self) -> Result<RootKeyView, Refusal> {
        Ok(RootKeyView::of(self.worker.replica().store().as_ref()).await?)
    }
}
