//! The bench's tables on SQLite.

use async_trait::async_trait;
use breeze_rollover::{embed::Database, keyring::Keychain, store::sqlite::SqliteStore};
use serde_json::json;
use sqlx::{AssertSqlSafe, SqlitePool};
use tempfile::TempDir;

use crate::tables::{Batch, FLOOR, SOURCE, Tables, chunks};

pub struct SqliteTables {
    database: Database,
    application: SqlitePool,
    _folder: TempDir,
}

impl SqliteTables {
    /// In a file of its own. The application's connections are set up as the store's.
    pub async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("bench.db").display());
        let database = Database::connect(&url, 10).await.unwrap();
        database.migrate().await.unwrap();
        let application = SqliteStore::connect(&url).await.unwrap().pool().clone();
        Self { database, application, _folder: folder }
    }

    async fn execute(&self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.application).await.unwrap();
    }
}

#[async_trait]
impl Tables for SqliteTables {
    fn name(&self) -> &'static str {
        "SQLite"
    }

    fn goal(&self) -> f64 {
        0.6
    }

    fn database(&self) -> &Database {
        &self.database
    }

    async fn fill(&self, rows: usize, keys: &Keychain) {
        self.execute(format!(
            "DROP TABLE IF EXISTS {SOURCE}; \
             CREATE TABLE {SOURCE} (id text PRIMARY KEY NOT NULL, value text NOT NULL)"
        ))
        .await;
        for (ids, values) in chunks(rows, keys) {
            let rows: Vec<_> = ids.into_iter().zip(values).collect();
            let insert =
                format!("INSERT INTO {SOURCE} SELECT value ->> 0, value ->> 1 FROM json_each(?1)");
            sqlx::query(AssertSqlSafe(insert))
                .bind(json!(rows).to_string())
                .execute(&self.application)
                .await
                .unwrap();
        }
    }

    async fn copy(&self, table: &str) {
        self.execute(format!(
            "DROP TABLE IF EXISTS {table}; \
             CREATE TABLE {table} (id text PRIMARY KEY NOT NULL, value text NOT NULL); \
             INSERT INTO {table} SELECT * FROM {SOURCE} ORDER BY rowid; \
             PRAGMA wal_checkpoint(TRUNCATE)"
        ))
        .await;
    }

    async fn stored(&self) -> Vec<(String, String)> {
        let select = format!("SELECT id, value FROM {SOURCE} ORDER BY id");
        sqlx::query_as(AssertSqlSafe(select)).fetch_all(&self.application).await.unwrap()
    }

    async fn write(&self, batches: &[Batch]) -> u64 {
        let update = format!(
            "UPDATE {FLOOR} AS t SET value = u.new FROM \
             (SELECT value ->> 0 AS id, value ->> 1 AS old, value ->> 2 AS new \
              FROM json_each(?1)) AS u \
             WHERE t.id = u.id AND t.value = u.old"
        );
        let mut connection = self.application.acquire().await.unwrap();
        let mut written = 0;
        for batch in batches {
            let rows: Vec<_> = batch
                .ids
                .iter()
                .zip(&batch.old)
                .zip(&batch.new)
                .map(|((id, old), new)| (id, old, new))
                .collect();
            let update = sqlx::query(AssertSqlSafe(update.clone())).bind(json!(rows).to_string());
            written += update.execute(&mut *connection).await.unwrap().rows_affected();
        }
        written
    }

    async fn read(&self, id: &str) -> String {
        sqlx::query_scalar("SELECT value FROM rewrapped WHERE id = ?1")
            .bind(id)
            .fetch_one(&self.application)
            .await
            .unwrap()
    }

    async fn edit(&self, id: &str, value: &str) {
        sqlx::query("UPDATE rewrapped SET value = ?2 WHERE id = ?1")
            .bind(id)
            .bind(value)
            .execute(&self.application)
            .await
            .unwrap();
    }
}
