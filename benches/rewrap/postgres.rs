//! The bench's tables on PostgreSQL.

use async_trait::async_trait;
use breeze_rollover::{embed::Database, keyring::Keychain};
use sqlx::{
    AssertSqlSafe, ConnectOptions, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use crate::tables::{Batch, FLOOR, SOURCE, Tables, chunks};

pub struct PostgresTables {
    database: Database,
    url: String,
    application: PgPool,
}

impl PostgresTables {
    /// In a database of its own on the server of `url`.
    pub async fn open(url: &str) -> Self {
        let server: PgConnectOptions = url.parse().unwrap();
        let name = format!("bench_{}", Uuid::new_v4().simple());
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        let mut connection = server.connect().await.unwrap();
        sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
        let options = server.database(&name);
        let url = options.to_url_lossy().to_string();
        let database = Database::connect(&url, 10).await.unwrap();
        database.migrate().await.unwrap();
        let application =
            PgPoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
        let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&application).await.unwrap();
        if fsync != "on" {
            println!("fsync is {fsync}: commits are cheaper than they are in production");
        }
        Self { database, url, application }
    }

    async fn execute(&self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.application).await.unwrap();
    }
}

/// The floor's session: the planner takes the primary key's index, and plans once.
const BY_KEY: &str = "\
    SET plan_cache_mode = force_generic_plan; \
    SET jit = off; \
    SET enable_seqscan = off; \
    SET enable_bitmapscan = off; \
    SET enable_hashjoin = off; \
    SET enable_mergejoin = off";

#[async_trait]
impl Tables for PostgresTables {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn goal(&self) -> f64 {
        0.7
    }

    fn database(&self) -> &Database {
        &self.database
    }

    fn url(&self) -> Option<&str> {
        Some(&self.url)
    }

    async fn fill(&self, rows: usize, keys: &Keychain) {
        self.execute(format!(
            "DROP TABLE IF EXISTS {SOURCE}; CREATE TABLE {SOURCE} (id uuid, value text NOT NULL)"
        ))
        .await;
        for (ids, values) in chunks(rows, keys) {
            let insert = format!(
                "INSERT INTO {SOURCE} SELECT * FROM unnest($1::text[]::uuid[], $2::text[])"
            );
            sqlx::query(AssertSqlSafe(insert))
                .bind(ids)
                .bind(values)
                .execute(&self.application)
                .await
                .unwrap();
        }
    }

    async fn copy(&self, table: &str) {
        self.execute(format!(
            "DROP TABLE IF EXISTS {table}; CREATE TABLE {table} AS TABLE {SOURCE}; \
             ALTER TABLE {table} ADD PRIMARY KEY (id)"
        ))
        .await;
        self.execute(format!("VACUUM ANALYZE {table}")).await;
        self.execute("CHECKPOINT".to_owned()).await;
    }

    async fn stored(&self) -> Vec<(String, String)> {
        let select = format!("SELECT id::text, value FROM {SOURCE} ORDER BY id");
        sqlx::query_as(AssertSqlSafe(select)).fetch_all(&self.application).await.unwrap()
    }

    /// Keys travel in binary and the planner is told to use the index: nothing that a
    /// statement could be spared is left in it.
    async fn write(&self, batches: &[Batch]) -> u64 {
        let update = format!(
            "UPDATE {FLOOR} AS t SET value = u.new \
             FROM unnest($1::uuid[], $2::text[], $3::text[]) AS u(id, old, new) \
             WHERE t.id = u.id AND t.value = u.old"
        );
        let mut connection = self.application.acquire().await.unwrap();
        sqlx::raw_sql(BY_KEY).execute(&mut *connection).await.unwrap();
        let ids: Vec<Vec<Uuid>> = batches
            .iter()
            .map(|batch| batch.ids.iter().map(|id| id.parse().unwrap()).collect())
            .collect();
        let mut written = 0;
        for (batch, ids) in batches.iter().zip(&ids) {
            let update = sqlx::query(AssertSqlSafe(update.clone()))
                .bind(ids)
                .bind(&batch.old)
                .bind(&batch.new);
            written += update.execute(&mut *connection).await.unwrap().rows_affected();
        }
        sqlx::raw_sql("RESET ALL").execute(&mut *connection).await.unwrap();
        written
    }

    async fn read(&self, id: &str) -> String {
        let id: Uuid = id.parse().unwrap();
        sqlx::query_scalar("SELECT value FROM rewrapped WHERE id = $1")
            .bind(id)
            .fetch_one(&self.application)
            .await
            .unwrap()
    }

    async fn edit(&self, id: &str, value: &str) {
        let id: Uuid = id.parse().unwrap();
        sqlx::query("UPDATE rewrapped SET value = $2 WHERE id = $1")
            .bind(id)
            .bind(value)
            .execute(&self.application)
            .await
            .unwrap();
    }
}
