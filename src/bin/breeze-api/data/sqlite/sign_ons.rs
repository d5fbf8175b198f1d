//! Sign-ons at SSO providers that are on their way.

use async_trait::async_trait;
use breeze_rollover::clock::Timestamp;

use super::SqliteData;
use crate::data::{DataError, SignOn, SignOns};

/// Served by `api_sign_ons_expiry_idx`.
const FORGET: &str = "DELETE FROM api_sign_ons WHERE expires_at <= $1";

const KEEP: &str = "
    INSERT INTO api_sign_ons (state_hash, provider_id, nonce, verifier, user_id, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6)";

/// Guards the single use: of several at once, one deletes the row. Served by the primary
/// key.
const TAKE: &str = "
    DELETE FROM api_sign_ons
    WHERE state_hash = $1 AND expires_at > $2 AND (user_id IS NOT NULL) = $3
    RETURNING state_hash, provider_id, nonce, verifier, user_id, expires_at";

#[async_trait]
impl SignOns for SqliteData {
    async fn keep_sign_on(&self, sign_on: &SignOn, now: Timestamp) -> Result<(), DataError> {
        sqlx::query(FORGET).bind(now.as_millis()).execute(&self.pool).await?;
        let keep = sqlx::query(KEEP)
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
        let take = sqlx::query_as(TAKE).bind(state_hash).bind(now.as_millis()).bind(awaits_code);
        Ok(take.fetch_optional(&self.pool).await?)
    }
}
