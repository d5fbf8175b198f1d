//! An operator stays in control of a rollover: its pace, and the way back, at any time.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    ids::RolloverId,
    keyring::KeyState,
    layer::sealed::SealedLayer,
    operator::{Accept, Refusal, Request},
    rollover::{Blocker, Mode, Phase},
    store::{Actor, StoreError},
    worker::Next,
};
use support::{
    app::{execute, fill, on_both_databases, plaintexts, registry, request},
    by_hand::ByHand,
    double::{Call, Double, Script},
};

/// A value that no key opens.
const BAD: &str = "enc:v2:k-lost:AAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA.AAAA";

async fn join(database: &Database) -> ByHand {
    ByHand::join(Double::on(database.store(), Arc::new(()))).await.unwrap()
}

/// Begins a rollover and leaves it where its first pass is about to begin.
async fn about_to_rewrap(process: &ByHand, mode: Mode, ceiling: Option<u32>) -> RolloverId {
    let ask = Request { max_rows_per_second: ceiling, ..request(Secret::AppEncryptionKey, mode) };
    let id = process.begin(ask).await.unwrap().id;
    process.carry_until(id, |by| by == Blocker::Bulk).await.unwrap();
    id
}

/// The states of the old and the new key of a rollover that ended as `phase`.
async fn ended(process: &ByHand, id: RolloverId, phase: Phase) -> (KeyState, KeyState) {
    let rollover = process.operator().rollover(id).await.unwrap();
    assert_eq!(rollover.phase, phase, "{rollover:?}");
    assert_eq!(rollover.blocked_by, None);
    let keys = process.worker.replica().store().custody().await.unwrap().keys;
    let state = |id| {
        let known = keys.iter().find(|key| (key.secret, &key.id) == (rollover.secret, &id));
        known.unwrap().state
    };
    (state(rollover.from_key), state(rollover.to_key.unwrap()))
}

async fn a_rollover_can_be_paused_and_gone_back_on_in_the_middle_of_a_pass(database: Database) {
    fill(&database, 200).await;
    let process = join(&database).await;
    let before = plaintexts(process.worker.replica()).await;
    let id = about_to_rewrap(&process, Mode::Graceful, Some(50)).await;
    let operator = process.operator();
    let rewrapping = {
        let process = process.clone();
        tokio::spawn(async move { process.rewrap(id, 1).await })
    };
    let progress = async || operator.inspect(id).await.unwrap().progress.unwrap().pass;
    while progress().await.rewrapped == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    operator.pause(id, Actor::System, "a test").await.unwrap();
    // Whoever rewraps looks at the rollover once a second.
    tokio::time::timeout(Duration::from_secs(3), rewrapping).await.unwrap().unwrap().unwrap();
    let paused = progress().await;
    assert!(0 < paused.rewrapped && paused.rewrapped < 400, "{paused:?}");
    let next = process.worker.drive(id).await.unwrap();
    assert!(matches!(next, Next::After(_, Blocker::Paused)), "{next:?}");
    process.rewrap(id, 1).await.unwrap();
    assert_eq!(progress().await, paused, "nothing moves");

    operator.roll_back(id, Actor::System, "a test").await.unwrap();
    operator.resume(id, Actor::System, "a test").await.unwrap();
    operator.limit(id, Actor::System, None).await.unwrap();
    process.rewrap(id, 1).await.unwrap();
    process.carry(id).await.unwrap();
    let states = ended(&process, id, Phase::RolledBack).await;
    assert_eq!(states, (KeyState::Primary, KeyState::Retired));
    assert_eq!(plaintexts(process.worker.replica()).await, before);
}

async fn a_hard_rollover_can_be_gone_back_on(database: Database) {
    fill(&database, 20).await;
    let process = join(&database).await;
    let replica = process.worker.replica();
    let layer = SealedLayer::new(replica.keychain(), registry());
    let value = layer.sealed().seal("variables", "value", "v1", "sealed before").unwrap();
    let opens = || layer.sealed().open("variables", "value", "v1", &value).is_ok();
    execute(&database, &format!("UPDATE variables SET value = '{value}' WHERE id = 'v1'")).await;
    let before = plaintexts(replica).await;

    let id = about_to_rewrap(&process, Mode::Hard, None).await;
    assert!(!opens(), "a hard rollover cuts the old key off at once");
    process.operator().roll_back(id, Actor::System, "a test").await.unwrap();
    process.carry(id).await.unwrap();
    assert!(opens());
    let states = ended(&process, id, Phase::RolledBack).await;
    assert_eq!(states, (KeyState::Primary, KeyState::Retired));
    assert_eq!(plaintexts(replica).await, before);
}

/// Twice over: of four keys nothing is left behind, whichever was in use when.
async fn a_hard_rollover_takes_over_in_the_midst_and_loses_no_value(database: Database) {
    fill(&database, 20).await;
    let process = join(&database).await;
    let before = plaintexts(process.worker.replica()).await;
    let mut running = about_to_rewrap(&process, Mode::Graceful, None).await;
    for _ in 0..2 {
        let over =
            Request { supersede: Some(running), ..request(Secret::AppEncryptionKey, Mode::Hard) };
        let next = process.begin(over).await.unwrap().id;
        process.carry_until(next, |by| matches!(by, Blocker::Bulk)).await.unwrap();
        let ended = process.operator().rollover(running).await.unwrap();
        assert_eq!((ended.phase, ended.superseded_by()), (Phase::Retired, Some(next)));
        running = next;
    }
    process.carry(running).await.unwrap();
    assert_eq!(process.operator().rollover(running).await.unwrap().phase, Phase::Retired);
    assert_eq!(plaintexts(process.worker.replica()).await, before);
}

async fn a_rollover_can_be_given_up_before_the_new_key_makes_anything(database: Database) {
    let process = join(&database).await;
    let id = process.begin(request(Secret::JwtSecret, Mode::Graceful)).await.unwrap().id;
    // A second live replica that does not acknowledge: the new key stays staged.
    let other = join(&database).await;
    process.carry_until(id, |by| matches!(by, Blocker::Replicas(1))).await.unwrap();
    process.operator().roll_back(id, Actor::System, "a test").await.unwrap();
    let states = ended(&process, id, Phase::Abandoned).await;
    assert_eq!(states, (KeyState::Primary, KeyState::Retired));
    drop(other);
}

async fn bad_values_can_be_accepted_on_the_way_back_too(database: Database) {
    fill(&database, 3).await;
    execute(&database, &format!("INSERT INTO variables VALUES ('bad', '{BAD}')")).await;
    let process = join(&database).await;
    let id = about_to_rewrap(&process, Mode::Graceful, None).await;
    let operator = process.operator();
    operator.roll_back(id, Actor::System, "a test").await.unwrap();
    process.carry_until(id, |by| matches!(by, Blocker::Quarantined(1))).await.unwrap();
    let retire = async |quarantined| {
        let accept = Accept { quarantined, ..Accept::default() };
        operator.retire(id, Actor::System, "a test", accept).await
    };
    let refused = retire(false).await.unwrap_err();
    assert!(matches!(refused, Refusal::StillNeeded(_)), "{refused:?}");
    assert!(refused.to_string().contains("variables.value of bad"), "{refused}");
    let blocked = operator.rollover(id).await.unwrap().blocked_by.unwrap();
    assert!(blocked.contains("variables.value of bad"), "{blocked}");
    assert_eq!(retire(true).await.unwrap().phase, Phase::RolledBack);
    let states = ended(&process, id, Phase::RolledBack).await;
    assert_eq!(states, (KeyState::Primary, KeyState::Retired));
}

/// How often quarantined values were gone over: once a table and census.
#[derive(Debug, Default)]
struct Counts(AtomicUsize);

#[async_trait]
impl Script for Counts {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        if matches!(call, Call::ReleaseQuarantine) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

async fn what_waits_is_not_counted_anew_at_every_look(database: Database) {
    fill(&database, 3).await;
    execute(&database, &format!("INSERT INTO variables VALUES ('bad', '{BAD}')")).await;
    let counts = Arc::new(Counts::default());
    let process = ByHand::join(Double::on(database.store(), Arc::clone(&counts))).await.unwrap();
    let id = about_to_rewrap(&process, Mode::Graceful, None).await;
    let waits = |by| matches!(by, Blocker::Quarantined(1));
    process.carry_until(id, waits).await.unwrap();
    process.carry_until(id, waits).await.unwrap();
    let counted = counts.0.load(Ordering::SeqCst);
    for _ in 0..5 {
        process.carry_until(id, waits).await.unwrap();
    }
    assert_eq!(counts.0.load(Ordering::SeqCst), counted);
    // A repaired value is seen at once when somebody says so.
    execute(&database, "DELETE FROM variables WHERE id = 'bad'").await;
    process.operator().resume(id, Actor::System, "it was repaired").await.unwrap();
    process.carry_until(id, waits).await.unwrap();
    ended(&process, id, Phase::Retired).await;
}

async fn a_ceiling_holds_for_all_tasks_of_all_replicas_together(database: Database) {
    fill(&database, 400).await;
    let (one, two) = (join(&database).await, join(&database).await);
    let keep_alive = {
        let replica = Arc::clone(two.worker.replica());
        tokio::spawn(async move {
            loop {
                replica.refresh().await.unwrap();
                replica.beat().await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    };
    let id = about_to_rewrap(&one, Mode::Graceful, Some(120)).await;
    let began = Instant::now();
    let tasks = [&one, &two, &one, &two, &one, &two].map(|process| {
        let process = process.clone();
        tokio::spawn(async move { process.rewrap(id, 1).await })
    });
    one.alive(tokio::time::sleep(Duration::from_secs(3))).await;
    let done = one.operator().inspect(id).await.unwrap().progress.unwrap().pass.rewrapped;
    let rate = done as f64 / began.elapsed().as_secs_f64();
    // A quarter of a second's worth may be on its way already.
    assert!(rate <= 120.0 * 1.1, "{rate} rows a second");
    assert!(rate >= 60.0 * 0.7, "{rate} rows a second");
    one.operator().limit(id, Actor::System, None).await.unwrap();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    one.carry(id).await.unwrap();
    keep_alive.abort();
    let states = ended(&one, id, Phase::Retired).await;
    assert_eq!(states, (KeyState::Retired, KeyState::Primary));
}

on_both_databases!(
    a_rollover_can_be_paused_and_gone_back_on_in_the_middle_of_a_pass,
    a_hard_rollover_takes_over_in_the_midst_and_loses_no_value,
    a_hard_rollover_can_be_gone_back_on,
    a_rollover_can_be_given_up_before_the_new_key_makes_anything,
    bad_values_can_be_accepted_on_the_way_back_too,
    what_waits_is_not_counted_anew_at_every_look,
    a_ceiling_holds_for_all_tasks_of_all_replicas_together,
);
