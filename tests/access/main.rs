//! Enrolment keys, agents and their tokens, while the secrets behind them roll over.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test has no reader but its own")]

mod vectors;
