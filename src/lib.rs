#![doc = "Zero-downtime key rollovers inside the API process."]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod catalog;
pub mod clock;
pub mod column;
pub mod envelope;
pub mod ids;
pub mod keyring;
pub mod layer;
pub mod material;
pub mod problem;
pub mod rollover;
#[cfg(feature = "store")]
pub mod store;
pub mod token;
