//! Why data could not be read or written.

use std::time::Duration;

use breeze_rollover::{problem::Problem, store::GUARD_CONSTRAINT};
use sqlx::{error::DatabaseError, migrate::MigrateError};

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
            sqlx::Error::Database(refusal) if is_closed(&**refusal) => Self::Unavailable(error),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            _ => Self::Database(error),
        }
    }
}

/// Whether PostgreSQL lets nobody in now: its connections are all taken (53), it ends, has
/// crashed or still starts (57P01, 57P02, 57P03), it refuses the login (28P01, 28000), as
/// between a new password and the rollover to it, or has no such database (3D000); or it
/// gave up a transaction that this process did not go on with in time (25P03). And whether
/// a pooler before it has lost it (08).
fn is_closed(refusal: &dyn DatabaseError) -> bool {
    let code = refusal.code().unwrap_or_default();
    let codes = ["25P03", "57P01", "57P02", "57P03", "28P01", "28000", "3D000"];
    ["08", "53"].iter().any(|class| code.starts_with(class)) || codes.contains(&&*code)
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

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, error::Error};

    use sqlx::error::ErrorKind;

    use super::*;

    /// A refusal of PostgreSQL, by its code alone.
    #[derive(Debug, thiserror::Error)]
    #[error("refused with {0}")]
    struct Refusal(&'static str);

    impl DatabaseError for Refusal {
        fn message(&self) -> &str {
            "refused"
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    #[test]
    fn a_server_that_lets_nobody_in_is_unavailable_and_no_other_refusal_is() {
        let status = |code| {
            let error = sqlx::Error::Database(Box::new(Refusal(code)));
            Problem::from(DataError::from(error)).status().as_u16()
        };
        for code in
            ["08P01", "25P03", "53300", "57P01", "57P02", "57P03", "28P01", "28000", "3D000"]
        {
            assert_eq!(status(code), 503, "{code}");
        }
        for code in ["42P01", "57014", "22001"] {
            assert_eq!(status(code), 500, "{code}");
        }
    }
}
