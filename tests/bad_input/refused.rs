//! What an operator may not have yet, or any more.

use std::{sync::Arc, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, ManualClock, SystemClock},
    embed::Database,
    ids::RolloverId,
    keyring::{KeyState, SEAL_LIMIT},
    operator::{Accept, Refusal, Request},
    rollover::{Blocker, Mode, Phase},
    store::Actor,
};

use crate::{
    assert_says,
    support::{
        app::{execute, fill, on_both_databases, plaintexts, registry, request},
        by_hand::ByHand,
    },
};

async fn a_key_is_not_retired_while_a_row_needs_it(database: Database) {
    fill(&database, 3).await;
    let process = ByHand::join(database.store()).await.unwrap();
    let operator = process.operator();
    let id = process.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap().id;
    let retire =
        || operator.retire(id, Actor::System, "now", Accept { quarantined: true, loss: false });
    let too_early = retire().await.unwrap_err();
    assert_says(&too_early, &["the rollover is requested", "a key is retired while it drains"]);

    process.carry_until(id, |by| by == Blocker::Bulk).await.unwrap();
    let refused = retire().await.unwrap_err();
    assert!(matches!(refused, Refusal::StillNeeded(_)), "{refused:?}");
    assert_says(
        &refused,
        &["the key is still needed", "6 row(s)", "3 in integrations", "3 in var"],
    );
    process.carry(id).await.unwrap();
    assert_eq!(operator.rollover(id).await.unwrap().phase, Phase::Retired);
    let too_late = retire().await.unwrap_err();
    assert_says(&too_late, &["the rollover is retired"]);
}

async fn a_key_is_not_retired_while_a_token_may_live(database: Database) {
    let process = ByHand::join(database.store()).await.unwrap();
    let id = process.begin(request(Secret::JwtSecret, Mode::Graceful)).await.unwrap().id;
    process.carry_until(id, |by| matches!(by, Blocker::Lifetime(_))).await.unwrap();
    let refused = process
        .operator()
        .retire(id, Actor::System, "now", Accept { quarantined: true, loss: false })
        .await
        .unwrap_err();
    assert_says(&refused, &["the key is still needed", "tokens of the old key are accepted until"]);
}

/// Whether the old key of a rollover has material left, and its state.
async fn old_key(database: &Database, id: RolloverId) -> (KeyState, bool) {
    let store = database.store();
    let from = store.rollover(id).await.unwrap().unwrap().from_key;
    let custody = store.custody().await.unwrap();
    let key = custody.keys.iter().find(|key| key.id == from).unwrap();
    (key.state, key.sealed.is_some())
}

async fn a_key_is_destroyed_only_after_the_horizon_and_only_when_nothing_needs_it(
    database: Database,
) {
    fill(&database, 3).await;
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let store = database.store();
    let process =
        ByHand::join_with(Arc::clone(&store), registry(), Arc::clone(&clock) as Arc<dyn Clock>);
    let process = process.await.unwrap();
    let operator = process.operator();
    let destroy = |id| operator.destroy(id, Actor::System, "it leaked");
    let sealed = {
        let keys = process.worker.replica().opening_keychain();
        let registry = registry();
        let column = registry.column("variables", "value").unwrap();
        column.seal(&keys, &"v9".into(), "from a backup", Default::default()).unwrap()
    };
    let id = process.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap().id;
    assert_says(&destroy(id).await.unwrap_err(), &["only a retired key is destroyed"]);
    process.carry(id).await.unwrap();

    let within = destroy(id).await.unwrap_err();
    assert!(matches!(within, Refusal::Horizon { .. }), "{within:?}");
    assert_says(&within, &["key k-2024 may be needed for a backup until", "destroy it after that"]);
    clock.advance(Duration::from_secs(3600));
    execute(&database, &format!("INSERT INTO variables VALUES ('v9', '{sealed}')")).await;
    let needed = destroy(id).await.unwrap_err();
    assert_says(&needed, &["1 value(s) of variables.value are enc:v3:k-2024"]);
    assert_eq!(old_key(&database, id).await, (KeyState::Retired, true));

    execute(&database, "DELETE FROM variables WHERE id = 'v9'").await;
    assert_eq!(destroy(id).await.unwrap().phase, Phase::Destroyed);
    assert_eq!(old_key(&database, id).await, (KeyState::Destroyed, false), "it is erased");
    assert_says(&destroy(id).await.unwrap_err(), &["the rollover is destroyed"]);
}

async fn a_second_rollover_is_refused_with_the_first_ones_name(database: Database) {
    fill(&database, 3).await;
    let process = ByHand::join(database.store()).await.unwrap();
    let graceful = |secret| request(secret, Mode::Graceful);
    let first = process.begin(graceful(Secret::AppEncryptionKey)).await.unwrap();
    for alongside in [false, true] {
        let again = Request { alongside, ..graceful(Secret::AppEncryptionKey) };
        let refused = process.begin(again).await.unwrap_err();
        assert!(matches!(refused, Refusal::Busy(id) if id == first.id), "{refused:?}");
        assert_says(&refused, &[&first.id.to_string(), "wait for its end"]);
    }
    let other = process.begin(graceful(Secret::JwtSecret)).await.unwrap_err();
    assert_says(&other, &["\"alongside\": true"]);
    let beside = Request { alongside: true, ..graceful(Secret::JwtSecret) };
    let beside = process.begin(beside).await.unwrap();
    process.carry(first.id).await.unwrap();
    process.carry(beside.id).await.unwrap();
}

async fn a_reason_is_needed_and_kept_short(database: Database) {
    let process = ByHand::join(database.store()).await.unwrap();
    for reason in [String::new(), "  ".to_owned(), "x".repeat(501), "a\0b".to_owned()] {
        let ask = Request { reason, ..request(Secret::JwtSecret, Mode::Graceful) };
        assert_says(
            &process.begin(ask).await.unwrap_err(),
            &["a reason of 1 to 500 printable characters"],
        );
    }
}

/// A database whose keys have sealed `seals` times each.
async fn spend(database: &Database, secret: Secret, seals: u64) {
    let store = database.store();
    for key in store.custody().await.unwrap().keys.iter().filter(|key| key.secret == secret) {
        store.settle_seals(secret, &key.id, seals).await.unwrap();
    }
}

async fn a_key_without_seals_left_is_rolled_over_and_not_gone_back_to(database: Database) {
    fill(&database, 3).await;
    drop(ByHand::join(database.store()).await.unwrap());
    spend(&database, Secret::AppEncryptionKey, SEAL_LIMIT).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let process = ByHand::join(database.store()).await.unwrap();
    let before = plaintexts(process.worker.replica()).await;
    let registry = registry();
    let column = registry.column("variables", "value").unwrap();
    let seal = || {
        let keys = process.worker.replica().opening_keychain();
        column.seal(&keys, &"v1".into(), "a plaintext", Default::default())
    };
    assert_says(&seal().unwrap_err(), &["roll it over"]);

    let id = process.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap().id;
    process.carry_until(id, |by| by == Blocker::Bulk).await.unwrap();
    let refused = process.operator().roll_back(id, Actor::System, "a test").await.unwrap_err();
    assert_says(&refused, &["key k-2024 has sealed as often", "let the rollover go on"]);
    process.carry(id).await.unwrap();
    seal().unwrap();
    assert_eq!(plaintexts(process.worker.replica()).await, before);
}

async fn a_rollover_of_a_secret_that_seals_nothing_here_ends(database: Database) {
    for secret in [Secret::MfaEncryptionKey, Secret::AppEncryptionKey] {
        let registry = breeze_rollover::column::Registry::empty();
        let process = ByHand::join_with(database.store(), registry, Arc::new(SystemClock));
        let process = process.await.unwrap();
        let id = process.begin(request(secret, Mode::Graceful)).await.unwrap().id;
        process.carry(id).await.unwrap();
        let rollover = process.operator().rollover(id).await.unwrap();
        assert_eq!((rollover.phase, rollover.pass), (Phase::Retired, 0));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

on_both_databases!(
    a_key_is_not_retired_while_a_row_needs_it,
    a_key_is_not_retired_while_a_token_may_live,
    a_key_is_destroyed_only_after_the_horizon_and_only_when_nothing_needs_it,
    a_second_rollover_is_refused_with_the_first_ones_name,
    a_reason_is_needed_and_kept_short,
    a_key_without_seals_left_is_rolled_over_and_not_gone_back_to,
    a_rollover_of_a_secret_that_seals_nothing_here_ends,
);
