//! The queue of steps to do, shared by all replicas through the database.
//!
//! The queue only says *when* to look: what to do follows from the rollover's row
//! alone. A task that is lost, or delivered twice, does no harm.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::ids::RolloverId;

/// Which of two queues a task is put into. A process takes a task from a lane only
/// while it has room for one of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// What takes moments, and what must not wait for room.
    Steps,
    /// Shares of the bulk rewrap: as many at once as a process should do.
    Bulk,
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
impl Lane {
    /// The queue's name in the database.
    const fn name(self) -> &'static str {
        match self {
            Self::Steps => "breeze-rollover",
            Self::Bulk => "breeze-rollover-bulk",
        }
    }
}

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
    /// Rewrap one range of a pass, however many this process is at: its holder is gone.
    TakeOver {
        /// Of which rollover.
        rollover: RolloverId,
        /// Which of its passes.
        pass: u32,
    },
    /// Something that is done now and then.
    Chore {
        /// Its name.
        name: String,
    },
    /// What only a newer version knows: done here by doing nothing. That one asks again.
    #[serde(untagged)]
    Unknown(serde_json::Value),
}

impl Task {
    /// Which queue it is put into.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Rewrap { .. } => Lane::Bulk,
            Self::Drive { .. } | Self::TakeOver { .. } | Self::Chore { .. } | Self::Unknown(_) => {
                Lane::Steps
            }
        }
    }
}

/// Where tasks are put.
#[async_trait]
pub trait Queue: fmt::Debug + Send + Sync + 'static {
    /// Puts `task`, to run `after` a while. A task whose `key` is queued or was
    /// run already is not put again.
    async fn put(&self, task: Task, after: Duration, key: String) -> Result<(), QueueError>;

    /// How many tasks have been waiting for more than half a minute past their time.
    async fn overdue(&self) -> Result<u64, QueueError>;

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

    use super::{Duration, Lane, Queue, QueueError, Task, async_trait, fmt};
    use crate::store::postgres::Pool;

    /// The queue on PostgreSQL, in the schema `apalis`.
    #[derive(Clone)]
    pub struct PgQueue(Pool);

    impl PgQueue {
        /// The queue in the database of `pool`.
        #[must_use]
        pub fn new(pool: PgPool) -> Self {
            Self(Pool::new(pool))
        }

        pub(crate) fn storage(&self, lane: Lane) -> PostgresStorage<Task> {
            // One task at a time: what is taken is begun, and never kept from others.
            let config = Config::default()
                .queue(lane.name())
                .batch_size(1)
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
        WHERE job_type = ANY($1) AND status IN ('Done', 'Failed', 'Killed') \
        AND done_at < now() - interval '1 hour'";

    /// Guards nothing; served by the queue's own index of what is pending.
    const OVERDUE: &str = "SELECT count(*) FROM apalis.jobs \
        WHERE job_type = ANY($1) AND status = 'Pending' \
        AND run_at < now() - interval '30 seconds'";

    #[async_trait]
    impl Queue for PgQueue {
        async fn put(&self, task: Task, after: Duration, key: String) -> Result<(), QueueError> {
            let lane = task.lane();
            let task = TaskBuilder::new(task).run_after(after).idempotency_key(key).build();
            match self.storage(lane).push_task(task).await {
                Err(error) if error.to_string().contains("idx_jobs_idempotency_key") => Ok(()),
                other => other.map_err(|e| QueueError(e.to_string())),
            }
        }

        async fn overdue(&self) -> Result<u64, QueueError> {
            let overdue: i64 = sqlx::query_scalar(OVERDUE)
                .bind([Lane::Steps, Lane::Bulk].map(Lane::name))
                .fetch_one(&self.0)
                .await
                .map_err(|e| QueueError(e.to_string()))?;
            Ok(overdue.unsigned_abs())
        }

        async fn sweep(&self) -> Result<(), QueueError> {
            sqlx::query(SWEEP)
                .bind([Lane::Steps, Lane::Bulk].map(Lane::name))
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

    use super::{Duration, Lane, Queue, QueueError, Task, async_trait, fmt};

    /// The queue on SQLite, beside everything else.
    #[derive(Clone)]
    pub struct SqliteQueue(SqlitePool);

    impl SqliteQueue {
        /// The queue in the database of `pool`.
        #[must_use]
        pub const fn new(pool: SqlitePool) -> Self {
            Self(pool)
        }

        pub(crate) fn storage(&self, lane: Lane) -> SqliteStorage<Task> {
            // One task at a time: what is taken is begun, and never kept from others.
            let config = Config::default()
                .queue(lane.name())
                .batch_size(1)
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
        WHERE job_type IN (?1, ?2) AND status IN ('Done', 'Failed', 'Killed') \
        AND done_at < strftime('%s', 'now') - 3600";

    /// Guards nothing; served by the queue's own index of what is pending.
    const OVERDUE: &str = "SELECT count(*) FROM Jobs \
        WHERE job_type IN (?1, ?2) AND status = 'Pending' \
        AND run_at < strftime('%s', 'now') - 30";

    #[async_trait]
    impl Queue for SqliteQueue {
        async fn put(&self, task: Task, after: Duration, key: String) -> Result<(), QueueError> {
            let lane = task.lane();
            let task = TaskBuilder::new(task).run_after(after).idempotency_key(key).build();
            self.storage(lane).push_task(task).await.map_err(|e| QueueError(e.to_string()))
        }

        async fn overdue(&self) -> Result<u64, QueueError> {
            let overdue: i64 = sqlx::query_scalar(OVERDUE)
                .bind(Lane::Steps.name())
                .bind(Lane::Bulk.name())
                .fetch_one(&self.0)
                .await
                .map_err(|e| QueueError(e.to_string()))?;
            Ok(overdue.unsigned_abs())
        }

        async fn sweep(&self) -> Result<(), QueueError> {
            sqlx::query(SWEEP)
                .bind(Lane::Steps.name())
                .bind(Lane::Bulk.name())
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
