//! Rewraps ranges of one pass until none is free: every replica's share of it.
//!
//! 1. Once a second the rollover is read again: a pause, a roll-back, a newer pass
//!    or a new ceiling is heeded within that time.
//! 2. A batch uses the keychain of its own moment, never that of its range.
//! 3. On shutdown the batch in hand is finished, and the range is left to others
//!    when its lease runs out.

use std::time::{Duration, Instant};

use super::{
    DriveError, Worker,
    rewrap::{Batch, BatchEnd, aims},
};
use crate::{
    ids::{Epoch, RolloverId},
    rollover::Rollover,
    store::{Range, StoreError, TableShape},
};

/// How long a range stays with a worker that gives no sign of life.
pub const RANGE_LEASE: Duration = Duration::from_secs(10);

/// How often the rollover's row is read while a pass runs.
const HEED: Duration = Duration::from_secs(1);

impl Worker {
    /// Takes free ranges of `pass` one after the other, until none is left.
    ///
    /// # Errors
    /// [`DriveError`] when the store does not answer; every finished batch stays.
    pub async fn rewrap(&self, rollover: RolloverId, pass: u32) -> Result<(), DriveError> {
        let store = self.replica.store();
        let survey = store.survey(&self.registry).await?;
        while let Some(orders) = self.orders(rollover, pass).await? {
            let claimed = store.claim_range(rollover, pass, self.replica.id(), RANGE_LEASE).await?;
            let Some(mut range) = claimed else { break };
            match survey.tables.iter().find(|table| table.table.name() == range.table) {
                Some(table) => self.rewrap_range(table, &mut range, orders).await?,
                // Dropped since the pass began: there is nothing to rewrap in it.
                None => store.finish_range(&range).await?,
            }
        }
        Ok(())
    }

    /// The rollover's row, as long as `pass` is what it wants done.
    async fn orders(&self, id: RolloverId, pass: u32) -> Result<Option<Rollover>, StoreError> {
        if self.is_shutting_down() {
            return Ok(None);
        }
        let rollover = self.replica.store().rollover(id).await?;
        Ok(rollover
            .filter(|r| r.pass == pass && r.paused_at.is_none() && r.draining_key().is_some()))
    }

    async fn rewrap_range(
        &self,
        table: &TableShape,
        range: &mut Range,
        mut orders: Rollover,
    ) -> Result<(), DriveError> {
        let store = self.replica.store();
        let (mut read_at, mut keys_of, mut finals) = (Instant::now(), Epoch(0), vec![]);
        loop {
            if read_at.elapsed() > HEED {
                match self.orders(range.rollover, range.pass).await? {
                    Some(fresh) => orders = fresh,
                    None => return Ok(()),
                }
                read_at = Instant::now();
            } else if self.is_shutting_down() {
                return Ok(());
            }
            let keys = self.replica.opening_keychain();
            if finals.is_empty() || keys_of != keys.epoch() {
                finals = aims(table, &keys, orders.target)?;
                keys_of = keys.epoch();
            }
            let batch = Batch {
                rows: store.as_ref(),
                table,
                aims: &finals,
                keys: &keys,
                target: orders.target,
                lease: RANGE_LEASE,
            };
            let ceiling = self.share_of(orders.max_rows_per_second);
            let limit = self.pace().batch(ceiling);
            let now = self.replica.clock().now();
            match batch.run(range, limit, now).await? {
                BatchEnd::LeaseLost => return Ok(()),
                BatchEnd::Finished => {
                    store.finish_range(range).await?;
                    return Ok(());
                }
                BatchEnd::More { scanned, took } => {
                    drop(keys);
                    let rest = self.pace().rest_after(scanned, took, ceiling);
                    tokio::time::sleep(rest.min(RANGE_LEASE / 2)).await;
                }
            }
        }
    }

    /// This task's share of a ceiling for the whole rollover.
    fn share_of(&self, ceiling: Option<u32>) -> Option<u32> {
        ceiling.map(|rows| (rows / self.parts.max(1)).max(1))
    }
}
