//! Each class of secret rolls over through the one state machine.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, reason = "a test has no reader but its own")]

mod api_keys;
mod catalog;
mod classes;
mod database_role;
mod redis;
mod served;
#[path = "../support/mod.rs"]
mod support;
