//! How often each key is used, whatever the epoch.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    catalog::Secret,
    ids::KeyId,
    keyring::{Presented, SEAL_LIMIT, SealBudget},
    store::KeyRecord,
};

type Of<T> = Mutex<HashMap<(Secret, KeyId), Arc<T>>>;

/// What counts the uses of each key in this process. A keychain of a new epoch goes on
/// counting where the last one stands.
#[derive(Debug)]
pub struct Usage {
    limit: u64,
    budgets: Of<SealBudget>,
    presented: Of<Presented>,
}

impl Default for Usage {
    fn default() -> Self {
        Self::with_limit(SEAL_LIMIT)
    }
}

impl Usage {
    /// With budgets of `limit` seals a key, at most [`SEAL_LIMIT`].
    #[must_use]
    pub fn with_limit(limit: u64) -> Self {
        Self {
            limit: limit.min(SEAL_LIMIT),
            budgets: Mutex::default(),
            presented: Mutex::default(),
        }
    }

    /// The seal budget of `record`, which knows at least the seals that the record knows.
    #[must_use]
    pub fn seals(&self, record: &KeyRecord) -> Arc<SealBudget> {
        let mut budgets = locked(&self.budgets);
        let budget = budgets
            .entry((record.secret, record.id.clone()))
            .or_insert_with(|| Arc::new(SealBudget::new(record.seals, self.limit)));
        // What other replicas have sealed meanwhile counts too.
        if record.seals > budget.spent().saturating_sub(budget.pending()) {
            budget.settle(0, record.seals);
        }
        Arc::clone(budget)
    }

    /// What counts who presents `record` to this process.
    #[must_use]
    pub fn presented(&self, record: &KeyRecord) -> Arc<Presented> {
        let mut presented = locked(&self.presented);
        Arc::clone(presented.entry((record.secret, record.id.clone())).or_default())
    }

    /// Every budget with seals that the store does not know yet.
    #[must_use]
    pub fn unsettled(&self) -> Vec<(Secret, KeyId, Arc<SealBudget>)> {
        all(&self.budgets).filter(|(_, _, budget)| budget.pending() > 0).collect()
    }

    /// Whatever counts who presents a key.
    #[must_use]
    pub fn all_presented(&self) -> Vec<(Secret, KeyId, Arc<Presented>)> {
        all(&self.presented).collect()
    }
}

fn locked<T>(map: &Of<T>) -> MutexGuard<'_, HashMap<(Secret, KeyId), Arc<T>>> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

fn all<T>(map: &Of<T>) -> impl Iterator<Item = (Secret, KeyId, Arc<T>)> {
    let listed: Vec<_> = locked(map)
        .iter()
        .map(|((secret, id), counts)| (*secret, id.clone(), Arc::clone(counts)))
        .collect();
    listed.into_iter()
}
