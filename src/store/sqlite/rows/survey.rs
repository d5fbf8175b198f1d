//! Compares the registry with the schema of SQLite.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Row as _};

use super::{failed, sql};
use crate::{
    column::{Registry, Table},
    store::{
        ColumnFault, StoreError, Survey,
        rows::{
            SAMPLE,
            live::{Dialect, LiveColumn, LiveTable},
            sql::quote,
        },
        sqlite::SqliteStore,
    },
};

const DIALECT: Dialect = Dialect {
    key: &["INTEGER", "TEXT", "UUID"],
    text: &["TEXT"],
    array: &["TEXT"],
    json: &["TEXT"],
    same_name: str::eq_ignore_ascii_case,
};

/// Every column of every table but the store's own and SQLite's, with its place in the
/// primary key (0: none) and whether it may be null.
const LIVE: &str = "\
    SELECT m.name, c.name, c.type, c.hidden <> 0, c.pk, c.\"notnull\", m.type = 'view' \
    FROM sqlite_schema AS m, pragma_table_xinfo(m.name) AS c \
    WHERE m.type IN ('table', 'view') \
        AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND m.name NOT LIKE 'rollover\\_%' ESCAPE '\\' \
    ORDER BY m.name, c.pk, c.cid";

/// A table, and what SQLite tells beside.
#[derive(Debug, Default)]
struct Found {
    live: LiveTable,
    /// The columns of its key that may be null.
    nullable_key: Vec<String>,
    /// Whether it is a view: computed, at a cost that no LIMIT bounds.
    is_view: bool,
}

/// See [`crate::store::Rows::survey`].
pub(super) async fn survey(store: &SqliteStore, registry: &Registry) -> Result<Survey, StoreError> {
    let live = live_tables(store).await.map_err(failed)?;
    let mut survey = Survey::default();
    for table in registry.tables() {
        let found = live.get(&table.name().to_ascii_lowercase());
        let (shape, mut faults) = DIALECT.judge(table, found.map(|found| &found.live));
        let unkeyed = match found {
            Some(found) if shape.is_some() => null_in_key(store, table, found).await?,
            _ => None,
        };
        if unkeyed.is_none() {
            survey.tables.extend(shape);
        }
        faults.extend(unkeyed);
        survey.faults.extend(faults);
    }
    survey.unregistered = unregistered(store, registry, &live).await?;
    Ok(survey)
}

/// By name in lower case, since SQLite's names have no case.
async fn live_tables(store: &SqliteStore) -> Result<BTreeMap<String, Found>, sqlx::Error> {
    let mut tables = BTreeMap::<String, Found>::new();
    for row in sqlx::query(LIVE).fetch_all(&store.pool).await? {
        let name: String = row.try_get(0)?;
        let found = tables.entry(name.to_ascii_lowercase()).or_default();
        found.live.name = name;
        found.is_view = row.try_get(6)?;
        let declared: String = row.try_get(2)?;
        let sql_type = if row.try_get(3)? { "generated".into() } else { affinity(&declared) };
        let column = LiveColumn { name: row.try_get(1)?, sql_type, readable: true, writable: true };
        if row.try_get::<i64, _>(4)? > 0 {
            found.live.key.push(column.clone());
            if !row.try_get::<bool, _>(5)? {
                found.nullable_key.push(column.name.clone());
            }
        }
        found.live.columns.push(column);
    }
    // `INTEGER PRIMARY KEY` is the row's own number, and never null.
    for found in tables.values_mut() {
        if let [only] = found.live.key.as_slice()
            && only.sql_type == "INTEGER"
        {
            found.nullable_key.clear();
        }
    }
    Ok(tables)
}

/// What a declared type stores (SQLite's rules of affinity), as far as it matters here.
fn affinity(declared: &str) -> String {
    let declared = declared.to_ascii_uppercase();
    let has = |part| declared.contains(part);
    if has("INT") {
        "INTEGER".into()
    } else if has("CHAR") || has("CLOB") || has("TEXT") {
        "TEXT".into()
    } else {
        declared
    }
}

/// SQLite lets a primary key be null, and a row without a key is in no range.
async fn null_in_key(
    store: &SqliteStore,
    table: &Table,
    found: &Found,
) -> Result<Option<ColumnFault>, StoreError> {
    for part in &found.nullable_key {
        let statement = format!(
            "SELECT EXISTS (SELECT 1 FROM {} WHERE {} IS NULL)",
            quote(table.name()),
            quote(part)
        );
        let unkeyed: bool = sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_one(&store.pool)
            .await
            .map_err(failed)?;
        if unkeyed {
            return Ok(Some(ColumnFault::KeyType {
                column: format!("{}.{part}", table.name()),
                found: "NULL in some row".into(),
                expected: "NOT NULL".into(),
            }));
        }
    }
    Ok(None)
}

/// Columns with an envelope in the first [`SAMPLE`] rows of their table: one bounded
/// scan a table, whatever its size.
async fn unregistered(
    store: &SqliteStore,
    registry: &Registry,
    live: &BTreeMap<String, Found>,
) -> Result<Vec<String>, StoreError> {
    let known: Vec<String> =
        registry.columns().map(|column| column.to_string().to_ascii_lowercase()).collect();
    let mut sealed = Vec::new();
    for Found { live: table, .. } in live.values().filter(|found| !found.is_view) {
        for column in table.columns.iter().filter(|column| column.sql_type == "TEXT") {
            let name = format!("{}.{}", table.name, column.name);
            if known.contains(&name.to_ascii_lowercase()) {
                continue;
            }
            let statement = format!(
                "SELECT EXISTS (SELECT 1 FROM (SELECT {text} AS v FROM {} AS t LIMIT {SAMPLE}) \
                 WHERE v GLOB 'enc:v[123]:*' OR v GLOB 'mfa:v[12]:*' \
                    OR v GLOB '*\"enc:v[123]:*' OR v GLOB '*\"mfa:v[12]:*')",
                quote(&table.name),
                text = sql::value_as_text(&column.name),
            );
            let holds: bool = sqlx::query_scalar(AssertSqlSafe(statement))
                // Asked once: no statement is worth keeping.
                .persistent(false)
                .fetch_one(&store.pool)
                .await
                .map_err(failed)?;
            if holds {
                sealed.push(name);
            }
        }
    }
    Ok(sealed)
}
