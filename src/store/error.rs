//! Why the store could not do what it was asked.

/// The store could not do what it was asked. Never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not answer, or refused.
    #[error("the database did not do it: {0}")]
    Database(#[source] sqlx::Error),
    /// The control tables are missing.
    #[error(
        "the control tables are missing; run `breeze-api migrate` with a role that may create them"
    )]
    NotMigrated,
    /// A newer version has migrated the database.
    #[error(
        "the database has migration {found}, and this version knows {known}; run the newer version"
    )]
    NewerSchema {
        /// The newest migration in the database.
        found: i64,
        /// The newest migration that this version has.
        known: i64,
    },
    /// The database takes no writes.
    #[error(
        "the database is read-only; point DATABASE_URL at the primary server, or make the file writable"
    )]
    ReadOnly,
    /// The role lacks a privilege.
    #[error("the role lacks a privilege on {0}; the README lists what each role needs")]
    Privilege(String),
    /// A row of a control table does not parse.
    #[error("a row of {table} does not parse: {what}")]
    Corrupt {
        /// Which control table.
        table: &'static str,
        /// Which field, never its value.
        what: String,
    },
    /// A migration failed.
    #[error("the migration failed: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}
