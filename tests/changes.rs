//! A change reaches every replica: pushed where that is possible, and by polling always.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::{sync::Arc, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    ids::Epoch,
    keyring::{KeyState, Origin},
    material::Material,
    replica::Replica,
    rollover::{Mode, Phase},
    store::{Change, Committed, KeyChange},
};
use support::{
    app::{TestApp, execute, on_both_databases, request, setup},
    by_hand::ByHand,
    traces::{Traces, capture},
};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

/// Longer than any of these tests: who polls like this hears of nothing.
const NEVER: Duration = Duration::from_secs(600);

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn a_pushed_change_waits_for_no_poll(database: Database) {
    let join = || async {
        let setup = setup(&database).lease(NEVER, NEVER);
        TestApp::join(setup, database.clone()).await
    };
    let (one, other) = (join().await, join().await);
    let begun = one.begin(request(Secret::JwtSecret, Mode::Graceful)).await.unwrap();
    // Each step but the last waits for both to report the one before.
    let promoted = one.reaches(begun.id, Phase::Promoted).await;
    let keys = other.rollovers.replica().keychain();
    let follows = async {
        while keys.load().signing(Secret::JwtSecret).unwrap().primary().id().clone()
            != promoted.to_key.clone().unwrap()
        {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, follows).await.expect("the other one hears of it");
}

on_both_databases!(a_pushed_change_waits_for_no_poll);

/// One replica at work, that polls every `poll`.
async fn at_work(database: &Database, poll: Duration) -> (Arc<Replica>, JoinHandle<()>) {
    let replica = ByHand::polling(database.store(), poll).await.unwrap().worker.replica().clone();
    let running = tokio::spawn(Arc::clone(&replica).run(std::future::pending()));
    (replica, running)
}

/// Adds one more staged key, as another process would.
async fn change(replica: &Replica) -> Epoch {
    let material = Material::generate().unwrap();
    let key = replica.staged_key(Secret::JwtSecret, &material, Origin::Generated).await.unwrap();
    assert_eq!(key.state, KeyState::Staged);
    let keys = vec![KeyChange::Add(Box::new(key))];
    match replica.store().commit(&Change { keys, ..Change::default() }).await.unwrap() {
        Committed::Done(epoch) => epoch,
        refused => panic!("{refused:?}"),
    }
}

async fn applies(replica: &Replica, epoch: Epoch) {
    let keys = replica.keychain();
    let applied = async {
        while keys.load().epoch() < epoch {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, applied).await.expect("the change never arrived");
}

async fn tells(traces: &Traces, what: &str) {
    let told = async {
        while !traces.text().contains(what) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("it never told: {what}"));
}

const OUTAGE: &str = "changes are not pushed to this replica, and arrive by polling";
const END: &str = "changes are pushed again";

/// The sessions that listen in the database.
const LISTENERS: &str = "FROM pg_stat_activity WHERE datname = current_database() \
    AND query LIKE 'LISTEN %'";

async fn listeners(database: &Database) -> i64 {
    let Database::Postgres(store) = database else { unreachable!("it is PostgreSQL's") };
    let count = sqlx::AssertSqlSafe(format!("SELECT count(*) {LISTENERS}"));
    sqlx::query_scalar(count).fetch_one(store.pool()).await.unwrap()
}

async fn postgres() -> (support::postgres::Database, Database) {
    let own = support::postgres::database().await;
    let database = Database::connect(&own.url(), 8).await.unwrap();
    database.migrate().await.unwrap();
    (own, database)
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_listener_that_is_lost_is_replaced_and_what_it_missed_is_applied() {
    let (_own, database) = postgres().await;
    let traces = capture();
    let (replica, running) = at_work(&database, NEVER).await;
    while listeners(&database).await == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    let first = change(&replica).await;
    applies(&replica, first).await;

    // Nobody listens any more when the change is committed.
    execute(&database, &format!("SELECT pg_terminate_backend(pid) {LISTENERS}")).await;
    while listeners(&database).await > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    let missed = change(&replica).await;
    applies(&replica, missed).await;
    tells(&traces, END).await;
    let heard = change(&replica).await;
    applies(&replica, heard).await;
    assert_eq!(traces.text().matches(OUTAGE).count(), 1, "an outage is told once");
    running.abort();
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn without_any_push_polling_carries_every_change() {
    let (own, database) = postgres().await;
    let nowhere = own.url().replace("/breeze_db_", "/no_such_");
    let deaf = database.clone().listening_on(&nowhere).unwrap();
    let traces = capture();
    let (replica, running) = at_work(&deaf, Duration::from_millis(50)).await;
    for _ in 0..20 {
        let epoch = change(&replica).await;
        applies(&replica, epoch).await;
        // For long enough that the listener is tried again in between.
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(listeners(&database).await, 0);
    assert_eq!(traces.text().matches(OUTAGE).count(), 1, "an outage is told once");
    running.abort();
    drop(own);
}
