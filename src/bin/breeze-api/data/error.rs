//! Why data could not be read or written.

use std::time::Duration;

use breeze_rollover::{problem::Problem, store::GUARD_CONSTRAINT};
use sqlx::migrate::MigrateError;

/// Data could not be read or written. Never holds a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    /// Another row has the same e-mail address, or the like.
    #[error("another row has it already")]
    Taken,
    /// The guard refused a value: its key was retired after the request had read the keys.
    #[error("a value was sealed under a key that is retired: {0}")]
    KeyRetired(#[source] sqlx::Error),
    /// The tables are missing or incomplete.
    #[error(
        "the tables of the API are missing; run `breeze-api migrate` with a role that may create them"
    )]
    NotMigrated,
    /// The migration failed.
    #[error("the migration failed: {0}")]
    Migrate(#[source] MigrateError),
    /// The database did not answer in time, or went away.
    #[error("the database does not answer: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The database refused.
    #[error("the database did not do it: {0}")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for DataError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refusal) if refusal.is_unique_violation() => Self::Taken,
            sqlx::Error::Database(refusal) if refusal.constraint() == Some(GUARD_CONSTRAINT) => {
                Self::KeyRetired(error)
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            _ => Self::Database(error),
        }
    }
}

impl From<MigrateError> for DataError {
    fn from(error: MigrateError) -> Self {
        Self::Migrate(error)
    }
}

/// Outside callers learn whether to change the request, to wait, or to ask an
/// operator; the log has the cause.
impl From<DataError> for Problem {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Taken => {
                Self::conflict("another row has the same unique value; choose another")
                    .coded("taken")
            }
            DataError::KeyRetired(_) => {
                tracing::warn!(%error, "the guard refused a write");
                Self::unavailable(
                    "the key that sealed it was retired meanwhile; send the request again",
                    Duration::from_secs(1),
                )
                .coded("key_retired")
            }
            DataError::Unavailable(_) => {
                tracing::error!(%error, "no answer from the database");
                Self::unavailable("the database does not answer; try again", Duration::from_secs(1))
            }
            error => {
                tracing::error!(%error, "a query failed");
                Self::internal()
            }
        }
    }
}
