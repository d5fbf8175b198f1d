//! Credentials at outside providers: staged, probed, promoted, finished.
//!
//! 1. A credential is probed with a real call before anything depends on it. A probe
//!    that fails leaves everything as it was.
//! 2. The previous credential works until it is revoked: by its [`Provider`], where
//!    the provider lets it, or by an operator who then says so.
//! 3. What a provider answered is told, and never a credential.
//! 4. Whoever uses a credential takes it from the keychain of its operation: work in
//!    flight finishes on the one that it began with.
//!
//! The providers of the rotation guide are here too, with feature `providers`: each
//! makes a client of a credential ([`Connect`]), and [`Current`] lends the client of the
//! current primary for one operation. [`openid`] is for providers that people sign on at,
//! whose credentials are in the application's own columns.

#[cfg(feature = "client")]
#[cfg_attr(not(feature = "providers"), allow(dead_code, reason = "what providers call"))]
mod address;
#[cfg(feature = "providers")]
pub mod anthropic;
#[cfg(feature = "providers")]
pub mod cloudflare;
#[cfg(feature = "providers")]
mod current;
#[cfg(feature = "client")]
#[cfg_attr(not(feature = "providers"), allow(dead_code, reason = "what providers call"))]
pub(crate) mod http;
#[cfg(feature = "providers")]
pub mod mail;
#[cfg(feature = "providers")]
pub mod mailgun;
#[cfg(feature = "providers")]
pub mod openid;
#[cfg(feature = "providers")]
mod parts;
#[cfg(feature = "client")]
#[cfg_attr(not(feature = "providers"), allow(dead_code, reason = "what providers call"))]
pub(crate) mod patience;
#[cfg(feature = "providers")]
pub mod resend;
#[cfg(feature = "providers")]
pub mod s3;
#[cfg(feature = "providers")]
pub mod smtp;
#[cfg(feature = "client")]
#[cfg_attr(not(feature = "providers"), allow(dead_code, reason = "what providers call"))]
mod trust;
#[cfg(feature = "providers")]
pub mod turn;
#[cfg(feature = "providers")]
pub mod twilio;
#[cfg(feature = "client")]
#[cfg_attr(not(feature = "providers"), allow(dead_code, reason = "what providers call"))]
pub(crate) mod words;

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

use std::fmt;

use async_trait::async_trait;
#[cfg(feature = "postgres")]
pub use postgres::PostgresRole;
#[cfg(feature = "redis")]
pub use redis::{InvalidRedisUrl, RedisAway, RedisConnections, RedisServer, UnfitAuthorities};

#[cfg(feature = "providers")]
pub use self::current::{Connect, Current, Held, Unavailable};
#[cfg(feature = "client")]
pub use self::{
    address::{Address, UnfitAddress},
    patience::Limits,
    trust::{Trust, UnfitCertificate},
};
use crate::{catalog::Secret, material::Material};

/// One outside provider, as a rollover of its credential needs it.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// Whose credential.
    fn secret(&self) -> Secret;

    /// Checks the form of a credential before anything is done with it: says what it
    /// should look like where it does not.
    ///
    /// # Errors
    /// What a credential of this provider looks like.
    fn check(&self, credential: &Material) -> Result<(), &'static str> {
        let _ = credential;
        Ok(())
    }

    /// Makes a real call with `credential`, and answers what it has shown, in a few words.
    /// It changes nothing that stays.
    ///
    /// # Errors
    /// [`ProviderError`] with what the provider answered.
    async fn probe(&self, credential: &Material) -> Result<String, ProviderError>;

    /// Has the provider make a new credential, by means of the present one.
    ///
    /// # Errors
    /// [`ProviderError::ByHand`] where the provider has no call for it.
    async fn make(&self, present: &Material) -> Result<Material, ProviderError> {
        let _ = present;
        Err(ProviderError::ByHand("make the new one at the provider, and hand it in as `value`"))
    }

    /// Who still uses `old`, in words: connections that are open, for example. `None`:
    /// nobody, or it cannot be known.
    ///
    /// # Errors
    /// [`ProviderError`] when it cannot be asked.
    async fn in_use(
        &self,
        old: &Material,
        present: &Material,
    ) -> Result<Option<String>, ProviderError> {
        let _ = (old, present);
        Ok(None)
    }

    /// What it has shown that nobody uses `old` any more, in a few words; `None` where that
    /// cannot be known.
    fn unused(&self, old: &Material, present: &Material) -> Option<String> {
        let _ = (old, present);
        None
    }

    /// Has the provider revoke `old`, by means of the `present` one. Doing it twice is
    /// no error.
    ///
    /// # Errors
    /// [`ProviderError::ByHand`] where an operator has to.
    async fn revoke(&self, old: &Material, present: &Material) -> Result<String, ProviderError> {
        let _ = (old, present);
        Err(ProviderError::ByHand("revoke the old one at the provider"))
    }
}

/// Why a provider did not do it. Never holds a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It refused the credential, and said this.
    #[error("the provider refused the credential: {0}")]
    Refused(String),
    /// It knows the credential, which lacks a right.
    #[error("the credential lacks a right that the API needs: {0}")]
    Lacking(String),
    /// The value is of another form than its credentials have.
    #[error("the value is no such credential: {0}")]
    Form(&'static str),
    /// It takes the credential, and not what it was asked.
    #[error("the provider declined the request: {0}")]
    Declined(String),
    /// It did not answer, or not now.
    #[error("the provider cannot be reached, or does not answer: {0}")]
    Unreachable(String),
    /// It answered what it should not.
    #[error("the provider answered something unexpected: {0}")]
    Nonsense(String),
    /// An operator has to do it.
    #[error("{0}")]
    ByHand(&'static str),
}

impl ProviderError {
    /// Whether it may go better another time.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Nonsense(_))
    }
}
