//! A fresh database of either kind, spoken to in one SQL.

use std::sync::Arc;

use breeze_rollover::store::{Rows, Store, postgres::PgStore, sqlite::SqliteStore};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgPool, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};

/// A fresh database.
pub(crate) struct Db {
    store: Arc<dyn Store>,
    pool: Pool,
}

enum Pool {
    Postgres(PgPool, Box<PgConnectOptions>),
    Sqlite(SqlitePool, #[expect(dead_code, reason = "removed when dropped")] tempfile::TempDir),
}

impl Db {
    /// A database of its own on the server of `BREEZE_TEST_POSTGRES_URL`.
    pub(crate) async fn postgres() -> Self {
        let url = std::env::var("BREEZE_TEST_POSTGRES_URL").expect("a superuser's URL");
        let options: PgConnectOptions = url.parse().unwrap();
        let name = format!("rows_{}", uuid::Uuid::new_v4().simple());
        let mut admin = options.connect().await.unwrap();
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        admin.close().await.unwrap();
        let options = options.database(&name);
        let pool =
            PgPoolOptions::new().max_connections(3).connect_with(options.clone()).await.unwrap();
        Self {
            store: Arc::new(PgStore::new(pool.clone())),
            pool: Pool::Postgres(pool, Box::new(options)),
        }
    }

    /// A file in a temporary directory.
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(directory.path().join("rows.db"))
            .create_if_missing(true)
            .synchronous(SqliteSynchronous::Off);
        let pool = SqlitePoolOptions::new().max_connections(3).connect_with(options).await.unwrap();
        Self {
            store: Arc::new(SqliteStore::new(pool.clone())),
            pool: Pool::Sqlite(pool, directory),
        }
    }

    /// What is tested.
    pub(crate) fn rows(&self) -> &dyn Rows {
        &*self.store
    }

    /// The control tables beside it.
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Creates the control tables.
    pub(crate) async fn migrate(&self) {
        match &self.pool {
            Pool::Postgres(pool, _) => PgStore::new(pool.clone()).migrate().await.unwrap(),
            Pool::Sqlite(pool, _) => SqliteStore::new(pool.clone()).migrate().await.unwrap(),
        }
    }

    /// Runs one statement. SQLite has TEXT for what it has no type for.
    pub(crate) async fn run(&self, sql: &str) {
        match &self.pool {
            Pool::Postgres(pool, _) => {
                pool.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
            }
            Pool::Sqlite(pool, _) => {
                let sql = sql
                    .replace("text[]", "text")
                    .replace(" uuid", " text")
                    .replace(" jsonb", " text");
                pool.execute(AssertSqlSafe(sql)).await.unwrap();
            }
        }
    }

    /// The only column of every row, as text.
    pub(crate) async fn all(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.pool {
            Pool::Postgres(pool, _) => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
            Pool::Sqlite(pool, _) => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
        }
    }

    /// An array of text, from JSON.
    pub(crate) fn array(&self, json: &str) -> String {
        let json = json.replace('\'', "''");
        match self.pool {
            Pool::Postgres(..) => format!("ARRAY(SELECT json_array_elements_text('{json}'))"),
            Pool::Sqlite(..) => format!("'{json}'"),
        }
    }

    /// A row of `webhooks`.
    pub(crate) async fn insert_webhook(
        &self,
        id: uuid::Uuid,
        url: &str,
        headers: &str,
        hosts: &str,
    ) {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        self.run(&format!(
            "INSERT INTO webhooks VALUES ('{id}', {}, {}, {}, NULL)",
            quoted(url),
            quoted(headers),
            self.array(hosts)
        ))
        .await;
    }

    /// `count` rows of `webhooks` under random ids, each with a stale URL.
    pub(crate) async fn fill_webhooks(&self, count: u32) {
        let id = match self.pool {
            Pool::Postgres(..) => "gen_random_uuid()",
            Pool::Sqlite(..) => {
                "printf('%s-%s-4%s-8%s-%s', lower(hex(randomblob(4))), lower(hex(randomblob(2))), \
                 substr(lower(hex(randomblob(2))), 2), substr(lower(hex(randomblob(2))), 2), \
                 lower(hex(randomblob(6))))"
            }
        };
        self.run(&format!(
            "INSERT INTO webhooks (id, url) \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
             SELECT {id}, 'enc:v2:old:a.b.c' FROM n"
        ))
        .await;
    }

    /// The pool, of PostgreSQL.
    pub(crate) fn pg(&self) -> &PgPool {
        match &self.pool {
            Pool::Postgres(pool, _) => pool,
            Pool::Sqlite(..) => panic!("this is SQLite"),
        }
    }

    /// The pool, of SQLite.
    pub(crate) fn lite(&self) -> &SqlitePool {
        match &self.pool {
            Pool::Sqlite(pool, _) => pool,
            Pool::Postgres(..) => panic!("this is PostgreSQL"),
        }
    }

    /// The same database for another role, which is made: it owns nothing.
    pub(crate) async fn as_role(&self) -> (String, PgStore) {
        let Pool::Postgres(pool, options) = &self.pool else { panic!("roles are PostgreSQL's") };
        let role = format!("role_{}", uuid::Uuid::new_v4().simple());
        pool.execute(AssertSqlSafe(format!("CREATE ROLE {role} LOGIN PASSWORD 'x'")))
            .await
            .unwrap();
        let options = (**options).clone().username(&role).password("x");
        (role, PgStore::new(PgPoolOptions::new().connect_with(options).await.unwrap()))
    }
}
