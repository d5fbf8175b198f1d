//! What people hold, through rollovers: the compiled binary, over real HTTP, on both
//! databases.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test has no reader but its own")]

#[path = "../support/mod.rs"]
mod support;

mod idp;
mod jar;
mod outlived;
mod person;
mod recovery_codes;
mod recovery_reissue;
mod recovery_rollover;
mod replicas;
mod sessions;
mod sign_on;
mod sign_on_refused;
mod sign_on_rollover;
