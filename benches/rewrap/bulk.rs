//! The bulk rewrap, as the worker of one process does it.

use std::{sync::Arc, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    clock::SystemClock,
    column::{Column, Registry},
    embed::Database,
    envelope::Target,
    ids::{Epoch, KeyId, RolloverId},
    keyring::{AnyKeyring, Key, KeyState, Keychain, Keyring, SealBudget, sources::Environment},
    material::Material,
    replica::{Membership, Replica},
    rollover::{Mode, Phase, Rollover},
    store::{Actor, Change, Committed, NewRange, RolloverChange, custody::RootKeys, step::Step},
    worker::{Worker, WorkerSettings},
};

use crate::tables::{COLUMN, REWRAPPED};

/// Rewrap tasks of one process, as the worker has them by default.
pub const TASKS: u32 = 2;

const OLD: &str = "the previous key of this bench";
const NEW: &str = "the present key of this bench";

/// One rollover in the middle of its draining, whose passes begin at will.
pub struct Bulk {
    replica: Arc<Replica>,
    rollover: Rollover,
    previous: Keychain,
    present: Keychain,
}

impl Bulk {
    pub async fn begin(database: &Database) -> Self {
        let replica = join(database).await;
        let now = replica.clock().now();
        let rollover = Rollover {
            id: RolloverId::new(),
            secret: Secret::AppEncryptionKey,
            mode: Mode::Graceful,
            dry_run: false,
            phase: Phase::Promoted,
            revision: 0,
            paused_at: None,
            reason: "a bench".to_owned(),
            requested_by: "system".to_owned(),
            from_key: KeyId::new("old").unwrap(),
            to_key: Some(KeyId::new("new").unwrap()),
            created_at: now,
            updated_at: now,
            settled_at: Some(now),
            target: Target::Bound,
            pass: 0,
            max_rows_per_second: None,
            blocked_by: None,
            accept_quarantined: false,
            accept_loss: false,
            probed_at: None,
            ask_at: None,
            asked_by: None,
            revoking_at: None,
            revoked_at: None,
            report: None,
            cut_off: None,
        };
        let begin = Change {
            rollover: Some(RolloverChange::Begin {
                rollover: Box::new(rollover.clone()),
                alongside: false,
            }),
            ..Change::default()
        };
        let begun = replica.store().commit(&begin).await.unwrap();
        assert!(matches!(begun, Committed::Done(_)), "{begun:?}");
        Self { replica, rollover, previous: keychain("old", OLD), present: keychain("new", NEW) }
    }

    /// Seals with the previous key.
    pub const fn previous(&self) -> &Keychain {
        &self.previous
    }

    /// Seals with the present key.
    pub const fn present(&self) -> &Keychain {
        &self.present
    }

    /// One whole pass, its ranges claimed by `tasks` tasks.
    pub async fn pass(&mut self, tasks: u32, ceiling: Option<u32>) {
        let worker = worker(&self.replica, tasks);
        let (id, pass) = self.begin_pass(tasks, ceiling).await;
        let tasks: Vec<_> = (0..tasks)
            .map(|_| {
                let worker = worker.clone();
                tokio::spawn(async move { worker.rewrap(id, pass).await.unwrap() })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }

    /// A pass that goes on until its worker is shut down.
    pub async fn paced(&mut self, rows_per_second: u32) -> Worker {
        let worker = worker(&self.replica, TASKS);
        let (id, pass) = self.begin_pass(TASKS, Some(rows_per_second)).await;
        for _ in 0..TASKS {
            let worker = worker.clone();
            tokio::spawn(async move { worker.rewrap(id, pass).await.unwrap() });
        }
        worker
    }

    /// How many rows the last pass rewrapped.
    pub async fn rewrapped(&self) -> u64 {
        let store = self.replica.store();
        let pass = store.pass(self.rollover.id, self.rollover.pass).await.unwrap().unwrap();
        pass.rewrapped
    }

    /// Begins a pass over `parts` ranges.
    pub async fn begin_pass(&mut self, parts: u32, ceiling: Option<u32>) -> (RolloverId, u32) {
        self.change(|step| step.limit(ceiling)).await;
        let store = Arc::clone(self.replica.store());
        let survey = store.survey(&registry()).await.unwrap();
        let [table] = survey.tables.as_slice() else { panic!("{survey:?}") };
        let bounds = store.split(table, parts).await.unwrap();
        let uptos = bounds.iter().cloned().map(Some).chain([None]);
        let afters = [None].into_iter().chain(bounds.iter().cloned().map(Some));
        let rollover = self.rollover.id;
        let ranges = |pass| {
            let range = |(number, (after, upto))| NewRange {
                rollover,
                pass,
                table: REWRAPPED.to_owned(),
                number: number as u32,
                after,
                upto,
            };
            afters.zip(uptos).enumerate().map(range).collect()
        };
        self.change(|step| step.begin_pass(ranges)).await;
        (self.rollover.id, self.rollover.pass)
    }

    async fn change(&mut self, change: impl FnOnce(&Step<'_>) -> Change) {
        let change = change(&Step {
            rollover: &self.rollover,
            from_state: KeyState::Retiring,
            actor: Actor::System,
            because: "a bench",
            now: self.replica.clock().now(),
        });
        let Some(RolloverChange::Move(next)) = &change.rollover else { panic!("{change:?}") };
        let next = next.as_ref().clone();
        let committed = self.replica.store().commit(&change).await.unwrap();
        assert!(matches!(committed, Committed::Done(_)), "{committed:?}");
        self.rollover = next;
    }
}

/// A replica of this process, which keeps its lease.
pub async fn join(database: &Database) -> Arc<Replica> {
    let environment = [
        ("JWT_SECRET", "a signing secret of this bench 0123456789"),
        ("APP_ENCRYPTION_KEYRING", &format!(r#"{{"old":"{OLD}","new":"{NEW}"}}"#)),
        ("APP_ENCRYPTION_KEY_ID", "new"),
        ("BREEZE_ROOT_KEY", "a root key that seals every other key in the store"),
    ];
    let environment = Environment::given(environment);
    let joined = Membership {
        store: database.store(),
        root: RootKeys::open(&environment, None).unwrap(),
        environment,
        name: "bench".to_owned(),
        signs: vec![],
        target: Target::Bound,
        columns: vec![],
        lease: Duration::from_secs(15),
        poll: Duration::from_secs(1),
        accepts_while_fenced: false,
        clock: Arc::new(SystemClock),
    }
    .join()
    .await
    .unwrap();
    tokio::spawn(Arc::clone(&joined.replica).run(std::future::pending()));
    joined.replica
}

/// A worker that rewraps `parts` ranges at once.
pub fn worker(replica: &Arc<Replica>, parts: u32) -> Worker {
    let settings = WorkerSettings { parts, ..WorkerSettings::default() };
    Worker::new(Arc::clone(replica), Arc::new(registry()), &settings)
}

fn registry() -> Registry {
    Registry::empty().with(Column::text(REWRAPPED, COLUMN))
}

fn keychain(id: &str, source: &str) -> Keychain {
    let budget = Arc::new(SealBudget::new(0, u64::MAX));
    let material = Material::new(source).unwrap();
    let key = Key::sealing(KeyId::new(id).unwrap(), KeyState::Primary, true, &material, budget);
    Keychain::new(Epoch(1))
        .with(Secret::AppEncryptionKey, AnyKeyring::Sealing(Keyring::new(vec![key]).unwrap()))
}
