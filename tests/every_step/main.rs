//! Every step twice, every step failed, every step by two at once: a rollover is carried
//! out again and again, and ends each time as if nothing had happened.
//!
//! 1. The courses are enumerated from the product's table of phases and events, for each
//!    class of secrets and each mode ([`Course::all`]).
//! 2. The steps are enumerated as they come: whatever a later version writes is among
//!    them ([`faults`]).
//! 3. A step of the product that is on no course fails a test ([`complete`]).
#![cfg(all(feature = "postgres", feature = "sqlite", feature = "worker"))]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

#[path = "../support/mod.rs"]
mod support;

mod carry;
mod complete;
mod course;
mod faults;
mod outside;
mod play;
mod scene;
mod together;
mod verdict;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use breeze_rollover::{
    catalog::{Class, Secret},
    clock::{Clock, ManualClock, SystemClock, Timestamp},
    embed::Database,
    envelope::Target,
    ids::RolloverId,
    keyring::{KeyState, sources::Environment},
    operator::{Refusal, Request},
    replica::{Membership, ReplicaError},
    rollover::{Blocker, Event, Mode, Phase, Rollover},
    store::{Actor, AuditRecord, Store, custody::RootKeys},
    worker::{Next, Worker, WorkerSettings},
};
use course::{Course, first_of};
use scene::{OPENABLE, Scene, columns};
use support::{
    app::{execute, fill, registry, request, variables},
    by_hand::ByHand,
    double::Double,
};
use uuid::Uuid;

const ROWS: u32 = 9;
/// Rows of all tables that a key opens.
const ALL: u64 = 2 * ROWS as u64 + OPENABLE;

/// Long: whoever is gone is gone because a test says so ([`Ground::leases_run_out`]).
const LEASE: Duration = Duration::from_secs(600);

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn environment() -> Environment {
    let mut variables = variables();
    variables.insert(first_of(Class::Provider).name(), "what the provider knows");
    Environment::given(variables)
}

/// A process whose ranges are whole tables, in batches of a few rows.
async fn join(
    store: Arc<dyn Store>,
    clock: &Arc<ManualClock>,
    scene: &Arc<Scene>,
) -> Result<ByHand, ReplicaError> {
    let joined = Membership {
        store,
        root: RootKeys::open(&environment(), None).unwrap(),
        environment: environment(),
        name: "by hand".to_owned(),
        signs: vec![(first_of(Class::Signing), Duration::from_secs(2))],
        target: Target::Bound,
        columns: columns().names(),
        lease: LEASE,
        poll: LEASE / 8,
        accepts_while_fenced: false,
        clock: Arc::clone(clock) as _,
    }
    .join()
    .await?;
    let settings = WorkerSettings {
        parts: 1,
        batch_size: 8,
        set_point: PATIENCE,
        ..WorkerSettings::default()
    };
    let worker = Worker::new(joined.replica, Arc::new(columns()), &settings)
        .at_provider(Arc::clone(scene) as _)
        .counting_with(Arc::clone(scene) as _);
    Ok(ByHand { worker })
}

/// How often the audit trail tells each step of a rollover. What an operator asks for is
/// told each time that it is asked, and counts once.
type Steps = BTreeMap<String, usize>;

/// The database on which all of it happens, and who is never at fault.
struct Ground {
    database: Database,
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    /// When the keys of the environment came into custody.
    since: Timestamp,
    scene: Arc<Scene>,
    survivor: ByHand,
}

impl Ground {
    /// The ground of several courses, this one the first.
    async fn of(course: &Course, database: Database) -> Self {
        fill(&database, ROWS).await;
        let (store, clock) = (database.store(), Arc::new(ManualClock::at(SystemClock.now())));
        let scene = Arc::new(Scene::of(course, database.clone()).await);
        let sound = Double::on(Arc::clone(&store), Arc::clone(&scene));
        let survivor = join(sound, &clock, &scene).await.unwrap();
        scene.fill(&survivor.worker.replica().keychain().load_full()).await;
        let since = clock.now();
        Self { database, store, clock, since, scene, survivor }
    }

    /// Everything is ready for `course`, and nobody is alive.
    async fn is_set_for(&self, course: &Course) {
        // Nobody has so many keys as all the rollovers of one test leave.
        let spent = format!(
            "DELETE FROM rollover{}key WHERE state IN ('retired', 'destroyed') AND created_at > {}",
            self.dot(),
            self.since.as_millis(),
        );
        execute(&self.database, &spent).await;
        let replica = self.survivor.worker.replica();
        replica.refresh().await.unwrap();
        replica.beat().await.unwrap();
        self.scene.begins(course, &replica.keychain().load_full()).await;
        self.leases_run_out().await;
    }

    /// The survivor goes a whole course, and nothing goes wrong.
    async fn goes(&self, course: &Course) -> Rollover {
        self.is_set_for(course).await;
        let gone = async {
            let begun = self.survivor.begin(course.ask()).await?;
            self.carry(&self.survivor, begun.id).await?;
            self.survivor.operator().rollover(begun.id).await
        };
        let gone = tokio::time::timeout(PATIENCE, gone).await;
        let gone = gone.unwrap_or_else(|_| panic!("{course:?} does not end")).unwrap();
        self.assert_done(course, &gone, "nothing goes wrong").await;
        if course.rewrapped() > 0 {
            let report = gone.report.as_ref().unwrap();
            assert_eq!(report["rowsThatKeptAnEdit"], 1, "{course:?}: {report}");
        }
        gone
    }

    async fn newest(&self) -> Option<RolloverId> {
        self.store.rollovers(None, 1).await.unwrap().first().map(|rollover| rollover.id)
    }

    /// Time passes, and with it every lease.
    async fn leases_run_out(&self) {
        let sql = ["replica", "range"]
            .map(|table| format!("UPDATE rollover{}{table} SET lease_until = 0", self.dot()));
        execute(&self.database, &sql.join("; ")).await;
    }

    /// What is between the names of the control tables and what they begin with.
    const fn dot(&self) -> &'static str {
        if matches!(self.database, Database::Postgres(_)) { "." } else { "_" }
    }

    /// What the audit trail tells of `id`, in order.
    async fn trail(&self, id: RolloverId) -> Vec<AuditRecord> {
        let newest = self.store.audit(None, 100).await.unwrap().into_iter().rev();
        newest.filter(|entry| entry.resource_id == Some(id.0)).collect()
    }

    async fn steps(&self, id: RolloverId) -> Steps {
        let mut steps = Steps::new();
        for entry in self.trail(id).await {
            let times = steps.entry(entry.action).or_default();
            *times = if entry.actor_type == "user" { 1 } else { *times + 1 };
        }
        steps
    }
}

/// A test for each class and mode, in which `$promise` is kept. A class that is left out
/// does not compile.
macro_rules! each_class {
    ($promise:ident: $($class:ident: $graceful:ident $hard:ident,)*) => {
        const _: fn(Class) = |class| match class {
            $(Class::$class => {})*
        };
        $(async fn $graceful(database: Database) {
            $promise(database, Class::$class, Mode::Graceful).await;
        }
        async fn $hard(database: Database) {
            $promise(database, Class::$class, Mode::Hard).await;
        })*
        on_both_databases!($($graceful, $hard),*);
    };
}
use each_class;
