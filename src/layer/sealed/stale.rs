//! Where rows with something stale in them are offered.

use crate::column::RowKey;

/// A row that was read, and holds something that a rewrap would change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StaleRow {
    /// Which table.
    pub table: String,
    /// Which row.
    pub row: RowKey,
}

/// Takes stale rows off the hands of a request.
pub trait StaleSink: Send + Sync + 'static {
    /// Takes `stale`, or drops it when there is no room: bulk rewrap will come by.
    /// Never blocks.
    fn offer(&self, stale: StaleRow);
}
