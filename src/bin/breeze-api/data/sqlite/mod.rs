//! The API's data on SQLite.

mod agents;
mod api_keys;
mod discovery_profiles;
mod enrolment_keys;
mod mfa;
mod password_resets;
mod recovery_codes;
mod refresh_tokens;
mod sign_ons;
mod sso_providers;
mod tenant_variables;
mod users;
mod webhooks;

use std::borrow::Cow;

use async_trait::async_trait;
use sqlx::{SqlitePool, migrate::Migrator};

use super::{Data, DataError, reliance};

/// Whether a migration has ever run.
const IS_MIGRATED: &str =
    "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_breeze_api_migrations')";

/// The newest migration that ran. Served by the primary key.
const NEWEST: &str = "SELECT coalesce(max(version), 0) FROM _breeze_api_migrations WHERE success";

/// How a transaction that writes begins: with the write lock, for which it waits.
const BEGIN_WRITING: &str = "BEGIN IMMEDIATE";

/// The API's data on SQLite.
#[derive(Debug, Clone)]
pub(crate) struct SqliteData {
    pool: SqlitePool,
}

impl SqliteData {
    pub(crate) const fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/sqlite/breeze");
    // What a newer version added is its own.
    migrator.ignore_missing = true;
    migrator.table_name = Cow::Borrowed("_breeze_api_migrations");
    migrator
}

#[async_trait]
impl Data for SqliteData {
    async fn migrate(&self) -> Result<(), DataError> {
        // One transaction for all of it: the write lock keeps two processes apart.
        let mut transaction = self.pool.begin_with(BEGIN_WRITING).await?;
        migrator().run_direct(None, &mut *transaction, false).await?;
        Ok(transaction.commit().await?)
    }

    async fn check(&self) -> Result<(), DataError> {
        if !sqlx::query_scalar::<_, bool>(IS_MIGRATED).fetch_one(&self.pool).await? {
            return Err(DataError::NotMigrated);
        }
        let found: i64 = sqlx::query_scalar(NEWEST).fetch_one(&self.pool).await?;
        if found < super::newest(&migrator()) { Err(DataError::NotMigrated) } else { Ok(()) }
    }
}

/// A list as a parameter of `json_each`.
fn json(texts: &[String]) -> sqlx::types::Json<&[String]> {
    sqlx::types::Json(texts)
}
