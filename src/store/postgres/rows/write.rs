//! One batch, one statement: a row changes only if it still holds what was read.
//!
//! 1. Only columns that change are compared and set; another one keeps its stored
//!    bytes, whoever edits it meanwhile.
//! 2. Documents and arrays are compared as text: 1.10 is not 1.1.
//! 3. The cursor and the quarantine move in the same transaction, or nothing does.

use sqlx::AssertSqlSafe;

use super::{BEGIN_WRITING, failed, sql};
use crate::{
    column::RowKey,
    store::{
        Progress, StoreError, TableShape, Update, Written,
        postgres::{PgStore, passes},
        rows::sql::quote,
    },
};

/// See [`crate::store::Rows::write`].
pub(super) async fn write(
    store: &PgStore,
    table: &TableShape,
    updates: &[Update],
    progress: Option<&Progress>,
) -> Result<Written, StoreError> {
    let asked = updates.iter().filter(|update| update.changes()).count() as u64;
    let batch = ordered(table, updates);
    if batch.is_empty() && progress.is_none() {
        return Ok(Written::Done { rewrapped: 0 });
    }
    let mut transaction = store.begin(BEGIN_WRITING).await?;
    let mut rewrapped = 0;
    if !batch.is_empty() {
        let keys: Vec<&RowKey> = batch.iter().map(|update| &update.key).collect();
        let mut query = sqlx::query(AssertSqlSafe(statement(table)));
        for part in 0..table.key.len() {
            query = query.bind(key_part(&keys, part));
        }
        for column in 0..table.columns().len() {
            let (old, new) = changes(&batch, column);
            query = query.bind(old).bind(new);
        }
        let done = query.execute(&mut *transaction).await.map_err(failed(table))?;
        rewrapped = done.rows_affected();
    }
    if let Some(progress) = progress {
        let superseded = asked.saturating_sub(rewrapped);
        if !passes::advance_range(&mut transaction, progress, rewrapped, superseded).await? {
            transaction.rollback().await.map_err(StoreError::Database)?;
            return Ok(Written::LeaseLost);
        }
        passes::quarantine(&mut transaction, &progress.quarantined).await?;
    }
    transaction.commit().await.map_err(failed(table))?;
    Ok(Written::Done { rewrapped })
}

/// The updates that change something, by key: batches that share rows lock them in
/// one order, so that they wait for each other and never for ever.
fn ordered<'a>(table: &TableShape, updates: &'a [Update]) -> Vec<&'a Update> {
    let mut batch: Vec<_> =
        updates.iter().filter(|update| update.changes() && table.fits(&update.key)).collect();
    batch.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    batch
}

/// `UPDATE … FROM unnest($1, $2, …)`: served by the primary key's index, row by row.
/// For a column `i`, `u.o<i>` was read and `u.n<i>` is to be written; both are null
/// where it is to be left alone.
fn statement(table: &TableShape) -> String {
    let (mut arrays, mut names) = unnested_key(table);
    let mut set = Vec::new();
    let mut holds = vec![sql::join_key(table)];
    let first = table.key.len() + 1;
    for (index, (column, sql_type)) in table.columns().iter().zip(&table.types).enumerate() {
        let (old, new) = (format!("u.o{index}"), format!("u.n{index}"));
        let (at, name) = (first + 2 * index, column.name());
        arrays += &format!(", ${at}::text[], ${}::text[]", at + 1);
        names += &format!(", o{index}, n{index}");
        let same = format!("{old} IS NOT DISTINCT FROM {new}");
        set.push(format!(
            "{} = CASE WHEN {same} THEN {} ELSE {} END",
            quote(name),
            sql::column(name),
            sql::value_from_text(&new, sql_type),
        ));
        holds.push(format!(
            "({same} OR {} IS NOT DISTINCT FROM {old})",
            sql::value_as_text(name, sql_type),
        ));
    }
    format!(
        "UPDATE {} AS t SET {} FROM unnest({arrays}) AS u({names}) WHERE {}",
        sql::table(table),
        set.join(", "),
        holds.join(" AND "),
    )
}

/// The arrays that hold a batch's keys, and the names of their elements.
pub(super) fn unnested_key(table: &TableShape) -> (String, String) {
    let arrays: Vec<_> = (1..=table.key.len()).map(|n| format!("${n}::text[]")).collect();
    let names: Vec<_> = (0..table.key.len()).map(|n| format!("k{n}")).collect();
    (arrays.join(", "), names.join(", "))
}

/// One part of every key.
pub(super) fn key_part<'a>(keys: &[&'a RowKey], part: usize) -> Vec<&'a str> {
    keys.iter().filter_map(|key| key.parts().get(part)).map(String::as_str).collect()
}

/// What was read of one column and what is to be written, of every row; both `None`
/// where nothing changes, so that it need not travel.
fn changes<'a>(
    batch: &[&'a Update],
    column: usize,
) -> (Vec<Option<&'a str>>, Vec<Option<&'a str>>) {
    let value = |values: &'a [Option<String>]| values.get(column).and_then(Option::as_deref);
    batch
        .iter()
        .map(|update| (value(&update.old), value(&update.new)))
        .map(|(old, new)| if old == new { (None, None) } else { (old, new) })
        .unzip()
}
