//! A replica.

use sqlx::FromRow;

use super::{parsed, unsigned};
use crate::{
    clock::Timestamp,
    ids::Epoch,
    material::Fingerprint,
    store::{ReplicaRecord, StoreError},
};

const TABLE: &str = "replica";

/// A row of the replica table; `live` is the database's judgement.
#[derive(Debug, FromRow)]
pub(crate) struct ReplicaRow {
    id: String,
    name: String,
    version: String,
    applied: i64,
    settled: i64,
    root_keys: String,
    live: bool,
    lease_until: i64,
}

impl TryFrom<ReplicaRow> for ReplicaRecord {
    type Error = StoreError;

    fn try_from(row: ReplicaRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: parsed(TABLE, "id", &row.id)?,
            name: row.name,
            version: row.version,
            applied: Epoch(unsigned(TABLE, "applied", row.applied)?),
            settled: Epoch(unsigned(TABLE, "settled", row.settled)?),
            root_keys: root_keys(&row.root_keys)?,
            live: row.live,
            lease_until: Timestamp::from_millis(row.lease_until),
        })
    }
}

/// Root keys as the table keeps them.
pub(crate) fn root_keys_text(root_keys: &[Fingerprint]) -> String {
    root_keys.iter().map(Fingerprint::to_string).collect::<Vec<_>>().join(" ")
}

/// Root keys of the table.
pub(crate) fn root_keys(text: &str) -> Result<Vec<Fingerprint>, StoreError> {
    text.split_whitespace().map(|root_key| parsed(TABLE, "root_keys", root_key)).collect()
}
