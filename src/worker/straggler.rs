//! Reads what was sealed before its key was retired and written after: fetches the key
//! from custody, and leaves a trail.
//!
//! 1. Only what [`Replica::with_retired`] has is opened with: no compromised key, none
//!    that is destroyed, and no question to the database for an id that nobody knows.
//! 2. Each value that was opened so is told once, and at most [`MOST`] a minute are: how
//!    many were not told is told with the next one.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    ids::KeyId,
    keyring::Keychain,
    layer::sealed::{Custodian, Fetching, Straggler},
    replica::Replica,
    store::{Actor, AuditEntry, Outcome},
};

/// How many values are told a minute.
const MOST: usize = 100;
const MINUTE: Duration = Duration::from_secs(60);

/// The custody of a replica, for the sealed layer.
#[derive(Debug)]
pub struct Stragglers {
    replica: Arc<Replica>,
    trail: Mutex<Trail>,
}

impl Stragglers {
    /// From the custody of `replica`.
    #[must_use]
    pub fn new(replica: Arc<Replica>) -> Self {
        Self { replica, trail: Mutex::default() }
    }

    async fn fetched(&self, keys: &[KeyId]) -> Option<Arc<Keychain>> {
        let fetched = self.replica.with_retired(keys).await;
        fetched.unwrap_or_else(|error| {
            tracing::warn!(%error, "custody was asked for a retired key, and did not give it");
            None
        })
    }

    async fn told(&self, straggler: Straggler) {
        let admitted = self.trail().admit(&straggler, Instant::now());
        let Some(withheld) = admitted else { return };
        let Straggler { column, secret, row, keys } = &straggler;
        tracing::warn!(column, %row, ?keys, "a value under a retired key was opened");
        let entry = AuditEntry {
            at: self.replica.clock().now(),
            actor: Actor::System,
            action: "key.straggler".to_owned(),
            resource_type: "key",
            resource_id: None,
            resource_name: keys.first().map(|key| format!("{secret}/{key}")),
            details: json!({ "column": column, "row": row, "keys": keys, "withheld": withheld }),
            outcome: Outcome::Success,
        };
        if let Err(error) = self.replica.store().record(&entry).await {
            tracing::warn!(%error, column, %row, "it was not told; whoever reads it next tells it");
            self.trail().told.remove(&straggler);
        }
    }

    fn trail(&self) -> std::sync::MutexGuard<'_, Trail> {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Custodian for Stragglers {
    fn fetch<'a>(&'a self, keys: &'a [KeyId]) -> Fetching<'a, Option<Arc<Keychain>>> {
        Box::pin(self.fetched(keys))
    }

    fn opened(&self, straggler: Straggler) -> Fetching<'_, ()> {
        Box::pin(self.told(straggler))
    }
}

/// What was told within the present minute.
#[derive(Debug, Default)]
struct Trail {
    began: Option<Instant>,
    told: HashSet<Straggler>,
    withheld: u64,
}

impl Trail {
    /// Whether `straggler` is to be told now, and how many were withheld before it.
    fn admit(&mut self, straggler: &Straggler, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now.duration_since(began) >= MINUTE) {
            self.began = Some(now);
            self.told.clear();
        }
        if self.told.contains(straggler) {
            return None;
        }
        if self.told.len() >= MOST {
            self.withheld += 1;
            return None;
        }
        self.told.insert(straggler.clone());
        Some(std::mem::take(&mut self.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Secret;

    #[test]
    fn a_straggler_is_told_once_and_a_flood_of_them_is_counted() {
        let straggler = |row: i64| Straggler {
            column: "webhooks.secret".to_owned(),
            secret: Secret::AppEncryptionKey,
            row: row.into(),
            keys: vec![KeyId::new("old").unwrap()],
        };
        let (mut trail, began) = (Trail::default(), Instant::now());
        assert_eq!(trail.admit(&straggler(0), began), Some(0));
        assert_eq!(trail.admit(&straggler(0), began), None, "it is told already");
        let told = (1..150).filter(|&row| trail.admit(&straggler(row), began).is_some()).count();
        assert_eq!(told, MOST - 1);
        assert_eq!(trail.admit(&straggler(0), began + MINUTE), Some(50), "those of before");
        assert_eq!(trail.admit(&straggler(1), began + MINUTE), Some(0));
    }
}
