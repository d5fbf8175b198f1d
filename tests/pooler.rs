//! Behind PgBouncer in transaction mode everything works, but for LISTEN: changes are
//! pushed where there is a way round it, and polled where there is none.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::time::Duration;

use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    rollover::{Mode, Phase},
};
use serde_json::json;
use support::{
    app::{TestApp, fill, plaintexts, request, setup},
    breeze_api::breeze_api,
    deployment::{Db, KEYS, administrator},
    free_port,
    http::Client,
    postgres,
    traces::capture,
};

const ROWS: u32 = 2500;

/// Longer than any of these tests: who polls like this hears of nothing.
const NEVER: Duration = Duration::from_secs(600);

/// A database, migrated and filled without the pooler, and its URL through it.
async fn filled() -> (postgres::Database, String) {
    let own = postgres::database().await;
    let direct = Database::connect(&own.url(), 2).await.unwrap();
    direct.migrate().await.unwrap();
    fill(&direct, ROWS).await;
    let pooled = own.pooled_url();
    (own, pooled)
}

async fn rolls_over(app: &TestApp, secret: Secret) -> serde_json::Value {
    let begun = app.begin(request(secret, Mode::Graceful)).await.unwrap();
    app.reaches(begun.id, Phase::Retired).await.report.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(pgbouncer_tests), ignore = "needs PgBouncer; tests/run starts one")]
async fn both_secrets_roll_over_on_two_replicas_behind_a_pooler() {
    let (own, pooled) = filled().await;
    let join = || async {
        let database = Database::connect(&pooled, 8).await.unwrap();
        let database = database.listening_on(&own.url()).unwrap();
        TestApp::join(setup(&database).lease(Duration::from_secs(60), NEVER), database).await
    };
    let (one, other) = (join().await, join().await);
    let before = plaintexts(one.rollovers.replica()).await;
    assert_eq!(before.len(), 4 * ROWS as usize);
    rolls_over(&one, Secret::JwtSecret).await;
    let report = rolls_over(&other, Secret::AppEncryptionKey).await;
    assert_eq!(report["rowsRewrapped"], 2 * ROWS, "{report}");
    assert_eq!(report["passes"], 1, "{report}");
    assert!(plaintexts(one.rollovers.replica()).await == before, "every plaintext is right");
    let left = one.rollovers.operator().census().await.unwrap();
    assert_eq!(left.stale, 0);
    for app in [&one, &other] {
        app.rollovers.leave().await;
    }
    let live = one.database.store().replicas().await.unwrap();
    assert!(live.iter().all(|replica| !replica.live), "both have left");
}

#[tokio::test]
#[cfg_attr(not(pgbouncer_tests), ignore = "needs PgBouncer; tests/run starts one")]
async fn a_replica_that_cannot_listen_through_a_pooler_says_so_and_polls() {
    let (_own, pooled) = filled().await;
    let database = Database::connect(&pooled, 8).await.unwrap();
    let traces = capture();
    let app = TestApp::join(setup(&database), database).await;
    rolls_over(&app, Secret::JwtSecret).await;
    let told = async {
        while !traces.text().contains("set DATABASE_LISTEN_URL to the database itself") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("it never told");
    assert!(!traces.text().contains("changes are pushed again"));
}

#[tokio::test]
#[cfg_attr(not(pgbouncer_tests), ignore = "needs PgBouncer; tests/run starts one")]
async fn a_url_that_does_not_tell_of_the_pooler_is_refused_at_start() {
    let own = postgres::database().await;
    Database::connect(&own.url(), 2).await.unwrap().migrate().await.unwrap();
    let pooled = own.pooled_url();
    let (untold, _) = pooled.split_once('?').unwrap();
    let database = Database::connect(untold, 8).await.unwrap();
    let refused = database.check().await.unwrap_err().to_string();
    assert!(refused.contains("end DATABASE_URL with ?statement-cache-capacity=0"), "{refused}");
}

#[tokio::test]
#[cfg_attr(not(pgbouncer_tests), ignore = "needs PgBouncer; tests/run starts one")]
async fn the_reference_api_serves_behind_a_pooler() {
    let db = Db::on_postgres().await;
    db.migrate().await;
    let opened = db.open().await;
    let before = opened.fill(400).await;
    let Db::Postgres(own) = &db else { unreachable!("it is PostgreSQL's") };
    let port = free_port();
    let mut process = breeze_api(["serve"])
        .envs(KEYS)
        .env("DATABASE_URL", own.pooled_url())
        .env("DATABASE_LISTEN_URL", own.url())
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .start();
    process.listens_on(port).await;
    let admin = administrator(&Client::on(port), &process.stdout()).await;
    let body = json!({
        "secret": "APP_ENCRYPTION_KEY", "mode": "graceful", "reason": "a test",
    });
    let begun = admin.post("/admin/rollovers", body).await.expect(202);
    let id = begun["id"].as_str().unwrap().parse().unwrap();
    let retired = async {
        while opened.store().rollover(id).await.unwrap().unwrap().phase != Phase::Retired {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(60), retired).await;
    assert!(done.is_ok(), "{}", process.stderr());
    assert!(opened.plaintexts().await == before, "every plaintext is right");
    admin.get("/api/v1/users/me").await.expect(200);
    let ended = process.terminate().await;
    assert_eq!(ended.code, Some(0));
    assert!(!ended.stderr.contains("changes are not pushed"), "{}", ended.stderr);
}
