//! Rewraps ranges of one pass until none is free: every replica's share of it.
//!
//! 1. Once a second the rollover is read again: a pause, a roll-back, a newer pass
//!    or a new ceiling is heeded within that time.
//! 2. A batch is sealed with the keychain of the moment in which it is written, never
//!    that of its range, nor that of the moment in which it was read.
//! 3. The next batch is read while one is written, so that the database and this
//!    process do not wait for each other; compare-and-set makes up for what changes in
//!    between. Under a ceiling there is time: one after the other leaves a core of the
//!    database to the traffic.
//! 4. A ceiling holds for all tasks of all replicas together.
//! 5. A pass over a table that is not registered here is a newer version's: this process
//!    takes no more part in it once it knows.
//! 6. On shutdown the batch in hand is finished, and the range is left to others
//!    when its lease runs out.

use std::{
    iter,
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use super::{
    DriveError, Worker,
    rewrap::{Batch, aims},
    share::TAKEN,
};
use crate::{
    catalog::Secret,
    envelope::Target,
    ids::{Epoch, RolloverId},
    store::{Range, Row, StoreError, Survey, TableShape, Written},
};

/// How often the rollover's row is read while a pass runs.
const HEED: Duration = Duration::from_secs(1);

impl Worker {
    /// Takes free ranges of `pass` one after the other, until none is left. Does
    /// nothing where this process rewraps as many ranges at once as it should.
    ///
    /// # Errors
    /// [`DriveError`] when the store does not answer; every finished batch stays.
    pub async fn rewrap(&self, rollover: RolloverId, pass: u32) -> Result<(), DriveError> {
        let Ok(_at_work) = self.rewrapping.try_acquire() else { return Ok(()) };
        let Some(orders) = self.orders(rollover, pass).await? else { return Ok(()) };
        let survey = self.replica.store().survey(&self.concerned(orders.secret)).await?;
        while self.rewrap_next(&survey, rollover, pass).await? {}
        Ok(())
    }

    /// Takes the free ranges of `pass` that their holders have abandoned, though this
    /// process be at as many as it should: several at once, so that each goes on now, and
    /// none when another one is done.
    ///
    /// # Errors
    /// [`DriveError`] when the store does not answer; every finished batch stays.
    pub async fn take_over(&self, rollover: RolloverId, pass: u32) -> Result<(), DriveError> {
        let store = self.replica.store();
        let progress = store.pass(rollover, pass).await?;
        // None: someone was first.
        let abandoned = progress.map_or(0, |progress| progress.abandoned) as usize;
        let room = iter::from_fn(|| self.taking_over.try_acquire().ok()).take(abandoned);
        let room: Vec<_> = room.collect();
        if room.is_empty() {
            return Ok(());
        }
        let Some(orders) = self.orders(rollover, pass).await? else { return Ok(()) };
        let survey = &store.survey(&self.concerned(orders.secret)).await?;
        let each = room.into_iter().map(|at_work| async move {
            let _at_work = at_work;
            self.rewrap_next(survey, rollover, pass).await
        });
        join_all(each).await.into_iter().try_for_each(|done| done.map(drop))
    }

    /// Takes the first free range, and rewraps it. `false`: there is none to take.
    async fn rewrap_next(
        &self,
        survey: &Survey,
        rollover: RolloverId,
        pass: u32,
    ) -> Result<bool, DriveError> {
        if *self.not_ours() == Some((rollover, pass)) {
            return Ok(false);
        }
        let store = self.replica.store();
        let Some(orders) = self.orders(rollover, pass).await? else { return Ok(false) };
        let claimed =
            store.claim_range(rollover, pass, self.replica.id(), self.range_lease).await?;
        let Some(mut range) = claimed else { return Ok(false) };
        match survey.tables.iter().find(|table| table.table.name() == range.table) {
            Some(table) => self.rewrap_range(table, &mut range, orders).await?,
            // Dropped since the pass began, or no concern of this secret, which an older
            // version does not ask: there is nothing to rewrap in it.
            None if self.registry.table(&range.table).is_some() => {
                store.finish_range(&range).await?;
            }
            // Of a newer version, which takes it when the lease is over.
            None => {
                tracing::warn!(
                    table = range.table,
                    "a range of a table that is not registered here is left to others"
                );
                *self.not_ours() = Some((rollover, pass));
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What the rollover wants done, as long as that is `pass`.
    async fn orders(&self, id: RolloverId, pass: u32) -> Result<Option<Orders>, StoreError> {
        if self.is_shutting_down() {
            return Ok(None);
        }
        let store = self.replica.store();
        let rollover = match store.rollover(id).await {
            Err(StoreError::Newer(_)) => return Ok(None),
            rollover => rollover?,
        };
        let rollover = rollover.filter(|rollover| {
            rollover.pass == pass
                && rollover.paused_at.is_none()
                && rollover.draining_key().is_some()
        });
        let Some(rollover) = rollover else { return Ok(None) };
        let ceiling = match rollover.max_rows_per_second {
            None => None,
            Some(rows) => {
                let live = store.replicas().await?.iter().filter(|replica| replica.live).count();
                Some(rows / u32::try_from(live.max(1)).unwrap_or(u32::MAX))
            }
        };
        Ok(Some(Orders { secret: rollover.secret, target: rollover.target, ceiling }))
    }

    async fn rewrap_range(
        &self,
        table: &TableShape,
        range: &mut Range,
        mut orders: Orders,
    ) -> Result<(), DriveError> {
        let store = self.replica.store();
        let (mut read_at, mut keys_of, mut finals) = (Instant::now(), Epoch(0), vec![]);
        let mut ahead: Option<Vec<Row>> = None;
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
                let Ok(fresh) = aims(table, &keys, orders.target) else {
                    // The census tells of columns whose secret has no key.
                    return Ok(store.finish_range(range).await?);
                };
                finals = fresh;
                keys_of = keys.epoch();
                // Chosen by what was final before.
                ahead = None;
            }
            let batch = Batch {
                rows: store.as_ref(),
                table,
                aims: &finals,
                keys: &keys,
                target: orders.target,
                lease: self.range_lease,
            };
            let ceiling = self.share_of(orders.ceiling);
            let limit = self.pace().batch(ceiling);
            let mut rows = match ahead.take() {
                Some(rows) => rows,
                None => batch.read(range, range.cursor.as_ref(), limit).await?,
            };
            // Read before there was a ceiling, or a lower one: the rest is read again.
            rows.truncate(limit as usize);
            let Some(last) = rows.last().map(|row| row.key.clone()) else {
                store.finish_range(range).await?;
                return Ok(());
            };
            let (began, scanned) = (Instant::now(), rows.len() as u32);
            let write = batch.write(range, rows, &last, self.replica.clock().now());
            let written = if ceiling.is_some() {
                write.await
            } else {
                let (written, next) = tokio::join!(write, batch.read(range, Some(&last), limit));
                ahead = Some(next?);
                written
            };
            if written? == Written::LeaseLost {
                return Ok(());
            }
            range.cursor = Some(last);
            drop(keys);
            let rest = self.pace().rest_after(scanned, began.elapsed(), ceiling);
            tokio::time::sleep(rest.min(self.range_lease / 2)).await;
        }
    }

    /// This task's share of the process's ceiling.
    fn share_of(&self, ceiling: Option<u32>) -> Option<u32> {
        let idle = self.rewrapping.available_permits() + self.taking_over.available_permits();
        let at_work = (self.parts as usize + TAKEN).saturating_sub(idle);
        ceiling.map(|rows| (rows / u32::try_from(at_work).unwrap_or(u32::MAX).max(1)).max(1))
    }
}

/// What a pass is to do now.
#[derive(Debug, Clone, Copy)]
struct Orders {
    secret: Secret,
    target: Target,
    /// Rows a second, for this process.
    ceiling: Option<u32>,
}
