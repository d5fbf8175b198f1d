//! Sign-ons at SSO providers that are on their way.

use async_trait::async_trait;
use breeze_rollover::clock::Timestamp;
use sqlx::FromRow;

use super::{DataError, RowId};

/// What is kept of a sign-on until it is finished. Not `Debug`: it holds a verifier.
#[derive(Clone, FromRow)]
pub(crate) struct SignOn {
    /// SHA-256 of the state, in hexadecimal.
    pub(crate) state_hash: String,
    pub(crate) provider_id: RowId,
    pub(crate) nonce: String,
    pub(crate) verifier: String,
    /// Whom the provider has signed on, while a code of their second factor is awaited.
    pub(crate) user_id: Option<RowId>,
    /// Milliseconds since the Unix epoch.
    pub(crate) expires_at: i64,
}

#[async_trait]
pub(crate) trait SignOns {
    /// Stores a sign-on, and forgets those that had expired by `now`.
    async fn keep_sign_on(&self, sign_on: &SignOn, now: Timestamp) -> Result<(), DataError>;

    /// What was kept of a sign-on, once: of several that ask at once, one is told. Only of
    /// one that awaits a code, or only of one whose user is not known yet.
    async fn take_sign_on(
        &self,
        state_hash: &str,
        awaits_code: bool,
        now: Timestamp,
    ) -> Result<Option<SignOn>, DataError>;
}
