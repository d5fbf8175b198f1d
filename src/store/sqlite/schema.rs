//! Brings the control tables to this version, and checks that they are.

use std::borrow::Cow;

use sqlx::{
    SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
};

use super::BEGIN_WRITING;
use crate::store::StoreError;

/// The newest migration in the database. Served by the primary key.
const NEWEST: &str = "SELECT max(version) FROM rollover_migrations";

/// The newest migration that a program must know. One row.
const NEEDS: &str = "SELECT needs FROM rollover_meta";

/// Writes, and changes nothing: SQLite tells of a read-only file only then.
const TOUCH: &str = "UPDATE rollover_meta SET epoch = epoch";

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/sqlite/rollover");
    // What a newer version added is its own.
    migrator.ignore_missing = true;
    migrator.table_name = Cow::Borrowed("rollover_migrations");
    migrator
}

/// One transaction for all of it: the write lock keeps two processes apart.
pub(super) async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    let mut transaction = pool.begin_with(BEGIN_WRITING).await?;
    migrator().run_direct(None, &mut *transaction, false).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)
            if super::cause(&error).is_some() =>
        {
            error.into()
        }
        error => StoreError::Migrate(error),
    })?;
    check_needs(&mut transaction).await?;
    Ok(transaction.commit().await?)
}

pub(super) async fn check(pool: &SqlitePool) -> Result<(), StoreError> {
    let found: Option<i64> = sqlx::query_scalar(NEWEST).fetch_one(pool).await?;
    if found.unwrap_or(0) < known() {
        return Err(StoreError::NotMigrated);
    }
    check_needs(&mut *pool.acquire().await?).await?;
    let mut transaction = pool.begin_with(BEGIN_WRITING).await?;
    sqlx::query(TOUCH).execute(&mut *transaction).await?;
    Ok(transaction.rollback().await?)
}

/// A newer version may have added to the schema; it says so when it did more than that.
async fn check_needs(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let (needs, known): (i64, _) =
        (sqlx::query_scalar(NEEDS).fetch_one(connection).await?, known());
    if needs > known { Err(StoreError::NewerSchema { needs, known }) } else { Ok(()) }
}

fn known() -> i64 {
    migrator().iter().map(|migration| migration.version).max().unwrap_or(0)
}
