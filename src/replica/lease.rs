//! The lease: renewed while the database answers, and fencing this replica off when
//! it does not.
//!
//! 1. The lease is counted from before its renewal was sent, so that this replica
//!    fences itself no later than the database counts it dead.
//! 2. A lease that ran out is taken up by a renewal and by keys that were read *after*
//!    it, and after every change that was being made then: until the renewal, nobody waited
//!    for this replica. Whatever still holds keys of before makes nothing with them, ever.
//! 3. A lease that ran out, and one that is taken up again, are each told once.
//! 4. A renewal waits for nobody's change, and nothing else that hangs keeps it waiting for
//!    longer than it has.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Replica, ReplicaError};
use crate::{
    clock::Uptime,
    ids::Epoch,
    keyring::{Fence, Fenced},
    store::{Beat, Lease},
};

impl Replica {
    /// Whether it may serve: its lease runs.
    ///
    /// # Errors
    /// [`Fenced`] from the end of its lease until it has read the keys anew.
    pub fn check(&self) -> Result<(), Fenced> {
        self.handle.load().fence().check()
    }

    /// Renews the lease and reports the epochs; answers the present epoch. A lease
    /// that ran out is taken up again, with the keys that the store has now.
    ///
    /// # Errors
    /// [`ReplicaError`] when the database does not answer, or not in time.
    pub async fn beat(&self) -> Result<Epoch, ReplicaError> {
        let sent = Uptime::now();
        let answer = self.renew().await?;
        let end = sent.plus(certain(self.lease));
        let in_time = self.handle.load().fence().extend(end);
        match in_time {
            Ok(()) => Ok(answer.epoch),
            Err(Fenced) => self.take_up(end).await,
        }
    }

    async fn renew(&self) -> Result<Lease, ReplicaError> {
        let applied = self.handle.load().epoch();
        let beat = Beat {
            replica: self.id,
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            applied,
            settled: self.snapshots().settled(applied),
            root_keys: self.root().fingerprints().collect(),
            lease: self.lease,
            accepts_while_fenced: self.accepts_while_fenced,
            columns: Arc::clone(&self.columns),
        };
        // A connection that hangs must not cost the lease: the next try has another.
        let patience = (self.lease / 3).max(LEAST);
        match tokio::time::timeout(patience, self.store.renew(&beat)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(ReplicaError::Late),
        }
    }

    /// What `work` comes to within two thirds of the lease. The last third is the next
    /// renewal's: whatever hangs is not worth more.
    pub(super) async fn in_time(
        &self,
        work: impl Future<Output = Result<(), ReplicaError>>,
    ) -> Result<(), ReplicaError> {
        let patience = (self.lease * 2 / 3).max(LEAST);
        tokio::time::timeout(patience, work).await.unwrap_or(Err(ReplicaError::Late))
    }

    /// Begins a lease that lasts until `end`, and is renewed already. Answers the epoch with
    /// which it does.
    async fn take_up(&self, end: Uptime) -> Result<Epoch, ReplicaError> {
        self.tell_fenced();
        self.store.await_changes().await?;
        let custody = self.store.custody().await?;
        self.apply(&custody, Some(Fence::at(end))).await?;
        if self.check().is_ok() && self.is_fenced.swap(false, Ordering::Relaxed) {
            tracing::info!(epoch = %custody.epoch, "the replica holds its lease, and serves");
        }
        Ok(custody.epoch)
    }

    /// Tells when the lease runs out, for as long as it is polled.
    pub(super) async fn watch(&self) {
        loop {
            let left = self.handle.load().fence().left().unwrap_or(Duration::MAX);
            if left.is_zero() {
                self.tell_fenced();
            }
            tokio::time::sleep(left.min(self.poll).max(Duration::from_millis(10))).await;
        }
    }

    fn tell_fenced(&self) {
        if !self.is_fenced.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the lease has run out: the replica makes nothing until it has reached the database"
            );
        }
    }
}

/// What a busy database may take, however short the lease.
const LEAST: Duration = Duration::from_secs(1);

/// How much of a lease is certain: the database counts in whole milliseconds, and no
/// two clocks run equally fast.
fn certain(lease: Duration) -> Duration {
    lease.saturating_sub(lease / 1000 + Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_certain_for_less_than_the_database_counts() {
        assert_eq!(certain(Duration::from_secs(15)), Duration::from_millis(14_984));
        assert_eq!(certain(Duration::ZERO), Duration::ZERO);
    }
}
