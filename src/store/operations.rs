//! What operating needs to be kept: intervals, what was done today, and incidents.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use super::{AuditEntry, StoreError};
use crate::{catalog::Secret, clock::Timestamp, incident::Incident};

/// Who may do what is done once a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Whoever asked, for the time of the lease.
    Taken,
    /// Somebody else, whose lease runs.
    Busy,
    /// Nobody: it is done.
    Done,
}

/// Intervals, what was done today, and incidents.
#[async_trait]
pub trait Operations {
    /// The intervals that operators have set. Those of secrets that only a newer version
    /// knows are left out.
    async fn intervals(&self) -> Result<BTreeMap<Secret, Duration>, StoreError>;

    /// Sets the interval of `secret` in days, or takes it back, with `entry` in the same
    /// transaction.
    async fn set_interval(
        &self,
        secret: Secret,
        days: Option<u32>,
        entry: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Takes `job` of `day` (days since the Unix epoch) for `lease`, unless it is done or
    /// somebody else has it.
    async fn claim(&self, job: &str, day: i64, lease: Duration) -> Result<Claim, StoreError>;

    /// Notes that `job` of `day` is done, with `entry` in the same transaction. Answers
    /// whether it was not done yet; otherwise there is no entry either.
    async fn finish(
        &self,
        job: &str,
        day: i64,
        at: Timestamp,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError>;

    /// One incident.
    async fn incident(&self, id: Uuid) -> Result<Option<Incident>, StoreError>;

    /// Incidents, newest first.
    async fn incidents(&self, limit: u32) -> Result<Vec<Incident>, StoreError>;

    /// The incident that is planned or under way, if there is one.
    async fn open_incident(&self) -> Result<Option<Incident>, StoreError>;

    /// Stores `incident`, if its revision is still one below, or it is new and no other
    /// is open, with `entries` in the same transaction. Answers whether it was stored.
    async fn put_incident(
        &self,
        incident: &Incident,
        entries: &[AuditEntry],
    ) -> Result<bool, StoreError>;
}
