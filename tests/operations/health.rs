//! While something ails, no rollover begins, unless it is forced by name.

use std::time::Duration;

use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    ids::{Epoch, ReplicaId},
    operator::{Check, Refusal, Request},
    rollover::Mode,
    store::Beat,
    worker::Task,
};
use serde_json::json;
use sqlx::ConnectOptions;

use crate::support::app::{TestApp, fill, on_both_databases, request, setup};

/// A replica that keeps its lease, and stays at the epoch of before.
async fn lag(database: &Database) {
    database.store().renew(&slow()).await.unwrap();
}

fn slow() -> Beat {
    Beat {
        replica: ReplicaId::new(),
        name: "the slow one".to_owned(),
        version: "0".to_owned(),
        applied: Epoch(0),
        settled: Epoch(0),
        root_keys: vec![],
        lease: Duration::from_secs(60),
        accepts_while_fenced: false,
        columns: [].into(),
    }
}

async fn a_rollover_does_not_begin_while_a_replica_lags(database: Database) {
    let app = TestApp::start(database).await;
    assert_eq!(app.rollovers.operator().ailments().await.unwrap(), []);
    lag(&app.database).await;
    let ask = || request(Secret::JwtSecret, Mode::Graceful);
    let Err(Refusal::Unhealthy(ailments)) = app.begin(ask()).await else { panic!("it began") };
    assert_eq!(ailments.len(), 1, "{ailments:?}");
    assert_eq!(ailments[0].check, Check::Replicas);
    let told = Refusal::Unhealthy(ailments).to_string();
    assert!(told.contains("the slow one lags behind"), "{told}");
    assert!(told.ends_with(r#"or send "force": ["replicas"]"#), "{told}");
    assert_eq!(app.database.store().rollovers(None, 9).await.unwrap(), []);
    // Another name forces nothing; a dry run changes nothing.
    let other = Request { force: [Check::Queue].into(), ..ask() };
    assert!(matches!(app.begin(other).await, Err(Refusal::Unhealthy(_))));
    app.begin(Request { dry_run: true, ..ask() }).await.unwrap();
    app.begin(Request { force: [Check::Replicas].into(), ..ask() }).await.unwrap();
    app.rollovers.leave().await;
}

/// Asserts that a rollover is refused for `check` alone, that it is told where operators
/// look, and that it begins once it is forced.
async fn is_refused_unless_forced(
    app: &TestApp,
    ask: impl Fn() -> Request,
    check: Check,
) -> String {
    let ailments = app.rollovers.operator().ailments().await.unwrap();
    let Err(Refusal::Unhealthy(found)) = app.begin(ask()).await else { panic!("it began") };
    assert_eq!(ailments, found);
    assert_eq!(found.iter().map(|ailment| ailment.check).collect::<Vec<_>>(), [check]);
    let others = Check::ALL.into_iter().filter(|other| *other != check).collect();
    let others = app.begin(Request { force: others, ..ask() }).await;
    assert!(matches!(others, Err(Refusal::Unhealthy(_))), "{others:?}");
    app.begin(Request { force: [check].into(), ..ask() }).await.unwrap();
    found[0].found.clone()
}

async fn a_rollover_does_not_begin_while_a_replica_accepts_without_its_lease(database: Database) {
    let app = TestApp::start(database).await;
    let store = app.database.store();
    let fenced = Beat {
        applied: store.epoch().await.unwrap(),
        lease: Duration::from_millis(1),
        accepts_while_fenced: true,
        ..slow()
    };
    store.renew(&fenced).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let ask = || request(Secret::JwtSecret, Mode::Graceful);
    let found = is_refused_unless_forced(&app, ask, Check::Replicas).await;
    assert_eq!(found, "the slow one is without its lease, and accepts");
    app.rollovers.leave().await;
}

async fn a_rollover_does_not_begin_while_values_are_found_that_no_key_opens(database: Database) {
    fill(&database, 20).await;
    let app = TestApp::start(database).await;
    app.sql(
        "UPDATE integrations SET api_key = substr(api_key, 1, length(api_key) - 8) || 'AAAAAAAA'
         WHERE id = 7",
    )
    .await;
    let running = app.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap();
    app.blocked(running.id, "no key opens").await;
    let ask = || Request { alongside: true, ..request(Secret::JwtSecret, Mode::Graceful) };
    let found = is_refused_unless_forced(&app, ask, Check::Quarantine).await;
    assert!(found.starts_with("1 value(s) that no key opens"), "{found}");
    app.rollovers.leave().await;
}

async fn a_rollover_does_not_begin_while_tasks_are_not_taken(database: Database) {
    let app = TestApp::start(database).await;
    // Nobody takes what is put from now on, and it has waited for a minute.
    app.rollovers.stop_work().await;
    let queue = app.database.queue();
    queue.put(Task::Unknown(json!("later")), Duration::ZERO, "a test".to_owned()).await.unwrap();
    app.sql(match app.database {
        Database::Postgres(_) => {
            "UPDATE apalis.jobs SET run_at = now() - interval '1 minute' WHERE status = 'Pending'"
        }
        _ => "UPDATE Jobs SET run_at = strftime('%s', 'now') - 60 WHERE status = 'Pending'",
    })
    .await;
    let ask = || request(Secret::JwtSecret, Mode::Graceful);
    let found = is_refused_unless_forced(&app, ask, Check::Queue).await;
    assert!(found.contains("task(s) wait for more than half a minute"), "{found}");
    app.rollovers.leave().await;
}

/// Keeps the database from answering, until it is dropped.
enum Held {
    /// Another session has locked the epoch, and whatever reads it waits.
    Lock(sqlx::PgConnection),
    /// Every connection of the process is taken.
    Connections(Vec<sqlx::pool::PoolConnection<sqlx::Sqlite>>),
}

impl Held {
    async fn of(database: &Database) -> Self {
        match database {
            Database::Postgres(store) => {
                let mut session = store.pool().connect_options().connect().await.unwrap();
                let lock = "BEGIN; LOCK TABLE rollover.meta IN ACCESS EXCLUSIVE MODE";
                sqlx::raw_sql(lock).execute(&mut session).await.unwrap();
                Self::Lock(session)
            }
            Database::Sqlite(store) => {
                let mut taken = vec![];
                for _ in 0..store.pool().options().get_max_connections() {
                    taken.push(store.pool().acquire().await.unwrap());
                }
                Self::Connections(taken)
            }
            _ => unreachable!("both databases are named"),
        }
    }
}

async fn a_rollover_does_not_begin_while_the_database_is_slow(database: Database) {
    let lasting = setup(&database).lease(Duration::from_secs(60), Duration::from_millis(50));
    let app = TestApp::join(lasting, database).await;
    let ask = || request(Secret::JwtSecret, Mode::Graceful);
    let held = Held::of(&app.database).await;
    let forced = Request { force: [Check::Database].into(), ..ask() };
    let (refused, begun) = tokio::join!(app.begin(ask()), async {
        tokio::join!(app.begin(forced), async {
            // Longer than either check takes.
            tokio::time::sleep(Duration::from_secs(8)).await;
            drop(held);
        })
        .0
    });
    let Err(Refusal::Unhealthy(found)) = refused else { panic!("{refused:?}") };
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].check, Check::Database);
    assert_eq!(found[0].found, "it takes longer than 2 s to answer");
    begun.unwrap();
    assert_eq!(app.rollovers.operator().ailments().await.unwrap(), []);
    app.rollovers.leave().await;
}

on_both_databases!(
    a_rollover_does_not_begin_while_a_replica_lags,
    a_rollover_does_not_begin_while_a_replica_accepts_without_its_lease,
    a_rollover_does_not_begin_while_values_are_found_that_no_key_opens,
    a_rollover_does_not_begin_while_tasks_are_not_taken,
    a_rollover_does_not_begin_while_the_database_is_slow,
);

/// Over HTTP and by command, as operators meet it.
mod over_http {
    use super::*;
    use crate::{app, support::breeze_api::breeze_api};

    async fn what_ails_is_told_and_forced_by_name(api: &app::Api) {
        let admin = api.as_administrator().await;
        let health = admin.get("/admin/health").await.expect(200);
        assert_eq!(health["ailments"], json!([]), "{health}");
        lag(&Database::connect(&api.db.url(), 1).await.unwrap()).await;
        let health = admin.get("/admin/health").await.expect(200);
        assert_eq!(health["ailments"][0]["check"], "replicas", "{health}");
        let body =
            |force: &[&str]| json!({ "secret": "JWT_SECRET", "reason": "a test", "force": force });
        let refused = admin.post("/admin/rollovers", body(&[])).await.expect(409);
        assert_eq!(refused["code"], "unhealthy");
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.contains("the slow one lags behind"), "{detail}");
        assert!(detail.ends_with(r#""force": ["replicas"]"#), "{detail}");
        admin.post("/admin/rollovers", body(&["weather"])).await.expect(422);

        let rollover = |more: &[&'static str]| {
            let arguments = ["rollover", "JWT_SECRET", "--mode", "graceful", "--reason", "a test"];
            breeze_api(arguments.into_iter().chain(more.iter().copied()))
                .envs(app::KEYS)
                .env("DATABASE_URL", api.db.url())
        };
        let refused = rollover(&["--json"]).finish().await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("the slow one lags behind"), "{}", refused.stderr);
        let begun = rollover(&["--json", "--force", "replicas"]).finish().await;
        assert_eq!(begun.code, Some(0), "{begun:?}");
        assert_eq!(begun.json()["secret"], "JWT_SECRET");
        // What was overridden is told.
        let entries = admin.get("/admin/audit").await.expect(200);
        let mut entries = entries["entries"].as_array().unwrap().iter();
        let request = entries.find(|entry| entry["action"] == "rollover.request").unwrap();
        assert_eq!(request["details"]["forced"][0]["check"], "replicas", "{request}");
    }

    app::on_both_databases!(what_ails_is_told_and_forced_by_name);
}
