//! What an error code of SQLite means.

use sqlx::sqlite::SqliteError;

use crate::store::StoreError;

/// SQLITE_READONLY; its extended codes have it in the low byte.
const READ_ONLY: i32 = 8;

/// The cause, where the code tells it. SQLite has no code for a missing table.
pub(in crate::store) fn cause(error: &sqlx::Error) -> Option<StoreError> {
    let error = error.as_database_error()?;
    error.try_downcast_ref::<SqliteError>()?;
    let code = error.code()?.parse::<i32>().ok()?;
    if code & 0xff == READ_ONLY {
        Some(StoreError::ReadOnly)
    } else if error.message().starts_with("no such table: rollover_") {
        Some(StoreError::NotMigrated)
    } else {
        None
    }
}
