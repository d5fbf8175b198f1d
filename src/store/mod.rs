//! Everything durable, behind traits that speak domain types: no other code
//! knows which database runs.
//!
//! 1. [`Store::commit`] is the only way to change keys and rollovers: one
//!    transaction, guarded by what was read, with its audit entries inside.
//! 2. [`Rows::write`] is the only way to change a sealed value from outside a
//!    handler: compare-and-set in one statement, the cursor in the same transaction.
//! 3. Lease expiry is judged by the database's clock; every other time is passed in.

#[cfg(all(test, feature = "postgres", feature = "sqlite"))]
mod batches;
pub mod custody;
mod error;
mod guard;
mod operations;
#[cfg(feature = "postgres")]
pub mod postgres;
mod record;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod refusal;
mod rows;
mod signals;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod step;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod stored;
mod verify;

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use uuid::Uuid;

pub use error::StoreError;
pub use guard::{GUARD_CONSTRAINT, Guarding, TableGuard};
pub use operations::{Claim, Operations};
pub use record::{
    Acceptors, Actor, AuditEntry, AuditRecord, Beat, Change, Committed, Custody, KeyChange,
    KeyRecord, Lease, NewRange, Outcome, PassProgress, Progress, Quarantined, Range, ReplicaRecord,
    RolloverChange,
};
pub use rows::{
    ColumnCensus, ColumnFault, Row, Rows, SAMPLE, Survey, TableShape, Update, Window, Written,
};
pub use signals::{Signal, Signals};
pub use verify::verify_audit;

use crate::{
    audit::Step,
    catalog::Secret,
    clock::Timestamp,
    column::{Registry, Table},
    ids::{Epoch, KeyId, ReplicaId, RolloverId},
    material::{Fingerprint, Material},
    rollover::{Acceptor, Rollover},
};

/// Keys, rollovers, replicas, passes and the audit trail.
#[async_trait]
pub trait Store: Rows + Operations + fmt::Debug + Send + Sync + 'static {
    /// The present epoch alone: one indexed read, polled by every replica.
    async fn epoch(&self) -> Result<Epoch, StoreError>;

    /// Tells of changes by itself, until the stream is dropped. A store that cannot
    /// tells nothing: polling [`Store::epoch`] finds every change.
    ///
    /// On PostgreSQL it listens to the channel `breeze_rollover`, on a session of its
    /// own; on SQLite it hears of this process's changes alone.
    fn signals(&self) -> Signals {
        stream::pending().boxed()
    }

    /// Makes every further connection with `credential`, the `user:password` of a URL,
    /// and parts with those of before as they come to rest. A file needs none.
    fn log_in_as(&self, credential: &Material) {
        let _ = credential;
    }

    /// The present epoch and every key, from one snapshot.
    async fn custody(&self) -> Result<Custody, StoreError>;

    /// How many keys are sealed under each root key, by its fingerprint: those that
    /// only a newer version knows among them. Material that names no root key, and that
    /// none opens, is left out.
    async fn sealed_under(&self) -> Result<BTreeMap<Fingerprint, u64>, StoreError>;

    /// Applies `change` whole or not at all.
    ///
    /// Answers [`Committed::Conflict`] when a guard does not hold any more (another
    /// replica was first), and [`Committed::Busy`] when a new rollover is refused
    /// because one is in progress. A change that seals a key under a root key which
    /// [`custody::permits`] does not allow is a conflict, too: a replica that is not seen
    /// takes its lease up after the change. A change that bumps the epoch is told to every
    /// replica ([`Store::signals`]). An error of the database may
    /// leave open whether the change is durable (the connection broke at the commit):
    /// read again; the guards make a second try safe.
    ///
    /// # Errors
    /// [`StoreError::NoPrimary`] when a secret that has a primary key would have
    /// none afterwards. Nothing is done.
    async fn commit(&self, change: &Change) -> Result<Committed, StoreError>;

    /// Raises the longest lifetime that `key` has signed to at least `lifetime`.
    ///
    /// # Errors
    /// [`StoreError::NoKey`] when it is not in custody.
    async fn raise_lifetime(
        &self,
        secret: Secret,
        key: &KeyId,
        lifetime: Duration,
    ) -> Result<(), StoreError>;

    /// Adds `count` seals to `key`, and answers how many are known in all.
    ///
    /// # Errors
    /// [`StoreError::NoKey`] when it is not in custody.
    async fn settle_seals(
        &self,
        secret: Secret,
        key: &KeyId,
        count: u64,
    ) -> Result<u64, StoreError>;

    /// Adds to `key` that others have presented it `count` times more, the last time at
    /// `last`. A key that is not in custody is presented by nobody, and no error.
    async fn note_presented(
        &self,
        secret: Secret,
        key: &KeyId,
        count: u64,
        last: Timestamp,
    ) -> Result<(), StoreError>;

    /// Registers a replica, or renews its lease and notes the epochs that it reports.
    /// Other epochs than before are told to every replica ([`Store::signals`]).
    /// Waits for no change that is being made, and is told of the epoch before it.
    ///
    /// Who takes a lease up reads the keys after this and [`Store::await_changes`]: each
    /// change is then in what it reads, or finds it registered.
    async fn renew(&self, beat: &Beat) -> Result<Lease, StoreError>;

    /// Waits for every change that is being made. It shows in whatever is read next; and a
    /// change that is made later finds whatever was done before this.
    async fn await_changes(&self) -> Result<(), StoreError>;

    /// Ends a replica's lease at once: it accepts nothing any more.
    async fn deregister(&self, replica: ReplicaId) -> Result<(), StoreError>;

    /// Every replica whose lease has not been over for an hour, and every one that may
    /// still accept a retired key, with whether it is live.
    async fn replicas(&self) -> Result<Vec<ReplicaRecord>, StoreError>;

    /// One rollover.
    async fn rollover(&self, id: RolloverId) -> Result<Option<Rollover>, StoreError>;

    /// Rollovers, newest first, before `before` if given. One of a secret or phase
    /// that this version does not know is left out.
    async fn rollovers(
        &self,
        before: Option<RolloverId>,
        limit: u32,
    ) -> Result<Vec<Rollover>, StoreError>;

    /// Rollovers in progress, dry runs among them, oldest first. One of a secret or
    /// phase that this version does not know is left out: a newer version drives it.
    async fn active_rollovers(&self) -> Result<Vec<Rollover>, StoreError>;

    /// Rollovers that have retired a key which may still be accepted, oldest first. One
    /// of a secret or phase that this version does not know is left out.
    async fn awaiting_cut_off(&self) -> Result<Vec<Rollover>, StoreError>;

    /// Every acceptor of the key that `rollover` retired, with whether it accepts it
    /// now; none once they are forgotten.
    async fn acceptors(&self, rollover: RolloverId) -> Result<Vec<Acceptor>, StoreError>;

    /// How far the ranges of one pass are; `None` when the pass has no ranges yet.
    async fn pass(
        &self,
        rollover: RolloverId,
        pass: u32,
    ) -> Result<Option<PassProgress>, StoreError>;

    /// Takes an unfinished range that nobody holds, or whose lease is over, for `lease`:
    /// the first in the order of [`Change::ranges`]. One whose lease is over comes before
    /// all that were never held, since it was first when it was taken.
    async fn claim_range(
        &self,
        rollover: RolloverId,
        pass: u32,
        replica: ReplicaId,
        lease: Duration,
    ) -> Result<Option<Range>, StoreError>;

    /// Notes that a range is finished. Its cursor and counts are kept. A range that
    /// `range.holder` does not hold any more is left to whoever does.
    async fn finish_range(&self, range: &Range) -> Result<(), StoreError>;

    /// Rows that no key opens, oldest first.
    async fn quarantined(&self, limit: u32) -> Result<Vec<Quarantined>, StoreError>;

    /// Forgets quarantined rows of `table` that were last seen before `before`:
    /// a later pass opened them.
    async fn release_quarantine(&self, table: &str, before: Timestamp) -> Result<u64, StoreError>;

    /// Adds one entry to the audit trail outside any change (a refused call).
    async fn record(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.record_for(None, entry).await
    }

    /// Adds one entry to the audit trail of an organisation, or of none.
    async fn record_for(&self, org: Option<Uuid>, entry: &AuditEntry) -> Result<(), StoreError>;

    /// The audit trail, newest first by time and then id, before `before` if given.
    async fn audit(&self, before: Option<Uuid>, limit: u32)
    -> Result<Vec<AuditRecord>, StoreError>;

    /// The audit trail of a span of time, oldest first by time and then id, up to `limit`
    /// entries; with `about`, those of these resources alone.
    async fn audit_between(
        &self,
        span: RangeInclusive<Timestamp>,
        about: Option<&[Uuid]>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError>;

    /// Walks through the audit trail as it is at one moment: every link in order, then
    /// every entry that has none. Pages of it are held, never the whole.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer; the walk ends there.
    async fn walk_audit(&self, see: &mut (dyn FnMut(Step) + Send)) -> Result<(), StoreError>;

    /// How the guard stands to each registered table, and to others that it is on.
    ///
    /// # Errors
    /// [`StoreError::NoGuard`] on a database that has none, here and below.
    async fn guard(&self, _registry: &Registry) -> Result<Vec<TableGuard>, StoreError> {
        Err(StoreError::NoGuard)
    }

    /// Puts the guard on the columns of `table` that are there, and takes it off any
    /// other, with `entry` in the same transaction.
    async fn guard_table(&self, _table: &Table, _entry: &AuditEntry) -> Result<(), StoreError> {
        Err(StoreError::NoGuard)
    }

    /// Takes the guard off the table of this name, with `entry` in the same transaction.
    async fn unguard_table(&self, _table: &str, _entry: &AuditEntry) -> Result<(), StoreError> {
        Err(StoreError::NoGuard)
    }

    /// Takes away what the guard needs beside its triggers, once it is on no table.
    async fn drop_guard(&self) -> Result<(), StoreError> {
        Err(StoreError::NoGuard)
    }
}
