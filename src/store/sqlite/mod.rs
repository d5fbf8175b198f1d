//! The store on SQLite: control tables under the prefix `rollover_`.
//!
//! 1. Every change is one transaction that takes the write lock as it begins, so that
//!    changes queue and never find out late that they cannot write.
//! 2. Leases run by the view `rollover_now`, SQLite's own clock.
//! 3. A statement with RETURNING is read to its end: only then is it durable.
//! 4. A process that is stopped while it has the write lock keeps every other one from
//!    writing, renewals of leases among it, until it goes on or ends: SQLite has nobody who
//!    could take the lock away.

mod acceptors;
mod audit;
mod commit;
mod error;
mod keys;
mod operations;
pub(crate) mod passes;
mod replicas;
mod rollovers;
mod rows;
mod schema;

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::incident::Incident;

pub(super) use error::cause;

use super::{
    Acceptor, AuditEntry, AuditRecord, Beat, Change, Claim, Committed, Custody, Epoch, Fingerprint,
    KeyId, Lease, Operations, PassProgress, Quarantined, Range, ReplicaId, ReplicaRecord, Rollover,
    RolloverId, Secret, Signal, Signals, Step, Store, StoreError, Timestamp,
};

/// How a transaction that writes begins: with the write lock, for which it waits.
pub(crate) const BEGIN_WRITING: &str = "BEGIN IMMEDIATE";

/// The store on SQLite.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pool: SqlitePool,
    /// The one connection that writes batches. They wait for each other here, in turn
    /// and at once: for SQLite's own lock they would sleep, and not in turn. And it
    /// keeps the pages that the next batch needs, which a write through another one
    /// would have it read again.
    rows: SqlitePool,
    /// What this process changes is told to whoever listens in it.
    told: broadcast::Sender<Signal>,
}

/// How long the lock of another connection or process is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// A pool of `options`. SQLite waits for no lock while a new file is set to WAL: of two
/// processes that do so at once, one is told that it is busy, and tries again.
async fn open(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let until = Instant::now() + BUSY;
    loop {
        match SqlitePoolOptions::new().max_connections(8).connect_with(options.clone()).await {
            Err(error) if error::is_busy(&error) && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            opened => return opened,
        }
    }
}

/// Signals that may wait for a listener. One that falls behind is told so.
const SIGNALS: usize = 64;

impl SqliteStore {
    /// A store on the database of `pool`.
    ///
    /// The pool's connections shall wait for the write lock (`busy_timeout`), and
    /// `synchronous` be `FULL`: a key must outlive a power cut. [`Self::connect`]
    /// makes such a pool. Rewrapped batches are written by one connection more, with the
    /// same options.
    #[must_use]
    pub fn new(pool: SqlitePool) -> Self {
        let rows = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(pool.connect_options().as_ref().clone());
        Self { pool, rows, told: broadcast::Sender::new(SIGNALS) }
    }

    /// Opens the file of `url`, and makes it where it is missing (unless the URL says
    /// `mode=ro`).
    ///
    /// Readers and the one writer do not wait for each other (WAL); a commit is on the
    /// disk when it returns (`synchronous = FULL`), since keys are among what it writes.
    ///
    /// # Errors
    /// [`StoreError::Url`] when the URL does not parse, [`StoreError::Database`] when the
    /// file does not open.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options = url
            .parse::<SqliteConnectOptions>()
            .map_err(|_| StoreError::Url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        Ok(Self::new(open(options).await?))
    }

    /// The pool that it works on.
    #[must_use]
    pub const fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    fn tell(&self, signal: Signal) {
        // Nobody listens: then nobody need be told.
        let _ = self.told.send(signal);
    }

    /// Creates what is missing of the control tables. Safe to run from several
    /// processes at once, and again.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`] when a newer version has changed the schema,
    /// [`StoreError::ReadOnly`] when it takes no writes, [`StoreError::Migrate`] for
    /// the rest.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        schema::migrate(&self.pool).await
    }

    /// Checks, without changing anything, that the control tables are there, that no
    /// newer version has changed them, and that the file takes writes.
    ///
    /// # Errors
    /// [`StoreError::NotMigrated`], [`StoreError::NewerSchema`] or [`StoreError::ReadOnly`].
    pub async fn check(&self) -> Result<(), StoreError> {
        schema::check(&self.pool).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn epoch(&self) -> Result<Epoch, StoreError> {
        keys::epoch(&mut *self.pool.acquire().await?).await
    }

    fn signals(&self) -> Signals {
        stream::unfold(self.told.subscribe(), |mut told| async move {
            let signal = match told.recv().await {
                Ok(signal) => signal,
                Err(broadcast::error::RecvError::Lagged(_)) => Signal::Missed,
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            };
            Some((signal, told))
        })
        .boxed()
    }

    async fn custody(&self) -> Result<Custody, StoreError> {
        keys::custody(&self.pool).await
    }

    async fn sealed_under(&self) -> Result<BTreeMap<Fingerprint, u64>, StoreError> {
        keys::sealed_under(&self.pool).await
    }

    async fn commit(&self, change: &Change) -> Result<Committed, StoreError> {
        let committed = commit::commit(&self.pool, change).await?;
        if let Committed::Done(epoch) = committed
            && !change.keys.is_empty()
        {
            self.tell(Signal::Epoch(epoch));
        }
        Ok(committed)
    }

    async fn raise_lifetime(
        &self,
        secret: Secret,
        key: &KeyId,
        lifetime: Duration,
    ) -> Result<(), StoreError> {
        keys::raise_lifetime(&self.pool, secret, key, lifetime).await
    }

    async fn settle_seals(
        &self,
        secret: Secret,
        key: &KeyId,
        count: u64,
    ) -> Result<u64, StoreError> {
        keys::settle_seals(&self.pool, secret, key, count).await
    }

    async fn note_presented(
        &self,
        secret: Secret,
        key: &KeyId,
        count: u64,
        last: Timestamp,
    ) -> Result<(), StoreError> {
        keys::note_presented(&self.pool, secret, key, count, last).await
    }

    async fn renew(&self, beat: &Beat) -> Result<Lease, StoreError> {
        let (lease, is_known) = replicas::renew(&self.pool, beat).await?;
        if !is_known {
            self.tell(Signal::Report);
        }
        Ok(lease)
    }

    /// Whoever writes has the write lock.
    async fn await_changes(&self) -> Result<(), StoreError> {
        Ok(self.pool.begin_with(BEGIN_WRITING).await?.rollback().await?)
    }

    async fn deregister(&self, replica: ReplicaId) -> Result<(), StoreError> {
        replicas::deregister(&self.pool, replica).await
    }

    async fn replicas(&self) -> Result<Vec<ReplicaRecord>, StoreError> {
        replicas::replicas(&self.pool).await
    }

    async fn rollover(&self, id: RolloverId) -> Result<Option<Rollover>, StoreError> {
        rollovers::rollover(&self.pool, id).await
    }

    async fn rollovers(
        &self,
        before: Option<RolloverId>,
        limit: u32,
    ) -> Result<Vec<Rollover>, StoreError> {
        rollovers::rollovers(&self.pool, before, limit).await
    }

    async fn active_rollovers(&self) -> Result<Vec<Rollover>, StoreError> {
        rollovers::active(&self.pool).await
    }

    async fn awaiting_cut_off(&self) -> Result<Vec<Rollover>, StoreError> {
        rollovers::awaiting_cut_off(&self.pool).await
    }

    async fn acceptors(&self, rollover: RolloverId) -> Result<Vec<Acceptor>, StoreError> {
        acceptors::of(&self.pool, rollover).await
    }

    async fn pass(
        &self,
        rollover: RolloverId,
        pass: u32,
    ) -> Result<Option<PassProgress>, StoreError> {
        passes::progress(&self.pool, rollover, pass).await
    }

    async fn claim_range(
        &self,
        rollover: RolloverId,
        pass: u32,
        replica: ReplicaId,
        lease: Duration,
    ) -> Result<Option<Range>, StoreError> {
        passes::claim_range(&self.pool, rollover, pass, replica, lease).await
    }

    async fn finish_range(&self, range: &Range) -> Result<(), StoreError> {
        passes::finish_range(&self.pool, range).await
    }

    async fn quarantined(&self, limit: u32) -> Result<Vec<Quarantined>, StoreError> {
        passes::quarantined(&self.pool, limit).await
    }

    async fn release_quarantine(&self, table: &str, before: Timestamp) -> Result<u64, StoreError> {
        passes::release_quarantine(&self.pool, table, before).await
    }

    async fn record_for(&self, org: Option<Uuid>, entry: &AuditEntry) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_with(BEGIN_WRITING).await?;
        audit::insert(&mut transaction, org, std::slice::from_ref(entry)).await?;
        Ok(transaction.commit().await?)
    }

    async fn audit(
        &self,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        audit::page(&self.pool, before, limit).await
    }

    async fn audit_between(
        &self,
        span: RangeInclusive<Timestamp>,
        about: Option<&[Uuid]>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        audit::between(&self.pool, span, about, limit).await
    }

    async fn walk_audit(&self, see: &mut (dyn FnMut(Step) + Send)) -> Result<(), StoreError> {
        audit::walk(&self.pool, see).await
    }
}

#[async_trait]
impl Operations for SqliteStore {
    async fn intervals(&self) -> Result<BTreeMap<Secret, Duration>, StoreError> {
        operations::intervals(&self.pool).await
    }

    async fn set_interval(
        &self,
        secret: Secret,
        days: Option<u32>,
        entry: &AuditEntry,
    ) -> Result<(), StoreError> {
        operations::set_interval(&self.pool, secret, days, entry).await
    }

    async fn claim(&self, job: &str, day: i64, lease: Duration) -> Result<Claim, StoreError> {
        operations::claim(&self.pool, job, day, lease).await
    }

    async fn finish(
        &self,
        job: &str,
        day: i64,
        at: Timestamp,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        operations::finish(&self.pool, job, day, at, entry).await
    }

    async fn incident(&self, id: Uuid) -> Result<Option<Incident>, StoreError> {
        operations::incident(&self.pool, id).await
    }

    async fn incidents(&self, limit: u32) -> Result<Vec<Incident>, StoreError> {
        operations::incidents(&self.pool, limit).await
    }

    async fn open_incident(&self) -> Result<Option<Incident>, StoreError> {
        operations::open_incident(&self.pool).await
    }

    async fn put_incident(
        &self,
        incident: &Incident,
        entries: &[AuditEntry],
    ) -> Result<bool, StoreError> {
        operations::put_incident(&self.pool, incident, entries).await
    }
}
