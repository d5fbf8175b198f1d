//! Keys are sealed under root keys that every live replica holds, whoever joins meanwhile.

use std::{collections::BTreeMap, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    ids::{Epoch, ReplicaId},
    keyring::KeyState::{Destroyed, Primary, Staged},
    material::Fingerprint,
    store::{Beat, Change, Committed, KeyChange, KeyRecord, Store},
};

use crate::{
    backend::{Backend, Postgres, add, at_once, done, id, key, keys},
    on_both,
};

on_both! {
    what_a_replica_holds_reads_back_the_same,
    a_key_enters_only_under_a_root_key_that_every_live_replica_holds,
    keys_are_resealed_only_under_the_current_root_key_of_every_live_replica,
    of_concurrent_reseals_exactly_one_is_done,
    keys_are_counted_by_their_root_key_those_of_a_newer_version_too,
}

const JWT: Secret = Secret::JwtSecret;
const OLD: &str = "00000000000000aa";
const NEW: &str = "00000000000000bb";

fn print(root_key: &str) -> Fingerprint {
    root_key.parse().unwrap()
}

fn beat(replica: ReplicaId, root_keys: &[&str]) -> Beat {
    Beat {
        replica,
        name: "api-1".to_owned(),
        version: "0.1.0".to_owned(),
        applied: Epoch(0),
        settled: Epoch(0),
        root_keys: root_keys.iter().map(|root_key| print(root_key)).collect(),
        accepts_while_fenced: false,
        columns: [].into(),
        lease: Duration::from_secs(30),
    }
}

async fn joins(on: &impl Backend, root_keys: &[&str]) -> ReplicaId {
    let replica = ReplicaId::new();
    on.store().renew(&beat(replica, root_keys)).await.unwrap();
    replica
}

/// What is sealed under `root_key`, as far as the store looks at it.
fn sealed(root_key: &str, what: &str) -> String {
    format!("root:v1:{root_key}:AAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA.{what}")
}

fn key_under(root_key: &str, name: &str) -> KeyRecord {
    KeyRecord { sealed: Some(sealed(root_key, "AAAA")), ..key(JWT, name, Staged) }
}

fn reseal(from: &str, to: &str) -> Change {
    let (old, new) = (sealed(from, "AAAA"), sealed(to, "AAAA"));
    keys([KeyChange::Reseal { secret: JWT, key: id("k"), old, new }])
}

async fn what_a_replica_holds_reads_back_the_same(on: impl Backend) {
    let replica = joins(&on, &[NEW, OLD]).await;
    let held = async || on.store().replicas().await.unwrap()[0].root_keys.clone();
    assert_eq!(held().await, [print(NEW), print(OLD)]);
    on.store().renew(&beat(replica, &[NEW])).await.unwrap();
    assert_eq!(held().await, [print(NEW)]);
    // A version that knows nothing of it registers without.
    on.execute("DELETE FROM rollover.replica").await.unwrap();
    on.execute(
        "INSERT INTO rollover.replica (id, name, version, applied, settled, lease_until)
         VALUES ('00000000-0000-7000-8000-000000000000', '', '', 0, 0, 9223372036854775807)",
    )
    .await
    .unwrap();
    assert_eq!(held().await, []);
}

async fn a_key_enters_only_under_a_root_key_that_every_live_replica_holds(on: impl Backend) {
    let add = async |root_key: &str, name: &str| {
        on.store().commit(&keys([add(key_under(root_key, name))])).await.unwrap()
    };
    assert!(matches!(add(OLD, "first").await, Committed::Done(_)), "nobody is there");
    joins(&on, &[NEW, OLD]).await;
    let late = joins(&on, &[OLD]).await;
    assert_eq!(add(NEW, "a").await, Committed::Conflict);
    assert!(matches!(add(OLD, "b").await, Committed::Done(_)));
    on.store().deregister(late).await.unwrap();
    assert!(matches!(add(NEW, "c").await, Committed::Done(_)));
    assert_eq!(add(OLD, "d").await, Committed::Conflict, "all agree on the new one");
    let ids: Vec<_> = on.store().custody().await.unwrap().keys;
    assert_eq!(ids.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["b", "c", "first"]);
}

async fn keys_are_resealed_only_under_the_current_root_key_of_every_live_replica(on: impl Backend) {
    done(on.store(), &keys([add(key_under(OLD, "k"))])).await;
    joins(&on, &[NEW, OLD]).await;
    for other in [&[OLD][..], &[OLD, NEW], &[]] {
        let other = joins(&on, other).await;
        assert_eq!(on.store().commit(&reseal(OLD, NEW)).await.unwrap(), Committed::Conflict);
        on.store().deregister(other).await.unwrap();
    }
    assert_eq!(on.store().epoch().await.unwrap(), Epoch(1), "nothing was done");
    assert_eq!(on.store().commit(&reseal(OLD, NEW)).await.unwrap(), Committed::Done(Epoch(2)));
}

async fn of_concurrent_reseals_exactly_one_is_done(on: impl Backend) {
    done(on.store(), &keys([add(key_under(OLD, "k"))])).await;
    joins(&on, &[NEW, OLD]).await;
    let outcomes =
        at_once(&on, 6, |store| async move { store.commit(&reseal(OLD, NEW)).await.unwrap() })
            .await;
    let done = outcomes.iter().filter(|outcome| matches!(outcome, Committed::Done(_))).count();
    assert_eq!((done, on.store().epoch().await.unwrap()), (1, Epoch(2)), "{outcomes:?}");
}

async fn keys_are_counted_by_their_root_key_those_of_a_newer_version_too(on: impl Backend) {
    let destroyed = key(JWT, "gone", Destroyed);
    let mut others = key_under(NEW, "of-mfa");
    (others.secret, others.state) = (Secret::MfaEncryptionKey, Primary);
    done(on.store(), &keys([add(key_under(OLD, "k")), add(destroyed), add(others)])).await;
    let newer = "UPDATE rollover.key SET secret = 'OF_A_NEWER_VERSION' WHERE id = 'of-mfa'";
    on.execute(newer).await.unwrap();
    let counted = on.store().sealed_under().await.unwrap();
    assert_eq!(counted, BTreeMap::from([(print(OLD), 1), (print(NEW), 1)]));
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_replica_that_joins_while_keys_are_resealed_is_seen() {
    let on = Postgres::fresh().await;
    done(on.store(), &keys([add(key_under(OLD, "k"))])).await;
    joins(&on, &[NEW, OLD]).await;
    // A version of before, which joins within a change of its own, has begun to join with the
    // old root key alone, and nobody sees it yet.
    let mut joining = on.store().pool().begin().await.unwrap();
    let waits = "SELECT epoch FROM rollover.meta FOR SHARE";
    sqlx::query(waits).execute(&mut *joining).await.unwrap();
    let join =
        "INSERT INTO rollover.replica (id, name, version, applied, settled, root_keys, lease_until)
        VALUES (gen_random_uuid(), '', '', 1, 1, '00000000000000aa', rollover.now_ms() + 30000)";
    sqlx::query(join).execute(&mut *joining).await.unwrap();
    let store = on.another().await;
    let resealing = tokio::spawn(async move { store.commit(&reseal(OLD, NEW)).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!resealing.is_finished(), "it waits for whoever joins");
    joining.commit().await.unwrap();
    assert_eq!(resealing.await.unwrap(), Committed::Conflict);
}
