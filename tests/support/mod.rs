//! The small language of the tests: databases of their own, the compiled
//! `breeze-api`, an HTTP client, and what was traced. Assertions stay in the tests.
//!
//! Everything that a test makes here is gone when the test ends, failed or not.

#![allow(dead_code, unreachable_pub, reason = "each test file speaks a part of the language")]
#![allow(clippy::unwrap_used, reason = "what cannot be set up is the end of the test")]

#[cfg(all(feature = "postgres", feature = "sqlite", feature = "worker"))]
pub mod app;
#[cfg(feature = "api")]
pub mod breeze_api;
#[cfg(all(feature = "postgres", feature = "sqlite", feature = "worker"))]
pub mod by_hand;
#[cfg(feature = "api")]
pub mod deployment;
#[cfg(feature = "worker")]
pub mod double;
#[cfg(feature = "api")]
pub mod halt;
pub mod http;
#[cfg(feature = "api")]
pub mod moto;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "providers")]
pub mod smtp;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod traces;

/// A port on the loopback interface that nothing listened on a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}
