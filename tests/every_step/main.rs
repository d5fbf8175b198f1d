//! Every step twice, every step failed, every step by two at once: a rollover is carried
//! out again and again, and ends each time as if nothing had happened.
//!
//! The steps are counted and not named: whatever a later version writes is among them.
#![cfg(all(feature = "postgres", feature = "sqlite", feature = "worker"))]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod together;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, ManualClock, SystemClock},
    embed::Database,
    ids::RolloverId,
    keyring::KeyState,
    operator::Refusal,
    replica::ReplicaError,
    rollover::{Blocker, Mode, Phase, Rollover},
    store::{Actor, Store},
    worker::{Next, Worker, WorkerSettings},
};
use support::{
    app::{execute, fill, registry, request},
    by_hand::ByHand,
};

const ROWS: u32 = 9;
/// Rows of both tables.
const ALL: u64 = 2 * ROWS as u64;

/// One way through the phases.
#[derive(Debug, Clone, Copy)]
struct Course {
    secret: Secret,
    mode: Mode,
    /// Back again, once the new key is primary and everything is under it.
    back: bool,
}

impl Course {
    /// Carries `id` to its end from wherever it is, all alone.
    async fn carry(self, by: &ByHand, clock: &ManualClock, id: RolloverId) -> Result<(), Refusal> {
        let (worker, replica) = (&by.worker, by.worker.replica());
        loop {
            clock.advance(Duration::from_millis(1));
            replica.refresh().await?;
            replica.beat().await?;
            let rollover = by.operator().rollover(id).await?;
            if self.back && rollover.phase == Phase::Promoted {
                let pass = replica.store().pass(id, rollover.pass).await?;
                if pass.is_some_and(|pass| pass.finished < pass.ranges) {
                    worker.rewrap(id, rollover.pass).await?;
                    continue;
                }
                let is_under_the_new_key = match self.secret {
                    Secret::AppEncryptionKey => pass.is_some(),
                    _ => rollover.settled_at.is_some(),
                };
                if is_under_the_new_key {
                    match by.operator().roll_back(id, Actor::System, "a test").await {
                        // It is on its way back already.
                        Ok(_) | Err(Refusal::Illegal(_)) => {}
                        Err(refused) => return Err(refused),
                    }
                }
            }
            match worker.drive(id).await? {
                Next::Never => return Ok(()),
                Next::After(_, Blocker::Bulk) if self.is_on_its_way(by, id).await? => {
                    let pass = by.operator().rollover(id).await?.pass;
                    worker.rewrap(id, pass).await?;
                }
                Next::After(_, Blocker::Lifetime(until)) if self.is_on_its_way(by, id).await? => {
                    clock.advance(until.since(clock.now()));
                }
                Next::After(..) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    }

    /// Whether it only goes on in the direction in which it ends.
    async fn is_on_its_way(self, by: &ByHand, id: RolloverId) -> Result<bool, Refusal> {
        Ok(!self.back || by.operator().rollover(id).await?.phase == Phase::RollingBack)
    }

    /// The rollover ended as it should, everything was done, and once.
    async fn assert_done(self, by: &ByHand, rollover: &Rollover, what: &str) {
        let (end, primary) = match self.back {
            true => (Phase::RolledBack, Some(&rollover.from_key)),
            false => (Phase::Retired, rollover.to_key.as_ref()),
        };
        assert_eq!(rollover.phase, end, "{what}");
        let report = rollover.report.as_ref().unwrap();
        let rewrapped = match (self.secret, self.back) {
            (Secret::AppEncryptionKey, true) => 2 * ALL,
            (Secret::AppEncryptionKey, false) => ALL,
            _ => 0,
        };
        assert_eq!(report["rowsRewrapped"], rewrapped, "{what}: {report}");
        assert_eq!(report["rowsScanned"], rewrapped, "{what}: {report}");
        assert_eq!(report["rowsThatKeptAnEdit"], 0, "{what}: {report}");
        let custody = by.worker.replica().store().custody().await.unwrap();
        for key in custody.keys.iter().filter(|key| key.secret == self.secret) {
            let state = match Some(&key.id) == primary {
                true => KeyState::Primary,
                false => KeyState::Retired,
            };
            // Before the first rollover of a secret is at its end older ones are accepted.
            let is_older =
                ![Some(&rollover.from_key), rollover.to_key.as_ref()].contains(&Some(&key.id));
            assert!(
                key.state == state || (is_older && key.state == KeyState::Retiring),
                "{what}: {key:?}"
            );
        }
        if self.secret == Secret::AppEncryptionKey {
            let census = by.operator().census().await.unwrap();
            assert_eq!((census.stale, census.quarantined.len()), (0, 0), "{what}");
        }
    }
}

/// A process whose ranges are whole tables, in batches of a few rows.
async fn join(store: Arc<dyn Store>, clock: &Arc<ManualClock>) -> Result<ByHand, ReplicaError> {
    let mut joined = ByHand::join_with(store, registry(), Arc::clone(clock) as _).await?;
    let settings = WorkerSettings { parts: 1, batch_size: 8, ..WorkerSettings::default() };
    let replica = Arc::clone(joined.worker.replica());
    joined.worker = Worker::new(replica, Arc::new(registry()), &settings);
    Ok(joined)
}

/// The database on which all of it happens, and who is never at fault.
struct Ground {
    database: Database,
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    survivor: ByHand,
}

impl Ground {
    async fn on(database: Database) -> Self {
        fill(&database, ROWS).await;
        let (store, clock) = (database.store(), Arc::new(ManualClock::at(SystemClock.now())));
        let survivor = join(Arc::clone(&store), &clock).await.unwrap();
        Self { database, store, clock, survivor }
    }

    async fn newest(&self) -> Option<RolloverId> {
        self.store.rollovers(None, 1).await.unwrap().first().map(|rollover| rollover.id)
    }

    /// Time passes, and with it every lease.
    async fn leases_run_out(&self) {
        let dot = if matches!(self.database, Database::Postgres(_)) { "." } else { "_" };
        let sql = ["replica", "range"]
            .map(|table| format!("UPDATE rollover{dot}{table} SET lease_until = 0"));
        execute(&self.database, &sql.join("; ")).await;
    }

    /// How often the audit trail tells each step of `id`.
    async fn steps(&self, id: RolloverId) -> BTreeMap<String, usize> {
        let mut steps = BTreeMap::new();
        for entry in self.store.audit(None, 60).await.unwrap() {
            if entry.resource_id == Some(id.0) {
                *steps.entry(entry.action).or_default() += 1;
            }
        }
        steps
    }
}

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A test for each course, in which `$promise` is kept.
macro_rules! courses {
    ($promise:ident: $($course:ident: $secret:ident $mode:ident $back:literal),* $(,)?) => {
        $(async fn $course(database: Database) {
            let course = Course { secret: Secret::$secret, mode: Mode::$mode, back: $back };
            $promise(database, course).await;
        })*
        on_both_databases!($($course),*);
    };
}
use courses;
