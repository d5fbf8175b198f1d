//! What an error code of SQLite means.

use sqlx::sqlite::SqliteError;

use crate::store::StoreError;

/// SQLITE_READONLY; its extended codes have it in the low byte.
const READ_ONLY: i32 = 8;

/// SQLITE_BUSY, likewise.
const BUSY: i32 = 5;

/// Whether somebody else has a lock.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code & 0xff == BUSY)
}

fn code(error: &sqlx::Error) -> Option<i32> {
    let error = error.as_database_error()?;
    error.try_downcast_ref::<SqliteError>()?;
    error.code()?.parse().ok()
}

/// The cause, where the code tells it. SQLite has no code for a missing table.
pub(in crate::store) fn cause(error: &sqlx::Error) -> Option<StoreError> {
    let code = code(error)?;
    let error = error.as_database_error()?;
    if code & 0xff == READ_ONLY {
        Some(StoreError::ReadOnly)
    } else if error.message().starts_with("no such table: rollover_") {
        Some(StoreError::NotMigrated)
    } else {
        None
    }
}
