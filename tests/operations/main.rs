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
mod metrics;
mod rehearsal;
mod schedule;

/// Runs a scenario of one name on both databases.
macro_rules! on_both_databases {
    ($($scenario:ident),* $(,)?) => {$(
        mod $scenario {
            use crate::app::Api;

            #[tokio::test]
            async fn on_sqlite() {
                let api = Api::on_sqlite().await;
                super::$scenario(&api).await;
                api.end().await;
            }

            #[tokio::test]
            #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
            async fn on_postgres() {
                let api = Api::on_postgres().await;
                super::$scenario(&api).await;
                api.end().await;
            }
        }
    )*};
}
pub(crate) use on_both_databases;
