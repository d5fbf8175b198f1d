//! One process on one database, with an application's tables in it: the language
//! of every test that rolls something over.

use std::{collections::BTreeMap, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    column::{Aim, Column, Kind, Registry, RowKey},
    embed::{Database, Rollovers, Setup},
    envelope::Target,
    ids::{Epoch, KeyId, RolloverId},
    keyring::{
        KeyState,
        sources::{Declared, Environment},
    },
    operator::{Refusal, Request},
    replica::Replica,
    rollover::{Mode, Phase, Rollover},
    store::Actor,
    token::Lifetimes,
};
use secrecy::ExposeSecret;

use super::postgres;

pub const JWT_SECRET: &str = "a signing secret that is long enough 0123456789";
pub const MFA_KEY: &str = "a key for the seeds of one-time codes";
pub const ROOT_KEY: &str = "a root key that seals every other key in the store";
pub const APP_KEY: &str = "an application key of the first generation";
/// Values of the old formats are sealed under its older key.
pub const RING: &str = r#"{"k-2023":"ring secret of 2023","k-2024":"ring secret of 2024"}"#;

/// What the environment of a process declares.
pub fn variables() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("JWT_SECRET", JWT_SECRET),
        ("APP_ENCRYPTION_KEY", APP_KEY),
        ("APP_ENCRYPTION_KEYRING", RING),
        ("APP_ENCRYPTION_KEY_ID", "k-2024"),
        ("MFA_ENCRYPTION_KEY", MFA_KEY),
        ("BREEZE_ROOT_KEY", ROOT_KEY),
        // Nobody makes it.
        ("AGENT_ENROLLMENT_SECRET", "what an installer of the tests presents 0123456789"),
    ])
}

pub fn environment() -> Environment {
    Environment::given(variables())
}

pub fn registry() -> Registry {
    Registry::empty()
        .with(Column::text("integrations", "api_key"))
        .with(Column::new("integrations", "config", Kind::Json))
        .with(Column::new("integrations", "communities", Kind::TextArray))
        .with(Column::text("variables", "value").bound_by_row())
}

pub fn request(secret: Secret, mode: Mode) -> Request {
    Request {
        secret,
        mode,
        reason: "a test".into(),
        dry_run: false,
        value: None,
        target: Target::Bound,
        max_rows_per_second: None,
        alongside: false,
        supersede: None,
        force: Default::default(),
    }
}

/// One process on one database, with the application's tables in it.
pub struct TestApp {
    pub database: Database,
    pub rollovers: Rollovers,
}

impl TestApp {
    pub async fn start(database: Database) -> Self {
        Self::join(setup(&database), database).await
    }

    /// One more process on a database, that takes part as `setup` says.
    pub async fn join(setup: Setup, database: Database) -> Self {
        let rollovers = setup.start().await.unwrap();
        Self { database, rollovers }
    }

    pub async fn sql(&self, sql: &str) {
        execute(&self.database, sql).await;
    }

    /// Every value of the application's tables, opened.
    pub async fn plaintexts(&self) -> BTreeMap<String, String> {
        plaintexts(self.rollovers.replica()).await
    }

    pub async fn rollover(&self, id: RolloverId) -> Rollover {
        self.rollovers.operator().rollover(id).await.unwrap()
    }

    pub async fn reaches(&self, id: RolloverId, phase: Phase) -> Rollover {
        for _ in 0..1200 {
            let rollover = self.rollover(id).await;
            if rollover.phase == phase {
                return rollover;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{phase} was not reached: {:?}", self.rollover(id).await);
    }

    /// The rollover once it says that `what` keeps it from moving on.
    pub async fn blocked(&self, id: RolloverId, what: &str) -> Rollover {
        for _ in 0..1200 {
            let rollover = self.rollover(id).await;
            if rollover.blocked_by.as_deref().is_some_and(|by| by.contains(what)) {
                return rollover;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("`{what}` does not block it: {:?}", self.rollover(id).await);
    }

    /// Rows that the rollover's present pass has rewrapped so far.
    pub async fn rewrapped(&self, id: RolloverId) -> u64 {
        let pass = self.rollovers.operator().inspect(id).await.unwrap().progress;
        pass.map_or(0, |progress| progress.pass.rewrapped)
    }

    pub async fn key_state(&self, secret: Secret, key: &KeyId) -> KeyState {
        let custody = self.database.store().custody().await.unwrap();
        custody.keys.iter().find(|k| k.secret == secret && k.id == *key).unwrap().state
    }

    pub async fn begin(&self, request: Request) -> Result<Rollover, Refusal> {
        self.rollovers.operator().begin(request, Actor::System).await
    }
}

/// Every value of the application's tables, opened.
pub async fn plaintexts(replica: &Replica) -> BTreeMap<String, String> {
    let keys = replica.opening_keychain();
    let store = replica.store();
    let mut found = BTreeMap::new();
    for table in store.survey(&registry()).await.unwrap().tables {
        let none: Vec<_> = table.columns().iter().map(|_| Aim { prefixes: vec![] }).collect();
        let rows = store.stale(&table, &none, Default::default(), 100_000).await.unwrap();
        for row in rows {
            for (column, value) in table.columns().iter().zip(&row.values) {
                let Some(value) = value else { continue };
                let text = match column.kind() {
                    Kind::Text => {
                        column.open(&keys, &row.key, value, Target::Bound).unwrap().plaintext
                    }
                    _ => column.open_document(&keys, &row.key, value, Target::Bound).unwrap().json,
                };
                found.insert(format!("{column} {}", row.key), text.expose_secret().to_owned());
            }
        }
    }
    found
}

/// How a process of the tests takes part: short lifetimes, quick polls.
pub fn setup(database: &Database) -> Setup {
    Setup::new(database.clone(), registry())
        .environment(environment())
        .lifetimes(Lifetimes {
            access: Duration::from_secs(1),
            refresh: Duration::from_secs(2),
            viewer: Duration::from_secs(1),
        })
        .lease(Duration::from_secs(5), Duration::from_millis(50))
}

/// A database behind a pooler in transaction mode, migrated without it. Whoever is on it
/// hears of changes from the server itself, as the README says.
pub async fn pooled(own: &postgres::Database) -> Database {
    Database::connect(&own.url(), 2).await.unwrap().migrate().await.unwrap();
    let database = Database::connect(&own.pooled_url(), 8).await.unwrap();
    database.listening_on(&own.url()).unwrap()
}

pub async fn execute(database: &Database, sql: &str) {
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
pub async fn fill(database: &Database, rows: u32) {
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
    let old = Declared::read(
        &Environment::given([
            ("JWT_SECRET", JWT_SECRET),
            ("APP_ENCRYPTION_KEYRING", RING),
            ("APP_ENCRYPTION_KEY_ID", "k-2023"),
            ("MFA_ENCRYPTION_KEY", MFA_KEY),
        ]),
        &[],
    )
    .unwrap()
    .keychain(Epoch(0))
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
}

/// Each promise as a test on each database, migrated and otherwise empty; and one more
/// behind a pooler in transaction mode where it says so. On one thread where what it traces
/// is captured; ignored where it needs another server that is not there.
#[allow(unused_macros, reason = "some tests are on one database")]
macro_rules! on_both_databases {
    (on one thread: $($promise:ident),* $(,)?) => {
        on_both_databases!(@ "current_thread" [all(), ""] $($promise),*);
    };
    (with $server:ident, $why:literal: $($promise:ident),* $(,)?) => {
        on_both_databases!(@ "multi_thread" [$server, $why] $($promise),*);
    };
    (and behind a pooler: $($promise:ident),* $(,)?) => {
        on_both_databases!($($promise),*);
        mod pooled {
            $(#[tokio::test(flavor = "multi_thread")]
            #[cfg_attr(not(pgbouncer_tests), ignore = "needs PgBouncer; tests/run starts one")]
            async fn $promise() {
                let own = crate::support::postgres::database().await;
                super::$promise(crate::support::app::pooled(&own).await).await;
            })*
        }
    };
    ($($promise:ident),* $(,)?) => {
        on_both_databases!(@ "multi_thread" [all(), ""] $($promise),*);
    };
    (@ $flavor:tt $if:tt $($promise:ident),*) => {
        on_both_databases!(@each $flavor $($if $promise),*);
    };
    (@each $flavor:tt $([$has:meta, $why:literal] $promise:ident),*) => {
        mod sqlite {
            $(#[tokio::test(flavor = $flavor)]
            #[cfg_attr(not($has), ignore = $why)]
            async fn $promise() {
                let file = crate::support::sqlite::file();
                let database = breeze_rollover::embed::Database::connect(&file.url(), 8).await.unwrap();
                database.migrate().await.unwrap();
                super::$promise(database).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = $flavor)]
            #[cfg_attr(
                not(all(postgres_tests, $has)),
                ignore = "needs PostgreSQL; tests/run starts one"
            )]
            async fn $promise() {
                let own = crate::support::postgres::database().await;
                let database = breeze_rollover::embed::Database::connect(&own.url(), 8).await.unwrap();
                database.migrate().await.unwrap();
                super::$promise(database).await;
            })*
        }
    };
}
#[allow(unused_imports, reason = "some tests are on one database")]
pub(crate) use on_both_databases;
