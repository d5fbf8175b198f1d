//! Each class of secret rolls over through the one state machine.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, reason = "a test has no reader but its own")]

mod api_keys;
mod away;
mod bad_moments;
mod catalog;
mod classes;
#[path = "../faults/cluster.rs"]
#[allow(dead_code, reason = "nobody crashes it here")]
mod cluster;
mod database_role;
#[path = "../faults/pooler.rs"]
#[allow(dead_code, reason = "none is wanted here")]
mod pooler;
#[path = "../faults/proxy.rs"]
#[allow(dead_code, reason = "not every link is wanted here")]
mod proxy;
mod redis;
mod served;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod two_roles;
