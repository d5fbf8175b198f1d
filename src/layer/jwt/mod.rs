//! Lets a request through only with a valid bearer token, whose claims it then carries.
//!
//! 1. A token made by any key that is live in this request's snapshot is accepted.
//! 2. An `Arc` of [`Claims`](crate::token::Claims) in the request's extensions holds
//!    verified claims of the kind, scope and MFA that the layer demands.
//! 3. While the process is without its lease, every request is answered with 503. That is
//!    checked once the token is verified, so that it also counts for one that was verified
//!    too late. A layer that is told to accept tokens even so refuses none.
//! 4. Outside callers learn no more than RFC 6750 says; the log has the reason, at
//!    `DEBUG`, and never a token.
//!
//! Tokens come in the `Authorization` header only: in a query or a form they end in logs.
//!
//! ```
//! use breeze_rollover::{layer::jwt::JwtLayer, keyring::KeychainHandle, token::Scope};
//!
//! # fn app(keys: KeychainHandle) -> Result<(), Box<dyn std::error::Error>> {
//! let layer = JwtLayer::new(keys)?.require_scope(Scope::System).require_mfa();
//! # let _ = layer; Ok(()) }
//! ```

mod bearer;
mod denied;
mod layer;
mod memo;
#[cfg(test)]
mod tests;
mod viewer;

pub use super::ResponseFuture;
pub use denied::Denied;
pub use layer::{Jwt, JwtLayer};
pub use viewer::{Viewer, ViewerLayer};
