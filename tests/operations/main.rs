//! Operating it, as an operator does: the audit trail, metrics, the schedule, health
//! checks and emergencies, over HTTP and by command, on both databases.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test has no reader but its own")]
#![allow(dead_code, reason = "the API's own language is shared with its tests")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../api/app.rs"]
mod app;
mod audit;
mod crashes;
mod health;
mod incidents;
mod intervals;
mod login;
mod mails;
mod metrics;
mod rehearsal;
mod schedule;
mod shared;
mod values;

use app::on_both_databases;

/// Each promise on both databases, by an API of its own.
macro_rules! on_either_database {
    ($($promise:ident),* $(,)?) => {$(
        mod $promise {
            use crate::{app::Db, support::{postgres, sqlite}};

            #[tokio::test]
            async fn on_sqlite() {
                super::$promise(Db::Sqlite(sqlite::file())).await;
            }

            #[tokio::test]
            #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
            async fn on_postgres() {
                super::$promise(Db::Postgres(Box::new(postgres::database().await))).await;
            }
        }
    )*};
}
use on_either_database;
