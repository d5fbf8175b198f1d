#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![cfg_attr(
    not(any(feature = "postgres", feature = "sqlite")),
    allow(dead_code, reason = "what only a backend calls")
)]

#[cfg(feature = "admin")]
pub mod admin;
pub mod audit;
pub mod catalog;
pub mod clock;
pub mod column;
pub mod digest;
#[cfg(all(feature = "worker", any(feature = "postgres", feature = "sqlite")))]
pub mod embed;
pub mod envelope;
#[cfg(any(feature = "client", feature = "postgres", feature = "redis"))]
mod host;
pub mod ids;
pub mod incident;
pub mod keyring;
pub mod layer;
#[cfg(feature = "store")]
pub mod manager;
pub mod material;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "worker")]
pub mod operator;
pub mod problem;
#[cfg(feature = "store")]
pub mod provider;
#[cfg(feature = "store")]
pub mod replica;
pub mod rollover;
pub mod schedule;
#[cfg(feature = "store")]
pub mod store;
pub mod token;
#[cfg(feature = "worker")]
pub mod worker;
