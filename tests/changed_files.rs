//! A file that changes while a process serves is acted on, at once or as soon as that
//! is possible; what is only half written, or taken back, is not.
#![cfg(all(feature = "postgres", feature = "sqlite", feature = "worker"))]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    ids::{Epoch, KeyId, ReplicaId},
    keyring::sources::{Environment, derived_id},
    material::Material,
    rollover::{Phase, Rollover},
    store::{Actor, Beat},
};
use support::{
    app::{JWT_SECRET, ROOT_KEY, TestApp, on_both_databases, setup, variables},
    traces::{Traces, capture},
};
use tempfile::TempDir;
use tokio::time::sleep;

const SECOND: &str = "the second signing secret, long enough, 0123456789";
const THIRD: &str = "the third signing secret, long enough, 0123456789ab";

fn id_of(value: &str) -> KeyId {
    derived_id(Material::new(value).unwrap().fingerprint())
}

/// The files of one process.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.hold(JWT_SECRET, &[]);
        files.write("root", ROOT_KEY);
        files
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        // As orchestrators do it: nobody reads half a file.
        let draft = self.path().join(format!(".{name}"));
        fs::write(&draft, format!("{text}\n")).unwrap();
        fs::rename(draft, self.path().join(name)).unwrap();
    }

    /// Puts the previous ones in place first: in between nothing is asked for.
    fn hold(&self, secret: &str, previous: &[&str]) {
        self.write("previous", &serde_json::to_string(previous).unwrap());
        self.write("secret", secret);
    }

    fn environment(&self) -> Environment {
        let mut given: BTreeMap<_, _> = variables()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (name, file) in [
            ("JWT_SECRET", "secret"),
            ("JWT_SECRET_PREVIOUS", "previous"),
            ("BREEZE_ROOT_KEY", "root"),
        ] {
            given.remove(name);
            let path = self.path().join(file).to_str().unwrap().to_owned();
            given.insert(format!("{name}_FILE"), path);
        }
        Environment::given(given)
    }
}

/// A process with files, on a database of its own.
async fn start(database: Database, files: &Files) -> TestApp {
    TestApp::join(setup(&database).environment(files.environment()), database).await
}

/// All rollovers there are, oldest first, once there are `count`.
async fn rollovers(app: &TestApp, count: usize) -> Vec<Rollover> {
    for _ in 0..400 {
        let mut found = app.database.store().rollovers(None, 10).await.unwrap();
        if found.len() == count {
            found.reverse();
            return found;
        }
        sleep(Duration::from_millis(25)).await;
    }
    panic!("{:?}", app.database.store().rollovers(None, 10).await.unwrap());
}

/// Long enough for a process to look at its files many times.
async fn a_while() {
    sleep(Duration::from_millis(500)).await;
}

/// Once it is told that a wish waits for `rollover`, and after a while: how often.
async fn told(traces: &Traces, rollover: &Rollover) -> usize {
    for _ in 0..400 {
        if waits(traces, rollover) > 0 {
            break;
        }
        sleep(Duration::from_millis(25)).await;
    }
    a_while().await;
    waits(traces, rollover)
}

fn waits(traces: &Traces, rollover: &Rollover) -> usize {
    let text = traces.text();
    let tells = |line: &&str| {
        line.contains("WARN")
            && line.contains("in progress")
            && line.contains(&rollover.id.to_string())
    };
    text.lines().filter(tells).count()
}

/// A rollover that a changed file has asked for, paused.
async fn paused(app: &TestApp, files: &Files) -> Rollover {
    files.hold(SECOND, &[JWT_SECRET]);
    let first = rollovers(app, 1).await.remove(0);
    app.reaches(first.id, Phase::Promoted).await;
    app.rollovers.operator().pause(first.id, Actor::System, "a test").await.unwrap()
}

async fn resume(app: &TestApp, rollover: &Rollover) {
    let operator = app.rollovers.operator();
    operator.resume(rollover.id, Actor::System, "a test").await.unwrap();
    app.reaches(rollover.id, Phase::Retired).await;
}

async fn a_second_change_waits_for_the_end_of_the_rollover_in_progress(database: Database) {
    let traces = capture();
    let files = Files::new();
    let app = start(database, &files).await;
    let first = paused(&app, &files).await;

    files.hold(THIRD, &[SECOND, JWT_SECRET]);
    assert_eq!(told(&traces, &first).await, 1, "once, and not each time it looks");
    assert_eq!(rollovers(&app, 1).await.len(), 1);

    resume(&app, &first).await;
    let second = rollovers(&app, 2).await.remove(1);
    assert_eq!((&second.from_key, &second.to_key), (&id_of(SECOND), &Some(id_of(THIRD))));
    assert_eq!(second.requested_by, "environment");
    app.reaches(second.id, Phase::Retired).await;
    a_while().await;
    assert_eq!(rollovers(&app, 2).await.len(), 2, "it asks once");
    app.rollovers.leave().await;
}

async fn a_second_change_that_is_taken_back_asks_for_nothing(database: Database) {
    let traces = capture();
    let files = Files::new();
    let app = start(database, &files).await;
    let first = paused(&app, &files).await;

    files.hold(THIRD, &[SECOND, JWT_SECRET]);
    assert_eq!(told(&traces, &first).await, 1);
    files.hold(SECOND, &[JWT_SECRET]);
    a_while().await;
    resume(&app, &first).await;
    a_while().await;
    assert_eq!(rollovers(&app, 1).await.len(), 1);
    app.rollovers.leave().await;
}

async fn a_wish_whose_predecessor_is_not_primary_yet_waits_too(database: Database) {
    let traces = capture();
    let files = Files::new();
    let app = start(database, &files).await;
    // Somebody who has not read the new key keeps it from being promoted.
    let slow = Beat {
        replica: ReplicaId::new(),
        name: "slow".to_owned(),
        version: String::new(),
        applied: Epoch(0),
        settled: Epoch(0),
        root_keys: vec![],
        accepts_while_fenced: false,
        columns: [].into(),
        lease: Duration::from_secs(60),
    };
    app.database.store().renew(&slow).await.unwrap();
    files.hold(SECOND, &[JWT_SECRET]);
    let first = rollovers(&app, 1).await.remove(0);
    files.hold(THIRD, &[SECOND]);
    assert_eq!(told(&traces, &first).await, 1, "once, and not each time it looks");

    app.database.store().deregister(slow.replica).await.unwrap();
    app.reaches(first.id, Phase::Retired).await;
    let second = rollovers(&app, 2).await.remove(1);
    assert_eq!((&second.from_key, &second.to_key), (&id_of(SECOND), &Some(id_of(THIRD))));
    app.rollovers.leave().await;
}

async fn a_process_that_starts_with_a_wish_that_must_wait_asks_when_it_may(database: Database) {
    let files = Files::new();
    let app = start(database.clone(), &files).await;
    let first = paused(&app, &files).await;
    let mut given = variables();
    let previous = serde_json::to_string(&[SECOND, JWT_SECRET]).unwrap();
    given.extend([("JWT_SECRET", THIRD), ("JWT_SECRET_PREVIOUS", previous.as_str())]);
    // It has no file at all, and looks again all the same.
    let joining = setup(&database).environment(Environment::given(given));
    let late = TestApp::join(joining, database).await;
    a_while().await;
    assert_eq!(rollovers(&app, 1).await.len(), 1);
    resume(&app, &first).await;
    let second = rollovers(&app, 2).await.remove(1);
    assert_eq!((&second.from_key, &second.to_key), (&id_of(SECOND), &Some(id_of(THIRD))));
    for app in [app, late] {
        app.rollovers.leave().await;
    }
}

async fn half_a_root_key_is_none(database: Database) {
    const WHOLE: &str = "another root key that seals every other key in the store";
    let files = Files::new();
    let poll = Duration::from_secs(1);
    let setup = setup(&database).environment(files.environment());
    let app = TestApp::join(setup.lease(Duration::from_secs(5), poll), database).await;
    // Written in three parts, each of which would do as a root key.
    for end in [35, 45, WHOLE.len()] {
        files.write("root", &WHOLE[..end]);
        sleep(poll / 6).await;
    }
    let whole = Material::new(WHOLE).unwrap().fingerprint();
    let store = app.database.store();
    let resealed = async {
        while store.sealed_under().await.unwrap().into_keys().collect::<Vec<_>>() != [whole] {
            sleep(Duration::from_millis(25)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), resealed).await.unwrap();
    let held: Vec<_> = app.rollovers.replica().root().fingerprints().collect();
    assert_eq!(held, [whole, Material::new(ROOT_KEY).unwrap().fingerprint()]);
    let entries = store.audit(None, 100).await.unwrap();
    for action in ["root_key.notice", "root_key.reseal"] {
        let entries: Vec<_> = entries.iter().filter(|entry| entry.action == action).collect();
        assert_eq!(entries.len(), 1, "{action}: {entries:?}");
        let details = entries[0].details.as_ref().unwrap().to_string();
        assert!(details.contains(&whole.to_string()) && !details.contains(WHOLE), "{details}");
    }
    // What cannot be read changes nothing.
    fs::remove_file(files.path().join("root")).unwrap();
    sleep(poll * 2).await;
    assert_eq!(app.rollovers.replica().root().primary().fingerprint(), whole);
    assert!(app.rollovers.replica().refresh().await.is_ok());
    assert_eq!(app.key_state(Secret::JwtSecret, &id_of(JWT_SECRET)).await.as_str(), "primary");
    app.rollovers.leave().await;
}

on_both_databases!(
    on one thread:
    a_second_change_waits_for_the_end_of_the_rollover_in_progress,
    a_second_change_that_is_taken_back_asks_for_nothing,
    a_wish_whose_predecessor_is_not_primary_yet_waits_too,
    a_process_that_starts_with_a_wish_that_must_wait_asks_when_it_may,
    half_a_root_key_is_none,
);
