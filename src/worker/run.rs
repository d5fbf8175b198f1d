//! The apalis workers of one process, and the tick that sees to it that no
//! rollover is forgotten.

use std::time::Duration;

use apalis::prelude::*;
use tokio::sync::watch;

use super::{DriveError, Next, Queue, Task as Work, Worker};
use crate::{ids::RolloverId, rollover::Blocker};

/// How often a replica looks for rollovers that nobody drives.
const TICK: Duration = Duration::from_secs(5);

/// How long a task waits by itself for what takes moments.
const MOMENTS: Duration = Duration::from_secs(1);

impl Worker {
    async fn handle(&self, task: Work) -> Result<(), DriveError> {
        match task {
            Work::Drive { rollover } => {
                let next = self.drive_on(rollover).await;
                match next {
                    Ok(Next::After(after, _)) => self.look_at(rollover, after).await,
                    Ok(Next::Never) => Ok(()),
                    Err(error) => {
                        // The tick comes by again; apalis need not retry as well.
                        tracing::warn!(%error, %rollover, "a rollover step failed");
                        self.look_at(rollover, TICK).await
                    }
                }
            }
            Work::Rewrap { rollover, pass } => {
                let done = self.rewrap(rollover, pass).await;
                if let Err(error) = done {
                    tracing::warn!(%error, %rollover, pass, "a bulk rewrap stopped; its range is taken over");
                    return Ok(());
                }
                self.look_now(rollover).await;
                Ok(())
            }
        }
    }

    /// Drives, and waits here for what takes moments only.
    async fn drive_on(&self, rollover: RolloverId) -> Result<Next, DriveError> {
        let began = std::time::Instant::now();
        loop {
            let next = self.drive(rollover).await?;
            let soon = matches!(next, Next::After(_, Blocker::Replicas(_) | Blocker::InFlight(_)));
            if !soon || began.elapsed() > MOMENTS || self.is_shutting_down() {
                return Ok(next);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    async fn tick(&self, queue: &dyn Queue) -> Result<(), DriveError> {
        for rollover in self.replica.store().active_rollovers().await? {
            self.look_at(rollover.id, Duration::ZERO).await?;
        }
        Ok(queue.sweep().await?)
    }

    /// Works until `shutdown` is ready; the batch in hand is finished first.
    pub async fn run(&self, backend: &WorkerBackend, shutdown: impl Future<Output = ()> + Send) {
        let (stop, stopped) = watch::channel(());
        let until_told = async {
            tokio::select! {
                () = shutdown => {}
                () = self.keep_ticking() => {}
            }
            self.shut_down();
            drop(stop);
        };
        tokio::join!(until_told, self.keep_working(backend, stopped));
    }

    /// Looks every few seconds for rollovers that nobody drives.
    async fn keep_ticking(&self) {
        loop {
            if let Some(queue) = &self.queue
                && let Err(error) = self.tick(queue.as_ref()).await
            {
                tracing::warn!(%error, "the tick failed; the next one tries again");
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// Runs the queue's worker, and starts it again when the database was away:
    /// it ends at the first fetch that fails.
    async fn keep_working(&self, backend: &WorkerBackend, stopped: watch::Receiver<()>) {
        while !self.is_shutting_down() {
            let mut until = stopped.clone();
            // An error means that the sender is gone, which is the signal.
            let stop = async move { drop(until.changed().await) };
            if let Err(error) = backend.work(self.clone(), stop).await {
                tracing::warn!(%error, "the queue's worker ended; it is started again");
            }
            if !self.is_shutting_down() {
                tokio::time::sleep(MOMENTS).await;
            }
        }
    }
}

/// The queue's backend, as apalis runs it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum WorkerBackend {
    /// On PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(super::PgQueue),
    /// On SQLite.
    #[cfg(feature = "sqlite")]
    Sqlite(super::SqliteQueue),
}

async fn task(task: Work, worker: Data<Worker>) -> Result<(), BoxDynError> {
    Ok(worker.handle(task).await?)
}

/// How often an idle worker asks the queue. Polling, so that it works through a
/// pooler and after a lost connection alike.
const ASK: Duration = Duration::from_millis(200);

impl WorkerBackend {
    async fn work(
        &self,
        worker: Worker,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), WorkerError> {
        let name = format!("breeze-rollover-{}", uuid::Uuid::now_v7());
        // The rewrap tasks of this process, and one that drives.
        let concurrency = worker.parts as usize + 1;
        let stop = async move {
            stop.await;
            Ok::<(), std::io::Error>(())
        };
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(queue) => {
                WorkerBuilder::new(name)
                    .backend(queue.storage().poll_with_interval(ASK))
                    .data(worker)
                    .concurrency(concurrency)
                    .build(task)
                    .run_until(stop)
                    .await
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(queue) => {
                WorkerBuilder::new(name)
                    .backend(queue.storage().poll_with_interval(ASK))
                    .data(worker)
                    .concurrency(concurrency)
                    .build(task)
                    .run_until(stop)
                    .await
            }
        }
    }
}
