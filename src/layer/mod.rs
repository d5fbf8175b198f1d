//! Tower layers for any service over `http` types, one folder a middleware.
//!
//! 1. A layer takes one snapshot of the keychain a request, and keeps it.
//! 2. What a layer decides, it decides in one synchronous method.
//! 3. No lock and no database call on the way.

pub mod jwt;
pub mod sealed;
