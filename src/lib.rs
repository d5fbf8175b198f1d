#![doc = "Zero-downtime key rollovers inside the API process."]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(feature = "admin")]
pub mod admin;
pub mod catalog;
pub mod clock;
pub mod column;
#[cfg(feature = "worker")]
pub mod embed;
pub mod envelope;
pub mod ids;
pub mod keyring;
pub mod layer;
pub mod material;
#[cfg(feature = "worker")]
pub mod operator;
pub mod problem;
#[cfg(feature = "store")]
pub mod replica;
pub mod rollover;
#[cfg(feature = "store")]
pub mod store;
pub mod token;
#[cfg(feature = "worker")]
pub mod worker;
