//! A replica.

use sqlx::FromRow;

use super::{parsed, unsigned};
use crate::{
    clock::Timestamp,
    ids::Epoch,
    store::{ReplicaRecord, StoreError},
};

/// A row of the replica table; `live` is the database's judgement.
#[derive(Debug, FromRow)]
pub(crate) struct ReplicaRow {
    id: String,
    name: String,
    version: String,
    applied: i64,
    settled: i64,
    live: bool,
    lease_until: i64,
}

impl TryFrom<ReplicaRow> for ReplicaRecord {
    type Error = StoreError;

    fn try_from(row: ReplicaRow) -> Result<Self, StoreError> {
        const TABLE: &str = "replica";
        Ok(Self {
            id: parsed(TABLE, "id", &row.id)?,
            name: row.name,
            version: row.version,
            applied: Epoch(unsigned(TABLE, "applied", row.applied)?),
            settled: Epoch(unsigned(TABLE, "settled", row.settled)?),
            live: row.live,
            lease_until: Timestamp::from_millis(row.lease_until),
        })
    }
}
