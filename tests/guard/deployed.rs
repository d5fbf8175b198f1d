//! Rollovers under the guard, and what a caller of the API is told.

use std::time::Duration;

use breeze_rollover::{
    embed::Database,
    operator::Request,
    rollover::{Mode, Phase},
};
use serde_json::json;

use super::*;
use support::{
    app::{TestApp, fill, request},
    deployment::{Db, administrator},
    free_port,
    http::Client,
};

/// A process that serves a guarded database.
async fn guarded(own: &support::postgres::Database) -> TestApp {
    let database = Database::connect(&own.url(), 8).await.unwrap();
    database.migrate().await.unwrap();
    fill(&database, 60).await;
    let app = TestApp::start(database).await;
    let guard = app.rollovers.operator().guard();
    let installed = guard.install(Actor::System, "a test").await.unwrap();
    assert_eq!(columns(&installed, Guarding::Guarded).len(), 4);
    app
}

fn seal(app: &TestApp, text: &str) -> String {
    app.rollovers.sealed().sealed().seal("variables", "value", "later", text).unwrap()
}

/// Writes a value as a handler would; a refusal is answered by the constraint's name.
async fn write(app: &TestApp, value: &str) -> Result<(), String> {
    let Database::Postgres(store) = &app.database else { unreachable!() };
    let sql = "INSERT INTO variables VALUES ('later', $1)
        ON CONFLICT (id) DO UPDATE SET value = excluded.value";
    let written = sqlx::query(sql).bind(value).execute(store.pool()).await;
    written.map(drop).map_err(|error| {
        error.as_database_error().unwrap().constraint().unwrap_or_default().to_owned()
    })
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn every_rollover_goes_through_under_the_guard() {
    let own = support::postgres::database().await;
    let app = guarded(&own).await;
    let before = app.plaintexts().await;
    for mode in [Mode::Graceful, Mode::Hard] {
        let old = seal(&app, "before");
        write(&app, &old).await.unwrap();
        let begun = app.begin(request(Secret::AppEncryptionKey, mode)).await.unwrap();
        let report = app.reaches(begun.id, Phase::Retired).await.report.unwrap();
        assert_eq!(report["rowsThatKeptAnEdit"], 0, "{report}");
        assert_eq!(write(&app, &old).await, Err(GUARD_CONSTRAINT.to_owned()));
        write(&app, &seal(&app, "after")).await.unwrap();
    }
    app.sql("DELETE FROM variables WHERE id = 'later'").await;
    assert_eq!(app.plaintexts().await, before);
    app.rollovers.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn rolling_back_goes_through_and_refuses_the_new_key_from_then_on() {
    let own = support::postgres::database().await;
    let app = guarded(&own).await;
    let before = app.plaintexts().await;
    let slowly = Request {
        max_rows_per_second: Some(20),
        ..request(Secret::AppEncryptionKey, Mode::Graceful)
    };
    let old = seal(&app, "before");
    let begun = app.begin(slowly).await.unwrap();
    let to_key = app.reaches(begun.id, Phase::Promoted).await.to_key.unwrap();
    let new = loop {
        let new = seal(&app, "meanwhile");
        if new.contains(to_key.as_str()) {
            break new;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    write(&app, &new).await.unwrap();
    let operator = app.rollovers.operator();
    operator.roll_back(begun.id, Actor::System, "a test").await.unwrap();
    operator.limit(begun.id, Actor::System, None).await.unwrap();
    app.reaches(begun.id, Phase::RolledBack).await;
    assert_eq!(write(&app, &new).await, Err(GUARD_CONSTRAINT.to_owned()));
    write(&app, &old).await.unwrap();
    app.sql("DELETE FROM variables WHERE id = 'later'").await;
    assert_eq!(app.plaintexts().await, before);
    app.rollovers.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn the_commands_install_and_remove_and_the_api_asks_to_send_it_again() {
    let db = Db::on_postgres().await;
    db.migrate().await;
    let port = free_port();
    let mut server = db.run(["serve"]).env("BREEZE_LISTEN", format!("127.0.0.1:{port}")).start();
    server.listens_on(port).await;
    let admin = administrator(&Client::on(port), &server.stdout()).await;

    let status = db.run(["guard", "status", "--json"]).finish().await;
    assert_eq!((status.code, &status.json()["installed"]), (Some(0), &json!(false)), "{status:?}");
    let installed = db.run(["guard", "install", "--reason", "a test", "--json"]).finish().await;
    assert_eq!(installed.code, Some(0), "{installed:?}");
    let told = installed.json();
    let guarded = told["columns"]["guarded"].as_array().unwrap();
    assert!(guarded.contains(&json!("tenant_variables.value")), "{told}");
    assert!(guarded.contains(&json!("users.mfa_secret")), "{told}");
    assert!(told["columns"]["absent"].as_array().unwrap().contains(&json!("partners.settings")));

    let variable = json!({ "name": "V", "value": "a value of a tenant" });
    let made = admin.post("/api/v1/tenant-variables", variable).await.expect(201);
    let path = format!("/api/v1/tenant-variables/{}", made["id"].as_str().unwrap());
    // The server knows nothing of it yet, as one that was paused would not.
    let retire = "UPDATE rollover.key SET state = 'retired'
        WHERE secret = 'APP_ENCRYPTION_KEY' AND state = 'primary'";
    db.execute(retire, "").await;
    let refused = admin.patch(&path, json!({ "value": "another" })).await;
    let problem = refused.expect(503);
    assert_eq!(problem["code"], "key_retired", "{problem}");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(problem["detail"].as_str().unwrap().contains("send the request again"), "{problem}");
    admin.patch(&path, json!({ "name": "W" })).await.expect(200);
    assert_eq!(admin.get(&path).await.expect(200)["value"], "a value of a tenant");

    let removed = db.run(["guard", "remove", "--reason", "a test"]).finish().await;
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert!(removed.stdout.contains("tenant_variables"), "{removed:?}");
    admin.patch(&path, json!({ "value": "another" })).await.expect(200);
    let trail = admin.get("/admin/audit?limit=500").await.expect(200);
    for action in ["guard.install", "guard.remove"] {
        let entries = trail["entries"].as_array().unwrap().iter();
        let told = entries.filter(|entry| entry["action"] == action);
        assert_eq!(told.count(), 6, "one a table: {trail}");
    }
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_the_command_says_that_it_is_for_postgres() {
    let db = Db::on_sqlite();
    db.migrate().await;
    let refused = db.run(["guard", "install", "--reason", "a test"]).finish().await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("the guard is made of triggers on PostgreSQL"), "{refused:?}");
}
