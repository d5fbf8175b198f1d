//! A rollover from request to retirement, on both databases.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::{collections::BTreeMap, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    column::{Binding, Column, Kind, Registry, RowKey},
    embed::{Database, Rollovers, Setup},
    envelope::Target,
    ids::{KeyId, RolloverId},
    keyring::{KeyState, sources::Environment},
    operator::{Refusal, Request},
    rollover::{Mode, Phase, Rollover},
    store::Actor,
    token::Lifetimes,
};

const APP_KEY: &str = "an application key of the first generation";
const RING: &str = r#"{"k-2023":"ring secret of 2023","k-2024":"ring secret of 2024"}"#;

fn environment() -> Environment {
    Environment::given([
        ("JWT_SECRET", "a signing secret that is long enough 0123456789"),
        ("APP_ENCRYPTION_KEY", APP_KEY),
        ("APP_ENCRYPTION_KEYRING", RING),
        ("APP_ENCRYPTION_KEY_ID", "k-2024"),
        ("MFA_ENCRYPTION_KEY", "a key for the seeds of one-time codes"),
        ("BREEZE_ROOT_KEY", "a root key that seals every other key in the store"),
    ])
}

fn registry() -> Registry {
    Registry::empty()
        .with(Column::text("integrations", "api_key"))
        .with(Column::new("integrations", "config", Kind::Json))
        .with(Column::new("integrations", "communities", Kind::TextArray))
        .with(Column::text("variables", "value").bound_by_row())
}

fn request(secret: Secret, mode: Mode) -> Request {
    Request {
        secret,
        mode,
        reason: "a test".into(),
        dry_run: false,
        value: None,
        target: Target::Bound,
        max_rows_per_second: None,
        alongside: false,
    }
}

/// One process on one database, with the application's tables in it.
struct TestApp {
    database: Database,
    rollovers: Rollovers,
}

impl TestApp {
    async fn start(database: Database) -> Self {
        let rollovers = join(database.clone()).await;
        Self { database, rollovers }
    }

    async fn sql(&self, sql: &str) {
        execute(&self.database, sql).await;
    }

    /// Every value of the application's tables, opened.
    async fn plaintexts(&self) -> BTreeMap<String, String> {
        use secrecy::ExposeSecret;
        let keys = self.rollovers.replica().opening_keychain();
        let store = self.database.store();
        let mut found = BTreeMap::new();
        for table in store.survey(&registry()).await.unwrap().tables {
            let none: Vec<_> = table
                .columns()
                .iter()
                .map(|_| breeze_rollover::column::Aim { prefixes: vec![] })
                .collect();
            let rows = store.stale(&table, &none, Default::default(), 100_000).await.unwrap();
            for row in rows {
                for (column, value) in table.columns().iter().zip(&row.values) {
                    let Some(value) = value else { continue };
                    let text = match column.kind() {
                        Kind::Text => {
                            column.open(&keys, &row.key, value, Target::Bound).unwrap().plaintext
                        }
                        _ => {
                            column
                                .open_document(&keys, &row.key, value, Target::Bound)
                                .unwrap()
                                .json
                        }
                    };
                    found.insert(format!("{column} {}", row.key), text.expose_secret().to_owned());
                }
            }
        }
        found
    }

    async fn rollover(&self, id: RolloverId) -> Rollover {
        self.rollovers.operator().rollover(id).await.unwrap()
    }

    async fn reaches(&self, id: RolloverId, phase: Phase) -> Rollover {
        for _ in 0..1200 {
            let rollover = self.rollover(id).await;
            if rollover.phase == phase {
                return rollover;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{phase} was not reached: {:?}", self.rollover(id).await);
    }

    async fn key_state(&self, secret: Secret, key: &KeyId) -> KeyState {
        let custody = self.database.store().custody().await.unwrap();
        custody.keys.iter().find(|k| k.secret == secret && k.id == *key).unwrap().state
    }

    async fn begin(&self, request: Request) -> Result<Rollover, Refusal> {
        self.rollovers.operator().begin(request, Actor::System).await
    }
}

async fn join(database: Database) -> Rollovers {
    Setup::new(database, registry())
        .environment(environment())
        .lifetimes(Lifetimes {
            access: Duration::from_secs(1),
            refresh: Duration::from_secs(2),
            viewer: Duration::from_secs(1),
        })
        .lease(Duration::from_secs(5), Duration::from_millis(50))
        .start()
        .await
        .unwrap()
}

async fn execute(database: &Database, sql: &str) {
    match database {
        Database::Postgres(store) => {
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(store.pool()).await.map(drop)
        }
        Database::Sqlite(store) => {
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(store.pool()).await.map(drop)
        }
        _ => unreachable!("both databases are named"),
    }
    .unwrap();
}

/// Values in Breeze's old formats, made by `breeze_rollover` with an older primary.
async fn fill(database: &Database, rows: u32) {
    let (array, json) = match database {
        Database::Postgres(_) => ("text[]", "jsonb"),
        _ => ("text", "text"),
    };
    execute(
        database,
        &format!(
            "CREATE TABLE integrations (id bigint PRIMARY KEY, api_key text, config {json}, communities {array}, edited int);
             CREATE TABLE variables (id text PRIMARY KEY, value text NOT NULL);"
        ),
    )
    .await;
    let old = breeze_rollover::keyring::sources::Declared::read(
        &Environment::given([
            ("JWT_SECRET", "a signing secret that is long enough 0123456789"),
            ("APP_ENCRYPTION_KEYRING", RING),
            ("APP_ENCRYPTION_KEY_ID", "k-2023"),
            ("MFA_ENCRYPTION_KEY", "a key for the seeds of one-time codes"),
        ]),
        &[],
    )
    .unwrap()
    .keychain(breeze_rollover::ids::Epoch(0))
    .unwrap();
    let registry = registry();
    let seal = |table: &str, name: &str, key: RowKey, text: &str| {
        let column = registry.column(table, name).unwrap();
        match column.kind() {
            Kind::Text => column.seal(&old, &key, text, Target::Compatible).unwrap(),
            _ => column.seal_document(&old, &key, text, Target::Compatible).unwrap(),
        }
    };
    let quote = |text: String| format!("'{}'", text.replace('\'', "''"));
    for chunk in (0..i64::from(rows)).collect::<Vec<_>>().chunks(500) {
        let integrations: Vec<_> = chunk
            .iter()
            .map(|&id| {
                let api_key = seal("integrations", "api_key", id.into(), &format!("key {id}"));
                let config =
                    format!(r#"{{"big":12345678901234567890,"token":"t {id}","rate":1.10}}"#);
                let config = seal("integrations", "config", id.into(), &config);
                let list = seal(
                    "integrations",
                    "communities",
                    id.into(),
                    &format!(r#"["public {id}",null]"#),
                );
                let list = match database {
                    Database::Postgres(_) => format!(
                        "(SELECT array_agg(x) FROM jsonb_array_elements_text({}::jsonb) x)",
                        quote(list)
                    ),
                    _ => quote(list),
                };
                format!("({id},{},{},{list},0)", quote(api_key), quote(config))
            })
            .collect();
        execute(database, &format!("INSERT INTO integrations VALUES {}", integrations.join(",")))
            .await;
        let variables: Vec<_> = chunk
            .iter()
            .map(|&id| {
                let key = format!("v{id}");
                let value = seal("variables", "value", key.as_str().into(), &format!("value {id}"));
                format!("('{key}',{})", quote(value))
            })
            .collect();
        execute(database, &format!("INSERT INTO variables VALUES {}", variables.join(","))).await;
    }
    let _ = Binding::Row;
}

async fn a_graceful_rollover_moves_every_value_and_then_retires_the_old_key(database: Database) {
    fill(&database, 1500).await;
    let app = TestApp::start(database).await;
    let before = app.plaintexts().await;
    assert_eq!(before.len(), 6000);

    let rollover = app.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap();
    let second = app.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await;
    assert!(matches!(second, Err(Refusal::Busy(id)) if id == rollover.id), "{second:?}");

    let done = app.reaches(rollover.id, Phase::Retired).await;
    assert_eq!(app.plaintexts().await, before, "every plaintext is still right");
    assert_eq!(app.key_state(done.secret, &done.from_key).await, KeyState::Retired);
    let report = done.report.unwrap();
    assert_eq!(report["rowsRewrapped"], 3000, "{report}");
    let census = app.rollovers.operator().census().await.unwrap();
    assert_eq!((census.stale, census.values), (0, 6000), "{census:?}");

    let refused = app.rollovers.operator().destroy(done.id, Actor::System, "a test").await;
    assert!(matches!(refused, Err(Refusal::Horizon { .. })), "{refused:?}");
    app.rollovers.leave().await;
}

async fn rolling_back_rewraps_back(database: Database) {
    fill(&database, 300).await;
    let app = TestApp::start(database).await;
    let before = app.plaintexts().await;
    // A value that no key opens keeps the rollover from retiring the old key.
    app.sql("INSERT INTO variables VALUES ('bad', 'enc:v2:k-lost:AAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA.AAAA')").await;
    let rollover = app.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap();
    for _ in 0..400 {
        let now = app.rollover(rollover.id).await;
        if now.blocked_by.is_some_and(|by| by.contains("quarantined")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let now = app.rollover(rollover.id).await;
    assert!(now.blocked_by.as_deref().unwrap().contains("1 value(s)"), "{now:?}");
    let operator = app.rollovers.operator();
    let refused = operator.retire(rollover.id, Actor::System, "now", false).await;
    assert!(matches!(refused, Err(Refusal::StillNeeded(_))), "{refused:?}");

    operator.roll_back(rollover.id, Actor::System, "a test").await.unwrap();
    app.sql("DELETE FROM variables WHERE id = 'bad'").await;
    let done = app.reaches(rollover.id, Phase::RolledBack).await;
    assert_eq!(app.key_state(done.secret, &done.from_key).await, KeyState::Primary);
    assert_eq!(app.key_state(done.secret, done.to_key.as_ref().unwrap()).await, KeyState::Retired);
    assert_eq!(app.plaintexts().await, before);
    app.rollovers.leave().await;
}

async fn a_signing_key_drains_for_its_lifetime(database: Database) {
    fill(&database, 1).await;
    let app = TestApp::start(database).await;
    let rollover = app.begin(request(Secret::JwtSecret, Mode::Graceful)).await.unwrap();
    let draining = app.reaches(rollover.id, Phase::Promoted).await;
    assert_eq!(app.key_state(Secret::JwtSecret, &draining.from_key).await, KeyState::Retiring);
    let done = app.reaches(rollover.id, Phase::Retired).await;
    let drained = done.updated_at.since(done.settled_at.unwrap());
    assert!(drained >= Duration::from_secs(2), "{drained:?}");

    let hard = app.begin(request(Secret::JwtSecret, Mode::Hard)).await.unwrap();
    let done = app.reaches(hard.id, Phase::Retired).await;
    assert_eq!(app.key_state(Secret::JwtSecret, &done.from_key).await, KeyState::Retired);
    app.rollovers.leave().await;
}

async fn a_hard_rollover_of_a_sealing_key_still_rewraps_everything(database: Database) {
    fill(&database, 200).await;
    let app = TestApp::start(database).await;
    let before = app.plaintexts().await;
    let rollover = app.begin(request(Secret::AppEncryptionKey, Mode::Hard)).await.unwrap();
    app.reaches(rollover.id, Phase::Retired).await;
    assert_eq!(app.plaintexts().await, before);
    app.rollovers.leave().await;
}

async fn a_dry_run_changes_nothing_and_tells_what_it_would_touch(database: Database) {
    fill(&database, 50).await;
    let app = TestApp::start(database).await;
    let epoch = app.database.store().epoch().await.unwrap();
    let dry = Request { dry_run: true, ..request(Secret::AppEncryptionKey, Mode::Graceful) };
    let dry = app.begin(dry).await.unwrap();
    let done = app.reaches(dry.id, Phase::Rehearsed).await;
    assert_eq!(done.report.unwrap()["valuesToRewrap"], 200);
    assert_eq!(app.database.store().epoch().await.unwrap(), epoch);
    app.rollovers.leave().await;
}

async fn a_paused_rollover_goes_on_after_a_restart_and_a_resume(database: Database) {
    fill(&database, 500).await;
    let app = TestApp::start(database).await;
    let before = app.plaintexts().await;
    let slow = Request {
        max_rows_per_second: Some(100),
        ..request(Secret::AppEncryptionKey, Mode::Graceful)
    };
    let rollover = app.begin(slow).await.unwrap();
    app.reaches(rollover.id, Phase::Promoted).await;
    app.rollovers.operator().pause(rollover.id, Actor::System, "a test").await.unwrap();
    app.rollovers.leave().await;

    let app = TestApp::start(app.database).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(app.rollover(rollover.id).await.phase, Phase::Promoted);
    let operator = app.rollovers.operator();
    operator.limit(rollover.id, Actor::System, None).await.unwrap();
    operator.resume(rollover.id, Actor::System, "a test").await.unwrap();
    app.reaches(rollover.id, Phase::Retired).await;
    assert_eq!(app.plaintexts().await, before);
    app.rollovers.leave().await;
}

macro_rules! on_both_databases {
    ($($promise:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $promise() {
                let file = super::support::sqlite::file();
                let database = super::Database::connect(&file.url(), 8).await.unwrap();
                database.migrate().await.unwrap();
                super::$promise(database).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
            async fn $promise() {
                let own = super::support::postgres::database().await;
                let database = super::Database::connect(&own.url(), 8).await.unwrap();
                database.migrate().await.unwrap();
                super::$promise(database).await;
            })*
        }
    };
}

on_both_databases!(
    a_graceful_rollover_moves_every_value_and_then_retires_the_old_key,
    rolling_back_rewraps_back,
    a_signing_key_drains_for_its_lifetime,
    a_hard_rollover_of_a_sealing_key_still_rewraps_everything,
    a_dry_run_changes_nothing_and_tells_what_it_would_touch,
    a_paused_rollover_goes_on_after_a_restart_and_a_resume,
);
