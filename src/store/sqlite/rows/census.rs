//! Counts what a table holds, by form and key: grouped in SQL, so that memory is
//! flat in the number of rows.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;

use super::{
    document::{is_envelope, secret_keys, walk},
    failed, sql,
};
use crate::{
    column::{Column, Kind},
    store::{ColumnCensus, StoreError, TableShape, rows::sql::knows_mfa, sqlite::SqliteStore},
};

/// See [`crate::store::Rows::census`]. One scan a column.
pub(super) async fn census(
    store: &SqliteStore,
    table: &TableShape,
) -> Result<Vec<ColumnCensus>, StoreError> {
    let mut columns = Vec::with_capacity(table.columns().len());
    for column in table.columns() {
        let statement = format!(
            "SELECT {} AS form, count(*) FROM ({}) GROUP BY form",
            form(column),
            values(table, column),
        );
        let found: Vec<(String, i64)> = sqlx::query_as(AssertSqlSafe(statement))
            .fetch_all(&store.pool)
            .await
            .map_err(failed)?;
        let values: BTreeMap<_, _> =
            found.into_iter().map(|(form, count)| (form, count.unsigned_abs())).collect();
        columns.push(ColumnCensus { column: column.to_string(), values });
    }
    Ok(columns)
}

/// The form of the value `v`. A key id ends at the next colon; the first seven bytes
/// are `enc:v2:` and the like.
fn form(column: &Column) -> String {
    let (unnamed, named) = if knows_mfa(column) {
        ("'enc:v1:', 'mfa:v1:'", "'enc:v2:', 'enc:v3:', 'mfa:v2:'")
    } else {
        ("'enc:v1:'", "'enc:v2:', 'enc:v3:'")
    };
    let id = "substr(v, 8, instr(substr(v, 8), ':') - 1)";
    format!(
        "CASE WHEN v IS NULL THEN 'malformed' \
         WHEN substr(v, 1, 7) IN ({unnamed}) THEN substr(v, 1, 6) \
         WHEN substr(v, 1, 7) IN ({named}) THEN \
            CASE WHEN instr(substr(v, 8), ':') < 2 OR {id} GLOB '*[^A-Za-z0-9._-]*' \
            THEN 'malformed' ELSE substr(v, 1, 7) || {id} END \
         ELSE 'plaintext' END"
    )
}

/// Every value `v` of a column that a rewrap would look at. Text that should be JSON
/// and is not counts as one value, null.
fn values(table: &TableShape, column: &Column) -> String {
    let (from, text) = (sql::table(table), sql::value_as_text(column.name()));
    match column.kind() {
        Kind::Text => {
            format!("SELECT {text} COLLATE BINARY AS v FROM {from} AS t WHERE {text} <> ''")
        }
        Kind::TextArray => format!(
            "SELECT e.value AS v FROM {from} AS t, \
             json_each(CASE WHEN json_valid({text}) THEN {text} ELSE '[]' END) AS e \
             WHERE e.type = 'text' AND e.value <> '' UNION ALL {}",
            no_json(&from, &text)
        ),
        Kind::Json => format!(
            "SELECT e.value AS v FROM {from} AS t, json_each(CASE WHEN json_valid({text}) THEN {} \
             ELSE '[]' END) AS e UNION ALL {}",
            walk(
                &text,
                &format!(
                    "SELECT json_group_array(value) FROM walk WHERE type = 'text' AND value <> '' \
                     AND ({} OR key IN {})",
                    is_envelope("value", knows_mfa(column)),
                    secret_keys(column),
                )
            ),
            no_json(&from, &text),
        ),
    }
}

fn no_json(from: &str, text: &str) -> String {
    format!("SELECT NULL AS v FROM {from} AS t WHERE {text} IS NOT NULL AND NOT json_valid({text})")
}
