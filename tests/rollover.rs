//! A rollover from request to retirement, on both databases.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::time::Duration;

use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    keyring::KeyState,
    operator::{Accept, Refusal, Request},
    rollover::{Mode, Phase},
    store::Actor,
};
use support::app::{TestApp, fill, on_both_databases, request};

async fn a_graceful_rollover_moves_every_value_and_then_retires_the_old_key(database: Database) {
    fill(&database, 1500).await;
    let app = TestApp::start(database).await;
    let before = app.plaintexts().await;
    assert_eq!(before.len(), 6000);

    let rollover = app.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap();
    let second = app.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await;
    assert!(matches!(second, Err(Refusal::Busy(id)) if id == rollover.id), "{second:?}");

    let done = app.reaches(rollover.id, Phase::Retired).await;
    assert_eq!(app.plaintexts().await, before, "every plaintext is still right");
    assert_eq!(app.key_state(done.secret, &done.from_key).await, KeyState::Retired);
    let report = done.report.unwrap();
    assert_eq!(report["rowsRewrapped"], 3000, "{report}");
    let census = app.rollovers.operator().census().await.unwrap();
    assert_eq!((census.stale, census.values), (0, 6000), "{census:?}");

    let refused = app.rollovers.operator().destroy(done.id, Actor::System, "a test").await;
    assert!(matches!(refused, Err(Refusal::Horizon { .. })), "{refused:?}");
    app.rollovers.leave().await;
}

async fn rolling_back_rewraps_back(database: Database) {
    fill(&database, 300).await;
    let app = TestApp::start(database).await;
    let before = app.plaintexts().await;
    // A value that no key opens keeps the rollover from retiring the old key.
    app.sql("INSERT INTO variables VALUES ('bad', 'enc:v2:k-lost:AAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA.AAAA')").await;
    let rollover = app.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap();
    for _ in 0..400 {
        let now = app.rollover(rollover.id).await;
        if now.blocked_by.is_some_and(|by| by.contains("quarantined")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let now = app.rollover(rollover.id).await;
    assert!(now.blocked_by.as_deref().unwrap().contains("1 value(s)"), "{now:?}");
    let operator = app.rollovers.operator();
    let refused = operator.retire(rollover.id, Actor::System, "now", Accept::default()).await;
    assert!(matches!(refused, Err(Refusal::StillNeeded(_))), "{refused:?}");

    operator.roll_back(rollover.id, Actor::System, "a test").await.unwrap();
    app.sql("DELETE FROM variables WHERE id = 'bad'").await;
    let done = app.reaches(rollover.id, Phase::RolledBack).await;
    assert_eq!(app.key_state(done.secret, &done.from_key).await, KeyState::Primary);
    assert_eq!(app.key_state(done.secret, done.to_key.as_ref().unwrap()).await, KeyState::Retired);
    assert_eq!(app.plaintexts().await, before);
    app.rollovers.leave().await;
}

async fn a_signing_key_drains_for_its_lifetime(database: Database) {
    fill(&database, 1).await;
    let app = TestApp::start(database).await;
    let rollover = app.begin(request(Secret::JwtSecret, Mode::Graceful)).await.unwrap();
    let draining = app.reaches(rollover.id, Phase::Promoted).await;
    assert_eq!(app.key_state(Secret::JwtSecret, &draining.from_key).await, KeyState::Retiring);
    let done = app.reaches(rollover.id, Phase::Retired).await;
    let drained = done.updated_at.since(done.settled_at.unwrap());
    assert!(drained >= Duration::from_secs(2), "{drained:?}");

    let hard = app.begin(request(Secret::JwtSecret, Mode::Hard)).await.unwrap();
    let done = app.reaches(hard.id, Phase::Retired).await;
    assert_eq!(app.key_state(Secret::JwtSecret, &done.from_key).await, KeyState::Retired);
    app.rollovers.leave().await;
}

async fn a_hard_rollover_of_a_sealing_key_still_rewraps_everything(database: Database) {
    fill(&database, 200).await;
    let app = TestApp::start(database).await;
    let before = app.plaintexts().await;
    let rollover = app.begin(request(Secret::AppEncryptionKey, Mode::Hard)).await.unwrap();
    app.reaches(rollover.id, Phase::Retired).await;
    assert_eq!(app.plaintexts().await, before);
    app.rollovers.leave().await;
}

async fn a_dry_run_changes_nothing_and_tells_what_it_would_touch(database: Database) {
    fill(&database, 50).await;
    let app = TestApp::start(database).await;
    let epoch = app.database.store().epoch().await.unwrap();
    let dry = Request { dry_run: true, ..request(Secret::AppEncryptionKey, Mode::Graceful) };
    let dry = app.begin(dry).await.unwrap();
    let done = app.reaches(dry.id, Phase::Rehearsed).await;
    assert_eq!(done.report.unwrap()["valuesToRewrap"], 200);
    assert_eq!(app.database.store().epoch().await.unwrap(), epoch);
    app.rollovers.leave().await;
}

async fn a_pause_outlives_a_restart_and_the_rollover_goes_on_once_it_is_resumed(
    database: Database,
) {
    fill(&database, 500).await;
    let app = TestApp::start(database).await;
    let before = app.plaintexts().await;
    let slow = Request {
        max_rows_per_second: Some(100),
        ..request(Secret::AppEncryptionKey, Mode::Graceful)
    };
    let id = app.begin(slow).await.unwrap().id;
    while app.rewrapped(id).await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let operator = app.rollovers.operator();
    let paused = operator.pause(id, Actor::System, "a test").await.unwrap();
    // From here on nothing but the pause holds it up.
    operator.limit(id, Actor::System, None).await.unwrap();
    app.rollovers.leave().await;
    let rewrapped = app.rewrapped(id).await;
    assert!(rewrapped < 1000, "{rewrapped} rows: it was through before it was paused");

    let app = TestApp::start(app.database).await;
    // The process carries another rollover from one end to the other meanwhile.
    let beside = Request { alongside: true, ..request(Secret::JwtSecret, Mode::Graceful) };
    let beside = app.begin(beside).await.unwrap();
    app.reaches(beside.id, Phase::Retired).await;
    let still = app.blocked(id, "paused").await;
    assert_eq!((still.phase, still.paused_at), (Phase::Promoted, paused.paused_at));
    assert!(still.paused_at.is_some());
    assert_eq!(app.rewrapped(id).await, rewrapped, "rows were rewrapped in spite of the pause");

    app.rollovers.operator().resume(id, Actor::System, "a test").await.unwrap();
    let done = app.reaches(id, Phase::Retired).await;
    assert_eq!(done.report.unwrap()["rowsRewrapped"], 1000, "each row once");
    assert_eq!(app.plaintexts().await, before);
    app.rollovers.leave().await;
}

async fn a_process_that_leaves_ends_its_lease_and_holds_up_nobody(database: Database) {
    fill(&database, 50).await;
    let stays = TestApp::start(database.clone()).await;
    for secret in [Secret::JwtSecret, Secret::AppEncryptionKey, Secret::JwtSecret] {
        let leaves = TestApp::start(database.clone()).await;
        let rollover = leaves.begin(request(secret, Mode::Hard)).await.unwrap();
        leaves.rollovers.leave().await;
        let replicas = database.store().replicas().await.unwrap();
        let left = replicas.iter().find(|r| r.id == leaves.rollovers.replica().id()).unwrap();
        assert!(!left.live, "it said goodbye");
        stays.reaches(rollover.id, Phase::Retired).await;
    }
    stays.rollovers.leave().await;
}

on_both_databases!(
    a_process_that_leaves_ends_its_lease_and_holds_up_nobody,
    a_graceful_rollover_moves_every_value_and_then_retires_the_old_key,
    rolling_back_rewraps_back,
    a_signing_key_drains_for_its_lifetime,
    a_hard_rollover_of_a_sealing_key_still_rewraps_everything,
    a_dry_run_changes_nothing_and_tells_what_it_would_touch,
    a_pause_outlives_a_restart_and_the_rollover_goes_on_once_it_is_resumed,
);
