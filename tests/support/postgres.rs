//! Databases on the server that `BREEZE_TEST_POSTGRES_URL` names.
//!
//! A test that uses them begins with
//! `#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]`.

use std::{env, str::FromStr, sync::Mutex};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

/// An empty database, dropped with this value.
#[derive(Debug)]
pub struct Database {
    server: PgConnectOptions,
    name: String,
    roles: Mutex<Vec<String>>,
    is_pooled: bool,
}

/// Makes an empty database with a name of its own.
pub async fn database() -> Database {
    let url = env::var("BREEZE_TEST_POSTGRES_URL").expect("tests/run sets it");
    let server = PgConnectOptions::from_str(&url).unwrap();
    let name = unique("db");
    execute(&server, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
    Database { server, name, roles: Mutex::default(), is_pooled: false }
}

impl Database {
    /// Its URL, for a superuser.
    pub fn url(&self) -> String {
        self.options().to_url_lossy().to_string()
    }

    /// The same, for those who reach it through the PgBouncer of `tests/pgbouncer`.
    pub fn behind_a_pooler(mut self) -> Self {
        self.is_pooled = true;
        self
    }

    pub const fn is_pooled(&self) -> bool {
        self.is_pooled
    }

    /// Its URL through the PgBouncer of `tests/pgbouncer`.
    pub fn pooled_url(&self) -> String {
        let port = env::var("BREEZE_TEST_PGBOUNCER_PORT").expect("tests/run sets it");
        format!("postgres://breeze@127.0.0.1:{port}/{}?statement-cache-capacity=0", self.name)
    }

    /// Connections to it, for a superuser.
    pub async fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(4).connect_with(self.options()).await.unwrap()
    }

    /// Runs statements, one or many, on a connection of their own.
    pub async fn execute(&self, sql: &str) {
        execute(&self.options(), sql).await;
    }

    /// Makes a role that may connect, and nothing more.
    pub async fn role(&self) -> Role {
        let (name, password) = (unique("role"), unique("password"));
        self.execute(&format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'")).await;
        self.roles.lock().unwrap().push(name.clone());
        let url = self.options().username(&name).password(&password).to_url_lossy().to_string();
        Role { name, password, url }
    }

    /// Gives `role` the rights of the README's role that serves.
    pub async fn lets_serve(&self, role: &str) {
        self.execute(&format!(
            "GRANT USAGE ON SCHEMA rollover, apalis TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA rollover, apalis TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
             REVOKE UPDATE, DELETE ON audit_logs, audit_log_chain FROM {role}"
        ))
        .await;
    }

    fn options(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name)
    }
}

/// A role without privileges, dropped with its database.
#[derive(Debug)]
pub struct Role {
    /// Its name, for `GRANT` and `ALTER … OWNER TO`.
    pub name: String,
    /// Its password, as it is: a URL may write it otherwise.
    pub password: String,
    /// Its URL of the database that it was made for.
    pub url: String,
}

/// Drops the database under whoever is still connected, then its roles.
impl Drop for Database {
    fn drop(&mut self) {
        let server = self.server.clone();
        let mut statements = vec![format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)];
        let roles = std::mem::take(&mut *self.roles.lock().unwrap());
        statements.extend(roles.iter().map(|role| format!("DROP ROLE IF EXISTS {role}")));
        // A thread, because the test's own runtime may be the one that ends.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = server.connect().await?;
                for statement in statements {
                    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
                }
                connection.close().await
            })
        });
        // What is left goes with the throw-away server.
        let _: Result<Result<(), sqlx::Error>, _> = dropping.join();
    }
}

fn unique(what: &str) -> String {
    format!("breeze_{what}_{}", Uuid::new_v4().simple())
}

async fn execute(options: &PgConnectOptions, sql: &str) {
    let mut connection: PgConnection = options.connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
