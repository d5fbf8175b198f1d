//! How the API starts and stops, and what it finds in a database of Breeze's.

use std::{collections::BTreeMap, time::Duration};

use breeze_rollover::embed::Database;
use serde_json::{Value, json};

use crate::{
    app::{Api, Db, KEYS, assert_problem, text, told},
    support::{breeze_api::breeze_api, free_port, http::Client, postgres, sqlite},
};

/// Starts two processes at once, and counts who tells of an administrator.
async fn start_twice(db: &Db) -> usize {
    let start = || {
        let port = free_port();
        let process = breeze_api(["serve"])
            .env("DATABASE_URL", db.url())
            .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
            .envs(KEYS)
            .start();
        (port, process)
    };
    let (mut first, mut second) = (start(), start());
    first.1.listens_on(first.0).await;
    second.1.listens_on(second.0).await;
    let mut administrators = 0;
    for process in [first.1, second.1] {
        let ended = process.terminate().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        administrators += usize::from(told(&ended.stdout).is_some());
    }
    administrators
}

#[tokio::test]
async fn of_two_first_starts_one_creates_the_administrator_on_sqlite() {
    let db = Db::Sqlite(sqlite::file());
    assert_eq!(start_twice(&db).await, 1);
    assert_eq!(start_twice(&db).await, 0, "and later starts create nobody");
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn of_two_first_starts_one_creates_the_administrator_on_postgres() {
    let db = Db::Postgres(Box::new(postgres::database().await));
    let migrate = || breeze_api(["migrate"]).env("DATABASE_URL", db.url()).finish();
    let (one, other) = tokio::join!(migrate(), migrate());
    assert_eq!((one.code, other.code), (Some(0), Some(0)), "{} {}", one.stderr, other.stderr);
    assert_eq!(start_twice(&db).await, 1);
    assert_eq!(start_twice(&db).await, 0, "and later starts create nobody");
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn serve_does_no_ddl_and_says_who_does() {
    let database = postgres::database().await;
    let serve = breeze_api(["serve"]).env("DATABASE_URL", database.url()).envs(KEYS).finish().await;
    assert_eq!(serve.code, Some(1));
    assert!(serve.stderr.contains("breeze-api migrate"), "{}", serve.stderr);
    let pool = database.pool().await;
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(tables, 0);
}

#[tokio::test]
async fn requests_in_flight_are_answered_when_it_is_asked_to_stop() {
    let db = Db::Sqlite(sqlite::file());
    let port = free_port();
    let mut process = breeze_api(["serve"])
        .env("DATABASE_URL", db.url())
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .envs(KEYS)
        .start();
    process.listens_on(port).await;
    let attempts: Vec<_> = (0..8)
        .map(|_| {
            let client = Client::on(port);
            tokio::spawn(async move {
                let body = json!({ "email": "nobody@example.test", "password": "whatever it is" });
                client.post("/api/v1/auth/login", body).await
            })
        })
        .collect();
    // Argon2 keeps eight of them busy for longer than this.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let ended = process.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for attempt in attempts {
        assert_problem(&attempt.await.unwrap(), 401, "invalid_credentials");
    }
}

/// Serves with a short lease, and answers a request until long after it was asked to
/// stop.
async fn ends_after_a_slow_request(db: &Db) {
    let port = free_port();
    let mut process = breeze_api(["serve"])
        .env("DATABASE_URL", db.url())
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .env("BREEZE_LEASE_SECONDS", "2")
        .env("BREEZE_DRAIN_SECONDS", "3")
        .envs(KEYS)
        .start();
    process.listens_on(port).await;
    let client = Client::on(port);
    assert_eq!(client.get("/ready").await.expect(200)["status"], "ready");
    let login = json!({ "email": "nobody@example.test", "password": "whatever it is" });
    let slow = client.begin("/api/v1/auth/login", login.clone()).await;
    process.signal("TERM").await;

    tokio::time::sleep(Duration::from_millis(500)).await;
    let unready = client.get("/ready").await;
    assert_problem(&unready, 503, "shutting_down");
    assert_eq!(unready.header("retry-after"), Some("1"));
    client.get("/health").await.expect(200);
    let meanwhile = client.post("/api/v1/auth/login", login).await;
    assert_problem(&meanwhile, 401, "invalid_credentials");

    // Beyond the drain, and several leases.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(client.ask(http::Method::GET, "/health", None).await.is_err(), "nobody new comes in");
    let database = Database::connect(&db.url(), 1).await.unwrap();
    let live = async || database.store().replicas().await.unwrap()[0].live;
    assert!(live().await, "the lease is held while a request is in flight");
    assert_problem(&slow.finish().await, 401, "invalid_credentials");
    let ended = process.finish().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!live().await, "and given back right then");
}

#[tokio::test]
async fn the_lease_is_held_until_the_last_request_is_answered_on_sqlite() {
    ends_after_a_slow_request(&Db::Sqlite(sqlite::file())).await;
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn the_lease_is_held_until_the_last_request_is_answered_on_postgres() {
    let db = Db::Postgres(Box::new(postgres::database().await));
    breeze_api(["migrate"]).env("DATABASE_URL", db.url()).finish().await;
    ends_after_a_slow_request(&db).await;
}

#[tokio::test]
async fn every_fault_of_the_settings_is_told_at_once() {
    let ended = breeze_api(["serve"])
        .env("BREEZE_LISTEN", "everywhere")
        .env("JWT_ACCESS_TTL_SECONDS", "soon")
        .finish()
        .await;
    assert_eq!(ended.code, Some(1));
    for name in ["BREEZE_LISTEN", "JWT_ACCESS_TTL_SECONDS"] {
        assert!(ended.stderr.contains(name), "{}", ended.stderr);
    }
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_database_that_breeze_filled_is_served_as_it_is() {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    let dump = std::fs::read_to_string(format!("{vectors}/breeze-sample.sql")).unwrap();
    let expected = std::fs::read(format!("{vectors}/breeze-sample.expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let database = postgres::database().await;
    database.execute(&dump).await;

    let target = &expected["keys"]["target"];
    let ring = target["APP_ENCRYPTION_KEYRING"].to_string();
    let variable = |name: &str| text(&target[name]);
    let own = [
        ("APP_ENCRYPTION_KEY_ID", variable("APP_ENCRYPTION_KEY_ID")),
        ("APP_ENCRYPTION_KEYRING", ring),
        ("APP_ENCRYPTION_KEY", variable("APP_ENCRYPTION_KEY")),
        ("APP_ENCRYPTION_KEY_PREVIOUS", variable("previous_APP_ENCRYPTION_KEY")),
        ("JWT_SECRET", variable("JWT_SECRET")),
        ("MFA_ENCRYPTION_KEY", variable("MFA_ENCRYPTION_KEY")),
        ("BREEZE_ROOT_KEY", "test-root-key-0123456789abcdef0123456789".to_owned()),
    ];
    let own: Vec<_> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let api = Api::on(Db::Postgres(Box::new(database)), &own).await;
    let admin = api.as_administrator().await;

    for (table, column, collection, member) in [
        ("tenant_variables", "value", "tenant-variables", "value"),
        ("webhooks", "url", "webhooks", "url"),
        ("sso_providers", "client_secret", "sso/providers", "clientSecretHint"),
    ] {
        let mut plain: BTreeMap<String, Option<String>> = BTreeMap::new();
        for row in expected["rows"].as_array().unwrap() {
            if row["t"] == table && row["c"] == column {
                plain.insert(text(&row["id"]), row["p"].as_str().map(str::to_owned));
            }
        }
        assert!(!plain.is_empty(), "{table}.{column}");
        for (id, plain) in plain {
            let row = admin.get(&format!("/api/v1/{collection}/{id}")).await.expect(200);
            assert_eq!(row.get("unreadable"), None, "{table} {id}");
            let shown = row[member].as_str().unwrap_or_default();
            match plain.unwrap_or_default() {
                plain if member == "clientSecretHint" => {
                    let length = (plain.chars().count() / 2).min(4);
                    assert!(plain.ends_with(shown) && shown.chars().count() == length, "{id}");
                }
                plain => assert_eq!(shown, plain, "{table} {id}"),
            }
        }
    }
    api.end().await;
}
