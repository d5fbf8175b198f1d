//! What Breeze wrote opens here, what is sealed here has the form that FORMATS
//! describes, and nothing else opens.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)] // a test is no library

mod documents;
mod independent;
mod judge;
mod keys;
mod mfa_v2;
mod properties;
mod vectors;
