//! The queue of steps to do, shared by all replicas through the database.
//!
//! The queue only says *when* to look: what to do follows from the rollover's row
//! alone. A task that is lost, or delivered twice, does no harm.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::ids::RolloverId;

/// The queue's name in the database.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) const QUEUE: &str = "breeze-rollover";

/// One task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Carry a rollover as far as it goes now.
    Drive {
        /// Which.
        rollover: RolloverId,
    },
    /// Rewrap ranges of a pass until none is free.
    Rewrap {
        /// Of which rollover.
        rollover: RolloverId,
        /// Which of its passes.
        pass: u32,
    },
    /// What only a newer version knows: done here by doing nothing. That one asks again.
    #[serde(untagged)]
    Unknown(serde_json::Value),
}

/// Where tasks are put.
#[async_trait]
pub trait Queue: fmt::Debug + Send + Sync + 'static {
    /// Puts `task`, to run `after` a while. A task whose `key` is queued or was
    /// run already is not put again.
    async fn put(&self, task: Task, after: Duration, key: String) -> Result<(), QueueError>;

    /// Deletes tasks that ended more than an hour ago.
    async fn sweep(&self) -> Result<(), QueueError>;
}

/// The queue did not take a task.
#[derive(Debug, thiserror::Error)]
#[error("the work queue did not answer: {0}; run `breeze-api migrate` if its tables are missing")]
pub struct QueueError(pub(super) String);

#[cfg(feature = "postgres")]
mod postgres {
    use apalis::prelude::{TaskBuilder, TaskSink};
    use apalis_postgres::{Config, PgPool, PostgresStorage};

    use super::{Duration, QUEUE, Queue, QueueError, Task, async_trait, fmt};

    /// The queue on PostgreSQL, in the schema `apalis`.
    #[derive(Clone)]
    pub struct PgQueue(PgPool);

    impl PgQueue {
        /// The queue in the database of `pool`.
        #[must_use]
        pub const fn new(pool: PgPool) -> Self {
            Self(pool)
        }

        pub(crate) fn storage(&self) -> PostgresStorage<Task> {
            let config = Config::default()
                .queue(QUEUE)
                .batch_size(2)
                .heartbeat_interval(Duration::from_secs(5))
                .missed_heartbeats(3);
            PostgresStorage::new(&self.0).with_config(config)
        }

        /// Makes the queue's tables; needs a role that may create schemas and extensions.
        ///
        /// # Errors
        /// [`QueueError`] when the database refuses.
        pub async fn migrate(&self) -> Result<(), QueueError> {
            PostgresStorage::setup(&self.0).await.map_err(|e| QueueError(e.to_string()))
        }
    }

    impl fmt::Debug for PgQueue {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("PgQueue")
        }
    }

    /// Guards nothing; served by `apalis.jobs_job_type_idx`… of the queue's own.
    const SWEEP: &str = "DELETE FROM apalis.jobs \
        WHERE job_type = $1 AND status IN ('Done', 'Failed', 'Killed') \
        AND done_at < now() - interval '1 hour'";

    #[async_trait]
    impl Queue for PgQueue {
        async fn put(&self, task: Task, after: Duration, key: String) -> Result<(), QueueError> {
            let task = TaskBuilder::new(task).run_after(after).idempotency_key(key).build();
            match self.storage().push_task(task).await {
                Err(error) if error.to_string().contains("idx_jobs_idempotency_key") => Ok(()),
                other => other.map_err(|e| QueueError(e.to_string())),
            }
        }

        async fn sweep(&self) -> Result<(), QueueError> {
            sqlx::query(SWEEP)
                .bind(QUEUE)
                .execute(&self.0)
                .await
                .map(drop)
                .map_err(|e| QueueError(e.to_string()))
        }
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use apalis::prelude::{TaskBuilder, TaskSink};
    use apalis_sqlite::{Config, SqlitePool, SqliteStorage};

    use super::{Duration, QUEUE, Queue, QueueError, Task, async_trait, fmt};

    /// The queue on SQLite, beside everything else.
    #[derive(Clone)]
    pub struct SqliteQueue(SqlitePool);

    impl SqliteQueue {
        /// The queue in the database of `pool`.
        #[must_use]
        pub const fn new(pool: SqlitePool) -> Self {
            Self(pool)
        }

        pub(crate) fn storage(&self) -> SqliteStorage<Task> {
            let config = Config::default()
                .queue(QUEUE)
                .batch_size(2)
                .heartbeat_interval(Duration::from_secs(5))
                .missed_heartbeats(3);
            SqliteStorage::new(&self.0).with_config(config)
        }

        /// Makes the queue's tables. Runs the queue's migrations alone: its own
        /// set-up would also turn `synchronous` off on one connection of the pool.
        ///
        /// # Errors
        /// [`QueueError`] when the database refuses.
        pub async fn migrate(&self) -> Result<(), QueueError> {
            let mut migrations = SqliteStorage::migrations();
            migrations.table_name = "apalis_migrations".into();
            // One transaction for all of it: the write lock keeps two processes apart.
            let failed = |error: sqlx::migrate::MigrateError| QueueError(error.to_string());
            let mut transaction =
                self.0.begin_with("BEGIN IMMEDIATE").await.map_err(|e| failed(e.into()))?;
            migrations.run_direct(None, &mut *transaction, false).await.map_err(failed)?;
            transaction.commit().await.map_err(|e| failed(e.into()))
        }
    }

    impl fmt::Debug for SqliteQueue {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("SqliteQueue")
        }
    }

    /// Guards nothing; the table holds an hour of tasks.
    const SWEEP: &str = "DELETE FROM Jobs \
        WHERE job_type = ?1 AND status IN ('Done', 'Failed', 'Killed') \
        AND done_at < strftime('%s', 'now') - 3600";

    #[async_trait]
    impl Queue for SqliteQueue {
        async fn put(&self, task: Task, after: Duration, key: String) -> Result<(), QueueError> {
            let task = TaskBuilder::new(task).run_after(after).idempotency_key(key).build();
            self.storage().push_task(task).await.map_err(|e| QueueError(e.to_string()))
        }

        async fn sweep(&self) -> Result<(), QueueError> {
            sqlx::query(SWEEP)
                .bind(QUEUE)
                .execute(&self.0)
                .await
                .map(drop)
                .map_err(|e| QueueError(e.to_string()))
        }
    }
}

#[cfg(feature = "postgres")]
pub use postgres::PgQueue;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteQueue;
