//! Crash anywhere, resume anywhere: every step fails before and after its commit,
//! and another replica carries on.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    ids::RolloverId,
    keyring::KeyState,
    replica::ReplicaError,
    rollover::{Mode, Phase},
    store::{Actor, Change, Store, StoreError},
};
use support::{
    app::{fill, on_both_databases, plaintexts, request},
    by_hand::ByHand,
    double::{Call, Double, Script},
};
use tokio::{sync::Barrier, time::timeout};

const ROWS: u32 = 15;
/// Rows of both tables.
const ALL: u64 = 2 * ROWS as u64;

/// On which side of the real call the process dies.
#[derive(Debug, Clone, Copy)]
enum Side {
    Before,
    After,
}

/// Every call that writes works until the `nth`: it, and every one after it, fails.
#[derive(Debug)]
struct Dies {
    nth: usize,
    side: Side,
    calls: AtomicUsize,
}

impl Dies {
    fn has_died(&self) -> bool {
        self.calls.load(Ordering::SeqCst) > self.nth
    }
}

fn gone() -> StoreError {
    StoreError::Unreachable(sqlx::Error::PoolTimedOut)
}

#[async_trait]
impl Script for Dies {
    async fn before(&self, _: Call<'_>) -> Result<(), StoreError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        match self.side {
            Side::Before if call >= self.nth => Err(gone()),
            Side::After if call > self.nth => Err(gone()),
            _ => Ok(()),
        }
    }

    async fn after(&self, _: Call<'_>) -> Result<(), StoreError> {
        if self.has_died() { Err(gone()) } else { Ok(()) }
    }
}

async fn newest(store: &Arc<dyn Store>) -> Option<RolloverId> {
    store.rollovers(None, 1).await.unwrap().first().map(|rollover| rollover.id)
}

/// How often the audit trail tells each step of the newest rollover.
async fn steps(store: &Arc<dyn Store>) -> BTreeMap<String, usize> {
    let newest = newest(store).await.unwrap();
    let mut steps = BTreeMap::new();
    for entry in store.audit(None, 100).await.unwrap() {
        if entry.resource_id == Some(newest.0) {
            *steps.entry(entry.action).or_default() += 1;
        }
    }
    steps
}

/// The newest rollover is at its end, and everything was done, and once.
async fn assert_done_once(store: &Arc<dyn Store>, what: &str) {
    let rollover = store.rollovers(None, 1).await.unwrap().remove(0);
    assert_eq!(rollover.phase, Phase::Retired, "{what}");
    let report = rollover.report.unwrap();
    assert_eq!(report["passes"], 1, "{what}: {report}");
    assert_eq!(report["rowsRewrapped"], ALL, "{what}: {report}");
    assert_eq!(report["rowsThatKeptAnEdit"], 0, "{what}: {report}");
    for (step, times) in steps(store).await {
        assert_eq!(times, 1, "{what}: {step}");
    }
    let keys = store.custody().await.unwrap().keys;
    let of_secret = |state| {
        let of_secret = keys.iter().filter(|key| key.secret == rollover.secret);
        of_secret.filter(|key| key.state == state).map(|key| key.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of_secret(KeyState::Primary), [rollover.to_key.unwrap()], "{what}");
    assert_eq!(of_secret(KeyState::Staged), [], "{what}");
    assert!(of_secret(KeyState::Retired).contains(&rollover.from_key), "{what}");
}

async fn a_process_that_dies_at_any_step_is_carried_on_by_another(database: Database) {
    fill(&database, ROWS).await;
    let store = database.store();
    let survivor = ByHand::join(Arc::clone(&store)).await.unwrap();
    let before = plaintexts(survivor.worker.replica()).await;
    assert_eq!(before.len() as u64, 2 * ALL);
    let ask = || request(Secret::AppEncryptionKey, Mode::Graceful);

    let mut deaths = 0;
    for side in [Side::Before, Side::After] {
        for nth in 0.. {
            let what = format!("{side:?} call {nth}");
            let last = newest(&store).await;
            let script = Arc::new(Dies { nth, side, calls: AtomicUsize::new(0) });
            let dying = async {
                let dying =
                    ByHand::join(Double::on(Arc::clone(&store), Arc::clone(&script))).await?;
                let begun = dying.operator().begin(ask(), Actor::System).await;
                let Ok(begun) = begun else { return Ok(()) };
                dying.worker.replica().refresh().await?;
                dying.carry(begun.id).await.map_err(|_| gone().into())
            };
            let _: Result<(), ReplicaError> = dying.await;
            let is_over = !script.has_died();

            let id = match newest(&store).await {
                Some(begun) if Some(begun) != last => begun,
                _ => {
                    survivor.worker.replica().refresh().await.unwrap();
                    survivor.operator().begin(ask(), Actor::System).await.unwrap().id
                }
            };
            timeout(Duration::from_secs(30), survivor.carry(id))
                .await
                .unwrap_or_else(|_| panic!("{what}: nobody carries on"))
                .unwrap();
            assert_done_once(&store, &what).await;
            survivor.worker.replica().refresh().await.unwrap();
            assert_eq!(plaintexts(survivor.worker.replica()).await, before, "{what}");
            if is_over {
                break;
            }
            deaths += 1;
        }
    }
    assert!(deaths > 40, "a rollover has more steps than {deaths} / 2");
}

/// Two replicas that have planned the same step commit it at the same moment.
#[derive(Debug)]
struct Together(Barrier);

#[async_trait]
impl Script for Together {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        if matches!(call, Call::Commit(Change { rollover: Some(_), .. })) {
            // Alone when the other one has seen it done already.
            let _ = timeout(Duration::from_millis(150), self.0.wait()).await;
        }
        Ok(())
    }
}

async fn a_step_that_two_replicas_do_at_once_is_done_once(database: Database) {
    fill(&database, ROWS).await;
    let store = database.store();
    let script = Arc::new(Together(Barrier::new(2)));
    let join = || ByHand::join(Double::on(Arc::clone(&store), Arc::clone(&script)));
    let (one, two) = (join().await.unwrap(), join().await.unwrap());
    let before = plaintexts(one.worker.replica()).await;
    let ask = request(Secret::AppEncryptionKey, Mode::Graceful);
    let begun = one.operator().begin(ask, Actor::System).await.unwrap();
    let (first, second) = tokio::join!(one.carry(begun.id), two.carry(begun.id));
    first.unwrap();
    second.unwrap();
    assert_done_once(&store, "two replicas").await;
    one.worker.replica().refresh().await.unwrap();
    assert_eq!(plaintexts(one.worker.replica()).await, before);
}

/// Another replica carries a whole rollover between the moment when a new one reads
/// the keys and the moment when it is known.
#[derive(Debug)]
struct Meanwhile {
    database: Database,
    beats: AtomicUsize,
}

#[async_trait]
impl Script for Meanwhile {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        if matches!(call, Call::Renew(_)) && self.beats.fetch_add(1, Ordering::SeqCst) == 0 {
            let other = ByHand::join(self.database.store()).await.unwrap();
            let ask = request(Secret::AppEncryptionKey, Mode::Graceful);
            let begun = other.operator().begin(ask, Actor::System).await.unwrap();
            other.carry(begun.id).await.unwrap();
        }
        Ok(())
    }
}

async fn a_replica_that_joins_meanwhile_never_serves_with_the_keys_of_before(database: Database) {
    fill(&database, ROWS).await;
    drop(ByHand::join(database.store()).await.unwrap());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let script = Arc::new(Meanwhile { database: database.clone(), beats: AtomicUsize::new(0) });
    let late = ByHand::join_for(Double::on(database.store(), script), Duration::from_secs(60));
    let late = late.await.unwrap();
    let rollover = database.store().rollovers(None, 1).await.unwrap().remove(0);
    assert_eq!(rollover.phase, Phase::Retired);
    let keys = late.worker.replica().keychain().load_full();
    let primary = keys.sealing(Secret::AppEncryptionKey).unwrap().primary();
    assert_eq!(Some(primary.id()), rollover.to_key.as_ref());
}

on_both_databases!(
    a_process_that_dies_at_any_step_is_carried_on_by_another,
    a_step_that_two_replicas_do_at_once_is_done_once,
    a_replica_that_joins_meanwhile_never_serves_with_the_keys_of_before,
);
