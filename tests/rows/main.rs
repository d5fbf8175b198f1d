//! The application's rows, on both databases: what is stale is found, what was edited
//! meanwhile keeps the edit, and what cannot be seen is told.

#![cfg(all(feature = "postgres", feature = "sqlite"))]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

/// Each test runs once a database.
macro_rules! on_both {
    ($($(#[$doc:meta])* async fn $name:ident($db:ident: &Db) $body:block)*) => {
        $($(#[$doc])* async fn $name($db: &Db) $body)*

        mod postgres {
            $(#[tokio::test]
            #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
            async fn $name() {
                super::$name(&super::Db::postgres().await).await;
            })*
        }

        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Db::sqlite().await).await;
            })*
        }
    };
}

mod database;
mod paging;
mod postgres;
mod progress;
mod sqlite;
mod stale;
mod survey;
mod write;

use breeze_rollover::{
    column::{Aim, Column, Kind, Registry, RowKey},
    store::{ColumnFault, Row, StoreError, TableShape, Update, Window, Written},
};

use database::Db;

const NIL: &str = "00000000-0000-0000-0000-000000000000";
const ONE: &str = "11111111-1111-1111-1111-111111111111";
const TWO: &str = "22222222-2222-2222-2222-222222222222";

fn aim(prefix: &str) -> Aim {
    Aim { prefixes: vec![prefix.to_owned()] }
}

/// The registry of one table, and the shape that the survey finds.
async fn shape(db: &Db, registry: &Registry) -> TableShape {
    let survey = db.rows().survey(registry).await.unwrap();
    assert_eq!(survey.faults, []);
    survey.tables.into_iter().next().unwrap()
}

async fn stale(db: &Db, shape: &TableShape, aims: &[Aim]) -> Vec<Row> {
    db.rows().stale(shape, aims, Window::default(), 10_000).await.unwrap()
}

/// What a rewrap would write: `old` becomes `new` in the column `index`.
fn update(row: &Row, index: usize, new: &str) -> Update {
    let mut values = row.values.clone();
    values[index] = Some(new.to_owned());
    Update { key: row.key.clone(), old: row.values.clone(), new: values }
}

async fn write(db: &Db, shape: &TableShape, updates: &[Update]) -> u64 {
    match db.rows().write(shape, updates, None).await.unwrap() {
        Written::Done { rewrapped } => rewrapped,
        Written::LeaseLost => panic!("there was no lease"),
    }
}

fn webhooks() -> Registry {
    Registry::empty()
        .with(Column::text("webhooks", "url"))
        .with(Column::new("webhooks", "headers", Kind::Json))
        .with(Column::new("webhooks", "hosts", Kind::TextArray))
}

async fn with_webhooks(db: &Db) -> TableShape {
    db.run(
        "CREATE TABLE webhooks (id uuid PRIMARY KEY, url text, headers jsonb, hosts text[], \
         updated_at text)",
    )
    .await;
    shape(db, &webhooks()).await
}

fn webhook_aims() -> [Aim; 3] {
    [aim("enc:v3:new:"), aim("enc:v3:new:"), aim("enc:v3:new:")]
}

/// Walks `window` two rows at a time, as a worker would.
async fn paged(
    db: &Db,
    shape: &TableShape,
    mut after: Option<RowKey>,
    upto: Option<RowKey>,
) -> Vec<RowKey> {
    let mut keys = Vec::new();
    loop {
        let window = Window { after: after.as_ref(), upto: upto.as_ref() };
        let rows = db.rows().stale(shape, &[aim("enc:v3:new:")], window, 2).await.unwrap();
        let Some(last) = rows.last() else { return keys };
        after = Some(last.key.clone());
        keys.extend(rows.into_iter().map(|row| row.key));
    }
}

/// Writes every row of a table whose first column is stale, and answers how many.
async fn write_all(db: &Db, shape: &TableShape) -> u64 {
    let rows = stale(db, shape, &[aim("enc:v3:new:")]).await;
    let updates: Vec<_> = rows.iter().map(|row| update(row, 0, "enc:v3:new:x")).collect();
    write(db, shape, &updates).await
}
