//! What an operator sees of each replica: its lease, its epochs, and who waits for it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::{sync::Arc, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    operator::{Acknowledgement, Awaited, ReplicaView},
    rollover::{Blocker, Mode, Phase},
    worker::Next,
};
use support::{
    app::{fill, on_both_databases, request},
    by_hand::ByHand,
};

/// What an operator sees of `replica`.
async fn seen(by: &ByHand, replica: &ByHand) -> ReplicaView {
    let id = replica.worker.replica().id();
    let all = by.operator().replicas().await.unwrap().replicas;
    all.into_iter().find(|view| view.replica.id == id).unwrap()
}

async fn an_operator_sees_what_is_awaited_from_whom(database: Database) {
    fill(&database, 1).await;
    let store = database.store();
    let driver = ByHand::join(Arc::clone(&store)).await.unwrap();
    let slow = ByHand::join(Arc::clone(&store)).await.unwrap();
    let begun = driver.begin(request(Secret::JwtSecret, Mode::Graceful)).await.unwrap();
    let awaited = |epoch, acknowledgement| {
        vec![Awaited { rollover: begun.id, secret: begun.secret, epoch, acknowledgement }]
    };
    let drive = async || {
        slow.worker.replica().beat().await.unwrap();
        driver.worker.replica().beat().await.unwrap();
        driver.worker.drive(begun.id).await.unwrap()
    };

    assert!(matches!(drive().await, Next::After(_, Blocker::Replicas(1))));
    let epoch = store.epoch().await.unwrap();
    let view = seen(&driver, &slow).await;
    assert_eq!(view.awaited, awaited(epoch, Acknowledgement::Applied));
    assert_eq!(seen(&driver, &driver).await.awaited, []);

    slow.worker.replica().refresh().await.unwrap();
    let request_in_flight = slow.worker.replica().keychain().load_full();
    assert!(matches!(drive().await, Next::After(_, Blocker::Replicas(1))), "promoted: once more");
    slow.worker.replica().refresh().await.unwrap();
    assert!(matches!(drive().await, Next::After(_, Blocker::InFlight(1))));
    let epoch = store.epoch().await.unwrap();
    let view = seen(&driver, &slow).await;
    assert_eq!(view.awaited, awaited(epoch, Acknowledgement::Settled));
    assert!(view.replica.applied == epoch && view.replica.settled < epoch, "{view:?}");
    assert!(view.replica.applied_at > view.replica.settled_at, "{view:?}");

    drop(request_in_flight);
    drive().await;
    let view = seen(&driver, &slow).await;
    assert_eq!((view.awaited, view.replica.settled), (vec![], epoch));
    assert_eq!(store.rollover(begun.id).await.unwrap().unwrap().phase, Phase::Promoted);
}

async fn an_operator_sees_who_is_there_and_who_is_not(database: Database) {
    let store = database.store();
    let stays = ByHand::join(Arc::clone(&store)).await.unwrap();
    let leaves = ByHand::join(Arc::clone(&store)).await.unwrap();
    let lapses = ByHand::join(Arc::clone(&store)).await.unwrap();
    store.deregister(leaves.worker.replica().id()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    stays.worker.replica().beat().await.unwrap();

    let there = seen(&stays, &stays).await;
    assert!(there.replica.live && there.replica.left_at.is_none());
    assert!(there.replica.renewed_at > there.replica.registered_at, "{there:?}");
    assert!(there.lease_seconds_left.unwrap() <= 0.4 && there.lease_over_for_seconds.is_none());
    let left = seen(&stays, &leaves).await;
    assert!(!left.replica.live && left.replica.left_at == Some(left.replica.lease_until));
    assert!(left.lease_over_for_seconds.unwrap() >= 0.5, "{left:?}");
    let lapsed = seen(&stays, &lapses).await;
    assert!(!lapsed.replica.live && lapsed.replica.left_at.is_none(), "{lapsed:?}");
    assert!(lapsed.lease_over_for_seconds.unwrap() >= 0.1, "{lapsed:?}");

    leaves.worker.replica().beat().await.unwrap();
    let back = seen(&stays, &leaves).await;
    assert!(back.replica.live && back.replica.left_at.is_none(), "{back:?}");
    assert_eq!(back.replica.registered_at, left.replica.registered_at);
}

on_both_databases!(
    and behind a pooler:
    an_operator_sees_what_is_awaited_from_whom,
    an_operator_sees_who_is_there_and_who_is_not,
);
