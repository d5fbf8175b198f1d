//! Why the store could not do what it was asked.

use crate::{
    catalog::Secret,
    ids::{KeyId, RolloverId},
};

/// The store could not do what it was asked. Never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not answer, or refused.
    #[error("the database did not do it: {0}")]
    Database(#[source] sqlx::Error),
    /// The database is not there, or went away.
    #[error("the database does not answer ({0}); see that it runs, and that DATABASE_URL names it")]
    Unreachable(#[source] sqlx::Error),
    /// The server does not prove who it is.
    #[error(
        "the database does not prove who it is ({0}); have it speak TLS with a certificate for the name in DATABASE_URL, of a public authority or of one in BREEZE_TRUSTED_CA (or sslrootcert=FILE); where the network itself can be trusted, say so with sslmode=disable"
    )]
    Unproven(#[source] sqlx::Error),
    /// The database does not let this role in. What it says names the role alone.
    #[error(
        "the database refuses the login ({0}); put the credential in use into DATABASE_URL: after a rollover, the new one; if nobody has it, give the role of DATABASE_URL its password back (ALTER ROLE … PASSWORD …), start, and roll DATABASE_URL over to a value of your own"
    )]
    Login(String),
    /// The URL does not parse. Nothing of it is told: it may hold a password.
    #[error(
        "DATABASE_URL does not parse; it must be like postgres://user:password@host:5432/database or sqlite://breeze.db"
    )]
    Url,
    /// The URL to listen on does not parse. Nothing of it is told, either.
    #[error(
        "DATABASE_LISTEN_URL does not parse; it must be like postgres://user:password@host:5432/database"
    )]
    ListenUrl,
    /// The control tables are missing.
    #[error(
        "the control tables are missing; run `breeze-api migrate` with a role that may create them"
    )]
    NotMigrated,
    /// A newer version has changed the schema, and not only added to it.
    #[error(
        "the schema has changed with migration {needs}, and this version knows {known}; run the newer version"
    )]
    NewerSchema {
        /// The newest migration that a program must know.
        needs: i64,
        /// The newest migration that this version has.
        known: i64,
    },
    /// The database takes no writes.
    #[error(
        "the database is read-only; point DATABASE_URL at the primary server, or make the file writable"
    )]
    ReadOnly,
    /// A statement that was prepared is gone, or there already: sessions are shared.
    #[error(
        "a pooler in transaction mode stands before the database; end DATABASE_URL with ?statement-cache-capacity=0, and set server_reset_query_always = 1 in PgBouncer"
    )]
    SharedSession,
    /// The role lacks a privilege.
    #[error("the role lacks a privilege on {0}; the README lists what each role needs")]
    Privilege(String),
    /// A row does not take a value: too long, against a constraint, or refused by a
    /// trigger. The others are not to blame.
    #[error(
        "the database refuses a value of {table} ({code}); widen the column, or see to the constraint or trigger that refuses it"
    )]
    Refused {
        /// Which table.
        table: String,
        /// The database's code for it.
        code: String,
    },
    /// Row-level security hides rows from the role: what cannot be seen is not done.
    #[error(
        "row-level security on {0} hides rows from this role; use a role with BYPASSRLS, or the owner of a table without FORCE"
    )]
    HiddenRows(String),
    /// A row of a control table does not parse.
    #[error("a row of the control table {table} does not parse: {what}")]
    Corrupt {
        /// Which control table.
        table: &'static str,
        /// Which field, never its value.
        what: String,
    },
    /// A newer version wrote it in a way that this one does not know.
    #[error(
        "rollover {0} is of a kind that only a newer version knows; ask a process of that version"
    )]
    Newer(RolloverId),
    /// A change would leave a secret without its primary key.
    #[error("the change would leave {0} without a primary key, so nothing of it was done")]
    NoPrimary(Secret),
    /// The key is not in custody.
    #[error("{secret} has no key {key} in custody; refresh the keychain")]
    NoKey {
        /// Whose key.
        secret: Secret,
        /// Which key.
        key: KeyId,
    },
    /// The guard is for another database.
    #[error(
        "the guard is made of triggers on PostgreSQL; on SQLite one host writes, and it needs none"
    )]
    NoGuard,
    /// The role may not change the guard.
    #[error(
        "the role may not change the guard on {table} ({why}); use the role that ran `breeze-api migrate`, which must own the tables too"
    )]
    GuardPrivilege {
        /// On which table, or the schema of the guard itself.
        table: String,
        /// What the database says.
        why: String,
    },
    /// Somebody holds the table for too long.
    #[error(
        "a transaction holds {table} for longer than {waited}, so the guard on it is as it was; end it, or try again"
    )]
    GuardInUse {
        /// Which table.
        table: String,
        /// How long it was waited for.
        waited: &'static str,
    },
    /// A migration failed.
    #[error("the migration failed: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}

/// Names the cause where the database's own code tells it.
impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        #[cfg(feature = "postgres")]
        if let Some(cause) = super::postgres::cause(&error) {
            return cause;
        }
        #[cfg(feature = "sqlite")]
        if let Some(cause) = super::sqlite::cause(&error) {
            return cause;
        }
        match error {
            error if is_unproven(&error) => Self::Unproven(error),
            error if is_unreachable(&error) => Self::Unreachable(error),
            error => Self::Database(error),
        }
    }
}

/// A server without TLS where it is wanted, and a certificate that does not do: rustls tells
/// of one as data that is invalid.
fn is_unproven(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// PostgreSQL that shuts down or starts, or has no such database (57P01, 57P02, 57P03,
/// 3D000) or gave up a transaction that was not gone on with (25P03), a pooler that has lost
/// its server (08P01), and SQLite that cannot open its file (14), tell it by their codes.
fn is_unreachable(error: &sqlx::Error) -> bool {
    use sqlx::Error::{Database, Io, PoolClosed, PoolTimedOut, Protocol};
    match error {
        Io(_) | Protocol(_) | PoolTimedOut | PoolClosed => true,
        Database(refused) => {
            const CODES: [&str; 7] = ["08P01", "25P03", "57P01", "57P02", "57P03", "3D000", "14"];
            refused.code().is_some_and(|code| CODES.contains(&&*code))
        }
        _ => false,
    }
}
