//! Ranges, passes, and values that no key opens.

use sqlx::FromRow;

use super::{from_json, small, unsigned};
use crate::{
    clock::Timestamp,
    column::RowKey,
    ids::{ReplicaId, RolloverId},
    store::{PassProgress, Quarantined, Range, StoreError},
};

/// What a claim tells of a range.
#[derive(Debug, FromRow)]
pub(crate) struct RangeRow {
    table_name: String,
    number: i64,
    cursor: Option<String>,
    upto: Option<String>,
}

impl RangeRow {
    /// The range, as `holder` has just claimed it.
    pub(crate) fn claimed(
        self,
        rollover: RolloverId,
        pass: u32,
        holder: ReplicaId,
    ) -> Result<Range, StoreError> {
        const TABLE: &str = "range";
        let key = |field, json: Option<String>| {
            json.map(|json| from_json::<RowKey>(TABLE, field, &json)).transpose()
        };
        Ok(Range {
            rollover,
            pass,
            table: self.table_name,
            number: small(TABLE, "number", self.number)?,
            cursor: key("cursor", self.cursor)?,
            upto: key("upto", self.upto)?,
            holder,
        })
    }
}

/// The ranges of one pass, summed up; no `began_at` when there are none.
#[derive(Debug, FromRow)]
pub(crate) struct PassRow {
    ranges: i64,
    finished: i64,
    free: i64,
    abandoned: i64,
    scanned: i64,
    rewrapped: i64,
    superseded: i64,
    began_at: Option<i64>,
}

impl PassRow {
    pub(crate) fn progress(self) -> Result<Option<PassProgress>, StoreError> {
        const TABLE: &str = "range";
        let Some(began_at) = self.began_at else { return Ok(None) };
        Ok(Some(PassProgress {
            ranges: unsigned(TABLE, "position", self.ranges)?,
            finished: unsigned(TABLE, "finished", self.finished)?,
            free: unsigned(TABLE, "holder", self.free)?,
            abandoned: unsigned(TABLE, "holder", self.abandoned)?,
            scanned: unsigned(TABLE, "scanned", self.scanned)?,
            rewrapped: unsigned(TABLE, "rewrapped", self.rewrapped)?,
            superseded: unsigned(TABLE, "superseded", self.superseded)?,
            began_at: Timestamp::from_millis(began_at),
        }))
    }
}

/// A row of the quarantine table.
#[derive(Debug, FromRow)]
pub(crate) struct QuarantineRow {
    table_name: String,
    column_name: String,
    row_key: String,
    path: String,
    error: String,
    seen_at: i64,
}

impl TryFrom<QuarantineRow> for Quarantined {
    type Error = StoreError;

    fn try_from(row: QuarantineRow) -> Result<Self, StoreError> {
        Ok(Self {
            table: row.table_name,
            column: row.column_name,
            row: from_json("quarantine", "row_key", &row.row_key)?,
            path: row.path,
            error: row.error,
            seen_at: Timestamp::from_millis(row.seen_at),
        })
    }
}
