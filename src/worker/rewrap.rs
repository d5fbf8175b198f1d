//! Rewraps rows onto the primary key.
//!
//! 1. A row changes only if it still holds what was read.
//! 2. The cursor moves in the same transaction as the rows.
//! 3. A value that no key opens is recorded and left untouched, and stops
//!    neither its row's other columns nor the batch.
//! 4. Lazy and bulk rewrap write through the same call.

use std::time::Duration;

use super::write::write;
use crate::{
    clock::Timestamp,
    column::{Aim, Rewrap, RowKey},
    envelope::{SealError, Target},
    keyring::{Keychain, NoKeyring},
    store::{
        Progress, Quarantined, Range, Row, Rows, StoreError, TableShape, Update, Window, Written,
    },
};

/// What a batch of rows becomes.
#[derive(Debug, Default)]
pub struct Rewrapped {
    /// Rows to write.
    pub updates: Vec<Update>,
    /// Values that no key opens.
    pub quarantined: Vec<Quarantined>,
}

/// Why rows were not rewrapped. Nothing of the batch was written.
#[derive(Debug, thiserror::Error)]
pub enum RewrapError {
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing can be sealed.
    #[error("nothing can be sealed: {0}")]
    Seal(#[from] SealError),
}

/// Rewraps `rows` in memory. Rows in which nothing is stale are left out.
///
/// # Errors
/// [`SealError`] when nothing can be sealed: the fault is then with the keys, and
/// no row is to blame for it.
pub fn rewrap_rows(
    table: &TableShape,
    rows: Vec<Row>,
    keys: &Keychain,
    target: Target,
    now: Timestamp,
) -> Result<Rewrapped, SealError> {
    let mut batch = Rewrapped::default();
    for row in rows {
        let mut new = row.values.clone();
        let mut changed = false;
        for (column, value) in table.columns().iter().zip(&mut new) {
            let Some(text) = value.as_deref() else { continue };
            match column.rewrap(keys, &row.key, text, target) {
                Ok(Rewrap::Final) => {}
                Ok(Rewrap::Changed(sealed)) => {
                    *value = Some(sealed);
                    changed = true;
                }
                Err(bad) => {
                    if let Some(error) = bad.seal_error() {
                        return Err(error);
                    }
                    batch.quarantined.extend(bad.leaves.into_iter().map(|(path, error)| {
                        Quarantined {
                            table: column.table().to_owned(),
                            column: column.name().to_owned(),
                            row: row.key.clone(),
                            path,
                            error: format!("{}: {error}", error.class()),
                            seen_at: now,
                        }
                    }));
                }
            }
        }
        if changed {
            batch.updates.push(Update { key: row.key, old: row.values, new });
        }
    }
    Ok(batch)
}

/// What is final in each column of `table`, in order.
///
/// # Errors
/// [`NoKeyring`] when a column's secret has no key.
pub fn aims(table: &TableShape, keys: &Keychain, target: Target) -> Result<Vec<Aim>, NoKeyring> {
    table.columns().iter().map(|column| column.aim(keys, target)).collect()
}

/// Everything that a batch needs beside its range.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The application's tables.
    pub rows: &'a dyn Rows,
    /// The table of the range.
    pub table: &'a TableShape,
    /// What is final in each of its columns.
    pub aims: &'a [Aim],
    /// The keys, those that only a rewrap may still open with included.
    pub keys: &'a Keychain,
    /// What to seal to.
    pub target: Target,
    /// How long the range's lease is renewed for.
    pub lease: Duration,
}

impl Batch<'_> {
    /// Up to `limit` stale rows of `range` after the key `after`. None: its end.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn read(
        &self,
        range: &Range,
        after: Option<&RowKey>,
        limit: u32,
    ) -> Result<Vec<Row>, StoreError> {
        let window = Window { after, upto: range.upto.as_ref() };
        self.rows.stale(self.table, self.aims, window, limit).await
    }

    /// Rewraps and writes `rows`, and moves the cursor of `range` to `last`, the last
    /// of them. A row that was edited since it was read keeps the edit.
    ///
    /// # Errors
    /// [`RewrapError`]; the batch has then changed nothing.
    pub async fn write(
        &self,
        range: &Range,
        rows: Vec<Row>,
        last: &RowKey,
        now: Timestamp,
    ) -> Result<Written, RewrapError> {
        let scanned = rows.len() as u64;
        let batch = rewrap_rows(self.table, rows, self.keys, self.target, now)?;
        let progress = Progress {
            range: range.clone(),
            cursor: last.clone(),
            scanned,
            lease: self.lease,
            quarantined: batch.quarantined,
        };
        Ok(write(self.rows, self.table, batch.updates, Some(progress), now).await?)
    }
}
