//! Enrolment keys, agents and their tokens, while the secrets behind them roll over:
//! two processes of the compiled binary, over real HTTP, on both databases.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test has no reader but its own")]

#[path = "../support/mod.rs"]
mod support;

mod agent;
mod beside_breeze;
mod enrolment_secret;
mod peppers;
mod service;
mod tokens;
mod vectors;
