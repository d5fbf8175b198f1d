//! Compares the registry with the catalogue of PostgreSQL.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::{BEGIN_READING, sql};
use crate::{
    column::Registry,
    store::{
        StoreError, Survey,
        postgres::PgStore,
        rows::{
            SAMPLE,
            live::{Dialect, LiveColumn, LiveTable},
            sql::quote,
        },
    },
};

const DIALECT: Dialect = Dialect {
    key: &["uuid", "smallint", "integer", "bigint", "text", "character varying"],
    text: &["text", "character varying", "character"],
    array: &["text[]", "character varying[]"],
    json: &["json", "jsonb"],
    same_name: |a, b| a == b,
};

/// Every column of the wanted tables, with what the role may do to it and its place in
/// the primary key. `row_security_active` is the server's own judgement of owner,
/// FORCE and BYPASSRLS. Served by the catalogue's indexes on names.
const LIVE: &str = "\
    SELECT w.name, row_security_active(c.oid), a.attname::text, \
        CASE WHEN a.attgenerated = '' THEN format_type(a.atttypid, NULL) ELSE 'generated' END, \
        usage AND has_column_privilege(c.oid, a.attnum, 'SELECT'), \
        usage AND has_column_privilege(c.oid, a.attnum, 'UPDATE'), \
        place.n \
    FROM unnest($1::text[], $2::text[], $3::text[]) AS w(name, nspname, relname) \
    JOIN pg_namespace n ON n.nspname = w.nspname \
    CROSS JOIN LATERAL (SELECT has_schema_privilege(n.oid, 'USAGE')) AS u(usage) \
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relname \
        AND c.relkind IN ('r', 'p', 'v', 'm', 'f') \
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
    LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary \
    LEFT JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS place(attnum, n) \
        ON place.attnum = a.attnum AND place.n <= i.indnkeyatts \
    ORDER BY w.name, place.n, a.attnum";

/// Columns that could hold envelopes, in the schemas where the registry has tables,
/// of tables that this role may read whole. Partitions are seen through their parent.
const CANDIDATES: &str = "\
    SELECT n.nspname::text, c.relname::text, \
        array_agg(a.attname::text ORDER BY a.attnum), \
        array_agg(format_type(a.atttypid, NULL) ORDER BY a.attnum) \
    FROM pg_class c \
    JOIN pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
    WHERE n.nspname = ANY($1::text[]) AND c.relkind IN ('r', 'p') AND NOT c.relispartition \
        AND has_schema_privilege(n.oid, 'USAGE') \
        AND has_column_privilege(c.oid, a.attnum, 'SELECT') \
        AND NOT row_security_active(c.oid) \
        AND a.atttypid IN ('text'::regtype, 'varchar'::regtype, 'json'::regtype, \
            'jsonb'::regtype, 'text[]'::regtype, 'varchar[]'::regtype) \
    GROUP BY 1, 2 ORDER BY 1, 2";

/// See [`crate::store::Rows::survey`].
pub(super) async fn survey(store: &PgStore, registry: &Registry) -> Result<Survey, StoreError> {
    let mut transaction = store.begin(BEGIN_READING).await?;
    let live = live_tables(&mut transaction, registry).await.map_err(StoreError::Database)?;
    let mut survey = Survey::default();
    for table in registry.tables() {
        let (shape, faults) = DIALECT.judge(table, live.get(table.name()));
        survey.tables.extend(shape);
        survey.faults.extend(faults);
    }
    survey.unregistered =
        unregistered(&mut transaction, registry).await.map_err(StoreError::Database)?;
    transaction.commit().await.map_err(StoreError::Database)?;
    Ok(survey)
}

async fn live_tables(
    connection: &mut PgConnection,
    registry: &Registry,
) -> Result<BTreeMap<String, LiveTable>, sqlx::Error> {
    let names: Vec<&str> = registry.tables().iter().map(|table| table.name()).collect();
    let (schemas, relations): (Vec<_>, Vec<_>) =
        names.iter().map(|name| sql::resolve(name)).unzip();
    let rows =
        sqlx::query(LIVE).bind(names).bind(schemas).bind(relations).fetch_all(connection).await?;
    let mut tables = BTreeMap::<String, LiveTable>::new();
    for row in rows {
        let name: String = row.try_get(0)?;
        let table = tables.entry(name.clone()).or_default();
        table.name = name;
        table.hidden = row.try_get(1)?;
        let column = LiveColumn {
            name: row.try_get(2)?,
            sql_type: row.try_get(3)?,
            readable: row.try_get(4)?,
            writable: row.try_get(5)?,
        };
        if row.try_get::<Option<i64>, _>(6)?.is_some() {
            table.key.push(column.clone());
        }
        table.columns.push(column);
    }
    Ok(tables)
}

/// Columns with an envelope in the first [`SAMPLE`] rows of their table: one bounded
/// scan a table, whatever its size.
async fn unregistered(
    connection: &mut PgConnection,
    registry: &Registry,
) -> Result<Vec<String>, sqlx::Error> {
    let mut schemas = vec!["public"];
    schemas.extend(registry.tables().iter().map(|table| sql::resolve(table.name()).0));
    let candidates: Vec<(String, String, Vec<String>, Vec<String>)> =
        sqlx::query_as(CANDIDATES).bind(schemas).fetch_all(&mut *connection).await?;
    let mut found = Vec::new();
    for (schema, relation, columns, types) in candidates {
        let qualified = format!("{schema}.{relation}");
        let name = if schema == "public" { &relation } else { &qualified };
        let unknown: Vec<_> = columns
            .iter()
            .zip(&types)
            .filter(|(column, _)| {
                registry.column(name, column).is_none()
                    && registry.column(&qualified, column).is_none()
            })
            .collect();
        if unknown.is_empty() {
            continue;
        }
        let sealed: Vec<bool> =
            sqlx::query_scalar(AssertSqlSafe(sample(&schema, &relation, &unknown)))
                // Asked once: no statement is worth keeping.
                .persistent(false)
                .fetch_one(&mut *connection)
                .await?;
        let sealed = unknown.iter().zip(sealed).filter(|(_, sealed)| *sealed);
        found.extend(sealed.map(|((column, _), _)| format!("{name}.{column}")));
    }
    Ok(found)
}

/// Which of `columns` hold an envelope, as a whole value or as a string of a document.
fn sample(schema: &str, relation: &str, columns: &[(&String, &String)]) -> String {
    let holds: Vec<_> = columns
        .iter()
        .map(|(name, sql_type)| {
            let text = sql::value_as_text(name, sql_type);
            format!("coalesce(bool_or({text} ~ '(^|\")(enc:v[123]|mfa:v[12]):'), false)")
        })
        .collect();
    let names: Vec<_> = columns.iter().map(|(name, _)| quote(name)).collect();
    format!(
        "SELECT ARRAY[{}] FROM (SELECT {} FROM {}.{} LIMIT {SAMPLE}) AS t",
        holds.join(", "),
        names.join(", "),
        quote(schema),
        quote(relation),
    )
}
