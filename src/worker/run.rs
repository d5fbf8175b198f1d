//! The apalis workers of one process, and the tick that sees to it that no
//! rollover is forgotten.
//!
//! 1. A rollover is driven by one task at a time in a process; what wakes it meanwhile has
//!    it look once more.
//! 2. No task of the queue waits for a provider: one that hangs holds up neither the other
//!    rollovers nor the queue.

use std::{
    sync::{
        Arc, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use apalis::prelude::*;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::task::JoinSet;

use super::{
    DriveError, Lane, Next, Queue, Task as Work, Worker, credential::Ask, drive::Halt, share::LOOK,
};
use crate::{ids::RolloverId, rollover::Blocker};

/// How often a replica looks for rollovers that nobody drives.
const TICK: Duration = Duration::from_secs(2);

/// How long tasks may take to end once they are asked to.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a task waits by itself for what takes moments.
const MOMENTS: Duration = Duration::from_secs(1);

/// How soon that task looks again where no report of a replica wakes it.
const GLANCE: Duration = Duration::from_millis(50);

impl Worker {
    async fn handle(&self, task: Work) -> Result<(), DriveError> {
        match task {
            Work::Drive { rollover } => {
                let mut turn = self.driving.take(rollover);
                while let Some(mine) = turn {
                    self.look(rollover).await?;
                    turn = mine.again().filter(|_| !self.is_shutting_down());
                }
                Ok(())
            }
            Work::Rewrap { rollover, pass } => {
                let done = self.rewrap(rollover, pass).await;
                self.rewrapped(rollover, pass, done).await;
                Ok(())
            }
            Work::TakeOver { rollover, pass } => {
                // Beside the lane: the steps in it do not wait for what takes its time.
                let worker = self.clone();
                tokio::spawn(async move {
                    let _busy = Busy::with(&worker.busy);
                    let done = worker.take_over(rollover, pass).await;
                    worker.rewrapped(rollover, pass, done).await;
                });
                Ok(())
            }
            Work::Chore { name } => {
                self.do_chore(&name).await;
                Ok(())
            }
            Work::Unknown(_) => Ok(()),
        }
    }

    /// Drives as far as it goes now, and asks for the next look.
    async fn look(&self, rollover: RolloverId) -> Result<(), DriveError> {
        match self.drive_on(rollover).await {
            Ok(Halt::Rests(Next::After(after, _))) => self.look_at(rollover, after).await,
            Ok(Halt::Rests(Next::Never)) => Ok(()),
            Ok(Halt::Asks(ask)) => {
                self.ask_beside(*ask);
                Ok(())
            }
            Err(error) => {
                // The tick comes by again; apalis need not retry as well.
                tracing::warn!(%error, %rollover, "a rollover step failed");
                self.look_at(rollover, TICK).await
            }
        }
    }

    /// Asks a provider in a task of its own: however long that takes, it takes no room
    /// from the tasks of the queue.
    fn ask_beside(&self, ask: Ask) {
        let (worker, rollover) = (self.clone(), ask.id);
        let busy = Busy::with(&self.busy);
        let mut asks = self.asks();
        while asks.try_join_next().is_some() {}
        asks.spawn(async move {
            let _busy = busy;
            if let Err(error) = worker.ask(ask).await {
                tracing::warn!(%error, %rollover, "a provider was asked in vain");
            }
            worker.look_now(rollover).await;
        });
    }

    fn asks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last of a pass may be done: then the next step is due.
    async fn rewrapped(&self, rollover: RolloverId, pass: u32, done: Result<(), DriveError>) {
        match done {
            Ok(()) => self.look_now(rollover).await,
            Err(error) => {
                tracing::warn!(%error, %rollover, pass, "a bulk rewrap stopped; its range is taken over");
            }
        }
    }

    /// Drives, and waits here for what takes moments only.
    async fn drive_on(&self, rollover: RolloverId) -> Result<Halt, DriveError> {
        let began = std::time::Instant::now();
        loop {
            // From before the look: what is reported meanwhile is not slept through.
            let reported = self.replica.reported();
            let halt = self.advance(rollover).await?;
            let soon = matches!(
                halt,
                Halt::Rests(Next::After(
                    _,
                    Blocker::Replicas(_) | Blocker::InFlight(_) | Blocker::Accepted(_)
                ))
            );
            if !soon || began.elapsed() > MOMENTS || self.is_shutting_down() {
                return Ok(halt);
            }
            drop(tokio::time::timeout(GLANCE, reported).await);
        }
    }

    async fn tick(&self, queue: &dyn Queue) -> Result<(), DriveError> {
        let store = self.replica.store();
        for rollover in store.active_rollovers().await? {
            self.look_at(rollover.id, Duration::ZERO).await?;
        }
        // One in progress may wait for its cut-off too; the queue makes one look of two.
        for rollover in store.awaiting_cut_off().await? {
            self.look_at(rollover.id, Duration::ZERO).await?;
        }
        self.put_chores(queue).await;
        Ok(queue.sweep().await?)
    }

    /// Works until `shutdown` is ready; the batches in hand are finished first.
    ///
    /// The queue's worker is kept running meanwhile and then dropped, in place of its
    /// own way to stop: that one waits for the tasks without going on with a fetch
    /// that it has begun, whose transaction keeps every task from writing to SQLite.
    pub async fn run(&self, backend: &WorkerBackend, shutdown: impl Future<Output = ()> + Send) {
        let until_idle = async {
            tokio::select! {
                () = shutdown => {}
                () = self.keep_ticking() => {}
                () = self.keep_looking_for_work() => {}
            }
            self.shut_down();
            let idle = async {
                while self.busy.load(Ordering::Relaxed) > 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                // What the tasks came to is noted in the queue.
                tokio::time::sleep(ASK).await;
            };
            if tokio::time::timeout(PATIENCE, idle).await.is_err() {
                tracing::warn!("a task did not end in time; another replica takes it over");
            }
        };
        tokio::select! {
            () = until_idle => {}
            () = self.keep_working(backend, Lane::Steps) => {}
            () = self.keep_working(backend, Lane::Bulk) => {}
        }
        self.asks().abort_all();
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

    /// Looks for ranges that nobody rewraps.
    async fn keep_looking_for_work(&self) {
        loop {
            if let Err(error) = self.look_for_work().await {
                tracing::warn!(%error, "looking for work failed; the next look tries again");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Runs the worker of one queue, for ever, and starts it again when the database
    /// was away: it ends at the first fetch that fails.
    async fn keep_working(&self, backend: &WorkerBackend, lane: Lane) {
        loop {
            if let Err(error) = backend.work(self.clone(), lane).await {
                tracing::warn!(%error, "the queue's worker ended; it is started again");
            }
            tokio::time::sleep(MOMENTS).await;
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

/// Counts a task as busy for as long as it runs, however it ends.
struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn with(busy: &Arc<AtomicUsize>) -> Self {
        busy.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(busy))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn task(task: Work, worker: Data<Worker>) -> Result<(), BoxDynError> {
    let _busy = Busy::with(&worker.busy);
    // Whoever goes leaves the rest to the ticks of the others.
    if worker.is_shutting_down() {
        return Ok(());
    }
    Ok(worker.handle(task).await?)
}

/// How often an idle worker asks the queue. Polling, so that it works through a
/// pooler and after a lost connection alike.
const ASK: Duration = Duration::from_millis(200);

/// Steps of one process at once: two that take their time, a census or a provider, and
/// one that is free.
const STEPS: usize = 3;

/// When to ask the queue: not once the worker is shutting down, so that no fetch is
/// dropped in the middle of its transaction.
fn asks(worker: &Worker) -> BoxStream<'static, ()> {
    let shutting_down = Arc::clone(&worker.shutting_down);
    stream::unfold(shutting_down, |shutting_down| async {
        tokio::time::sleep(ASK).await;
        if shutting_down.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Some(((), shutting_down))
    })
    .boxed()
}

impl WorkerBackend {
    async fn work(&self, worker: Worker, lane: Lane) -> Result<(), WorkerError> {
        let name = format!("breeze-rollover-{}", uuid::Uuid::now_v7());
        let concurrency = match lane {
            Lane::Steps => STEPS,
            Lane::Bulk => worker.parts as usize,
        };
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(queue) => {
                WorkerBuilder::new(name)
                    .backend(queue.storage(lane).poll_with_stream(asks(&worker)))
                    .data(worker)
                    .concurrency(concurrency)
                    .build(task)
                    .run()
                    .await
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(queue) => {
                WorkerBuilder::new(name)
                    .backend(queue.storage(lane).poll_with_stream(asks(&worker)))
                    .data(worker)
                    .concurrency(concurrency)
                    .build(task)
                    .run()
                    .await
            }
        }
    }
}
