//! A process that stands still for longer than its lease, at a moment that a test chooses.

use std::time::Duration;

use breeze_rollover::embed::Database;
use sqlx::AssertSqlSafe;
use tokio::time::{sleep, timeout};

use super::{breeze_api::Process, deployment::Opened, http::Answer};

/// Halts `process` at a moment in which it holds up nobody: a SQLite file that it has
/// locked would stay so.
pub async fn halt(process: &Process, database: &Opened) {
    const WRITES: &str = "UPDATE users SET name = name";
    loop {
        process.signal("STOP").await;
        if timeout(Duration::from_secs(2), database.execute(WRITES)).await.is_ok() {
            return;
        }
        process.signal("CONT").await;
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until nobody waits for the process on `port` any more.
pub async fn lease_is_over(database: &Opened, port: u16) {
    let name = format!("breeze-api 127.0.0.1:{port}");
    let is_over = async || {
        let replicas = database.store().replicas().await.unwrap();
        replicas.iter().any(|replica| replica.name == name && !replica.live)
    };
    while !is_over().await {
        sleep(Duration::from_millis(50)).await;
    }
}

/// Keeps everybody from writing to `tables`, or on SQLite to anything, until `during` has
/// ended.
pub async fn held_up<T>(database: &Opened, tables: &str, during: impl Future<Output = T>) -> T {
    match &**database {
        Database::Postgres(store) => {
            let mut transaction = store.pool().begin().await.unwrap();
            let lock = format!("LOCK TABLE {tables} IN EXCLUSIVE MODE");
            sqlx::query(AssertSqlSafe(lock)).execute(&mut *transaction).await.unwrap();
            let done = during.await;
            transaction.rollback().await.unwrap();
            done
        }
        Database::Sqlite(store) => {
            let transaction = store.pool().begin_with("BEGIN IMMEDIATE").await.unwrap();
            let done = during.await;
            transaction.rollback().await.unwrap();
            done
        }
        other => panic!("{other:?} is of a third kind"),
    }
}

/// Whether the process told that it has lost its lease, and when to come back.
#[track_caller]
pub fn is_fenced(answer: &Answer) -> bool {
    let is_fenced = answer.status == 503 && answer.json()["code"] == "fenced";
    assert!(!is_fenced || answer.header("retry-after") == Some("1"), "{answer:?}");
    is_fenced
}
