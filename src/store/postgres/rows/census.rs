//! Counts what a table holds, by form and key: grouped in SQL, so that memory is
//! flat in the number of rows.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;

use super::{BEGIN_READING, failed, predicate, sql};
use crate::{
    column::{Column, Kind},
    store::{ColumnCensus, StoreError, TableShape, postgres::PgStore, rows::sql::knows_mfa},
};

/// See [`crate::store::Rows::census`]. One scan a column, each its own transaction.
pub(super) async fn census(
    store: &PgStore,
    table: &TableShape,
) -> Result<Vec<ColumnCensus>, StoreError> {
    let mut columns = Vec::with_capacity(table.columns().len());
    for (column, sql_type) in table.columns().iter().zip(&table.types) {
        let statement = format!(
            "SELECT form, count(*) FROM (SELECT {} AS form FROM ({}) AS s(v)) AS f GROUP BY form",
            form(column),
            values(table, column, sql_type),
        );
        let mut transaction = store.begin(BEGIN_READING).await?;
        let found: Vec<(String, i64)> = sqlx::query_as(AssertSqlSafe(statement))
            .fetch_all(&mut *transaction)
            .await
            .map_err(failed(table))?;
        transaction.commit().await.map_err(StoreError::Database)?;
        let values: BTreeMap<_, _> =
            found.into_iter().map(|(form, count)| (form, count.unsigned_abs())).collect();
        columns.push(ColumnCensus { column: column.to_string(), values });
    }
    Ok(columns)
}

/// The form of the value `v`.
fn form(column: &Column) -> String {
    let (unnamed, named) = if knows_mfa(column) {
        ("enc:v1|mfa:v1", "enc:v[23]|mfa:v2")
    } else {
        ("enc:v1", "enc:v[23]")
    };
    format!(
        "CASE WHEN v ~ '^({unnamed}):' THEN left(v, 6) \
         WHEN v ~ '^({named}):' \
         THEN coalesce(substring(v, '^((?:{named}):[A-Za-z0-9._-]+):'), 'malformed') \
         ELSE 'plaintext' END"
    )
}

/// Every value `v` of a column that a rewrap would look at.
fn values(table: &TableShape, column: &Column, sql_type: &str) -> String {
    let (from, name) = (sql::table(table), sql::column(column.name()));
    match column.kind() {
        Kind::Text => {
            let text = sql::value_as_text(column.name(), sql_type);
            format!("SELECT {text} FROM {from} AS t WHERE {text} <> ''")
        }
        Kind::TextArray => format!(
            "SELECT e.v::text COLLATE \"C\" FROM {from} AS t, unnest({name}) AS e(v) WHERE e.v <> ''"
        ),
        Kind::Json => document_values(&from, column, sql_type),
    }
}

/// Envelopes wherever they are, and other strings under secret keys. Of an odd `json`
/// (see [`predicate::document`]) the envelopes are found in its text: with each
/// escape blotted out, a string is what stands between two quotes, and one before a
/// colon is a key.
fn document_values(from: &str, column: &Column, sql_type: &str) -> String {
    let (document, odd) = predicate::document(column, sql_type);
    let envelope = predicate::envelope_pattern(column);
    let (document, oddities) = match odd {
        None => (document, String::new()),
        Some(odd) => {
            let text = sql::column(column.name());
            let prefix = envelope.trim_start_matches('^');
            (
                format!("CASE WHEN {odd} THEN NULL ELSE {document} END"),
                format!(
                    " UNION ALL SELECT m[1] FROM {from} AS t, \
                     regexp_matches(regexp_replace({text}::text, '[\\\\].', '?', 'g'), \
                     '\"((?:{prefix})[^\"]*)\"(?!\\s*:)', 'g') AS m WHERE {odd}"
                ),
            )
        }
    };
    let secrets = predicate::secret_members(column, "strict");
    let plaintext = predicate::strings(&format!("@ != \"\" && !(@ like_regex \"{envelope}\")"));
    format!(
        "SELECT e.v #>> '{{}}' FROM {from} AS t, \
         jsonb_path_query({document}, 'strict $.** ? (@ like_regex \"{envelope}\")') AS e(v) \
         UNION ALL SELECT p.v #>> '{{}}' FROM {from} AS t, \
         jsonb_path_query({document}, '{secrets}.value') AS s(v), \
         jsonb_path_query(s.v, '{plaintext}') AS p(v){oddities}"
    )
}
