//! Reads, writes and counts the application's rows on PostgreSQL.
//!
//! 1. Every transaction runs with `row_security = off`: a policy that would hide a
//!    row is an error.
//! 2. Reading goes along the primary key, and so does writing: the planner is told
//!    to use its index, so that no batch scans the table, whatever the statistics say.
//! 3. Everything is text here: uuids, arrays and documents too, as PostgreSQL prints them.

mod census;
mod predicate;
mod split;
mod sql;
mod survey;
mod write;

pub(super) use sql::resolve;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, PgTransaction, Row as _, postgres::PgRow};

use super::PgStore;
use crate::{
    column::{Aim, Registry, RowKey},
    store::{
        ColumnCensus, Progress, Row, Rows, StoreError, Survey, TableShape, Update, Window, Written,
        rows::sql::Binds,
    },
};

/// Reading along the key: in order from the index, never sorted, never compiled, and
/// planned once a connection. However long it takes: a stretch without stale rows is
/// walked in one statement.
const BEGIN_READING_BY_KEY: &str = "BEGIN READ ONLY; \
    SET LOCAL row_security = off; \
    SET LOCAL statement_timeout = 0; \
    SET LOCAL breeze_rollover.rewrap = 'on'; \
    SET LOCAL plan_cache_mode = force_generic_plan; \
    SET LOCAL jit = off; \
    SET LOCAL enable_seqscan = off; \
    SET LOCAL enable_bitmapscan = off; \
    SET LOCAL enable_hashjoin = off; \
    SET LOCAL enable_mergejoin = off; \
    SET LOCAL enable_sort = off";

/// Reading a table from end to end, however long it takes.
const BEGIN_READING: &str = "BEGIN READ ONLY; \
    SET LOCAL row_security = off; \
    SET LOCAL statement_timeout = 0; \
    SET LOCAL breeze_rollover.rewrap = 'on'";

/// Writing by key, in the order of the batch: two batches that share rows then lock
/// them in the same order. A process that does not go on with one keeps nobody from its
/// rows, or from its range, for longer than a few seconds.
const BEGIN_WRITING: &str = "BEGIN; \
    SET LOCAL idle_in_transaction_session_timeout = '3s'; \
    SET LOCAL row_security = off; \
    SET LOCAL breeze_rollover.rewrap = 'on'; \
    SET LOCAL plan_cache_mode = force_generic_plan; \
    SET LOCAL jit = off; \
    SET LOCAL enable_seqscan = off; \
    SET LOCAL enable_bitmapscan = off; \
    SET LOCAL enable_hashjoin = off; \
    SET LOCAL enable_mergejoin = off";

#[async_trait]
impl Rows for PgStore {
    async fn survey(&self, registry: &Registry) -> Result<Survey, StoreError> {
        survey::survey(self, registry).await
    }

    async fn split(&self, table: &TableShape, parts: u32) -> Result<Vec<RowKey>, StoreError> {
        split::split(self, table, parts).await
    }

    async fn stale(
        &self,
        table: &TableShape,
        aims: &[Aim],
        window: Window<'_>,
        limit: u32,
    ) -> Result<Vec<Row>, StoreError> {
        let mut binds = Binds::new('$');
        let mut wanted = Vec::new();
        for (operator, bound) in [(">", window.after), ("<=", window.upto)] {
            if let Some(key) = bound {
                wanted.push(sql::compare_key(table, operator, key.parts(), &mut binds));
            }
        }
        wanted.push(predicate::any_stale(table, aims, &mut binds));
        let statement = format!(
            "SELECT {}, {} FROM {} AS t WHERE {} ORDER BY {} LIMIT {}::bigint",
            sql::key_as_text(table),
            sql::values_as_text(table),
            sql::table(table),
            wanted.join(" AND "),
            sql::key_columns(table),
            binds.add(limit.to_string()),
        );
        let mut transaction = self.begin(BEGIN_READING_BY_KEY).await?;
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for value in binds.into_values() {
            query = query.bind(value);
        }
        let found = query.fetch_all(&mut *transaction).await.map_err(failed(table))?;
        transaction.commit().await.map_err(StoreError::Database)?;
        rows_of(table, &found)
    }

    async fn fetch(&self, table: &TableShape, keys: &[RowKey]) -> Result<Vec<Row>, StoreError> {
        let keys: Vec<&RowKey> = keys.iter().filter(|key| table.fits(key)).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let (arrays, names) = write::unnested_key(table);
        let statement = format!(
            "SELECT {}, {} FROM unnest({arrays}) AS u({names}) JOIN {} AS t ON {}",
            sql::key_as_text(table),
            sql::values_as_text(table),
            sql::table(table),
            sql::join_key(table),
        );
        let mut transaction = self.begin(BEGIN_READING_BY_KEY).await?;
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for part in 0..table.key.len() {
            query = query.bind(write::key_part(&keys, part));
        }
        let found = query.fetch_all(&mut *transaction).await.map_err(failed(table))?;
        transaction.commit().await.map_err(StoreError::Database)?;
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

    async fn approximate_rows(&self, table: &TableShape) -> Result<u64, StoreError> {
        let mut transaction = self.begin(BEGIN_READING).await?;
        let rows = split::approximate_rows(&mut transaction, table).await?;
        transaction.commit().await.map_err(StoreError::Database)?;
        Ok(rows)
    }
}

impl PgStore {
    async fn begin(&self, statement: &'static str) -> Result<PgTransaction<'static>, StoreError> {
        self.pool.begin_with(statement).await.map_err(StoreError::Database)
    }
}

/// Rows of a SELECT of the key's parts and then the values.
fn rows_of(table: &TableShape, found: &[PgRow]) -> Result<Vec<Row>, StoreError> {
    let parts = table.key.len();
    let row = |row: &PgRow| {
        let key = (0..parts).map(|index| row.try_get(index)).collect::<Result<_, _>>()?;
        let values =
            (parts..row.len()).map(|index| row.try_get(index)).collect::<Result<_, _>>()?;
        Ok(Row { key: RowKey::composite(key), values })
    };
    found.iter().map(row).collect::<Result<_, _>>().map_err(StoreError::Database)
}

/// What it means when a statement on `table` fails. Row-level security and a missing
/// privilege share one SQLSTATE; the routine that refused tells them apart, in any
/// language of the server.
fn failed(table: &TableShape) -> impl Fn(sqlx::Error) -> StoreError {
    let name = table.table.name().to_owned();
    move |error| {
        let refused = error
            .as_database_error()
            .and_then(|e| e.try_downcast_ref::<sqlx::postgres::PgDatabaseError>());
        match refused.map(|e| (e.code(), e.routine())) {
            Some(("42501", Some("check_enable_rls"))) => StoreError::HiddenRows(name.clone()),
            Some(("42501", _)) => StoreError::Privilege(name.clone()),
            Some(("25006", _)) => StoreError::ReadOnly,
            // Data exceptions, integrity constraints, and what a trigger raises.
            Some((code, _)) if ["22", "23", "P0"].contains(&code.get(..2).unwrap_or_default()) => {
                StoreError::Refused { table: name.clone(), code: code.to_owned() }
            }
            _ => StoreError::Database(error),
        }
    }
}
