//! Writes a batch so that a row which the database refuses stops no other: a value
//! too long for its column, a constraint, a trigger of the application.
//!
//! 1. A refused batch is written in halves, and those in halves, until the refused
//!    rows stand alone. Everything else is written, no row twice.
//! 2. A refused row keeps what it holds, and is recorded in the transaction that moves
//!    the cursor past it.

use std::mem;

use crate::{
    clock::Timestamp,
    store::{Progress, Quarantined, Rows, StoreError, TableShape, Update, Written},
};

/// Writes `updates`, which are in the order of their keys, and moves the cursor of
/// `progress` past them.
///
/// # Errors
/// [`StoreError`] when the database does not answer. Parts that it took before stay,
/// and the cursor stands behind them.
pub(super) async fn write(
    rows: &dyn Rows,
    table: &TableShape,
    updates: Vec<Update>,
    mut progress: Option<Progress>,
    now: Timestamp,
) -> Result<Written, StoreError> {
    let (mut all, mut parts) = (0, vec![updates]);
    while let Some(mut part) = parts.pop() {
        let own = progress.as_ref().map(|whole| part_of(whole, &part, parts.is_empty()));
        match rows.write(table, &part, own.as_ref()).await {
            Ok(Written::Done { rewrapped }) => {
                all += rewrapped;
                if let (Some(whole), Some(own)) = (&mut progress, own) {
                    whole.range.cursor = Some(own.cursor);
                    whole.scanned = whole.scanned.saturating_sub(own.scanned);
                    whole.quarantined.clear();
                }
            }
            Err(StoreError::Refused { code, .. }) if part.len() > 1 => {
                tracing::debug!(table = table.table.name(), code, rows = part.len(), "halved");
                let rest = part.split_off(part.len() / 2);
                parts.extend([rest, part]);
            }
            Err(StoreError::Refused { code, .. }) if !part.is_empty() => {
                for row in mem::take(&mut part) {
                    tracing::warn!(
                        table = table.table.name(), row = %row.key, code,
                        "the database refuses this row as it would be rewrapped; it is left as it is"
                    );
                    if let Some(whole) = &mut progress {
                        whole.quarantined.extend(refused(table, &row, &code, now));
                    }
                }
                // Recorded with the part that follows, or with none when it is the last.
                if parts.is_empty() {
                    parts.push(part);
                }
            }
            other => return other,
        }
    }
    Ok(Written::Done { rewrapped: all })
}

/// The progress of the batch when `part` of it is written: all that is left, if it is
/// the last.
fn part_of(whole: &Progress, part: &[Update], is_last: bool) -> Progress {
    let mut own = whole.clone();
    if let Some(last) = part.last().filter(|_| !is_last) {
        own.cursor = last.key.clone();
        own.scanned = part.len() as u64;
    }
    own
}

/// Every value of `row` that was to change.
fn refused(
    table: &TableShape,
    row: &Update,
    code: &str,
    now: Timestamp,
) -> impl Iterator<Item = Quarantined> {
    let values = table.columns().iter().zip(row.old.iter().zip(&row.new));
    values.filter(|(_, (old, new))| old != new).map(move |(column, _)| Quarantined {
        table: column.table().to_owned(),
        column: column.name().to_owned(),
        row: row.key.clone(),
        path: String::new(),
        error: format!("refused: the database refuses it as it would be rewrapped ({code})"),
        seen_at: now,
    })
}
