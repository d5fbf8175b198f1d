//! How one change ends before it is durable.

use super::{Committed, RolloverId, StoreError};

/// Why a change is not applied; its transaction is rolled back.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A guard did not hold.
    Conflict,
    /// This rollover is in progress.
    Busy(RolloverId),
    /// The store could not.
    Failed(StoreError),
}

impl Refusal {
    /// What the caller of `commit` is told.
    pub(crate) fn answer(self) -> Result<Committed, StoreError> {
        match self {
            Self::Conflict => Ok(Committed::Conflict),
            Self::Busy(rollover) => Ok(Committed::Busy(rollover)),
            Self::Failed(error) => Err(error),
        }
    }
}

/// The guard of a statement that changes exactly `expected` rows.
pub(crate) fn expect_rows(changed: u64, expected: usize) -> Result<(), Refusal> {
    if changed == expected as u64 { Ok(()) } else { Err(Refusal::Conflict) }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// A unique index that refuses is a guard, and so is a database that picked another
/// transaction to win (PostgreSQL 40001 and 40P01): nothing was done, read again.
impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        let is_guard = error.as_database_error().is_some_and(|refused| {
            refused.is_unique_violation()
                || matches!(refused.code().as_deref(), Some("40001" | "40P01"))
        });
        if is_guard { Self::Conflict } else { Self::Failed(error.into()) }
    }
}
