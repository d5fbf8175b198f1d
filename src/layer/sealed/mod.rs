//! Opens and seals columns inside handlers, with the keychain of one moment.
//!
//! 1. A request takes one snapshot of the keychain and holds it to its end, so
//!    that a replica can tell when the last request of an older keychain is over.
//! 2. A stale value opens at once; its row is offered for a lazy rewrap without
//!    waiting.
//! 3. A column that is not registered is an error, never a guess.

mod access;
mod layer;
#[cfg(test)]
mod tests;

pub use access::{Sealed, SealedError, StaleRow, StaleSink};
pub use layer::{SealedLayer, SealedService};
