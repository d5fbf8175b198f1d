//! Brings the control tables to this version, and checks that they are.

use std::borrow::Cow;

use sqlx::{
    PgPool,
    migrate::{MigrateError, Migrator},
};

use crate::store::StoreError;

/// The newest migration in the database. Served by the primary key.
const NEWEST: &str = "SELECT max(version) FROM rollover._migrations";

/// Whether the server takes writes: a standby does not, nor a read-only session.
const IS_READ_ONLY: &str =
    "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean";

/// Every right that the store uses and this role lacks.
const LACKING: &str = "
    SELECT needed.object || ' (' || privilege || ')'
    FROM (VALUES
        ('rollover.meta', '{SELECT,UPDATE}'::text[]),
        ('rollover.key', '{SELECT,INSERT,UPDATE}'),
        ('rollover.rollover', '{SELECT,INSERT,UPDATE}'),
        ('rollover.replica', '{SELECT,INSERT,UPDATE,DELETE}'),
        ('rollover.range', '{SELECT,INSERT,UPDATE}'),
        ('rollover.quarantine', '{SELECT,INSERT,UPDATE,DELETE}'),
        ('public.audit_logs', '{SELECT,INSERT}')
    ) AS needed (object, privileges), unnest(needed.privileges) AS privilege
    WHERE NOT has_table_privilege(needed.object, privilege)";

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/postgres/rollover");
    migrator.table_name = Cow::Borrowed("rollover._migrations");
    migrator.create_schemas = Cow::Borrowed(&[Cow::Borrowed("rollover")]);
    migrator
}

pub(super) async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await?;
    let migrated = migrator().run_direct(None, &mut *connection, false).await;
    if migrated.is_err() {
        // The advisory lock that keeps migrations apart ends with its connection.
        connection.close().await?;
    }
    migrated.map_err(|error| match error {
        MigrateError::VersionMissing(found) => StoreError::NewerSchema { found, known: known() },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)
            if super::cause(&error).is_some() =>
        {
            error.into()
        }
        error => StoreError::Migrate(error),
    })
}

pub(super) async fn check(pool: &PgPool) -> Result<(), StoreError> {
    let found: Option<i64> = sqlx::query_scalar(NEWEST).fetch_one(pool).await?;
    let (found, known) = (found.unwrap_or(0), known());
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    if found < known {
        return Err(StoreError::NotMigrated);
    }
    if sqlx::query_scalar(IS_READ_ONLY).fetch_one(pool).await? {
        return Err(StoreError::ReadOnly);
    }
    let lacking: Vec<String> = sqlx::query_scalar(LACKING).fetch_all(pool).await?;
    if lacking.is_empty() { Ok(()) } else { Err(StoreError::Privilege(lacking.join(", "))) }
}

fn known() -> i64 {
    migrator().iter().map(|migration| migration.version).max().unwrap_or(0)
}
