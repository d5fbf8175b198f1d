//! What a store tells without being asked.
//!
//! A signal saves the wait for the next poll, and nothing depends on it: one may be
//! lost, repeated or late. Whoever must know asks the store.

use futures_util::stream::BoxStream;

use crate::ids::Epoch;

/// What a store tells without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The keys have changed: this is the epoch now, or was a moment ago.
    Epoch(Epoch),
    /// A replica has reported another epoch as applied or settled.
    Report,
    /// Signals may have been missed until now.
    Missed,
}

/// Signals, for ever. Waiting for the next one may be given up without losing it.
pub type Signals = BoxStream<'static, Signal>;
