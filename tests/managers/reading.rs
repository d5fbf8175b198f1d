//! Keys are read from a manager, and a change is acted on as that of a file is.

use std::time::Duration;

use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    ids::KeyId,
    keyring::{
        KeyState,
        sources::{Environment, derived_id},
    },
    manager::{ManagerError, Sources},
    material::Material,
    rollover::{Phase, Rollover},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    server::{Server, with_both_managers, with_either_manager},
    support::app::{JWT_SECRET, TestApp, setup, variables},
};

pub const SECOND: &str = "the second signing secret, long enough, 0123456789";

/// How often a manager of the tests is asked.
const POLL: Duration = Duration::from_millis(100);

pub fn id_of(value: &str) -> KeyId {
    derived_id(Material::new(value).unwrap().fingerprint())
}

/// Every key of an application of the tests, with `changes`.
pub fn fields(changes: &[(&str, Value)]) -> Value {
    let mut fields: Value =
        variables().into_iter().map(|(name, value)| (name, json!(value))).collect();
    for (name, value) in changes {
        fields[*name] = value.clone();
    }
    fields
}

pub async fn sources(server: &Server) -> Sources {
    let local = Environment::given([("NODE_ENV", "development")]);
    Sources::following(local, server.manager(), POLL).await.unwrap()
}

pub async fn start(server: &Server, database: Database) -> TestApp {
    TestApp::join(setup(&database).sources(sources(server).await), database).await
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

async fn a_new_value_beside_the_one_in_use_asks_for_a_rollover(server: Server, database: Database) {
    server.holds(&fields(&[])).await;
    let app = start(&server, database).await;
    assert_eq!(app.key_state(Secret::JwtSecret, &id_of(JWT_SECRET)).await, KeyState::Primary);
    // A list as such, as one may write it there.
    let changes = [("JWT_SECRET", json!(SECOND)), ("JWT_SECRET_PREVIOUS", json!([JWT_SECRET]))];
    server.holds(&fields(&changes)).await;
    let rollover = rollovers(&app, 1).await.remove(0);
    assert_eq!(rollover.requested_by, "environment");
    app.reaches(rollover.id, Phase::Retired).await;
    assert_eq!(app.key_state(Secret::JwtSecret, &id_of(SECOND)).await, KeyState::Primary);
    app.rollovers.leave().await;
}

async fn what_cannot_be_used_changes_nothing_while_a_process_serves(
    server: Server,
    database: Database,
) {
    server.holds(&fields(&[])).await;
    let app = start(&server, database.clone()).await;
    for (name, value) in [
        ("JWT_SECRET", json!("changeme")),
        ("JWT_SECRET", json!("short")),
        ("JWT_SECRET", json!(SECOND)),
        ("JWT_SECRET", json!(7)),
        ("JWT_SECRET", Value::Null),
        ("JWT_SECRET_PREVIOUS", json!("[\"")),
        ("APP_ENCRYPTION_KEYRING", json!({ "k": 7 })),
        ("BREEZE_ROOT_KEY", json!(JWT_SECRET)),
    ] {
        server.holds(&fields(&[(name, value)])).await;
        sleep(POLL * 5).await;
    }
    server.delete().await;
    sleep(POLL * 5).await;
    assert!(app.rollovers.replica().managed().unwrap().is_away());
    assert!(app.rollovers.ready().is_ok());
    assert_eq!(rollovers(&app, 0).await.len(), 0);
    assert_eq!(app.key_state(Secret::JwtSecret, &id_of(JWT_SECRET)).await, KeyState::Primary);
    app.rollovers.leave().await;
}

async fn what_cannot_be_used_keeps_a_process_from_starting(server: Server, database: Database) {
    for (name, value, told) in [
        ("JWT_SECRET", json!("changeme"), "JWT_SECRET is a placeholder"),
        ("JWT_SECRET", json!("short"), "JWT_SECRET is too short"),
        ("JWT_SECRET", json!(7), "JWT_SECRET in the secrets manager does not hold UTF-8 text"),
        ("BREEZE_ROOT_KEY", json!("short"), "BREEZE_ROOT_KEY is too short"),
        ("BREEZE_ROOT_KEY", json!(true), "BREEZE_ROOT_KEY in the secrets manager"),
        ("JWT_SECRET_PREVIOUS", json!({ "a": 1 }), "JWT_SECRET_PREVIOUS"),
    ] {
        server.holds(&fields(&[(name, value)])).await;
        let started = setup(&database).sources(sources(&server).await).start().await;
        let error = started.expect_err(told).to_string();
        assert!(error.contains(told), "{error}");
    }
}

async fn a_variable_stands_in_one_place(server: Server, database: Database) {
    server.holds(&fields(&[])).await;
    let local = Environment::given([("JWT_SECRET", JWT_SECRET)]);
    let sources = Sources::following(local, server.manager(), POLL).await.unwrap();
    let error = setup(&database).sources(sources).start().await.unwrap_err().to_string();
    let told = "both JWT_SECRET and JWT_SECRET in the secrets manager are set";
    assert!(error.contains(told), "{error}");
}

with_both_managers!(
    a_new_value_beside_the_one_in_use_asks_for_a_rollover,
    what_cannot_be_used_changes_nothing_while_a_process_serves,
    what_cannot_be_used_keeps_a_process_from_starting,
    a_variable_stands_in_one_place,
);

async fn what_is_not_there_is_told_as_that(server: Server) {
    let manager = server.manager();
    let told = manager.read().await.unwrap_err();
    // OpenBao tells a stranger to a secret no more than one who may read it.
    assert!(matches!(told, ManagerError::Missing(_)), "{told:?}");
    server.holds(&fields(&[])).await;
    let version = manager.read().await.unwrap().version;
    server.delete().await;
    let told = manager.read().await.unwrap_err();
    assert!(matches!(told, ManagerError::Gone(_)), "{told:?}");
    let told = manager.read_version(&version).await.unwrap_err();
    assert!(matches!(told, ManagerError::Gone(_)), "{told:?}");
}

with_either_manager!(what_is_not_there_is_told_as_that);

#[tokio::test]
#[cfg_attr(not(managers_tests), ignore = "needs moto; tests/run installs it")]
async fn a_text_that_is_no_object_is_refused() {
    let moto = crate::moto::Moto::start().await;
    for text in ["not json", "[]", "\"text\"", "7"] {
        moto.holds_text(text).await;
        let told = moto.manager().read().await.unwrap_err();
        assert!(matches!(told, ManagerError::Unfit(_)), "{text}: {told:?}");
    }
}
