//! One budget a key, whatever the epoch.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    catalog::Secret,
    ids::KeyId,
    keyring::{SEAL_LIMIT, SealBudget},
    store::KeyRecord,
};

/// The seal budgets of this process. A keychain of a new epoch goes on counting
/// where the last one stands.
#[derive(Debug)]
pub struct SealBudgets {
    limit: u64,
    budgets: Mutex<HashMap<(Secret, KeyId), Arc<SealBudget>>>,
}

impl Default for SealBudgets {
    fn default() -> Self {
        Self::with_limit(SEAL_LIMIT)
    }
}

impl SealBudgets {
    /// Budgets of `limit` seals a key, at most [`SEAL_LIMIT`].
    #[must_use]
    pub fn with_limit(limit: u64) -> Self {
        Self { limit: limit.min(SEAL_LIMIT), budgets: Mutex::default() }
    }

    /// The budget of `record`, which knows at least the seals that the record knows.
    #[must_use]
    pub fn of(&self, record: &KeyRecord) -> Arc<SealBudget> {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = budgets
            .entry((record.secret, record.id.clone()))
            .or_insert_with(|| Arc::new(SealBudget::new(record.seals, self.limit)));
        // What other replicas have sealed meanwhile counts too.
        if record.seals > budget.spent().saturating_sub(budget.pending()) {
            budget.settle(0, record.seals);
        }
        Arc::clone(budget)
    }

    /// Every budget with seals that the store does not know yet.
    #[must_use]
    pub fn unsettled(&self) -> Vec<(Secret, KeyId, Arc<SealBudget>)> {
        let budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        let unsettled = budgets.iter().filter(|(_, budget)| budget.pending() > 0);
        unsettled.map(|((secret, id), budget)| (*secret, id.clone(), Arc::clone(budget))).collect()
    }
}
