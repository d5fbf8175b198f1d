//! The database of one process, whichever it is.

use std::{path::PathBuf, sync::Arc};

use crate::{
    keyring::sources::Environment,
    provider::Provider,
    store::{Store, StoreError},
    worker::{Queue, QueueError, WorkerBackend},
};
#[cfg(feature = "postgres")]
use crate::{provider::PostgresRole, store::postgres::PgStore, worker::PgQueue};
#[cfg(feature = "sqlite")]
use crate::{store::sqlite::SqliteStore, worker::SqliteQueue};

/// The database of one process: `postgres://…` or `sqlite://…`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Database {
    /// PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(PgStore),
    /// A SQLite file.
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteStore),
}

/// How the connections of a process are known on PostgreSQL (`application_name`).
pub const APPLICATION_NAME: &str = "breeze-rollover";

impl Database {
    /// Connects to the database of `url`, with at most `connections`.
    ///
    /// # Errors
    /// [`DatabaseError`] for a URL of another kind, and when it does not answer.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, DatabaseError> {
        Self::connect_trusting(url, connections, None).await
    }

    /// The same, where a server may prove who it is by one of `authorities` too, in PEM.
    ///
    /// # Errors
    /// As [`Self::connect`].
    #[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "a file is one"))]
    pub async fn connect_trusting(
        url: &str,
        connections: u32,
        authorities: Option<&[u8]>,
    ) -> Result<Self, DatabaseError> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            #[cfg(feature = "postgres")]
            Some("postgres" | "postgresql") => {
                let store =
                    PgStore::connect_trusting(url, APPLICATION_NAME, connections, authorities);
                Ok(Self::Postgres(store.await?))
            }
            #[cfg(feature = "sqlite")]
            Some("sqlite") => Ok(Self::Sqlite(SqliteStore::connect(url).await?)),
            _ => Err(DatabaseError::Scheme),
        }
    }

    /// Listens for changes on a session of `url`, in place of the pool's own URL: where
    /// a pooler in transaction mode stands before PostgreSQL, name the server itself.
    /// Without it, changes arrive by polling there.
    ///
    /// # Errors
    /// [`DatabaseError`] when the URL does not parse, and on SQLite, which needs none.
    pub fn listening_on(self, url: &str) -> Result<Self, DatabaseError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Ok(Self::Postgres(store.listening_on(url)?)),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => {
                let _ = url;
                Err(DatabaseError::NothingToListenTo)
            }
        }
    }

    /// Makes the control tables and the queue's tables, with a role that may.
    ///
    /// # Errors
    /// [`DatabaseError`] when the database refuses.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => {
                store.migrate().await?;
                PgQueue::new(store.pool().clone()).migrate().await?;
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => {
                store.migrate().await?;
                SqliteQueue::new(store.pool().clone()).migrate().await?;
            }
        }
        Ok(())
    }

    /// Checks, without changing anything, that the control tables are there, of a
    /// version that this one knows, and writable.
    ///
    /// # Errors
    /// [`StoreError`] says what to do.
    pub async fn check(&self) -> Result<(), StoreError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.check().await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => store.check().await,
        }
    }

    /// Who knows its credential, where it has one; an operator keeps it in `environment`.
    #[must_use]
    #[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "a file is one"))]
    pub fn provider(&self, environment: &Environment) -> Option<Arc<dyn Provider>> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => {
                Some(Arc::new(PostgresRole::new(store.pool().clone(), environment.clone())))
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => None,
        }
    }

    /// The store on it.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Arc::new(store.clone()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// The queue on it.
    #[must_use]
    pub fn queue(&self) -> Arc<dyn Queue> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Arc::new(PgQueue::new(store.pool().clone())),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => Arc::new(SqliteQueue::new(store.pool().clone())),
        }
    }

    /// The queue's backend on it, as apalis runs it.
    #[must_use]
    pub fn backend(&self) -> WorkerBackend {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => WorkerBackend::Postgres(PgQueue::new(store.pool().clone())),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => WorkerBackend::Sqlite(SqliteQueue::new(store.pool().clone())),
        }
    }

    /// Where a root key of its own is kept in development: beside the SQLite file.
    #[must_use]
    pub fn root_key_file(&self) -> Option<PathBuf> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => {
                let options = store.pool().connect_options();
                let mut name = options.get_filename().as_os_str().to_owned();
                name.push(".root-key");
                Some(name.into())
            }
        }
    }
}

/// The database of a URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A URL of another kind.
    #[error(
        "DATABASE_URL must begin with postgres:// or sqlite://, and this build must have that database's feature"
    )]
    Scheme,
    /// A URL to listen on, for a file.
    #[error("DATABASE_LISTEN_URL is for PostgreSQL; unset it")]
    NothingToListenTo,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue did not do it.
    #[error(transparent)]
    Queue(#[from] QueueError),
}
