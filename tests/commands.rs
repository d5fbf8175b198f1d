//! The commands beside `serve`: what they print, and how they exit.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, reason = "a test has no reader but its own")]

mod support;

use std::time::Duration;

use breeze_rollover::{catalog::Secret, rollover::Phase};
use serde_json::Value;
use support::{
    breeze_api::{Finished, Process, breeze_api},
    deployment::{Db, KEYS, on_both_databases},
    free_port,
};

const APP: Secret = Secret::AppEncryptionKey;

/// What a server writes that no key opens.
const BAD: &str = "INSERT INTO tenant_variables (id, value) VALUES \
    ('00000000-0000-4000-8000-00000000bad0', 'enc:v3:k-lost:AAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA.AAAA')";

/// A command that was complete, and its one object.
#[track_caller]
fn object(finished: &Finished, code: i32) -> Value {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    let value = finished.json();
    assert!(value.is_object(), "{value}");
    assert_eq!(finished.stdout.lines().count(), 1, "{}", finished.stdout);
    value
}

/// A command that could not do it, and why.
#[track_caller]
fn error(finished: &Finished, why: &str) {
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(finished.stdout, "", "a result is not an error");
    assert!(finished.stderr.contains(why), "{why}: {}", finished.stderr);
}

async fn serve(db: &Db) -> (Process, u16) {
    let port = free_port();
    let mut process = db
        .run(["serve"])
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .env("JWT_ACCESS_TTL_SECONDS", "1")
        .env("JWT_REFRESH_TTL_SECONDS", "2")
        .env("JWT_VIEWER_TTL_SECONDS", "1")
        .start();
    process.listens_on(port).await;
    (process, port)
}

async fn with_json_each_command_prints_one_object_and_nothing_else(db: Db) {
    // Whatever is logged, it is not logged there.
    let run = async |arguments: &[&str]| {
        db.run(arguments.iter().copied()).env("RUST_LOG", "trace").finish().await
    };
    let migrated = object(&run(&["migrate", "--json"]).await, 0);
    assert_eq!(migrated["migrated"], true);
    let before = db.open().await.fill(40).await;
    let keys = object(&run(&["keys", "--json"]).await, 0);
    assert_eq!(keys["keys"].as_array().unwrap().len(), 0, "no process has brought any");

    // Without `--apply` everything is still stale.
    let stale = object(&run(&["rewrap", "--json"]).await, 2);
    let applied = object(&run(&["rewrap", "--apply", "--json"]).await, 0);
    let again = object(&run(&["rewrap", "--apply", "--json"]).await, 0);
    for (report, is_applied, rewrapped, left) in
        [(&stale, false, 0, 40), (&applied, true, 40, 0), (&again, true, 0, 0)]
    {
        assert_eq!(report["applied"], is_applied, "{report}");
        assert_eq!(report["rowsRewrapped"], rewrapped, "{report}");
        assert_eq!(report["rowsStillStale"], left, "{report}");
    }
    let census = object(&run(&["census", "--json"]).await, 0);
    assert_eq!(census["forms"]["enc:v3:k-2024"], 70, "{census}");

    let dry = ["rollover", "APP_ENCRYPTION_KEY", "--mode", "graceful", "--reason", "a test"];
    let dry = object(&run(&[&dry[..], &["--dry-run", "--json"]].concat()).await, 0);
    assert_eq!(
        (&dry["phase"], &dry["report"]["valuesToRewrap"]),
        (&"rehearsed".into(), &70.into())
    );
    let keys = object(&run(&["keys", "--json"]).await, 0);
    let is_of_app = |key: &&Value| key["secret"] == "APP_ENCRYPTION_KEY";
    let count = keys["keys"].as_array().unwrap().iter().filter(is_of_app).count();
    assert_eq!(count, 4, "the keys of the environment, and none of the dry run: {keys}");
    let replicas = object(&run(&["replicas", "--json"]).await, 0);
    let [command] = replicas["replicas"].as_array().unwrap().as_slice() else {
        panic!("looking makes no replica: {replicas}")
    };
    assert_eq!((&command["live"], &command["awaited"]), (&false.into(), &serde_json::json!([])));
    assert!(command["leftAt"].is_number() && command["leaseOverForSeconds"].is_number());
    assert_eq!(db.open().await.plaintexts().await, before);
}

async fn what_no_key_opens_is_left_and_exits_with_2(db: Db) {
    db.migrate().await;
    let opened = db.open().await;
    opened.fill(8).await;
    opened.execute(BAD).await;
    for arguments in [&["rewrap", "--json"][..], &["rewrap", "--apply", "--json"]] {
        let report = object(&db.run(arguments.iter().copied()).finish().await, 2);
        assert_eq!(report["rowsUnopenable"], 1, "{report}");
    }
    let told = db.run(["rewrap"]).finish().await;
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(
        told.stdout.contains("tenant_variables.value of row 00000000-0000-4000-8000-00000000bad0")
    );

    // A rollover stands still until people act, and says so.
    let rollover = ["rollover", "APP_ENCRYPTION_KEY", "--mode", "graceful", "--reason", "a test"];
    let view = object(&db.run([&rollover[..], &["--wait", "--json"]].concat()).finish().await, 2);
    assert_eq!(view["phase"], "promoted", "{view}");
    assert!(view["blockedBy"].as_str().unwrap().contains("1 value(s)"), "{view}");
}

async fn a_rollover_without_a_server_is_carried_to_its_end_by_the_command(db: Db) {
    db.migrate().await;
    let opened = db.open().await;
    let before = opened.fill(400).await;
    let [app, jwt] = ["APP_ENCRYPTION_KEY", "JWT_SECRET"].map(|secret| {
        db.run(["rollover", secret, "--mode", "graceful", "--reason", "a test", "--wait", "--json"])
            .finish()
    });
    let view = object(&app.await, 0);
    assert_eq!(
        (&view["phase"], &view["report"]["rowsRewrapped"]),
        (&"retired".into(), &400.into())
    );
    assert_eq!(opened.plaintexts().await, before);
    assert_eq!(opened.primaries(APP).await.len(), 1);

    // No process has signed anything, so nothing is accepted for the sake of tokens.
    assert_eq!(object(&jwt.await, 0)["phase"], "retired");
}

async fn a_rollover_beside_a_server_is_shared_with_it_or_left_to_it(db: Db) {
    db.migrate().await;
    let opened = db.open().await;
    let before = opened.fill(400).await;
    let (server, _) = serve(&db).await;
    let rollover = async |secret: &str, more: &[&str]| {
        let always = ["rollover", secret, "--mode", "graceful", "--reason", "a test", "--json"];
        db.run([&always[..], more].concat()).finish().await
    };
    let waited = object(&rollover("APP_ENCRYPTION_KEY", &["--wait"]).await, 0);
    assert_eq!(
        (&waited["phase"], &waited["report"]["rowsRewrapped"]),
        (&"retired".into(), &400.into())
    );
    assert_eq!(opened.plaintexts().await, before);
    // The lifetimes of the server count, and not those of a process that signs nothing.
    let drained = object(&rollover("JWT_SECRET", &["--wait"]).await, 0);
    assert_eq!(drained["phase"], "retired");

    let left = object(&rollover("APP_ENCRYPTION_KEY", &["--max-rows-per-second", "100"]).await, 0);
    assert_ne!(left["phase"], "retired", "nobody waited");
    let id = left["id"].as_str().unwrap();
    error(&rollover("APP_ENCRYPTION_KEY", &[]).await, &format!("rollover {id} is in progress"));
    let done = async {
        let id = id.parse().unwrap();
        while opened.store().rollover(id).await.unwrap().unwrap().phase != Phase::Retired {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), done).await.expect("the server carries it out");
    assert_eq!(opened.plaintexts().await, before);
    assert_eq!(server.terminate().await.code, Some(0));
}

async fn a_command_that_disagrees_with_the_key_store_changes_nothing(db: Db) {
    db.migrate().await;
    let opened = db.open().await;
    opened.fill(8).await;
    let rollover = ["rollover", "APP_ENCRYPTION_KEY", "--mode", "graceful", "--reason", "a test"];
    object(&db.run([&rollover[..], &["--wait", "--json"]].concat()).finish().await, 0);
    let census = || async { object(&db.run(["census", "--json"]).finish().await, 0) };
    let before = census().await;
    error(&db.run(["rewrap", "--apply", "--json"]).finish().await, "use `breeze-api rollover");
    assert_eq!(census().await, before);
}

on_both_databases!(
    with_json_each_command_prints_one_object_and_nothing_else,
    what_no_key_opens_is_left_and_exits_with_2,
    a_rollover_without_a_server_is_carried_to_its_end_by_the_command,
    a_rollover_beside_a_server_is_shared_with_it_or_left_to_it,
    a_command_that_disagrees_with_the_key_store_changes_nothing,
);

#[tokio::test]
async fn a_mistyped_command_is_an_error_and_not_an_incomplete_run() {
    let run =
        async |arguments: &[&str]| Db::on_sqlite().run(arguments.iter().copied()).finish().await;
    error(&run(&["rewarp"]).await, "unrecognized subcommand 'rewarp'");
    error(&run(&["rewrap", "--batch-size", "0"]).await, "--batch-size");
    error(&run(&["rollover", "JWT_SECRET", "--reason", "a test"]).await, "--mode");
    let reason = ["--reason", "a test"];
    let unknown = ["rollover", "COOKIE_SECRET", "--mode", "hard"];
    error(&run(&[&unknown[..], &reason].concat()).await, "APP_ENCRYPTION_KEY");
    let sideways = ["rollover", "JWT_SECRET", "--mode", "sideways"];
    error(&run(&[&sideways[..], &reason].concat()).await, "graceful");

    for arguments in [&["--help"][..], &["--version"], &["rollover", "--help"]] {
        let told = run(arguments).await;
        assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{told:?}");
        assert!(!told.stdout.is_empty());
    }
}

#[tokio::test]
async fn a_bad_url_is_told_without_what_is_in_it() {
    let urls = [
        ("mysql://breeze:hunter2@db/breeze", "DATABASE_URL must begin with"),
        ("hunter2", "DATABASE_URL must begin with"),
        ("postgres://breeze:hunter2@127.0.0.1:hunter2/breeze", "DATABASE_URL does not parse"),
        ("postgres://breeze@127.0.0.1/breeze?sslmode=hunter2", "DATABASE_URL does not parse"),
        ("sqlite://breeze.db?mode=hunter2", "DATABASE_URL does not parse"),
        ("sqlite:///no-such-folder/hunter2/breeze.db", "unable to open database file"),
    ];
    for (url, why) in urls {
        for command in ["migrate", "keys", "replicas", "census", "rewrap", "serve"] {
            let ended = breeze_api([command]).envs(KEYS).env("DATABASE_URL", url).finish().await;
            error(&ended, why);
            assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
        }
    }
    let nobody = "postgres://breeze:hunter2@127.0.0.1:1/breeze";
    let ended = breeze_api(["keys"]).env("DATABASE_URL", nobody).finish().await;
    error(&ended, "the database does not answer");
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
}

#[tokio::test]
async fn without_a_url_the_database_is_a_file_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let run = |command| breeze_api([command]).envs(KEYS).in_folder(folder.path()).finish();
    error(&run("keys").await, "breeze-api migrate");
    assert_eq!(run("migrate").await.code, Some(0));
    assert!(folder.path().join("breeze.db").is_file());
    for command in ["keys", "replicas", "census", "rewrap"] {
        let ended = run(command).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

#[tokio::test]
async fn the_demo_ends_with_no_failure_and_no_lost_edit() {
    let arguments = ["demo", "--rows", "500", "--connections", "2", "--calm", "1", "--json"];
    let summary = object(&breeze_api(arguments).finish().await, 0);
    assert_eq!(summary["failures"], serde_json::json!({}), "{summary}");
    assert_eq!(summary["lostEdits"], 0, "{summary}");
    assert_eq!((&summary["rows"], &summary["rowsOnTheNewKey"]), (&500.into(), &500.into()));
}
