//! The guard on PostgreSQL: a write that names a retired key is refused, any other one
//! passes, and nothing is left of it once it is removed.

#![cfg(all(feature = "postgres", feature = "sqlite", feature = "worker"))]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, reason = "a test has no reader but its own")]

#[path = "../support/mod.rs"]
mod support;

mod deployed;
mod installing;
mod writes;

use std::sync::Arc;

use breeze_rollover::{
    catalog::Secret,
    clock::SystemClock,
    column::{Column, Kind, Registry},
    operator::Guard,
    store::{Actor, GUARD_CONSTRAINT, Guarding, Store, TableGuard, postgres::PgStore},
};
use sqlx::{AssertSqlSafe, postgres::PgDatabaseError};

/// A column of each kind, and the one that has two secrets.
fn registry() -> Registry {
    Registry::empty()
        .with(Column::text("things", "name"))
        .with(Column::text_array("things", "list"))
        .with(Column::json("things", "binary"))
        .with(Column::new("things", "verbatim", Kind::Json))
        .with(Column::text("people", "seed").under(Secret::MfaEncryptionKey).bound_by_row())
        .with(Column::text("nowhere", "secret"))
}

/// Its tables, and keys in every state. No value here is one that opens.
const TABLES: &str = "
    CREATE TABLE things (id int PRIMARY KEY, name varchar(200), list text[], \"binary\" jsonb,
        verbatim json, edited int NOT NULL DEFAULT 0);
    CREATE TABLE people (id int PRIMARY KEY, seed text);
    INSERT INTO rollover.key (secret, id, fingerprint, state, unnamed, origin, rank, sealed,
        created_at, seals, longest_lifetime)
    SELECT secret, id, '0123456789abcdef', state, false, '{\"kind\":\"generated\"}', 0,
        CASE state WHEN 'destroyed' THEN NULL ELSE 'sealed' END, 0, 0, 0
    FROM (VALUES
        ('APP_ENCRYPTION_KEY', 'staged', 'staged'), ('APP_ENCRYPTION_KEY', 'new', 'primary'),
        ('APP_ENCRYPTION_KEY', 'older', 'retiring'), ('APP_ENCRYPTION_KEY', 'k.old-1_', 'retired'),
        ('APP_ENCRYPTION_KEY', 'gone', 'destroyed'), ('APP_ENCRYPTION_KEY', 'shared', 'retiring'),
        ('MFA_ENCRYPTION_KEY', 'new', 'primary'), ('MFA_ENCRYPTION_KEY', 'seeds', 'retired'),
        ('MFA_ENCRYPTION_KEY', 'shared', 'retired')
    ) AS k (secret, id, state)";

/// A migrated database with those tables.
struct Guarded {
    own: support::postgres::Database,
    store: PgStore,
}

impl Guarded {
    /// The guard is not on it.
    async fn not() -> Self {
        let own = support::postgres::database().await;
        let store = PgStore::connect(&own.url(), "test", 4).await.unwrap();
        store.migrate().await.unwrap();
        own.execute(TABLES).await;
        Self { own, store }
    }

    /// The guard is on it.
    async fn fresh() -> Self {
        let guarded = Self::not().await;
        guarded.install().await;
        guarded
    }

    fn guard(&self) -> Guard {
        guard(&self.store, registry())
    }

    async fn install(&self) -> Vec<TableGuard> {
        self.guard().install(Actor::System, "a test").await.unwrap()
    }

    async fn remove(&self) -> Vec<String> {
        self.guard().remove(Actor::System, "a test").await.unwrap()
    }

    async fn try_to(&self, sql: &str) -> Result<(), sqlx::Error> {
        try_on(&self.store, sql).await
    }

    /// Asserts that `sql` passes.
    async fn passes(&self, sql: &str) {
        self.try_to(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Asserts that `sql` is refused because of `column` and `key`, in that order, without
    /// a word of the value.
    async fn refuses(&self, sql: &str, column: &str, key: &str) {
        let Err(error) = self.try_to(sql).await else { panic!("it passes: {sql}") };
        let error = error.as_database_error().unwrap().downcast_ref::<PgDatabaseError>();
        assert_eq!(error.code(), "23514", "{error:?}");
        assert_eq!(error.constraint(), Some(GUARD_CONSTRAINT));
        assert_eq!(format!("{}.{}", error.table().unwrap(), error.column().unwrap()), column);
        let told = format!("{error:?}");
        assert!(error.message().starts_with(&format!("{column} must not be sealed")), "{told}");
        assert!(error.message().contains(&format!("key {key}, which is retired")), "{told}");
        assert!(!told.contains("payload"), "{told}");
    }

    /// How often the audit trail tells of `action`, and on what last.
    async fn told(&self, action: &str) -> Vec<String> {
        let entries = self.store.audit(None, 100).await.unwrap().into_iter();
        let told = entries.filter(|entry| entry.action == action);
        told.map(|entry| entry.resource_name.unwrap()).collect()
    }
}

fn guard(store: &PgStore, registry: Registry) -> Guard {
    Guard::new(Arc::new(store.clone()), Arc::new(registry), Arc::new(SystemClock))
}

async fn try_on(store: &PgStore, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(store.pool()).await.map(drop)
}

/// Every column of `tables` to which the guard stands so.
fn columns(tables: &[TableGuard], guarding: Guarding) -> Vec<String> {
    let of_table = |table: &TableGuard| {
        let columns = table.columns(guarding).map(|column| format!("{}.{column}", table.table));
        columns.collect::<Vec<_>>()
    };
    tables.iter().flat_map(of_table).collect()
}
