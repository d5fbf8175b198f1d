#![doc = "Zero-downtime key rollovers inside the API process."]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod catalog;
pub mod clock;
pub mod ids;
pub mod keyring;
pub mod material;
