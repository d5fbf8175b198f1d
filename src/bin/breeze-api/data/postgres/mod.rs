//! The API's data on PostgreSQL.

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
use breeze_rollover::store::postgres::Pool;
use sqlx::{PgPool, migrate::Migrator};

use super::{Data, DataError, reliance};

/// Whether a migration has ever run.
const IS_MIGRATED: &str = "SELECT to_regclass('_breeze_api_migrations') IS NOT NULL";

/// The newest migration that ran. Served by the primary key.
const NEWEST: &str = "SELECT coalesce(max(version), 0) FROM _breeze_api_migrations WHERE success";

/// The API's data on PostgreSQL.
#[derive(Debug, Clone)]
pub(crate) struct PgData {
    pool: Pool,
}

impl PgData {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool: Pool::new(pool) }
    }
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/postgres/breeze");
    // What a newer version added is its own.
    migrator.ignore_missing = true;
    migrator.table_name = Cow::Borrowed("_breeze_api_migrations");
    migrator
}

#[async_trait]
impl Data for PgData {
    async fn migrate(&self) -> Result<(), DataError> {
        Ok(migrator().run(&*self.pool).await?)
    }

    async fn check(&self) -> Result<(), DataError> {
        if !sqlx::query_scalar::<_, bool>(IS_MIGRATED).fetch_one(&self.pool).await? {
            return Err(DataError::NotMigrated);
        }
        let found: i64 = sqlx::query_scalar(NEWEST).fetch_one(&self.pool).await?;
        if found < super::newest(&migrator()) { Err(DataError::NotMigrated) } else { Ok(()) }
    }
}
