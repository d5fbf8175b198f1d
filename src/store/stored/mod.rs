//! Rows of the control tables as both databases store them, and what they mean.
//!
//! 1. A field that does not parse is [`StoreError::Corrupt`], told by table and
//!    field, never by value.
//! 2. What is written reads back the same.
//! 3. A row of a newer version is not corrupt: [`KeyRow::known`] and
//!    [`RolloverRow::known`] leave out what is of a kind that this version lacks.

mod acceptor;
mod audit;
mod key;
mod link;
mod passes;
mod replica;
mod rollover;

use std::{str::FromStr, time::Duration};

pub(crate) use acceptor::AcceptorRow;
#[cfg(feature = "sqlite")]
pub(crate) use audit::with_microseconds;
pub(crate) use audit::{AuditRow, NewAuditRow};
pub(crate) use key::KeyRow;
pub(crate) use link::{LinkRow, UnchainedRow, WALK};
pub(crate) use passes::{PassRow, QuarantineRow, RangeRow};
pub(crate) use replica::{ReplicaRow, columns_text, root_keys, root_keys_text};
pub(crate) use rollover::{RolloverRow, SLOT_OF_ALL};

use super::StoreError;

/// A value of this crate's own as JSON text.
pub(crate) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("enums and lists of text always are JSON")
}

/// A count as databases store it; past 2^63 it stays there.
pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A length of time as databases store it, in milliseconds.
pub(crate) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// A count as it was stored.
pub(crate) fn unsigned(
    table: &'static str,
    field: &'static str,
    count: i64,
) -> Result<u64, StoreError> {
    u64::try_from(count).map_err(|_| corrupt(table, field))
}

fn small(table: &'static str, field: &'static str, count: i64) -> Result<u32, StoreError> {
    u32::try_from(count).map_err(|_| corrupt(table, field))
}

pub(crate) fn parsed<T: FromStr>(
    table: &'static str,
    field: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    text.parse().map_err(|_| corrupt(table, field))
}

pub(crate) fn from_json<T: serde::de::DeserializeOwned>(
    table: &'static str,
    field: &'static str,
    json: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|_| corrupt(table, field))
}

fn corrupt(table: &'static str, field: &'static str) -> StoreError {
    StoreError::Corrupt { table, what: field.to_owned() }
}
