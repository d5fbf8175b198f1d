//! Retired keys, at hand only while something turns up that was sealed with one.
//!
//! 1. Only a key that is retired, in custody and not compromised is opened with.
//! 2. An id that no such key has is refused without a question to the database: the
//!    replica knows them from the epoch that it has applied.
//! 3. Custody is read once an epoch, however many values ask. With the next epoch the
//!    keys are let go.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Replica, ReplicaError};
use crate::{
    catalog::Secret,
    ids::{Epoch, KeyId},
    keyring::Keychain,
    store::{Custody, custody},
};

/// How long nothing is asked after custody did not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a replica knows of retired keys.
#[derive(Debug, Default)]
pub(super) struct Retired {
    known: Mutex<Known>,
    /// Held by whoever reads custody, so that the others find what it read.
    fetching: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Known {
    epoch: Epoch,
    keys: Vec<(Secret, KeyId)>,
    keychain: Option<Arc<Keychain>>,
}

impl Retired {
    /// Begins anew with the keys of `custody`.
    pub(super) fn applied(&self, custody: &Custody) {
        let (epoch, keys) = (custody.epoch, custody::retired(custody));
        *self.known() = Known { epoch, keys, keychain: None };
    }

    /// The retired keys that are at hand now.
    fn fetched(&self) -> Option<Arc<Keychain>> {
        self.known().keychain.clone()
    }

    fn knows(&self, ids: &[KeyId]) -> bool {
        let known = self.known();
        ids.iter().all(|id| known.keys.iter().any(|(_, key)| key == id))
    }

    /// Keeps `keychain`, unless a newer epoch was applied meanwhile.
    fn keep(&self, keychain: &Arc<Keychain>) {
        let mut known = self.known();
        if known.epoch <= keychain.epoch() {
            known.keychain = Some(Arc::clone(keychain));
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Replica {
    /// A keychain that opens what the retired keys `ids` have sealed too; `None` when
    /// one of them is not to be opened with. From now on until the next epoch,
    /// [`Replica::opening_keychain`] opens it as well.
    ///
    /// # Errors
    /// [`ReplicaError`] when custody does not answer, or a key does not open.
    pub async fn with_retired(&self, ids: &[KeyId]) -> Result<Option<Arc<Keychain>>, ReplicaError> {
        if ids.is_empty() || !self.retired.knows(ids) {
            return Ok(None);
        }
        let mut failed_at = self.retired.fetching.lock().await;
        if let Some(keychain) = self.retired.fetched() {
            return Ok(Some(keychain));
        }
        if failed_at.is_some_and(|at| at.elapsed() < PATIENCE) {
            return Ok(None);
        }
        let fetched = self.fetch_retired(ids).await;
        *failed_at = fetched.is_err().then(Instant::now);
        fetched
    }

    async fn fetch_retired(&self, ids: &[KeyId]) -> Result<Option<Arc<Keychain>>, ReplicaError> {
        let custody = self.store.custody().await?;
        let retired = custody::retired(&custody);
        // It may have been destroyed since the epoch that is applied here.
        if !ids.iter().all(|id| retired.iter().any(|(_, key)| key == id)) {
            return Ok(None);
        }
        let (root, fence) = (self.root(), self.handle.load().fence().clone());
        let keychain = custody::keychain(&custody, &root, &self.usage, &retired)?;
        let also = [self.reopened(&custody).await?, retired].concat();
        let opening = custody::keychain(&custody, &root, &self.usage, &also)?.under(fence.clone());
        let keychain = Arc::new(keychain.under(fence));
        self.snapshots().watch(&keychain);
        self.snapshots().reopened(opening);
        self.retired.keep(&keychain);
        Ok(Some(keychain))
    }
}
