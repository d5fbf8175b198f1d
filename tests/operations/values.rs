//! A rollover by command: of a value that is handed in, with a server and without one.

use std::{path::Path, time::Duration};

use breeze_rollover::{catalog::Secret, material::Material};
use tokio::time::sleep;

use crate::support::{
    breeze_api::{Finished, Process},
    deployment::{Db, on_both_databases},
    free_port,
    redis::{OLD, Redis},
};

const FIRST: &str = "a signing secret that is handed in 0123456789";
const SECOND: &str = "another signing secret that is handed in 0123";

/// `breeze-api rollover SECRET --mode MODE`, with more arguments.
fn rollover<'a>(secret: &'a str, mode: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let arguments = ["rollover", secret, "--mode", mode, "--reason", "a test", "--json"];
    arguments.into_iter().chain(more.iter().copied()).collect()
}

async fn serve(db: &Db) -> Process {
    let port = free_port();
    let mut process = db
        .run(["serve"])
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .env("RUST_LOG", "trace")
        .start();
    process.listens_on(port).await;
    process
}

/// Whether `value` is the primary key of the secret.
async fn is_primary(db: &Db, secret: Secret, value: &str) -> bool {
    let fingerprint = Material::new(value).unwrap().fingerprint();
    let keys = db.open().await.store().custody().await.unwrap().keys;
    let primary = breeze_rollover::keyring::KeyState::Primary;
    keys.iter()
        .any(|key| (key.secret, key.state, key.fingerprint) == (secret, primary, fingerprint))
}

fn written(folder: &Path, text: &str) -> String {
    let path = folder.join("value");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn assert_secret(finished: &Finished) {
    for value in [FIRST, SECOND] {
        assert!(!finished.stdout.contains(value) && !finished.stderr.contains(value));
    }
}

async fn a_value_is_handed_in_by_standard_input_or_by_a_file(db: Db) {
    db.migrate().await;
    let server = serve(&db).await;
    let by_stdin = db
        .run(rollover("JWT_SECRET", "hard", &["--value-file", "-", "--wait"]))
        .env("RUST_LOG", "trace")
        .stdin(&format!("{FIRST}\n"))
        .finish()
        .await;
    assert_eq!(by_stdin.code, Some(0), "{}", by_stdin.stderr);
    assert_eq!(by_stdin.json()["phase"], "retired");
    assert!(is_primary(&db, Secret::JwtSecret, FIRST).await);
    assert_secret(&by_stdin);

    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), SECOND);
    let by_file = db.run(rollover("JWT_SECRET", "graceful", &["--value-file", &path]));
    let by_file = by_file.finish().await;
    assert_eq!(by_file.code, Some(0), "{}", by_file.stderr);
    while !is_primary(&db, Secret::JwtSecret, SECOND).await {
        sleep(Duration::from_millis(50)).await;
    }
    assert_secret(&by_file);
    assert_secret(&server.terminate().await);
}

async fn a_value_that_does_not_do_changes_nothing_and_is_not_told(db: Db) {
    db.migrate().await;
    let folder = tempfile::tempdir().unwrap();
    for (text, why) in [
        ("\n", "is empty"),
        ("too short to sign with", "at least 32 characters"),
        ("changeme-changeme-changeme-changeme", "is a placeholder"),
    ] {
        let path = written(folder.path(), text);
        let refused =
            db.run(rollover("JWT_SECRET", "hard", &["--value-file", &path])).finish().await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
        assert!(text == "\n" || !refused.stderr.contains(text), "{}", refused.stderr);
    }
    let absent = folder.path().join("absent");
    let absent = ["--value-file", absent.to_str().unwrap()];
    let refused = db.run(rollover("JWT_SECRET", "hard", &absent)).finish().await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("cannot read"), "{}", refused.stderr);
    assert_eq!(db.open().await.store().rollovers(None, 9).await.unwrap(), []);
}

/// Whoever drives a rollover must know what the servers do: how long to wait, for one.
async fn a_command_waits_as_long_as_a_server_would(db: Db) {
    db.migrate().await;
    let token = |value: &str| format!("a token of metrics, {value} 0123456789");
    let done = db
        .run(rollover("METRICS_SCRAPE_TOKEN", "graceful", &["--value-file", "-", "--wait"]))
        .env("METRICS_SCRAPE_TOKEN", token("the old one"))
        .env("METRICS_SCRAPE_GRACE_SECONDS", "2")
        .stdin(&token("the new one"))
        .finish()
        .await;
    assert_eq!((done.code, &done.json()["phase"]), (Some(0), &"retired".into()), "{done:?}");
    assert!(done.json()["report"]["seconds"].as_f64().unwrap() >= 2.0, "{done:?}");
    assert!(is_primary(&db, Secret::MetricsScrapeToken, &token("the new one")).await);
}

async fn a_command_counts_what_needs_the_old_key(db: Db) {
    db.migrate().await;
    let arguments = rollover("ENROLLMENT_KEY_PEPPER", "graceful", &["--wait"]);
    let done = db.run(arguments).finish().await;
    assert_eq!((done.code, &done.json()["phase"]), (Some(0), &"retired".into()), "{done:?}");
}

on_both_databases!(
    a_value_is_handed_in_by_standard_input_or_by_a_file,
    a_value_that_does_not_do_changes_nothing_and_is_not_told,
    a_command_waits_as_long_as_a_server_would,
    a_command_counts_what_needs_the_old_key,
);

#[tokio::test]
#[cfg_attr(not(redis_tests), ignore = "needs redis-server; tests/run installs it")]
async fn a_command_rolls_the_password_of_redis_over_where_no_server_runs() {
    const NEW: &str = "a-new-password-of-redis-0123456789";
    let redis = Redis::start("~breeze:* +@all").await;
    let db = Db::on_sqlite();
    db.migrate().await;
    redis.ask(OLD, &["ACL", "SETUSER", "api", &format!(">{NEW}")]).await.unwrap();
    let wrong = db
        .run(rollover("REDIS_URL", "graceful", &["--value-file", "-", "--wait"]))
        .env("REDIS_URL", redis.url())
        .stdin("api:a-wrong-password-0123456789")
        .finish()
        .await;
    assert_eq!((wrong.code, &wrong.json()["phase"]), (Some(2), &"abandoned".into()), "{wrong:?}");
    redis.ask(OLD, &["PING"]).await.unwrap();

    let done = db
        .run(rollover("REDIS_URL", "graceful", &["--value-file", "-", "--wait"]))
        .env("REDIS_URL", redis.url())
        .stdin(&format!("api:{NEW}\n"))
        .finish()
        .await;
    assert_eq!((done.code, &done.json()["phase"]), (Some(0), &"retired".into()), "{done:?}");
    redis.ask(NEW, &["PING"]).await.unwrap();
    redis.ask(OLD, &["PING"]).await.expect_err("it is taken away");
    assert!(is_primary(&db, Secret::RedisUrl, &format!("api:{NEW}")).await);

    // And one that is made at the server.
    let made = db
        .run(rollover("REDIS_URL", "graceful", &["--wait"]))
        .env("REDIS_URL", redis.url())
        .finish()
        .await;
    assert_eq!((made.code, &made.json()["phase"]), (Some(0), &"retired".into()), "{made:?}");
    redis.ask(NEW, &["PING"]).await.expect_err("it is taken away");
}
