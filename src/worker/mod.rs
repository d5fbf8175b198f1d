//! The worker inside each API process: drives rollovers and rewraps, in turn with
//! the workers of all other replicas.
//!
//! 1. [`Worker::drive`] looks at a rollover, plans, and does one step at a time.
//! 2. [`Worker::rewrap`] takes ranges of a pass; every batch is one transaction.
//! 3. The [`Queue`] says when to look; the store says what to do, and whose it is.

mod bulk;
mod chore;
mod counting;
mod credential;
mod drive;
mod error;
mod lazy;
mod look;
mod observe;
mod pace;
mod queue;
mod rehearse;
pub mod rewrap;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod run;
mod share;
mod straggler;
pub mod sweep;
mod turn;
mod write;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use chore::Chore;
pub use counting::Counting;
pub(crate) use credential::tried;
pub use drive::Next;
pub use error::DriveError;
pub use lazy::{LazyRewrap, LazyTotals, LazyWorker, lazy_rewrap};
pub use observe::{observe, primary};
pub use pace::Pace;
#[cfg(feature = "postgres")]
pub use queue::PgQueue;
#[cfg(feature = "sqlite")]
pub use queue::SqliteQueue;
pub use queue::{Lane, Queue, QueueError, Task};
pub use rehearse::Impact;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use run::WorkerBackend;
pub use straggler::Stragglers;

use sweep::{Sweep, Swept};
use tokio::{sync::Semaphore, task::JoinSet};
use turn::Turns;

use crate::{
    catalog::Secret,
    clock::Timestamp,
    column::Registry,
    envelope::Target,
    ids::RolloverId,
    provider::Provider,
    replica::Replica,
    store::{ColumnFault, ReplicaRecord, StoreError},
};

/// How the worker of one process works.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Ranges of a large table, and rewrap tasks of one process.
    pub parts: u32,
    /// Rows of a batch, at most.
    pub batch_size: u32,
    /// How long a batch should take; slower ones make the next smaller.
    pub set_point: Duration,
    /// How long a range stays with a worker that gives no sign of life.
    pub range_lease: Duration,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            parts: 2,
            batch_size: 1000,
            set_point: Duration::from_millis(200),
            range_lease: Duration::from_secs(10),
        }
    }
}

/// The worker of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Worker {
    replica: Arc<Replica>,
    registry: Arc<Registry>,
    queue: Option<Arc<dyn Queue>>,
    impact: Option<Arc<dyn Impact>>,
    counting: Option<Arc<dyn Counting>>,
    providers: Vec<Arc<dyn Provider>>,
    graces: Vec<(Secret, Duration)>,
    chores: Vec<Arc<dyn Chore>>,
    pace: Arc<Mutex<Pace>>,
    counted: Arc<Mutex<drive::Counts>>,
    parts: u32,
    /// One permit a rewrap task.
    rewrapping: Arc<Semaphore>,
    /// One permit a range beyond those, whose holder is gone.
    taking_over: Arc<Semaphore>,
    range_lease: Duration,
    /// The pass that is left to others.
    not_ours: Arc<Mutex<Option<(RolloverId, u32)>>>,
    shutting_down: Arc<AtomicBool>,
    busy: Arc<AtomicUsize>,
    /// Who drives which rollover.
    driving: Turns,
    /// Who asks the provider of which rollover.
    asking: Turns,
    /// What is asked of providers beside the tasks of the queue.
    asks: Arc<Mutex<JoinSet<()>>>,
}

impl Worker {
    /// A worker of `replica` on the columns of `registry`.
    #[must_use]
    pub fn new(replica: Arc<Replica>, registry: Arc<Registry>, settings: &WorkerSettings) -> Self {
        let parts = settings.parts.max(1);
        Self {
            replica,
            registry,
            queue: None,
            impact: None,
            counting: None,
            providers: vec![],
            graces: vec![],
            chores: vec![],
            pace: Arc::new(Mutex::new(Pace::new(settings.set_point, settings.batch_size))),
            counted: Arc::default(),
            parts,
            rewrapping: Arc::new(Semaphore::new(parts as usize)),
            taking_over: Arc::new(Semaphore::new(share::TAKEN)),
            range_lease: settings.range_lease,
            not_ours: Arc::default(),
            shutting_down: Arc::default(),
            busy: Arc::default(),
            driving: Turns::default(),
            asking: Turns::default(),
            asks: Arc::default(),
        }
    }

    /// Shares the work of a pass through `queue`.
    #[must_use]
    pub fn sharing(mut self, queue: Arc<dyn Queue>) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Asks `impact` whom a rollover would log out.
    #[must_use]
    pub fn knowing(mut self, impact: Arc<dyn Impact>) -> Self {
        self.impact = Some(impact);
        self
    }

    /// Asks `counting` what still needs a pepper, or a generation of what is issued.
    #[must_use]
    pub fn counting_with(mut self, counting: Arc<dyn Counting>) -> Self {
        self.counting = Some(counting);
        self
    }

    /// Rolls over the credentials of `provider`.
    #[must_use]
    pub fn at_provider(mut self, provider: Arc<dyn Provider>) -> Self {
        self.providers.push(provider);
        self
    }

    /// Accepts the old value of `secret` for at least `grace`, in place of what the
    /// catalog says.
    #[must_use]
    pub fn with_grace(mut self, secret: Secret, grace: Duration) -> Self {
        self.graces.push((secret, grace));
        self
    }

    /// Does `chore` now and then.
    #[must_use]
    pub fn doing(mut self, chore: Arc<dyn Chore>) -> Self {
        self.chores.push(chore);
        self
    }

    /// Where its tasks are put, if it shares them.
    pub(crate) const fn queue(&self) -> Option<&Arc<dyn Queue>> {
        self.queue.as_ref()
    }

    /// Whom to ask what only the application knows.
    pub(crate) const fn impact(&self) -> Option<&Arc<dyn Impact>> {
        self.impact.as_ref()
    }

    /// Where operators find listed what needs an old key of `secret`.
    pub(crate) fn listed_at(&self, secret: Secret) -> Option<&'static str> {
        self.counting.as_ref()?.listed_at(secret)
    }

    fn grace(&self, secret: Secret) -> Duration {
        let given = self.graces.iter().rev().find(|(of, _)| *of == secret);
        given.map_or(secret.entry().grace, |(_, grace)| *grace)
    }

    /// Who knows the credentials of `secret`.
    pub(crate) fn provider(&self, secret: Secret) -> Option<&Arc<dyn Provider>> {
        self.providers.iter().find(|provider| provider.secret() == secret)
    }

    /// The replica that it works for.
    #[must_use]
    pub const fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// The columns that it rewraps.
    #[must_use]
    pub const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Asks every task to end after the batch in hand.
    pub fn shut_down(&self) {
        self.shutting_down.store(true, Ordering::Relaxed);
    }

    /// What a rollover of `secret` works on: the columns that its keys may have sealed.
    fn concerned(&self, secret: Secret) -> Registry {
        self.registry.sealed_by(secret)
    }

    /// Counts what is not final under the primary key of `secret`, on every registered
    /// column that its keys may have sealed. The keys are read anew first: a process that
    /// was stopped since before a promotion would find everything final under the key that
    /// is to be retired.
    ///
    /// # Errors
    /// [`DriveError`] when the database does not answer: then nothing is proven.
    pub async fn what_is_left(
        &self,
        secret: Secret,
        target: Target,
        now: Timestamp,
    ) -> Result<Swept, DriveError> {
        self.replica.refresh().await?;
        let keys = self.replica.opening_keychain();
        let sweep = Sweep {
            rows: self.replica.store().as_ref(),
            registry: &self.concerned(secret),
            keys: &keys,
            target,
            apply: false,
            max_rows_per_second: None,
        };
        let mut left = sweep.run(&mut Pace::new(Duration::MAX, 1000), now, |_| {}).await?;
        // Another secret's columns are none that nobody has registered.
        left.unregistered.clear();
        left.unseen.extend(self.registered_elsewhere().await?);
        Ok(left)
    }

    /// Columns that only others register: a version beside this one seals there, too.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub(crate) async fn registered_elsewhere(&self) -> Result<Vec<ColumnFault>, StoreError> {
        let own = self.registry.names();
        let mut faults = BTreeMap::new();
        for ReplicaRecord { live, columns, name, version, .. } in
            self.replica.store().replicas().await?
        {
            for column in columns.into_iter().filter(|column| live && !own.contains(column)) {
                faults.entry(column.clone()).or_insert_with(|| ColumnFault::Elsewhere {
                    column,
                    replica: name.clone(),
                    version: version.clone(),
                });
            }
        }
        Ok(faults.into_values().collect())
    }

    fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }

    fn not_ours(&self) -> MutexGuard<'_, Option<(RolloverId, u32)>> {
        self.not_ours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
