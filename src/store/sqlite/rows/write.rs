//! One batch, one statement: a row changes only if it still holds what was read.
//!
//! 1. Only columns that change are compared and set; another one keeps its stored
//!    bytes, whoever edits it meanwhile.
//! 2. Documents and arrays are compared as text: 1.10 is not 1.1.
//! 3. The cursor and the quarantine move in the same transaction, or nothing does.

use sqlx::AssertSqlSafe;

use super::{failed, refused, sql};
use crate::store::{
    Progress, StoreError, TableShape, Update, Written,
    rows::sql::quote,
    sqlite::{SqliteStore, passes},
};

/// See [`crate::store::Rows::write`].
pub(super) async fn write(
    store: &SqliteStore,
    table: &TableShape,
    updates: &[Update],
    progress: Option<&Progress>,
) -> Result<Written, StoreError> {
    let changed: Vec<&Update> = updates.iter().filter(|update| update.changes()).collect();
    if changed.is_empty() && progress.is_none() {
        return Ok(Written::Done { rewrapped: 0 });
    }
    let batch: Vec<_> =
        changed.iter().filter(|update| table.fits(&update.key)).map(|u| flat(table, u)).collect();
    let batch = serde_json::to_string(&batch).expect("text is JSON");
    // The write lock is taken at once: a reader that becomes a writer can be refused.
    let mut transaction = store.rows.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let mut rewrapped = 0;
    if !changed.is_empty() {
        let done = sqlx::query(AssertSqlSafe(statement(table)))
            .bind(batch)
            .execute(&mut *transaction)
            .await
            .map_err(refused(table))?;
        rewrapped = done.rows_affected();
    }
    if let Some(progress) = progress {
        let superseded = (changed.len() as u64).saturating_sub(rewrapped);
        if !passes::advance_range(&mut transaction, progress, rewrapped, superseded).await? {
            transaction.rollback().await.map_err(failed)?;
            return Ok(Written::LeaseLost);
        }
        passes::quarantine(&mut transaction, &progress.quarantined).await?;
    }
    transaction.commit().await.map_err(refused(table))?;
    Ok(Written::Done { rewrapped })
}

/// One update as the statement takes it apart: the key's parts, then what was read and
/// what is to be written of each column, both null where nothing changes.
fn flat<'a>(table: &TableShape, update: &'a Update) -> Vec<Option<&'a str>> {
    let value = |values: &'a [Option<String>], column| -> Option<&'a str> {
        values.get(column).and_then(Option::as_deref)
    };
    let mut row: Vec<_> = update.key.parts().iter().map(|part| Some(part.as_str())).collect();
    for column in 0..table.columns().len() {
        let (old, new) = (value(&update.old, column), value(&update.new, column));
        row.extend(if old == new { [None, None] } else { [old, new] });
    }
    row
}

/// `UPDATE … FROM` the batch, taken apart once: served by the primary key's index, row
/// by row. For a column `i`, `u.o<i>` was read and `u.n<i>` is to be written.
fn statement(table: &TableShape) -> String {
    let mut set = Vec::new();
    let mut holds = vec![sql::join_key(table)];
    for (index, column) in table.columns().iter().enumerate() {
        let (old, new) = (format!("u.o{index}"), format!("u.n{index}"));
        let name = column.name();
        set.push(format!(
            "{} = CASE WHEN {old} IS {new} THEN {} ELSE {new} END",
            quote(name),
            sql::column(name),
        ));
        holds.push(format!(
            "({old} IS {new} OR {} COLLATE BINARY IS {old})",
            sql::value_as_text(name)
        ));
    }
    let parts = table.key.len();
    format!(
        "WITH u AS MATERIALIZED (SELECT {}, {} FROM json_each(?1)) \
         UPDATE {} AS t SET {} FROM u WHERE {}",
        elements(&["k"], parts, 0),
        elements(&["o", "n"], table.columns().len(), parts),
        sql::table(table),
        set.join(", "),
        holds.join(" AND "),
    )
}

/// `value ->> 2 AS o0, value ->> 3 AS n0, …`: the elements of a batch's row from
/// `first` on, named in turn.
pub(super) fn elements(names: &[&str], times: usize, first: usize) -> String {
    let element = |index: usize| {
        let (name, number) = (names[index % names.len()], index / names.len());
        format!("value ->> {} AS {name}{number}", first + index)
    };
    (0..names.len() * times).map(element).collect::<Vec<_>>().join(", ")
}
