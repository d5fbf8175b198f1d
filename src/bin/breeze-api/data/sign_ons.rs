//! Sign-ons at SSO providers that are on their way. One text of SQL for both databases.

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

/// Served by `api_sign_ons_expiry_idx`.
pub(super) const FORGET: &str = "DELETE FROM api_sign_ons WHERE expires_at <= $1";

pub(super) const KEEP: &str = "
    INSERT INTO api_sign_ons (state_hash, provider_id, nonce, verifier, user_id, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6)";

/// Guards the single use: of several at once, one deletes the row. Served by the primary
/// key.
pub(super) const TAKE: &str = "
    DELETE FROM api_sign_ons
    WHERE state_hash = $1 AND expires_at > $2 AND (user_id IS NOT NULL) = $3
    RETURNING state_hash, provider_id, nonce, verifier, user_id, expires_at";

/// [`SignOns`] on the pool of `$data`.
macro_rules! sign_ons_on {
    ($data:ty) => {
        #[async_trait::async_trait]
        impl $crate::data::SignOns for $data {
            async fn keep_sign_on(
                &self,
                sign_on: &SignOn,
                now: Timestamp,
            ) -> Result<(), DataError> {
                let now = now.as_millis();
                sqlx::query(sign_ons::FORGET).bind(now).execute(&self.pool).await?;
                let keep = sqlx::query(sign_ons::KEEP)
                    .bind(&sign_on.state_hash)
                    .bind(sign_on.provider_id)
                    .bind(&sign_on.nonce)
                    .bind(&sign_on.verifier)
                    .bind(sign_on.user_id)
                    .bind(sign_on.expires_at);
                keep.execute(&self.pool).await?;
                Ok(())
            }

            async fn take_sign_on(
                &self,
                state_hash: &str,
                awaits_code: bool,
                now: Timestamp,
            ) -> Result<Option<SignOn>, DataError> {
                let take = sqlx::query_as(sign_ons::TAKE)
                    .bind(state_hash)
                    .bind(now.as_millis())
                    .bind(awaits_code);
                Ok(take.fetch_optional(&self.pool).await?)
            }
        }
    };
}
pub(super) use sign_ons_on;
