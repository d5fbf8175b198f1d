//! Brings the control tables to this version, and checks that they are.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migrator};

use super::Pool;
use crate::store::StoreError;

/// The newest migration in the database. Served by the primary key.
const NEWEST: &str = "SELECT max(version) FROM rollover._migrations";

/// The newest migration that a program must know. One row.
const NEEDS: &str = "SELECT needs FROM rollover.meta";

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
        ('rollover.acceptor', '{SELECT,INSERT,UPDATE,DELETE}'),
        ('rollover.range', '{SELECT,INSERT,UPDATE}'),
        ('rollover.quarantine', '{SELECT,INSERT,UPDATE,DELETE}'),
        ('rollover.schedule', '{SELECT,INSERT,UPDATE,DELETE}'),
        ('rollover.daily', '{SELECT,INSERT,UPDATE}'),
        ('rollover.incident', '{SELECT,INSERT,UPDATE}'),
        ('public.audit_logs', '{SELECT,INSERT}')
    ) AS needed (object, privileges), unnest(needed.privileges) AS privilege
    WHERE NOT has_table_privilege(needed.object, privilege)";

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/postgres/rollover");
    // What a newer version added is its own.
    migrator.ignore_missing = true;
    migrator.table_name = Cow::Borrowed("rollover._migrations");
    migrator.create_schemas = Cow::Borrowed(&[Cow::Borrowed("rollover")]);
    migrator
}

pub(super) async fn migrate(pool: &Pool) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await?;
    let migrated = migrator().run_direct(None, &mut *connection, false).await;
    if migrated.is_err() {
        // The advisory lock that keeps migrations apart ends with its connection.
        connection.close().await?;
    }
    migrated.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)
            if super::cause(&error).is_some() =>
        {
            error.into()
        }
        error => StoreError::Migrate(error),
    })?;
    check_needs(pool).await
}

pub(super) async fn check(pool: &Pool) -> Result<(), StoreError> {
    let found: Option<i64> = sqlx::query_scalar(NEWEST).fetch_one(pool).await?;
    if found.unwrap_or(0) < known() {
        return Err(StoreError::NotMigrated);
    }
    if sqlx::query_scalar(IS_READ_ONLY).fetch_one(pool).await? {
        return Err(StoreError::ReadOnly);
    }
    let lacking: Vec<String> = sqlx::query_scalar(LACKING).fetch_all(pool).await?;
    if !lacking.is_empty() {
        return Err(StoreError::Privilege(lacking.join(", ")));
    }
    check_needs(pool).await
}

/// A newer version may have added to the schema; it says so when it did more than that.
async fn check_needs(pool: &Pool) -> Result<(), StoreError> {
    let (needs, known): (i64, _) = (sqlx::query_scalar(NEEDS).fetch_one(pool).await?, known());
    if needs > known { Err(StoreError::NewerSchema { needs, known }) } else { Ok(()) }
}

fn known() -> i64 {
    migrator().iter().map(|migration| migration.version).max().unwrap_or(0)
}
