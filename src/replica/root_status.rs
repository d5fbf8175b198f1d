//! How far a rollover of the root key is, asked of the store alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    material::Fingerprint,
    store::{
        ReplicaRecord, Store, StoreError,
        custody::{self, RootPlan},
    },
};

/// How far a rollover of the root key is, as the store tells it.
#[derive(Debug, Clone)]
pub struct RootStatus {
    /// What is to be done, or waited for.
    pub plan: RootPlan,
    /// How many keys are sealed under each root key.
    pub sealed: BTreeMap<Fingerprint, u64>,
    /// Who serves, with the root keys that each holds.
    pub live: Vec<ReplicaRecord>,
}

impl RootStatus {
    /// Asks `store`.
    ///
    /// # Errors
    /// [`StoreError`] when it does not answer.
    pub async fn of(store: &dyn Store) -> Result<Self, StoreError> {
        // In this order: a change that does not know what these replicas tell is waited for,
        // and what it sealed is counted; and whoever has applied the epoch that is read after
        // that can open it.
        let mut live = store.replicas().await?;
        store.await_changes().await?;
        let sealed = store.sealed_under().await?;
        let epoch = store.epoch().await?;
        live.retain(|replica| replica.live);
        Ok(Self { plan: custody::plan(&sealed, epoch, &live), sealed, live })
    }

    /// Root keys that some live replica still holds, and that open nothing any more.
    #[must_use]
    pub fn may_be_taken_away(&self) -> BTreeSet<Fingerprint> {
        let RootPlan::Settled(current) = self.plan else { return BTreeSet::new() };
        let held = self.live.iter().flat_map(|replica| replica.root_keys.iter().copied());
        held.filter(|root_key| *root_key != current).collect()
    }
}
