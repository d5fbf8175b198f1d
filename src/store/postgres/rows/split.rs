//! Splits a table into ranges of about equal size, by key percentiles.

use sqlx::{AssertSqlSafe, PgConnection};

use super::{BEGIN_READING, failed, sql};
use crate::{
    column::RowKey,
    store::{StoreError, TableShape, postgres::PgStore, rows::WORTH_SPLITTING},
};

/// How many rows are enough to place the bounds: a range is then within a few per
/// cent of its share.
const SAMPLED: u64 = 10_000;

/// The density that the last ANALYZE found, times the pages of now: the planner's own
/// estimate, without a scan. Null when the table was never analysed.
const ESTIMATE: &str = "\
    SELECT (reltuples / relpages \
        * (pg_relation_size(oid) / current_setting('block_size')::int))::bigint \
    FROM pg_class WHERE oid = $1::regclass AND relpages > 0 AND reltuples >= 0";

/// About how many rows `table` has: as the planner knows, else counted.
pub(super) async fn approximate_rows(
    connection: &mut PgConnection,
    table: &TableShape,
) -> Result<u64, StoreError> {
    let name = sql::table(table);
    let estimate: Option<i64> = sqlx::query_scalar(ESTIMATE)
        .bind(&name)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed(table))?;
    let rows = match estimate {
        Some(rows) if rows > 0 => rows,
        _ => sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {name}")))
            .fetch_one(connection)
            .await
            .map_err(failed(table))?,
    };
    Ok(rows.unsigned_abs())
}

/// See [`crate::store::Rows::split`]. Keys are unique, so no bound repeats.
pub(super) async fn split(
    store: &PgStore,
    table: &TableShape,
    parts: u32,
) -> Result<Vec<RowKey>, StoreError> {
    let mut transaction = store.begin(BEGIN_READING).await?;
    let rows = approximate_rows(&mut transaction, table).await?;
    if parts < 2 || rows < WORTH_SPLITTING {
        return Ok(Vec::new());
    }
    // A sample of pages, once the table is too large to sort its keys.
    let sample = if rows > 2 * SAMPLED {
        format!(" TABLESAMPLE SYSTEM ({})", 100.0 * SAMPLED as f64 / rows as f64)
    } else {
        String::new()
    };
    let key: Vec<_> = (0..table.key.len()).map(|n| format!("k{n}")).collect();
    let statement = format!(
        "SELECT ARRAY[{key}] FROM (SELECT {}, row_number() OVER (ORDER BY {}) AS n, count(*) OVER () AS c \
         FROM {} AS t{sample}) AS s({key}, n, c) \
         WHERE n < c AND n * $1 / c <> (n - 1) * $1 / c ORDER BY n",
        sql::key_as_text(table),
        sql::key_columns(table),
        sql::table(table),
        key = key.join(", "),
    );
    let bounds: Vec<Vec<String>> = sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(i64::from(parts))
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed(table))?;
    transaction.commit().await.map_err(StoreError::Database)?;
    Ok(bounds.into_iter().map(RowKey::composite).collect())
}
