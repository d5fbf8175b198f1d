//! The reference API as a client sees it: the compiled binary, over real HTTP, on
//! both databases. What is written to its log is searched for every secret used.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test has no reader but its own")]

#[path = "../support/mod.rs"]
mod support;

mod app;
mod problems;
mod resources;
mod sessions;
mod start;
mod stragglers;
mod tokens;

use app::on_both_databases;
