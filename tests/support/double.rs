//! A store that does what the real one does, unless a script has it otherwise.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use async_trait::async_trait;
use breeze_rollover::{
    audit::Step,
    catalog::Secret,
    clock::Timestamp,
    column::{Aim, Registry, RowKey, Table},
    ids::{Epoch, KeyId, ReplicaId, RolloverId},
    incident::Incident,
    material::{Fingerprint, Material},
    rollover::{Acceptor, Rollover},
    store::{
        AuditEntry, AuditRecord, Beat, Change, Claim, ColumnCensus, Committed, Custody, Lease,
        Operations, PassProgress, Progress, Quarantined, Range, ReplicaRecord, Row, Rows, Signals,
        Store, StoreError, Survey, TableGuard, TableShape, Update, Window, Written,
    },
};
use uuid::Uuid;

/// One call that writes.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    Commit(&'a Change),
    Write(&'a TableShape, &'a [Update]),
    ClaimRange,
    FinishRange,
    ReleaseQuarantine,
    RaiseLifetime,
    NotePresented,
    SettleSeals,
    Renew(&'a Beat),
    Deregister,
    Record,
    SetInterval,
    ClaimJob,
    FinishJob,
    PutIncident(&'a Incident),
    GuardTable,
    UnguardTable,
    DropGuard,
}

/// What comes before and after each call that writes. An error takes the place of
/// its answer.
#[async_trait]
pub trait Script: fmt::Debug + Send + Sync + 'static {
    async fn before(&self, _call: Call<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn after(&self, _call: Call<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether the call is made a second time, with the second answer for an answer: as
    /// when the first one was lost on its way.
    fn repeats(&self, _call: Call<'_>) -> bool {
        false
    }

    /// A change that took effect.
    fn committed(&self, _change: &Change) {}
}

/// Nothing special; only the leases of ranges are short.
impl Script for () {}

/// The real store under a script. Ranges are leased for a moment only, so that a
/// test need not wait for a replica that is gone.
#[derive(Debug)]
pub struct Double<S> {
    pub real: Arc<dyn Store>,
    pub script: Arc<S>,
}

/// How long a range is leased for.
const RANGE_LEASE: Duration = Duration::from_millis(200);

impl<S: Script> Double<S> {
    pub fn on(real: Arc<dyn Store>, script: Arc<S>) -> Arc<dyn Store> {
        Arc::new(Self { real, script })
    }

    async fn scripted<T: Send, F: Future<Output = Result<T, StoreError>> + Send>(
        &self,
        call: Call<'_>,
        real: impl Fn() -> F + Send + Sync,
    ) -> Result<T, StoreError> {
        self.script.before(call).await?;
        let mut answer = real().await?;
        if self.script.repeats(call) {
            answer = real().await?;
        }
        self.script.after(call).await?;
        Ok(answer)
    }
}

#[async_trait]
impl<S: Script> Rows for Double<S> {
    async fn survey(&self, registry: &Registry) -> Result<Survey, StoreError> {
        self.real.survey(registry).await
    }

    async fn split(&self, table: &TableShape, parts: u32) -> Result<Vec<RowKey>, StoreError> {
        self.real.split(table, parts).await
    }

    async fn stale(
        &self,
        table: &TableShape,
        aims: &[Aim],
        window: Window<'_>,
        limit: u32,
    ) -> Result<Vec<Row>, StoreError> {
        self.real.stale(table, aims, window, limit).await
    }

    async fn fetch(&self, table: &TableShape, keys: &[RowKey]) -> Result<Vec<Row>, StoreError> {
        self.real.fetch(table, keys).await
    }

    async fn write(
        &self,
        table: &TableShape,
        updates: &[Update],
        progress: Option<&Progress>,
    ) -> Result<Written, StoreError> {
        let progress = progress.map(|p| Progress { lease: RANGE_LEASE, ..p.clone() });
        let real = || self.real.write(table, updates, progress.as_ref());
        self.scripted(Call::Write(table, updates), real).await
    }

    async fn census(&self, table: &TableShape) -> Result<Vec<ColumnCensus>, StoreError> {
        self.real.census(table).await
    }

    async fn approximate_rows(&self, table: &TableShape) -> Result<u64, StoreError> {
        self.real.approximate_rows(table).await
    }
}

#[async_trait]
impl<S: Script> Store for Double<S> {
    async fn epoch(&self) -> Result<Epoch, StoreError> {
        self.real.epoch().await
    }

    fn signals(&self) -> Signals {
        self.real.signals()
    }

    fn log_in_as(&self, credential: &Material) {
        self.real.log_in_as(credential);
    }

    async fn custody(&self) -> Result<Custody, StoreError> {
        self.real.custody().await
    }

    async fn sealed_under(&self) -> Result<BTreeMap<Fingerprint, u64>, StoreError> {
        self.real.sealed_under().await
    }

    async fn commit(&self, change: &Change) -> Result<Committed, StoreError> {
        let real = || async {
            let answer = self.real.commit(change).await?;
            if let Committed::Done(_) = answer {
                self.script.committed(change);
            }
            Ok(answer)
        };
        self.scripted(Call::Commit(change), real).await
    }

    async fn raise_lifetime(
        &self,
        secret: Secret,
        key: &KeyId,
        lifetime: Duration,
    ) -> Result<(), StoreError> {
        let real = || self.real.raise_lifetime(secret, key, lifetime);
        self.scripted(Call::RaiseLifetime, real).await
    }

    async fn note_presented(
        &self,
        secret: Secret,
        key: &KeyId,
        count: u64,
        last: Timestamp,
    ) -> Result<(), StoreError> {
        let real = || self.real.note_presented(secret, key, count, last);
        self.scripted(Call::NotePresented, real).await
    }

    async fn settle_seals(
        &self,
        secret: Secret,
        key: &KeyId,
        count: u64,
    ) -> Result<u64, StoreError> {
        let real = || self.real.settle_seals(secret, key, count);
        self.scripted(Call::SettleSeals, real).await
    }

    async fn renew(&self, beat: &Beat) -> Result<Lease, StoreError> {
        self.scripted(Call::Renew(beat), || self.real.renew(beat)).await
    }

    async fn await_changes(&self) -> Result<(), StoreError> {
        self.real.await_changes().await
    }

    async fn deregister(&self, replica: ReplicaId) -> Result<(), StoreError> {
        self.scripted(Call::Deregister, || self.real.deregister(replica)).await
    }

    async fn replicas(&self) -> Result<Vec<ReplicaRecord>, StoreError> {
        self.real.replicas().await
    }

    async fn rollover(&self, id: RolloverId) -> Result<Option<Rollover>, StoreError> {
        self.real.rollover(id).await
    }

    async fn rollovers(
        &self,
        before: Option<RolloverId>,
        limit: u32,
    ) -> Result<Vec<Rollover>, StoreError> {
        self.real.rollovers(before, limit).await
    }

    async fn active_rollovers(&self) -> Result<Vec<Rollover>, StoreError> {
        self.real.active_rollovers().await
    }

    async fn awaiting_cut_off(&self) -> Result<Vec<Rollover>, StoreError> {
        self.real.awaiting_cut_off().await
    }

    async fn acceptors(&self, rollover: RolloverId) -> Result<Vec<Acceptor>, StoreError> {
        self.real.acceptors(rollover).await
    }

    async fn pass(
        &self,
        rollover: RolloverId,
        pass: u32,
    ) -> Result<Option<PassProgress>, StoreError> {
        self.real.pass(rollover, pass).await
    }

    async fn claim_range(
        &self,
        rollover: RolloverId,
        pass: u32,
        replica: ReplicaId,
        _lease: Duration,
    ) -> Result<Option<Range>, StoreError> {
        let real = || self.real.claim_range(rollover, pass, replica, RANGE_LEASE);
        self.scripted(Call::ClaimRange, real).await
    }

    async fn finish_range(&self, range: &Range) -> Result<(), StoreError> {
        self.scripted(Call::FinishRange, || self.real.finish_range(range)).await
    }

    async fn quarantined(&self, limit: u32) -> Result<Vec<Quarantined>, StoreError> {
        self.real.quarantined(limit).await
    }

    async fn release_quarantine(&self, table: &str, before: Timestamp) -> Result<u64, StoreError> {
        let real = || self.real.release_quarantine(table, before);
        self.scripted(Call::ReleaseQuarantine, real).await
    }

    async fn record_for(&self, org: Option<Uuid>, entry: &AuditEntry) -> Result<(), StoreError> {
        self.scripted(Call::Record, || self.real.record_for(org, entry)).await
    }

    async fn audit(
        &self,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        self.real.audit(before, limit).await
    }

    async fn audit_between(
        &self,
        span: RangeInclusive<Timestamp>,
        about: Option<&[Uuid]>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        self.real.audit_between(span, about, limit).await
    }

    async fn walk_audit(&self, see: &mut (dyn FnMut(Step) + Send)) -> Result<(), StoreError> {
        self.real.walk_audit(see).await
    }

    async fn guard(&self, registry: &Registry) -> Result<Vec<TableGuard>, StoreError> {
        self.real.guard(registry).await
    }

    async fn guard_table(&self, table: &Table, entry: &AuditEntry) -> Result<(), StoreError> {
        self.scripted(Call::GuardTable, || self.real.guard_table(table, entry)).await
    }

    async fn unguard_table(&self, table: &str, entry: &AuditEntry) -> Result<(), StoreError> {
        self.scripted(Call::UnguardTable, || self.real.unguard_table(table, entry)).await
    }

    async fn drop_guard(&self) -> Result<(), StoreError> {
        self.scripted(Call::DropGuard, || self.real.drop_guard()).await
    }
}

#[async_trait]
impl<S: Script> Operations for Double<S> {
    async fn intervals(&self) -> Result<BTreeMap<Secret, Duration>, StoreError> {
        self.real.intervals().await
    }

    async fn set_interval(
        &self,
        secret: Secret,
        days: Option<u32>,
        entry: &AuditEntry,
    ) -> Result<(), StoreError> {
        let real = || self.real.set_interval(secret, days, entry);
        self.scripted(Call::SetInterval, real).await
    }

    async fn claim(&self, job: &str, day: i64, lease: Duration) -> Result<Claim, StoreError> {
        self.scripted(Call::ClaimJob, || self.real.claim(job, day, lease)).await
    }

    async fn finish(
        &self,
        job: &str,
        day: i64,
        at: Timestamp,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        self.scripted(Call::FinishJob, || self.real.finish(job, day, at, entry)).await
    }

    async fn incident(&self, id: Uuid) -> Result<Option<Incident>, StoreError> {
        self.real.incident(id).await
    }

    async fn incidents(&self, limit: u32) -> Result<Vec<Incident>, StoreError> {
        self.real.incidents(limit).await
    }

    async fn open_incident(&self) -> Result<Option<Incident>, StoreError> {
        self.real.open_incident().await
    }

    async fn put_incident(
        &self,
        incident: &Incident,
        entries: &[AuditEntry],
    ) -> Result<bool, StoreError> {
        let real = || self.real.put_incident(incident, entries);
        self.scripted(Call::PutIncident(incident), real).await
    }
}
