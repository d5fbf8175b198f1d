//! Reads, writes and counts the application's rows on SQLite.
//!
//! Arrays and documents are JSON text here, and no statement writes one again: what
//! SQL returns is what is stored, to the digit.

mod census;
mod document;
mod predicate;
mod sql;
mod survey;
mod write;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row as _, sqlite::SqliteRow};

use super::SqliteStore;
use crate::{
    column::{Aim, Registry, RowKey},
    store::{
        ColumnCensus, Progress, Row, Rows, StoreError, Survey, TableShape, Update, Window, Written,
        rows::{WORTH_SPLITTING, sql::Binds},
    },
};

#[async_trait]
impl Rows for SqliteStore {
    async fn survey(&self, registry: &Registry) -> Result<Survey, StoreError> {
        survey::survey(self, registry).await
    }

    /// The key's index alone is read.
    async fn split(&self, table: &TableShape, parts: u32) -> Result<Vec<RowKey>, StoreError> {
        if parts < 2 || self.approximate_rows(table).await? < WORTH_SPLITTING {
            return Ok(Vec::new());
        }
        let keys: Vec<_> = table.key.iter().map(|(name, _)| sql::value_as_text(name)).collect();
        let statement = format!(
            "SELECT * FROM (SELECT {}, row_number() OVER (ORDER BY {}) AS n, count(*) OVER () AS c \
             FROM {} AS t) WHERE n < c AND n * ?1 / c <> (n - 1) * ?1 / c ORDER BY n",
            keys.join(", "),
            sql::key_columns(table),
            sql::table(table),
        );
        let bounds = sqlx::query(AssertSqlSafe(statement))
            .bind(i64::from(parts))
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        let key = |row| text_columns(row, 0..table.key.len()).map(RowKey::composite);
        bounds.iter().map(key).collect()
    }

    async fn stale(
        &self,
        table: &TableShape,
        aims: &[Aim],
        window: Window<'_>,
        limit: u32,
    ) -> Result<Vec<Row>, StoreError> {
        let mut binds = Binds::new('?');
        let mut wanted = Vec::new();
        for (operator, bound) in [(">", window.after), ("<=", window.upto)] {
            if let Some(key) = bound {
                wanted.push(sql::compare_key(table, operator, key, &mut binds));
            }
        }
        wanted.push(predicate::any_stale(table, aims, &mut binds));
        let statement = format!(
            "SELECT {} FROM {} AS t WHERE {} ORDER BY {} LIMIT CAST({} AS INTEGER)",
            sql::row_as_text(table),
            sql::table(table),
            wanted.join(" AND "),
            sql::key_columns(table),
            binds.add(limit.to_string()),
        );
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for value in binds.into_values() {
            query = query.bind(value);
        }
        rows_of(table, &query.fetch_all(&self.pool).await.map_err(failed)?)
    }

    async fn fetch(&self, table: &TableShape, keys: &[RowKey]) -> Result<Vec<Row>, StoreError> {
        let keys: Vec<&[String]> =
            keys.iter().filter(|key| table.fits(key)).map(RowKey::parts).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let statement = format!(
            "WITH u AS MATERIALIZED (SELECT {} FROM json_each(?1)) SELECT {} FROM u JOIN {} AS t ON {}",
            write::elements(&["k"], table.key.len(), 0),
            sql::row_as_text(table),
            sql::table(table),
            sql::join_key(table),
        );
        let found = sqlx::query(AssertSqlSafe(statement))
            .bind(serde_json::json!(keys).to_string())
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows_of(table, &found)
    }

    async fn write(
        &self,
        table: &TableShape,
        updates: &[Update],
        progress: Option<&Progress>,
    ) -> Result<Written, StoreError> {
        write::write(self, table, updates, progress).await
    }

    async fn census(&self, table: &TableShape) -> Result<Vec<ColumnCensus>, StoreError> {
        census::census(self, table).await
    }

    /// Counted: an index is read, and nothing else.
    async fn approximate_rows(&self, table: &TableShape) -> Result<u64, StoreError> {
        let statement = format!("SELECT count(*) FROM {}", sql::table(table));
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_one(&self.pool)
            .await
            .map_err(failed)?;
        Ok(rows.unsigned_abs())
    }
}

/// Rows of a SELECT of the key's parts and then the values.
fn rows_of(table: &TableShape, found: &[SqliteRow]) -> Result<Vec<Row>, StoreError> {
    let parts = table.key.len();
    let row = |row: &SqliteRow| {
        Ok(Row {
            key: RowKey::composite(text_columns(row, 0..parts)?),
            values: (parts..row.len()).map(|index| text(row, index)).collect::<Result<_, _>>()?,
        })
    };
    found.iter().map(row).collect()
}

fn text_columns(
    row: &SqliteRow,
    columns: std::ops::Range<usize>,
) -> Result<Vec<String>, StoreError> {
    columns.map(|index| text(row, index).map(Option::unwrap_or_default)).collect()
}

/// Bytes that are no text are read with U+FFFD in their place: such a value equals
/// nothing that is stored, so that no write can touch it.
fn text(row: &SqliteRow, index: usize) -> Result<Option<String>, StoreError> {
    let bytes: Option<Vec<u8>> = row.try_get_unchecked(index).map_err(StoreError::Database)?;
    Ok(bytes.map(|bytes| match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }))
}

/// What it means when a statement fails.
fn failed(error: sqlx::Error) -> StoreError {
    const READ_ONLY: i32 = 8;
    match code(&error) {
        Some(READ_ONLY) => StoreError::ReadOnly,
        _ => StoreError::Database(error),
    }
}

/// The same of a statement that writes to `table`: what is too big, against a
/// constraint, or refused by a trigger is one row's own fault.
fn refused(table: &TableShape) -> impl Fn(sqlx::Error) -> StoreError {
    const TOO_BIG: i32 = 18;
    const CONSTRAINT: i32 = 19;
    let table = table.table.name().to_owned();
    move |error| match code(&error) {
        Some(code @ (TOO_BIG | CONSTRAINT)) => {
            StoreError::Refused { table: table.clone(), code: code.to_string() }
        }
        _ => failed(error),
    }
}

/// The low byte of the code is the error; the rest tells more of it.
fn code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
