//! The guard, as the store tells of it: on PostgreSQL, triggers on registered columns
//! that refuse a write which names a retired key.

use std::collections::BTreeMap;

use serde::Serialize;

/// The name of the constraint that a refused write violates (SQLSTATE 23514). The value
/// was sealed by somebody with keys of before: sealed anew, it is written.
pub const GUARD_CONSTRAINT: &str = "rollover_guard";

/// How the guard stands to one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Guarding {
    /// Every write to it is looked at.
    Guarded,
    /// It is registered, and nobody looks at what is written to it.
    Unguarded,
    /// It is registered, and not in the database: nothing is written to it.
    Absent,
    /// Every write to it is looked at, although it is not registered.
    Unregistered,
}

/// How the guard stands to the columns of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableGuard {
    /// Which table, as the registry names it.
    pub table: String,
    /// Whether the guard is on it at all, though it may be for other columns, or disabled.
    pub installed: bool,
    /// Its columns, by name.
    pub columns: BTreeMap<String, Guarding>,
}

impl Guarding {
    /// Its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guarded => "guarded",
            Self::Unguarded => "unguarded",
            Self::Absent => "absent",
            Self::Unregistered => "unregistered",
        }
    }
}

impl TableGuard {
    /// The columns to which the guard stands so, by name.
    pub fn columns(&self, guarding: Guarding) -> impl Iterator<Item = &str> {
        let columns = self.columns.iter().filter(move |(_, found)| **found == guarding);
        columns.map(|(name, _)| name.as_str())
    }
}
