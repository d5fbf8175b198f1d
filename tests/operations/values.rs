//! A rollover by command: of a value that is handed in, with a server and without one.

use std::{path::Path, time::Duration};

use breeze_rollover::{catalog::Secret, material::Material};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    breeze_api::{Finished, Process},
    deployment::{Db, administrator, on_both_databases},
    free_port,
    http::Client,
    redis::{OLD, Redis},
    smtp,
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

/// A process that mails by `mail`, and the port that it listens on.
async fn serve_mails(
    db: &Db,
    mail: &smtp::Server,
    variables: &[(&str, &str)],
) -> (Process, Client) {
    let port = free_port();
    let mut process = db
        .run(["serve"])
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .env("MAIL_FROM", "Breeze <breeze@example.test>")
        .env("SMTP_HOST", "localhost")
        .env("SMTP_PORT", mail.port.to_string())
        .env("BREEZE_TRUSTED_CA", mail.certificate())
        .envs(variables.iter().copied())
        .start();
    process.listens_on(port).await;
    (process, Client::on(port))
}

/// The rollover once `is` holds of it.
async fn once(admin: &Client, begun: &Value, is: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/admin/rollovers/{}", begun["id"].as_str().unwrap());
    for _ in 0..1200 {
        let rollover = admin.get(&path).await.expect(200);
        if is(&rollover) {
            return rollover;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("{}", admin.get(&path).await.json());
}

/// Handed in with blanks and in another order than the variables have it, a pair is the one
/// that the variables of the next start are.
async fn a_pair_that_rolled_over_is_the_pair_of_the_next_start(db: Db) {
    db.migrate().await;
    let mail = smtp::Server::start("starttls").await;
    let old = [("SMTP_USER", smtp::OLD.0), ("SMTP_PASS", smtp::OLD.1)];
    let (process, anybody) = serve_mails(&db, &mail, &old).await;
    let admin = administrator(&anybody, &process.stdout()).await;
    let ask = |value: String| json!({ "secret": "SMTP_PASS", "mode": "graceful", "reason": "a test", "value": value });
    let begin = async |value: String| admin.post("/admin/rollovers", ask(value)).await;
    let in_use = begin(smtp::value(smtp::OLD)).await.expect(422);
    assert!(in_use["detail"].as_str().unwrap().contains("of this secret already"), "{in_use}");

    let begun = begin(smtp::value(smtp::NEW)).await.expect(202);
    once(&admin, &begun, |it| it["blockedBy"].as_str().is_some_and(|by| by.contains("/revoked")))
        .await;
    let revoked = format!("/admin/rollovers/{}/revoked", begun["id"].as_str().unwrap());
    admin.post(&revoked, json!({ "reason": "it is deleted" })).await.expect(200);
    once(&admin, &begun, |it| it["phase"] == "retired").await;
    for again in [smtp::value(smtp::NEW), smtp::kept(smtp::NEW)] {
        let in_use = begin(again).await.expect(422);
        assert!(in_use["detail"].as_str().unwrap().contains("of this secret already"), "{in_use}");
    }
    assert_eq!(process.terminate().await.code, Some(0));

    let new = [("SMTP_USER", smtp::NEW.0), ("SMTP_PASS", smtp::NEW.1)];
    let whole = smtp::value(smtp::OLD);
    let previous: [&[(&str, &str)]; 3] = [
        &[],
        &[("SMTP_PASS_PREVIOUS", &whole)],
        &[("SMTP_USER_PREVIOUS", smtp::OLD.0), ("SMTP_PASS_PREVIOUS", smtp::OLD.1)],
    ];
    let opened = db.open().await;
    let keys = opened.store().custody().await.unwrap().keys;
    for previous in previous {
        let (process, _) = serve_mails(&db, &mail, &[&new[..], previous].concat()).await;
        let Finished { stderr, .. } = process.terminate().await;
        assert!(!stderr.contains("SMTP_PASS") && !stderr.contains(smtp::NEW.1), "{stderr}");
        assert_eq!(opened.store().rollovers(None, 9).await.unwrap().len(), 1, "none begins");
        assert_eq!(opened.store().custody().await.unwrap().keys, keys, "and no key enters");
    }
    assert!(is_primary(&db, Secret::SmtpPass, &smtp::kept(smtp::NEW)).await);
}

on_both_databases!(
    with smtp_tests, "needs aiosmtpd; tests/run installs it":
    a_pair_that_rolled_over_is_the_pair_of_the_next_start,
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

    // The one in use, in other words.
    let in_use = db
        .run(rollover("REDIS_URL", "graceful", &["--value-file", "-"]))
        .env("REDIS_URL", redis.url())
        .stdin(&format!("%61pi:{}", OLD.replace('-', "%2D")))
        .finish()
        .await;
    assert!(in_use.stderr.contains("of this secret already"), "{in_use:?}");

    let done = db
        .run(rollover("REDIS_URL", "graceful", &["--value-file", "-", "--wait"]))
        .env("REDIS_URL", redis.url())
        .stdin(&format!("api:%61{}\n", NEW.strip_prefix('a').unwrap()))
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
