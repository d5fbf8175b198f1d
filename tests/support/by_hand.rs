//! A process without a life of its own, that a test moves step by step.

use std::{sync::Arc, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    column::Registry,
    envelope::Target,
    ids::RolloverId,
    operator::{Operator, Refusal, Request},
    replica::{Membership, ReplicaError},
    rollover::{Blocker, Rollover},
    store::{Actor, Store, custody::RootKeys},
    worker::{DriveError, Next, Worker, WorkerSettings},
};

use super::app::{environment, registry};

/// How long a process without a sign of life counts as alive.
pub const LEASE: Duration = Duration::from_millis(400);

/// One process that a test drives by hand: no queue, no background task, its lease
/// over a moment after its last sign of life.
#[derive(Clone)]
pub struct ByHand {
    pub worker: Worker,
}

impl ByHand {
    /// Joins through `store`, with small batches.
    pub async fn join(store: Arc<dyn Store>) -> Result<Self, ReplicaError> {
        Self::join_with(store, registry(), Arc::new(SystemClock)).await
    }

    /// Joins with a lease of its own.
    pub async fn join_for(store: Arc<dyn Store>, lease: Duration) -> Result<Self, ReplicaError> {
        Self::join_as(store, registry(), Arc::new(SystemClock), lease, lease / 8).await
    }

    /// Joins with other columns, and a clock of the test's own.
    pub async fn join_with(
        store: Arc<dyn Store>,
        registry: Registry,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ReplicaError> {
        Self::join_as(store, registry, clock, LEASE, LEASE / 8).await
    }

    /// Joins as one that polls every `poll` once it runs.
    pub async fn polling(store: Arc<dyn Store>, poll: Duration) -> Result<Self, ReplicaError> {
        Self::join_as(store, registry(), Arc::new(SystemClock), LEASE, poll).await
    }

    async fn join_as(
        store: Arc<dyn Store>,
        registry: Registry,
        clock: Arc<dyn Clock>,
        lease: Duration,
        poll: Duration,
    ) -> Result<Self, ReplicaError> {
        let joined = Membership {
            store,
            root: RootKeys::open(&environment(), None).unwrap(),
            environment: environment(),
            name: "by hand".to_owned(),
            signs: vec![(Secret::JwtSecret, Duration::from_secs(2))],
            target: Target::Bound,
            columns: registry.names(),
            lease,
            poll,
            accepts_while_fenced: false,
            clock,
        }
        .join()
        .await?;
        let settings = WorkerSettings { batch_size: 8, ..WorkerSettings::default() };
        Ok(Self { worker: Worker::new(joined.replica, Arc::new(registry), &settings) })
    }

    pub fn operator(&self) -> Operator {
        Operator::new(self.worker.clone(), Duration::from_secs(3600))
    }

    /// Begins a rollover as the system.
    pub async fn begin(&self, request: Request) -> Result<Rollover, Refusal> {
        self.operator().begin(request, Actor::System).await
    }

    /// Rewraps what is free of a pass.
    pub async fn rewrap(&self, id: RolloverId, pass: u32) -> Result<(), DriveError> {
        self.alive(self.worker.rewrap(id, pass)).await
    }

    /// What `work` comes to, its lease renewed for as long as that takes.
    pub async fn alive<T>(&self, work: impl Future<Output = T>) -> T {
        let beats = async {
            loop {
                tokio::time::sleep(LEASE / 4).await;
                // A process that has died beats in vain.
                drop(self.worker.replica().beat().await);
            }
        };
        tokio::select! { done = work => done, () = beats => unreachable!("it goes on for ever") }
    }

    /// What `work` of another process comes to, while this one follows every change.
    pub async fn following<T>(&self, work: impl Future<Output = T>) -> T {
        let follows = async {
            loop {
                self.worker.replica().refresh().await.unwrap();
                self.worker.replica().beat().await.unwrap();
                tokio::time::sleep(LEASE / 8).await;
            }
        };
        tokio::select! { done = work => done, () = follows => unreachable!("it goes on for ever") }
    }

    /// Carries `id` to its end, all alone if need be.
    pub async fn carry(&self, id: RolloverId) -> Result<(), DriveError> {
        self.carry_until(id, |_| false).await
    }

    /// Carries `id` until something `stops` it, or to its end.
    pub async fn carry_until(
        &self,
        id: RolloverId,
        stops: impl Fn(Blocker) -> bool,
    ) -> Result<(), DriveError> {
        let replica = self.worker.replica();
        loop {
            replica.refresh().await?;
            replica.beat().await?;
            match self.alive(self.worker.drive(id)).await? {
                Next::Never => return Ok(()),
                Next::After(_, blocker) if stops(blocker) => return Ok(()),
                Next::After(_, Blocker::Bulk) => {
                    let pass = replica.store().rollover(id).await?.unwrap().pass;
                    self.rewrap(id, pass).await?;
                }
                Next::After(..) => {}
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
