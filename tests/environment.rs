//! Environment and store agree, or the process says why not; nothing silently
//! changes which key is primary.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use breeze_rollover::{
    catalog::{Absence, Secret},
    clock::Timestamp,
    embed::{Database, StartError},
    ids::KeyId,
    keyring::{
        KeyState, Origin,
        sources::{Environment, derived_id},
    },
    material::Material,
    operator::Request,
    rollover::{Mode, Phase},
    store::{
        Change, Committed, KeyChange,
        custody::{NewKey, RootKeys},
    },
    token::{NewToken, Scope, sign, verify},
};
use secrecy::ExposeSecret;
use support::app::{JWT_SECRET, ROOT_KEY, TestApp, on_both_databases, request, setup, variables};

const NEW: &str = "another signing secret, long enough, 9876543210";

fn changed(changes: &[(&'static str, &'static str)]) -> Environment {
    let mut variables = variables();
    variables.extend(changes.iter().copied());
    Environment::given(variables)
}

async fn try_start(
    database: &Database,
    changes: &[(&'static str, &'static str)],
) -> Result<TestApp, StartError> {
    let rollovers = setup(database).environment(changed(changes)).start().await?;
    Ok(TestApp { database: database.clone(), rollovers })
}

async fn start(database: &Database, changes: &[(&'static str, &'static str)]) -> TestApp {
    try_start(database, changes).await.unwrap()
}

fn id_of(value: &str) -> KeyId {
    derived_id(Material::new(value).unwrap().fingerprint())
}

/// The key that a process signs with.
fn primary(app: &TestApp) -> KeyId {
    let keys = app.rollovers.replica().keychain().load_full();
    keys.signing(Secret::JwtSecret).unwrap().primary().id().clone()
}

fn token(app: &TestApp) -> String {
    let keys = app.rollovers.replica().keychain().load_full();
    let token = NewToken::access("somebody", Scope::Partner);
    let now = app.rollovers.replica().clock().now();
    let token = sign(keys.signing(Secret::JwtSecret).unwrap(), &token, now).unwrap();
    token.expose_secret().to_owned()
}

fn accepts(app: &TestApp, token: &str) -> bool {
    let keys = app.rollovers.replica().keychain().load_full();
    let now = app.rollovers.replica().clock().now();
    verify(keys.signing(Secret::JwtSecret).unwrap(), token, now).is_ok()
}

/// The only rollover, which the environment asked for, once it is at `phase`.
async fn asked_for(app: &TestApp, phase: Phase) {
    let rollovers = app.database.store().rollovers(None, 10).await.unwrap();
    let [rollover] = rollovers.as_slice() else { panic!("one rollover: {rollovers:?}") };
    assert_eq!(rollover.secret, Secret::JwtSecret);
    assert_eq!((rollover.mode, rollover.requested_by.as_str()), (Mode::Graceful, "environment"));
    assert_eq!(rollover.from_key, id_of(JWT_SECRET));
    assert_eq!(rollover.to_key, Some(id_of(NEW)));
    app.reaches(rollover.id, phase).await;
}

async fn a_new_value_with_the_one_in_use_beside_it_asks_for_a_graceful_rollover(
    database: Database,
) {
    let old = start(&database, &[]).await;
    assert_eq!(primary(&old), id_of(JWT_SECRET));
    let early = token(&old);

    // A rolling deployment: the old process serves on beside the new one.
    let changes = [("JWT_SECRET", NEW), ("JWT_SECRET_PREVIOUS", JWT_SECRET)];
    let new = start(&database, &changes).await;
    assert!(accepts(&new, &early));
    asked_for(&new, Phase::Promoted).await;
    let until = std::time::Instant::now() + Duration::from_secs(2);
    while (primary(&old), primary(&new)) != (id_of(NEW), id_of(NEW)) {
        assert!(std::time::Instant::now() < until, "{} and {}", primary(&old), primary(&new));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let late = token(&old);
    for app in [&old, &new] {
        assert!(accepts(app, &early) && accepts(app, &late));
    }

    // An old process that starts again is told that its value is not the primary one.
    let again = start(&database, &[]).await;
    assert_eq!(primary(&again), id_of(NEW));
    assert!(again.rollovers.notes()[0].to_string().contains("JWT_SECRET holds key"));
    for app in [&old, &again] {
        app.rollovers.leave().await;
    }

    asked_for(&new, Phase::Retired).await;
    new.rollovers.leave().await;
    let again = start(&database, &changes).await;
    asked_for(&again, Phase::Retired).await;
    assert_eq!(again.rollovers.notes(), []);
    again.rollovers.leave().await;
}

async fn a_new_value_alone_is_refused(database: Database) {
    start(&database, &[]).await.rollovers.leave().await;
    let before = database.store().custody().await.unwrap();
    let refused = try_start(&database, &[("JWT_SECRET", NEW)]).await.err().unwrap().to_string();
    assert!(refused.contains("put the value in use into JWT_SECRET_PREVIOUS"), "{refused}");
    assert!(refused.contains("or restore it") && !refused.contains(NEW), "{refused}");
    let id_taken = try_start(
        &database,
        &[("APP_ENCRYPTION_KEYRING", r#"{"k-2024":"not the ring secret of 2024"}"#)],
    );
    let refused = id_taken.await.err().unwrap().to_string();
    assert!(refused.contains("give the new key an id of its own"), "{refused}");
    assert_eq!(database.store().custody().await.unwrap().keys, before.keys);
}

/// Stores a key as versions did that kept what they were handed in.
async fn store_as_written(database: &Database, secret: Secret, text: &str) {
    let material = Material::new(text).unwrap();
    let root = RootKeys::new(Material::new(ROOT_KEY).unwrap(), vec![]);
    let key = NewKey {
        secret,
        id: id_of(text),
        material: &material,
        origin: Origin::Supplied,
        state: KeyState::Primary,
        unnamed: false,
        rank: 0,
    };
    let key = key.into_record(&root, Timestamp::from_seconds(1)).unwrap();
    let change = Change { keys: vec![KeyChange::Add(Box::new(key))], ..Change::default() };
    let committed = database.store().commit(&change).await.unwrap();
    assert!(matches!(committed, Committed::Done(_)), "{committed:?}");
}

const PAIR: &str = r#"{"S3_ACCESS_KEY":"AKIAINUSE","S3_SECRET_KEY":"the secret key in use"}"#;
const AS_WRITTEN: &str =
    r#"{ "S3_SECRET_KEY": "the secret key in use", "S3_ACCESS_KEY": "AKIAINUSE" }"#;

async fn a_credential_that_was_stored_as_it_was_written_is_the_same_credential(database: Database) {
    start(&database, &[]).await.rollovers.leave().await;
    store_as_written(&database, Secret::S3SecretKey, AS_WRITTEN).await;
    store_as_written(&database, Secret::RedisUrl, "default:p@ssw0rd").await;
    let before = database.store().custody().await.unwrap();
    let same = [
        ("S3_ACCESS_KEY", "AKIAINUSE"),
        ("S3_SECRET_KEY", "the secret key in use"),
        ("REDIS_URL", "redis://:p%40ssw0rd@cache"),
    ];
    let app = start(&database, &same).await;
    assert_eq!(app.rollovers.notes(), []);
    for (secret, value) in [
        (Secret::S3SecretKey, PAIR),
        (Secret::S3SecretKey, AS_WRITTEN),
        (Secret::RedisUrl, ":p@ssw0rd"),
    ] {
        let again = Request { value: Some(value.into()), ..request(secret, Mode::Graceful) };
        let refused = app.begin(again).await.unwrap_err().to_string();
        assert!(refused.contains("a key of this secret already"), "{refused}");
    }
    assert_eq!(database.store().custody().await.unwrap().keys, before.keys);
    assert_eq!(database.store().rollovers(None, 9).await.unwrap(), []);
    app.rollovers.leave().await;

    let alone = [("S3_ACCESS_KEY", "AKIANEW"), ("S3_SECRET_KEY", "the new secret key")];
    let refused = try_start(&database, &alone).await.err().unwrap().to_string();
    assert!(
        refused.contains("into S3_ACCESS_KEY_PREVIOUS and S3_SECRET_KEY_PREVIOUS"),
        "{refused}"
    );
    let previous = [
        ("S3_ACCESS_KEY_PREVIOUS", "AKIAINUSE"),
        ("S3_SECRET_KEY_PREVIOUS", "the secret key in use"),
    ];
    let app = start(&database, &[alone, previous].concat()).await;
    let rollovers = database.store().rollovers(None, 9).await.unwrap();
    let [rollover] = rollovers.as_slice() else { panic!("one rollover: {rollovers:?}") };
    assert_eq!((rollover.secret, &rollover.from_key), (Secret::S3SecretKey, &id_of(AS_WRITTEN)));
    app.rollovers.leave().await;
}

fn write(folder: &Path, name: &str, text: &str) {
    // As orchestrators do it: nobody reads half a file.
    let draft = folder.join(format!(".{name}"));
    fs::write(&draft, format!("{text}\n")).unwrap();
    fs::rename(draft, folder.join(name)).unwrap();
}

async fn a_changed_file_is_noticed_while_running(database: Database) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path, "secret", JWT_SECRET);
    let mut given: BTreeMap<_, _> =
        variables().into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    given.remove("JWT_SECRET");
    given.insert("JWT_SECRET_FILE", path.join("secret").to_str().unwrap().to_owned());
    given.insert("JWT_SECRET_PREVIOUS_FILE", path.join("previous").to_str().unwrap().to_owned());
    write(path, "previous", "a signing secret of long ago, 0123456789ab");
    let setup = setup(&database).environment(Environment::given(given));
    let app = TestApp::join(setup, database).await;
    let early = token(&app);

    // The new value alone is a fault of the file, and stops nothing.
    write(path, "secret", NEW);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(app.database.store().rollovers(None, 10).await.unwrap(), []);
    assert!(accepts(&app, &early) && primary(&app) == id_of(JWT_SECRET));
    // So is a file that is gone, or holds nothing.
    fs::remove_file(path.join("secret")).unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    write(path, "secret", "");
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(accepts(&app, &early) && primary(&app) == id_of(JWT_SECRET));

    write(path, "previous", JWT_SECRET);
    write(path, "secret", NEW);
    for _ in 0..200 {
        if !app.database.store().rollovers(None, 10).await.unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    asked_for(&app, Phase::Retired).await;
    app.rollovers.leave().await;
}

/// Five processes that start at the same moment.
async fn start_together(
    database: &Database,
    environment: impl Fn() -> Environment,
) -> Vec<TestApp> {
    let starting = (0..5).map(|_| {
        let setup = setup(database).environment(environment());
        tokio::spawn(TestApp::join(setup, database.clone()))
    });
    let mut apps = vec![];
    for app in starting.collect::<Vec<_>>() {
        apps.push(app.await.unwrap());
    }
    apps
}

async fn leave(apps: Vec<TestApp>) {
    for app in apps {
        app.rollovers.leave().await;
    }
}

async fn adoptions(database: &Database) -> usize {
    let entries = database.store().audit(None, 500).await.unwrap();
    entries.iter().filter(|entry| entry.action == "key.adopt").count()
}

async fn replicas_that_start_at_once_agree(database: Database) {
    let apps = start_together(&database, || changed(&[])).await;
    let keys = database.store().custody().await.unwrap().keys;
    assert_eq!(adoptions(&database).await, keys.len(), "each key was adopted once");
    assert!(apps.iter().all(|app| primary(app) == id_of(JWT_SECRET)));
    leave(apps).await;

    let asking = || changed(&[("JWT_SECRET", NEW), ("JWT_SECRET_PREVIOUS", JWT_SECRET)]);
    let apps = start_together(&database, asking).await;
    asked_for(&apps[0], Phase::Retired).await;
    assert!(apps.iter().all(|app| primary(app) == id_of(NEW)));
    leave(apps).await;
}

async fn replicas_that_start_at_once_without_a_key_make_one(database: Database) {
    let none = || Environment::given([("BREEZE_ROOT_KEY", support::app::ROOT_KEY)]);
    let apps = start_together(&database, none).await;
    let keys = database.store().custody().await.unwrap().keys;
    let made = Secret::all().filter(|secret| secret.entry().absence != Absence::Off).count();
    assert_eq!((keys.len(), adoptions(&database).await), (made, made), "one key a secret");
    assert!(apps.iter().all(|app| primary(app) == primary(&apps[0])));
    leave(apps).await;
}

on_both_databases!(
    a_new_value_with_the_one_in_use_beside_it_asks_for_a_graceful_rollover,
    a_new_value_alone_is_refused,
    a_credential_that_was_stored_as_it_was_written_is_the_same_credential,
    a_changed_file_is_noticed_while_running,
    replicas_that_start_at_once_agree,
    replicas_that_start_at_once_without_a_key_make_one,
);
