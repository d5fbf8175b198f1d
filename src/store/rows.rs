//! The application's own tables: read what is stale, write it back, count what is left.

pub(crate) mod live;
pub(crate) mod sql;

use std::fmt;

use async_trait::async_trait;
use serde::Serialize;

use super::{Progress, StoreError};
use crate::column::{Aim, Column, Registry, RowKey, Table};

/// A registered table as it is in the live schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableShape {
    /// The registered table, with the columns that are sound.
    pub table: Table,
    /// The SQL type of each of its columns, in order.
    pub types: Vec<String>,
    /// The columns of its primary key, in order, each with its SQL type.
    pub key: Vec<(String, String)>,
}

/// A registered column that cannot be rewrapped as things are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase", tag = "fault")]
pub enum ColumnFault {
    /// The table is not there: nothing is sealed in it. Told, and blocks nothing.
    #[error("table {table} does not exist, so nothing is sealed there")]
    NoTable {
        /// Which table.
        table: String,
    },
    /// The table has no such column.
    #[error("{column} does not exist; correct the registry")]
    NoColumn {
        /// `<table>.<column>`.
        column: String,
    },
    /// The column has another type than its kind allows.
    #[error("{column} is {found}, and the registry says {expected}; correct the registry")]
    WrongType {
        /// `<table>.<column>`.
        column: String,
        /// The type in the live schema.
        found: String,
        /// The types that its kind allows.
        expected: String,
    },
    /// The table has no primary key to page by.
    #[error("{table} has no primary key; add one, since rows are paged by it")]
    NoPrimaryKey {
        /// Which table.
        table: String,
    },
    /// The primary key is of a type that rows cannot be paged by.
    #[error("{column} is part of the primary key and is {found}; {expected} can be paged by")]
    KeyType {
        /// `<table>.<column>`.
        column: String,
        /// The type in the live schema.
        found: String,
        /// The types that a key may have.
        expected: String,
    },
    /// The role may not do what a rewrap does.
    #[error("the role may not {privilege} {table}; grant it")]
    NoPrivilege {
        /// Which table; `<table>.<column>` when its other columns are in reach.
        table: String,
        /// `SELECT` or `UPDATE`.
        privilege: String,
    },
    /// A column's secret has no key.
    #[error(
        "a column of {table} is sealed under a secret that has no key here; set it in the environment"
    )]
    NoKeyring {
        /// Which table.
        table: String,
    },
    /// Another replica seals in a column that is not registered here.
    #[error(
        "{column} is registered by replica {replica} (version {version}) and not here, so only \
         such a replica can count what is sealed there"
    )]
    Elsewhere {
        /// `<table>.<column>`.
        column: String,
        /// The other replica's name.
        replica: String,
        /// Its version.
        version: String,
    },
    /// Row-level security hides rows from this role.
    #[error(
        "row-level security on {table} hides rows from this role; use a role with BYPASSRLS, or the owner of a table without FORCE"
    )]
    HiddenRows {
        /// Which table.
        table: String,
    },
}

impl ColumnFault {
    /// Whether something sealed may be out of sight: it blocks retiring.
    #[must_use]
    pub const fn blocks(&self) -> bool {
        !matches!(self, Self::NoTable { .. })
    }
}

/// The registry against the live schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Tables that can be rewrapped, with the columns that are sound.
    pub tables: Vec<TableShape>,
    /// What is wrong with the rest.
    pub faults: Vec<ColumnFault>,
    /// Columns that hold envelopes and are not registered, as `<table>.<column>`.
    /// A sample: the first [`SAMPLE`] rows of each table that this role sees whole.
    pub unregistered: Vec<String>,
}

/// How many rows of each table are looked at for envelopes in unregistered columns.
pub const SAMPLE: u32 = 1000;

/// Tables of fewer rows are never split.
pub(crate) const WORTH_SPLITTING: u64 = 2000;

/// Part of a table, by primary key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Window<'a> {
    /// Rows after this key; `None`: from the first.
    pub after: Option<&'a RowKey>,
    /// Rows up to and including this key; `None`: to the last.
    pub upto: Option<&'a RowKey>,
}

/// One row that may hold something stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which row.
    pub key: RowKey,
    /// The value of each column of [`TableShape::table`], in its order: text as
    /// it is, an array as a JSON array, a document as JSON text with its digits.
    pub values: Vec<Option<String>>,
}

/// What one row becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Which row.
    pub key: RowKey,
    /// For each column, in order: the value that was read. The row changes only
    /// if every one that is to change still holds.
    pub old: Vec<Option<String>>,
    /// For each column, in order: the value to write; the old one where nothing
    /// changes, and such a column is left alone, whoever edits it meanwhile.
    pub new: Vec<Option<String>>,
}

/// What a batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is durable.
    Done {
        /// Rows that were rewrapped; the rest was edited meanwhile and kept the edit.
        rewrapped: u64,
    },
    /// The range belongs to someone else now. Nothing was done.
    LeaseLost,
}

/// What one column holds, by key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ColumnCensus {
    /// `<table>.<column>`.
    pub column: String,
    /// Values by form: `enc:v1`, `enc:v2:<key id>`, `enc:v3:<key id>`, `mfa:v1`,
    /// `mfa:v2:<key id>`, `plaintext`, and `malformed` for a known prefix without a
    /// key id (or text that should be JSON and is not). `mfa:` counts as such only
    /// under `MFA_ENCRYPTION_KEY`; elsewhere it is plaintext (FORMATS section 1).
    pub values: std::collections::BTreeMap<String, u64>,
}

/// The application's own tables.
///
/// Identifiers come only from a [`TableShape`], quoted. On PostgreSQL every
/// transaction runs with `row_security = off`, so that a policy that would hide a
/// row is an error, and with `breeze_rollover.rewrap = on` for triggers to see.
#[async_trait]
pub trait Rows: fmt::Debug + Send + Sync + 'static {
    /// Compares the registry with the live schema.
    async fn survey(&self, registry: &Registry) -> Result<Survey, StoreError>;

    /// Keys that split the table into at most `parts` ranges of about equal size:
    /// the upper bound of each range but the last, ascending, without repeats.
    async fn split(&self, table: &TableShape, parts: u32) -> Result<Vec<RowKey>, StoreError>;

    /// Up to `limit` rows of `window` by ascending key in which some column may be
    /// stale. `aims` has one entry a column of the table, in order.
    ///
    /// Selected in SQL. Nothing that is stale is missed: a value without a prefix of
    /// its aim, or with a character that no canonical envelope has; in a document any
    /// such envelope, and any such string under a secret key. What is final is left
    /// out, but for a few oddities that are read again by each pass: arrays nested
    /// deeper than eight under a secret key, `json` (not `jsonb`) with `\u` escapes,
    /// repeated keys or enormous numbers, and text that should be JSON and is not.
    async fn stale(
        &self,
        table: &TableShape,
        aims: &[Aim],
        window: Window<'_>,
        limit: u32,
    ) -> Result<Vec<Row>, StoreError>;

    /// The rows of these keys, as they are now, in any order. A key that no row can
    /// have (text for a uuid) is passed over.
    async fn fetch(&self, table: &TableShape, keys: &[RowKey]) -> Result<Vec<Row>, StoreError>;

    /// Writes `updates` in one statement with compare-and-set; with `progress`,
    /// moves the cursor and records quarantined rows in the same transaction. Only
    /// sealed columns that change are set. Without updates the cursor moves alone.
    async fn write(
        &self,
        table: &TableShape,
        updates: &[Update],
        progress: Option<&Progress>,
    ) -> Result<Written, StoreError>;

    /// Counts what each column of `table` holds, by form and key: whatever a rewrap
    /// would look at. Strings of a document count when they are envelopes or stand
    /// under a secret key. NULL and empty strings are nothing.
    async fn census(&self, table: &TableShape) -> Result<Vec<ColumnCensus>, StoreError>;

    /// How many rows are in `table`, as the planner or an exact count knows.
    async fn approximate_rows(&self, table: &TableShape) -> Result<u64, StoreError>;
}

impl TableShape {
    /// The columns of the table, in order.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        self.table.columns()
    }

    /// Whether a row of this table can have the key `row`.
    pub(crate) fn fits(&self, row: &RowKey) -> bool {
        row.parts().len() == self.key.len()
            && row.parts().iter().zip(&self.key).all(|(part, (_, sql_type))| {
                match sql_type.to_ascii_lowercase().as_str() {
                    "uuid" => uuid::Uuid::try_parse(part).is_ok(),
                    "smallint" | "integer" | "bigint" => part.parse::<i64>().is_ok(),
                    _ => !part.contains('\0'),
                }
            })
    }
}

impl Update {
    /// Whether anything changes.
    pub(crate) fn changes(&self) -> bool {
        self.old != self.new
    }
}
