//! Keys come from a secrets manager, stay when it is away, and are written back to it.
//!
//! OpenBao is its own server; AWS is moto's, which checks signatures and rights here.

#![cfg(all(feature = "api", feature = "vault", feature = "aws"))]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test has no reader but its own")]

mod api;
mod away;
mod bao;
mod logins;
mod moto;
mod reading;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod writing;
