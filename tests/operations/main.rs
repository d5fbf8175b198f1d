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

use app::on_both_databases;
