//! One walk over every registered column, to count what is stale or to rewrap it.
//!
//! 1. A value counts as done only if it is final under the primary key.
//! 2. A column that cannot be looked at is not a column that is done.
//! 3. Memory is flat in the number of rows.
//!
//! A walk that only counts is the proof before a key is retired; one that writes
//! is the stand-alone `rewrap` command, which needs no control tables.

use std::time::Instant;

use serde::Serialize;

use super::{
    pace::Pace,
    rewrap::{RewrapError, aims, rewrap_rows},
    write::write,
};
use crate::{
    clock::Timestamp,
    column::{Registry, RowKey},
    envelope::Target,
    keyring::Keychain,
    rollover::{Blocker, Bulk},
    store::{ColumnFault, Quarantined, Rows, TableShape, Window, Written},
};

/// A walk over every registered column.
#[derive(Debug)]
pub struct Sweep<'a> {
    /// The application's tables.
    pub rows: &'a dyn Rows,
    /// The columns.
    pub registry: &'a Registry,
    /// The keys.
    pub keys: &'a Keychain,
    /// What is final, and what to rewrap to.
    pub target: Target,
    /// Whether to write; else only to count.
    pub apply: bool,
    /// The ceiling on rows a second.
    pub max_rows_per_second: Option<u32>,
}

/// What a walk found in one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableSwept {
    /// Which table.
    pub table: String,
    /// Rows that a key opens and that were not final.
    pub stale: u64,
    /// Rows rewrapped.
    pub rewrapped: u64,
    /// Rows with a value that no key opens.
    pub unopenable: u64,
}

/// What a walk found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    /// By table, in the registry's order.
    pub tables: Vec<TableSwept>,
    /// Values that no key opens, at most [`LISTED`] of them.
    pub unopenable: Vec<Quarantined>,
    /// Registered columns that could not be looked at.
    pub unseen: Vec<ColumnFault>,
    /// Registered tables that do not exist.
    pub absent: Vec<ColumnFault>,
    /// Columns that hold envelopes and are not registered.
    pub unregistered: Vec<String>,
}

/// How many values that no key opens are listed.
pub const LISTED: usize = 10_000;

impl Swept {
    /// Rows that are still stale: edited during the walk, or not written at all.
    #[must_use]
    pub fn still_stale(&self) -> u64 {
        self.tables.iter().map(|table| table.stale - table.rewrapped).sum()
    }

    /// Rows with a value that no key opens.
    #[must_use]
    pub fn unopenable_rows(&self) -> u64 {
        self.tables.iter().map(|table| table.unopenable).sum()
    }

    /// What `blocker` is, with the first few places where it is.
    #[must_use]
    pub fn tell(&self, blocker: Blocker) -> String {
        const FEW: usize = 3;
        let places: Vec<String> = match blocker {
            Blocker::Stale(_) => self
                .tables
                .iter()
                .filter(|table| table.stale > table.rewrapped)
                .map(|table| format!("{} in {}", table.stale - table.rewrapped, table.table))
                .take(FEW)
                .collect(),
            Blocker::Unseen(_) => self.unseen.iter().map(ToString::to_string).take(FEW).collect(),
            Blocker::Quarantined(_) => self
                .unopenable
                .iter()
                .map(|bad| format!("{}.{} of {} ({})", bad.table, bad.column, bad.row, bad.error))
                .take(FEW)
                .collect(),
            _ => vec![],
        };
        match places.is_empty() {
            true => blocker.to_string(),
            false => format!("{blocker}: {}", places.join("; ")),
        }
    }

    /// As the planner sees it.
    #[must_use]
    pub fn as_bulk(&self) -> Bulk {
        Bulk::Counted {
            stale: self.still_stale(),
            quarantined: self.unopenable_rows(),
            unseen: self.unseen.len() as u64,
        }
    }
}

impl Sweep<'_> {
    /// Walks. `told` hears each table's numbers as they grow.
    ///
    /// # Errors
    /// [`RewrapError`] when the database does not answer, or nothing can be sealed:
    /// then nothing is proven, and what was written stays.
    pub async fn run(
        &self,
        pace: &mut Pace,
        now: Timestamp,
        mut told: impl FnMut(&TableSwept) + Send,
    ) -> Result<Swept, RewrapError> {
        let survey = self.rows.survey(self.registry).await?;
        let (unseen, absent) = survey.faults.into_iter().partition(ColumnFault::blocks);
        let mut swept =
            Swept { unseen, absent, unregistered: survey.unregistered, ..Swept::default() };
        for table in &survey.tables {
            self.table(table, pace, now, &mut swept, &mut told).await?;
        }
        Ok(swept)
    }

    async fn table(
        &self,
        table: &TableShape,
        pace: &mut Pace,
        now: Timestamp,
        swept: &mut Swept,
        told: &mut (impl FnMut(&TableSwept) + Send),
    ) -> Result<(), RewrapError> {
        let name = table.table.name().to_owned();
        let Ok(aims) = aims(table, self.keys, self.target) else {
            swept.unseen.push(ColumnFault::NoKeyring { table: name });
            return Ok(());
        };
        let mut count = TableSwept { table: name, ..TableSwept::default() };
        let mut cursor: Option<RowKey> = None;
        loop {
            let began = Instant::now();
            let limit = pace.batch(self.max_rows_per_second);
            let window = Window { after: cursor.as_ref(), upto: None };
            let page = self.rows.stale(table, &aims, window, limit).await?;
            let Some(last) = page.last().map(|row| row.key.clone()) else { break };
            let read = page.len() as u32;
            let found = rewrap_rows(table, page, self.keys, self.target, now)?;
            count.stale += found.updates.len() as u64;
            count.unopenable += rows_of(&found.quarantined);
            let room = LISTED - swept.unopenable.len().min(LISTED);
            swept.unopenable.extend(found.quarantined.into_iter().take(room));
            if self.apply
                && !found.updates.is_empty()
                && let Written::Done { rewrapped } =
                    write(self.rows, table, found.updates, None, now).await?
            {
                count.rewrapped += rewrapped;
            }
            told(&count);
            if read < limit {
                break;
            }
            cursor = Some(last);
            let rest = pace.rest_after(read, began.elapsed(), self.max_rows_per_second);
            tokio::time::sleep(rest).await;
        }
        swept.tables.push(count);
        Ok(())
    }
}

/// How many rows `values` are of; values of one row stand side by side.
fn rows_of(values: &[Quarantined]) -> u64 {
    let mut rows: Vec<_> = values.iter().map(|value| &value.row).collect();
    rows.dedup();
    rows.len() as u64
}
