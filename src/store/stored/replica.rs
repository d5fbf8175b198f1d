//! A replica.

use sqlx::FromRow;

use super::{from_json, parsed, unsigned};
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
    registered_at: Option<i64>,
    renewed_at: Option<i64>,
    applied_at: Option<i64>,
    settled_at: Option<i64>,
    accepts_while_fenced: bool,
    left_at: Option<i64>,
    columns: String,
    as_of: i64,
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
            registered_at: row.registered_at.map(Timestamp::from_millis),
            renewed_at: row.renewed_at.map(Timestamp::from_millis),
            applied_at: row.applied_at.map(Timestamp::from_millis),
            settled_at: row.settled_at.map(Timestamp::from_millis),
            accepts_while_fenced: row.accepts_while_fenced,
            left_at: row.left_at.map(Timestamp::from_millis),
            columns: from_json(TABLE, "columns", &row.columns)?,
            as_of: Timestamp::from_millis(row.as_of),
        })
    }
}

/// Root keys as the table keeps them.
pub(crate) fn root_keys_text(root_keys: &[Fingerprint]) -> String {
    root_keys.iter().map(Fingerprint::to_string).collect::<Vec<_>>().join(" ")
}

/// Columns as the table keeps them.
pub(crate) fn columns_text(columns: &[String]) -> String {
    serde_json::json!(columns).to_string()
}

/// Root keys of the table.
pub(crate) fn root_keys(text: &str) -> Result<Vec<Fingerprint>, StoreError> {
    text.split_whitespace().map(|root_key| parsed(TABLE, "root_keys", root_key)).collect()
}
