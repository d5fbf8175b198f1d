//! Second factors and the tokens beside them, while the secrets behind them roll over: two
//! processes of the compiled binary, over real HTTP, on both databases. One-time codes are
//! those of `oathtool`, which knows nothing of this crate.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test has no reader but its own")]

#[path = "../support/mod.rs"]
mod support;

mod crowd;
mod device;
mod enrolment;
mod outlived;
mod rollover;
mod sample;
mod service;
mod state;
mod step_up;
mod viewer;
