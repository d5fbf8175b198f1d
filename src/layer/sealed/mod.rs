//! Gives every request access to the sealed columns, under one snapshot of the keys.
//!
//! 1. A request sees one keychain from beginning to end ([`Sealed`] holds it).
//! 2. A value opens only in its own column and row; a column that is not registered
//!    is an error and never passes through.
//! 3. Reading a stale value offers its row to a [`StaleSink`] and returns at once.
//! 4. While the process is without its lease, every request is answered with 503, and
//!    a request that came before opens and seals nothing.
//! 5. A value under a key that was retired, and is not compromised, is opened by
//!    [`Sealed::read`] all the same: a [`Custodian`] fetches the key, and is told.
//!
//! ```
//! use std::sync::Arc;
//!
//! use breeze_rollover::{
//!     column::Registry,
//!     keyring::KeychainHandle,
//!     layer::sealed::{Sealed, SealedError, SealedLayer},
//! };
//! use secrecy::SecretString;
//!
//! fn layer(keychain: KeychainHandle) -> SealedLayer {
//!     SealedLayer::new(keychain, Arc::new(Registry::breeze()))
//! }
//!
//! /// In a handler, which finds `Sealed` in the extensions of its request.
//! async fn client_secret(
//!     sealed: &Sealed,
//!     provider: uuid::Uuid,
//!     stored: &str,
//! ) -> Result<SecretString, SealedError> {
//!     sealed.read("sso_providers", "client_secret", provider, stored).await
//! }
//! ```

mod access;
mod layer;
mod read;
mod stale;
mod straggler;
#[cfg(test)]
mod tests;

pub use super::ResponseFuture;
pub use access::{Sealed, SealedError};
pub use layer::{SealedLayer, SealedService};
pub use stale::{StaleRow, StaleSink};
pub use straggler::{Custodian, Fetching, Straggler};
