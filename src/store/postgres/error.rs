//! What an error code of PostgreSQL means.

use sqlx::postgres::PgDatabaseError;

use crate::store::StoreError;

/// The cause, where the code tells it (PostgreSQL, appendix A).
pub(in crate::store) fn cause(error: &sqlx::Error) -> Option<StoreError> {
    let error = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    match error.code() {
        "42501" => Some(StoreError::Privilege(object(error.message()))),
        "26000" | "42P05" => Some(StoreError::SharedSession),
        "28P01" | "28000" => Some(StoreError::Login(error.message().to_owned())),
        "25006" => Some(StoreError::ReadOnly),
        "42P01" | "3F000" => Some(StoreError::NotMigrated),
        _ => None,
    }
}

/// The object of `permission denied for table key` and its kin.
fn object(message: &str) -> String {
    message.split_once(" for ").map_or(message, |(_, object)| object).to_owned()
}
