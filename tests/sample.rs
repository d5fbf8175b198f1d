//! A database that Breeze's own code filled, rewrapped by one command.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::{collections::BTreeMap, path::Path};

use breeze_rollover::{
    column::{Kind, Registry, RowKey},
    envelope::Target,
    ids::Epoch,
    keyring::{
        Keychain,
        sources::{Declared, Environment},
    },
};
use secrecy::ExposeSecret;
use serde_json::Value;
use sqlx::{PgPool, Row as _};
use support::{
    breeze_api::{Finished, breeze_api},
    postgres::{self, Database},
};

/// `tests/vectors/breeze-sample.expected.json`.
struct Expected {
    environment: Vec<(String, String)>,
    rows: Vec<Value>,
}

impl Expected {
    fn read() -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/breeze-sample.expected.json");
        let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let environment = file["keys"]["target"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| {
                let name = match name.as_str() {
                    "previous_APP_ENCRYPTION_KEY" => "APP_ENCRYPTION_KEY_PREVIOUS",
                    name => name,
                };
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (name.to_owned(), value)
            })
            .collect();
        Self { environment, rows: file["rows"].as_array().unwrap().clone() }
    }

    fn keychain(&self) -> Keychain {
        let environment = Environment::given(self.environment.clone());
        Declared::read(&environment, &[]).unwrap().keychain(Epoch(0)).unwrap()
    }

    async fn run<const N: usize>(&self, database: &Database, arguments: [&str; N]) -> Finished {
        breeze_api(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .env("NODE_ENV", "production")
            .env("DATABASE_URL", database.url())
            .finish()
            .await
    }
}

async fn sample() -> Database {
    let database = postgres::database().await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/breeze-sample.sql");
    database.execute(&std::fs::read_to_string(path).unwrap()).await;
    database
}

type Values = BTreeMap<(String, String, String), Option<String>>;

/// Every registered value as it is stored; arrays as JSON.
async fn values(pool: &PgPool) -> Values {
    let mut values = Values::new();
    for column in Registry::breeze().columns() {
        let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(format!("public.{}", column.table()))
            .fetch_one(pool)
            .await
            .unwrap();
        if !exists {
            continue;
        }
        let value = match column.kind() {
            Kind::TextArray => format!("array_to_json({})::text", column.name()),
            _ => format!("{}::text", column.name()),
        };
        let sql = format!("SELECT id::text, {value} FROM public.{}", column.table());
        for row in sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await.unwrap() {
            let place = (column.table().to_owned(), column.name().to_owned(), row.get(0));
            values.insert(place, row.get(1));
        }
    }
    values
}

/// `document` as PostgreSQL prints it: the same digits, one order of members.
async fn canonical(pool: &PgPool, document: &str) -> String {
    sqlx::query_scalar("SELECT $1::jsonb::text").bind(document).fetch_one(pool).await.unwrap()
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn every_value_that_a_key_opens_moves_to_the_active_key_and_the_bad_ones_stay() {
    let (database, expected) = (sample().await, Expected::read());
    let pool = database.pool().await;
    let before = values(&pool).await;

    let dry = expected.run(&database, ["rewrap", "--json"]).await;
    assert_eq!(dry.code, Some(2), "{}", dry.stderr);
    assert_eq!(values(&pool).await, before, "a dry run changes nothing");

    let applied = expected.run(&database, ["rewrap", "--apply", "--json"]).await;
    assert_eq!(applied.code, Some(2), "{}", applied.stderr);
    let report = applied.json();
    assert_eq!(report["rowsStale"], report["rowsRewrapped"]);
    assert_eq!(report["rowsStale"], dry.json()["rowsStale"]);
    assert_eq!(report["rowsStillStale"], 0);
    let bad = report["unopenable"].as_array().unwrap();
    assert_eq!(bad.len(), 5, "{bad:?}");
    let after = values(&pool).await;
    assert_eq!(after.len(), before.len());
    every_plaintext_is_right(&pool, &expected, &before, &after).await;

    let again = expected.run(&database, ["rewrap", "--apply", "--json"]).await;
    assert_eq!(again.code, Some(2), "{}", again.stderr);
    assert_eq!(again.json()["rowsRewrapped"], 0);
    assert_eq!(values(&pool).await, after, "a second run changes nothing");
}

async fn every_plaintext_is_right(
    pool: &PgPool,
    expected: &Expected,
    before: &Values,
    after: &Values,
) {
    let (registry, keys) = (Registry::breeze(), expected.keychain());
    let mut bad = 0;
    for row in &expected.rows {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let place = (text("t"), text("c"), text("id"));
        let column = registry.column(&place.0, &place.1).expect("the registry has every column");
        let id = RowKey::from(place.2.as_str());
        let value = after[&place].as_deref();
        if text("state").starts_with("bad_") {
            bad += 1;
            assert_eq!(after[&place], before[&place], "{place:?} stays byte for byte");
            assert!(row.get("raw").is_none_or(|raw| raw.as_str() == value), "{place:?}");
            continue;
        }
        let Some(value) = value else {
            let nothing =
                ["p", "doc", "arr"].iter().all(|name| row.get(name).is_none_or(Value::is_null));
            assert!(nothing, "{place:?} was lost");
            continue;
        };
        match column.kind() {
            Kind::Text => {
                let opened = column.open(&keys, &id, value, Target::Bound).unwrap();
                assert_eq!(
                    opened.plaintext.expose_secret(),
                    row["p"].as_str().unwrap(),
                    "{place:?}"
                );
                assert!(!opened.is_stale, "{place:?}");
            }
            Kind::TextArray => {
                let opened = column.open_document(&keys, &id, value, Target::Bound).unwrap();
                let array: Value = serde_json::from_str(opened.json.expose_secret()).unwrap();
                assert_eq!(array, row["arr"], "{place:?}");
                assert!(!opened.is_stale, "{place:?}");
            }
            Kind::Json => {
                let opened = column.open_document(&keys, &id, value, Target::Bound).unwrap();
                let expected = canonical(pool, row["doc"].as_str().unwrap()).await;
                assert_eq!(
                    canonical(pool, opened.json.expose_secret()).await,
                    expected,
                    "{place:?}"
                );
                assert!(!opened.is_stale, "{place:?}");
            }
        }
    }
    assert_eq!(bad, 5);
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_compatible_target_is_what_breezes_own_services_read() {
    let (database, expected) = (sample().await, Expected::read());
    let pool = database.pool().await;
    let done =
        expected.run(&database, ["rewrap", "--apply", "--target", "compatible", "--json"]).await;
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    let allowed = |(table, column, _): &(String, String, String), value: &str| match (
        table.as_str(),
        column.as_str(),
    ) {
        ("users", _) => value.starts_with("mfa:v1:"),
        ("tenant_variables" | "invoices", _) => value.starts_with("enc:v3:k-2026:"),
        _ => value.starts_with("enc:v2:k-2026:") || value.starts_with("enc:v3:k-2026:"),
    };
    let registry = Registry::breeze();
    let after = values(&pool).await;
    let wrong: Vec<_> = after
        .iter()
        .filter(|((table, name, _), _)| registry.column(table, name).unwrap().kind() == Kind::Text)
        .filter_map(|(place, value)| Some((place, value.as_deref()?)))
        .filter(|(place, value)| !value.is_empty() && !allowed(place, value))
        .collect();
    assert_eq!(wrong.len(), 3, "only the bad text values: {wrong:?}");
}
