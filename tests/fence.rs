//! A replica that has lost its lease makes nothing and accepts nothing, until it has
//! renewed the lease and then read the keys.
#![cfg(all(feature = "postgres", feature = "sqlite", feature = "admin"))]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header::AUTHORIZATION},
    routing::get,
};
use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    embed::Database,
    envelope::SealError,
    keyring::{Fenced, Keychain},
    layer::{jwt::JwtLayer, sealed::SealedLayer},
    replica::Replica,
    rollover::{Blocker, Mode, Phase},
    store::StoreError,
    token::{self, NewToken, Scope, SignError},
    worker::DriveError,
};
use secrecy::{ExposeSecret, SecretString};
use support::{
    app::{execute, fill, on_both_databases, registry, request, setup},
    by_hand::{ByHand, LEASE},
    double::{Call, Double, Script},
    traces,
};
use tower::ServiceExt;

/// Waits until the lease of `replica` is over; answers whether it was so for the
/// replica no later than for the database, all along.
async fn outlives_its_lease(replica: &Replica) -> bool {
    let mut in_order = true;
    loop {
        let replicas = replica.store().replicas().await.unwrap();
        let is_live = replicas.iter().any(|other| other.id == replica.id() && other.live);
        let holds = replica.check().is_ok();
        in_order &= is_live || !holds;
        if !is_live {
            return in_order;
        }
    }
}

fn seal(keychain: &Keychain) -> Result<String, SealError> {
    let registry = registry();
    let column = registry.column("integrations", "api_key").unwrap();
    column.seal(keychain, &1.into(), "a value", Default::default())
}

fn sign(keychain: &Keychain) -> Result<SecretString, SignError> {
    let token = NewToken::access("user-1", Scope::System).lifetime(Duration::from_secs(60));
    token::sign(keychain.signing(Secret::JwtSecret).unwrap(), &token, SystemClock.now())
}

/// The status of one request with `token` to a router that wears both layers.
async fn ask(jwt: &JwtLayer, sealed: &SealedLayer, token: &SecretString) -> StatusCode {
    let app = Router::new().route("/", get(async || "it is reached"));
    let bearer = format!("Bearer {}", token.expose_secret());
    let request = Request::get("/").header(AUTHORIZATION, bearer).body(Body::empty()).unwrap();
    let answer = app.layer(sealed.clone()).layer(jwt.clone()).oneshot(request).await.unwrap();
    if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
        assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    answer.status()
}

async fn a_straggler_makes_nothing_with_the_keys_of_before(database: Database) {
    fill(&database, 10).await;
    let straggler = ByHand::join_for(database.store(), Duration::from_secs(1)).await.unwrap();
    let replica = straggler.worker.replica();
    let in_flight = replica.keychain().load_full();
    let rewrapping = replica.opening_keychain();
    let (jwt, sealed) = (
        JwtLayer::new(replica.keychain()).unwrap(),
        SealedLayer::new(replica.keychain(), registry()),
    );
    let old = sign(&in_flight).unwrap();
    assert!(seal(&in_flight).is_ok() && seal(&rewrapping).is_ok());
    assert_eq!(ask(&jwt, &sealed, &old).await, StatusCode::OK);

    assert!(outlives_its_lease(replica).await, "the database counted it dead, and it served");
    let other = ByHand::join(database.store()).await.unwrap();
    let begin = async |secret| other.begin(request(secret, Mode::Graceful)).await.unwrap().id;
    let (app, rewrap) = (begin(Secret::AppEncryptionKey).await, |by| by == Blocker::Bulk);
    other.carry_until(app, rewrap).await.unwrap();
    let by_straggler = straggler.worker.rewrap(app, 1).await;
    assert!(
        matches!(by_straggler, Err(DriveError::Seal(SealError::Fenced(_)))),
        "{by_straggler:?}"
    );
    // What it took and could not finish is anybody's once its lease of it is over.
    let table = match &database {
        Database::Postgres(_) => "rollover.range",
        _ => "rollover_range",
    };
    execute(&database, &format!("UPDATE {table} SET lease_until = 0")).await;
    other.carry(app).await.unwrap();
    other.carry(begin(Secret::JwtSecret).await).await.unwrap();
    other.worker.replica().beat().await.unwrap();
    let foreign = sign(&other.worker.replica().keychain().load()).unwrap();
    for rollover in database.store().rollovers(None, 2).await.unwrap() {
        assert_eq!(rollover.phase, Phase::Retired, "nobody waits for a straggler: {rollover:?}");
    }

    for keychain in [&in_flight, &rewrapping] {
        assert_eq!(seal(keychain), Err(SealError::Fenced(Fenced)));
    }
    assert!(matches!(sign(&in_flight), Err(SignError::Fenced(Fenced))));
    assert_eq!(ask(&jwt, &sealed, &old).await, StatusCode::SERVICE_UNAVAILABLE);
    let (jwt_too, sealed_too) =
        (jwt.clone().accepting_while_fenced(), sealed.clone().accepting_while_fenced());
    assert_eq!(ask(&jwt_too, &sealed_too, &old).await, StatusCode::OK, "as it was told to");
    for (jwt, sealed) in [(&jwt, &sealed), (&jwt_too, &sealed_too)] {
        let status = ask(jwt, sealed, &foreign).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "a key that others know");
    }
    // It knows the new keys, and still nobody waits for it.
    replica.refresh().await.unwrap();
    assert_eq!(seal(&replica.keychain().load()), Err(SealError::Fenced(Fenced)));

    let new = recover(&straggler).await;
    assert_eq!(ask(&jwt, &sealed, &new).await, StatusCode::OK);
    assert_eq!(ask(&jwt, &sealed, &old).await, StatusCode::UNAUTHORIZED);
    for keychain in [&in_flight, &rewrapping] {
        assert_eq!(seal(keychain), Err(SealError::Fenced(Fenced)), "a request of before");
    }
}

/// Has the straggler renew its lease while a thread looks on: the first keychain that
/// makes anything is of the newest epoch. Answers what it signs.
async fn recover(straggler: &ByHand) -> SecretString {
    let replica = straggler.worker.replica();
    let newest = replica.store().custody().await.unwrap().epoch;
    let handle = replica.keychain();
    let (looks, is_looking) = std::sync::mpsc::channel();
    let first = std::thread::spawn(move || {
        looks.send(()).unwrap();
        loop {
            let keychain = handle.load();
            if keychain.fence().check().is_ok() {
                return keychain.epoch();
            }
        }
    });
    is_looking.recv().unwrap();
    replica.beat().await.unwrap();
    let token = sign(&replica.keychain().load()).unwrap();
    assert_eq!(first.join().unwrap(), newest);
    token
}

async fn a_straggler_is_back_with_the_newest_keys_at_once(database: Database) {
    fill(&database, 3).await;
    let straggler = ByHand::join_for(database.store(), Duration::from_secs(1)).await.unwrap();
    outlives_its_lease(straggler.worker.replica()).await;
    let other = ByHand::join(database.store()).await.unwrap();
    let ask = request(Secret::JwtSecret, Mode::Graceful);
    let id = other.begin(ask).await.unwrap().id;
    other.carry(id).await.unwrap();
    // Unlike above, it has not heard of any change when it renews.
    recover(&straggler).await;
}

async fn who_has_left_accepts_nothing_unless_it_was_told_to(database: Database) {
    fill(&database, 1).await;
    for (setup, status) in [
        (setup(&database), StatusCode::SERVICE_UNAVAILABLE),
        (setup(&database).accept_while_fenced(), StatusCode::OK),
    ] {
        let process = setup.start().await.unwrap();
        let token = sign(&process.replica().keychain().load()).unwrap();
        assert_eq!(process.ready(), Ok(()));
        process.leave().await;
        assert_eq!(process.ready(), Err(Fenced));
        assert_eq!(ask(&process.jwt().unwrap(), &process.sealed(), &token).await, status);
        assert!(process.sealed().sealed().seal("variables", "value", "v", "s").is_err());
    }
}

/// The database takes every renewal, and the answers are lost.
#[derive(Debug, Default)]
struct Deaf(AtomicBool);

#[async_trait]
impl Script for Deaf {
    async fn after(&self, call: Call<'_>) -> Result<(), StoreError> {
        match call {
            Call::Renew(_) if self.0.load(Ordering::SeqCst) => {
                Err(StoreError::Unreachable(sqlx::Error::PoolTimedOut))
            }
            _ => Ok(()),
        }
    }
}

async fn a_renewal_without_an_answer_counts_for_nothing(database: Database) {
    let script = Arc::<Deaf>::default();
    let process = ByHand::join(Double::on(database.store(), Arc::clone(&script))).await.unwrap();
    let replica = process.worker.replica();
    script.0.store(true, Ordering::SeqCst);
    while replica.check().is_ok() {
        assert!(replica.beat().await.is_err());
    }
    assert!(database.store().replicas().await.unwrap()[0].live, "the database knows better");
    assert!(matches!(sign(&replica.keychain().load()), Err(SignError::Fenced(_))));
    script.0.store(false, Ordering::SeqCst);
    replica.beat().await.unwrap();
    assert!(sign(&replica.keychain().load()).is_ok());
}

/// No renewal comes back while the database is away.
#[derive(Debug, Default)]
struct Hangs(AtomicBool);

#[async_trait]
impl Script for Hangs {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        if matches!(call, Call::Renew(_)) && self.0.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

/// What a replica has counted never reaches the database: somebody holds a lock there.
#[derive(Debug)]
struct NeverCounts;

#[async_trait]
impl Script for NeverCounts {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        if matches!(call, Call::SettleSeals) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_beside_the_renewals_does_not_cost_the_lease() {
    const LEASE: Duration = Duration::from_secs(3);
    let file = support::sqlite::file();
    let database = Database::connect(&file.url(), 8).await.unwrap();
    database.migrate().await.unwrap();
    let store = Double::on(database.store(), Arc::new(NeverCounts));
    let process = ByHand::join_for(store, LEASE).await.unwrap();
    let replica = Arc::clone(process.worker.replica());
    let running = tokio::spawn(Arc::clone(&replica).run(std::future::pending()));
    let began = std::time::Instant::now();
    while began.elapsed() < 3 * LEASE {
        seal(&replica.keychain().load()).expect("its lease runs");
        tokio::time::sleep(LEASE / 100).await;
    }
    running.abort();
}

/// How often the process told that it fences itself, and that it serves.
fn told(traces: &traces::Traces) -> (usize, usize) {
    let text = traces.text();
    let lines = |what| text.lines().filter(|line| line.contains(what)).count();
    (lines("WARN breeze_rollover::replica::lease"), lines("the replica holds its lease"))
}

async fn until(holds: impl Fn() -> bool) {
    let holds = async {
        while !holds() {
            tokio::time::sleep(LEASE / 20).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), holds).await.expect("it takes for ever");
}

#[tokio::test]
async fn a_process_recovers_from_a_connection_that_hangs_and_tells_each_turn_once() {
    let traces = traces::capture();
    let file = support::sqlite::file();
    let database = Database::connect(&file.url(), 8).await.unwrap();
    database.migrate().await.unwrap();
    let script = Arc::<Hangs>::default();
    let process = ByHand::join(Double::on(database.store(), Arc::clone(&script))).await.unwrap();
    let replica = Arc::clone(process.worker.replica());
    let (leave, left) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(Arc::clone(&replica).run(async { drop(left.await) }));

    let mut turns = 0;
    while turns < 2 {
        until(|| replica.check().is_ok()).await;
        assert_eq!(told(&traces), (turns, turns + 1), "{}", traces.text());
        script.0.store(true, Ordering::SeqCst);
        until(|| replica.check().is_err()).await;
        tokio::time::sleep(LEASE).await;
        turns += 1;
        assert_eq!(told(&traces), (turns, turns), "{}", traces.text());
        script.0.store(false, Ordering::SeqCst);
    }
    until(|| replica.check().is_ok()).await;
    leave.send(()).unwrap();
    running.await.unwrap();
    assert!(replica.check().is_err(), "who has left makes nothing");
    assert!(!database.store().replicas().await.unwrap()[0].live);
}

on_both_databases!(
    and behind a pooler:
    a_straggler_makes_nothing_with_the_keys_of_before,
    a_straggler_is_back_with_the_newest_keys_at_once,
    a_renewal_without_an_answer_counts_for_nothing,
    who_has_left_accepts_nothing_unless_it_was_told_to,
);
