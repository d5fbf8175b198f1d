//! Password resets that were mailed.

use async_trait::async_trait;
use breeze_rollover::clock::Timestamp;

use super::PgData;
use crate::data::{DataError, NewPasswordReset, PasswordResets, RowId};

/// Guards that a user is mailed once a while. Served by the primary key.
const FORGET: &str = "
    DELETE FROM api_password_resets WHERE user_id = $1 AND expires_at <= $2";

const STORE: &str = "
    INSERT INTO api_password_resets (user_id, token_hash, expires_at) VALUES ($1, $2, $3)
    ON CONFLICT (user_id) DO NOTHING";

/// Guards the single use: of several at once, one deletes the row. Served by the unique
/// index on `token_hash`.
const SPEND: &str = "
    DELETE FROM api_password_resets WHERE token_hash = $1 AND expires_at > $2
    RETURNING user_id";

#[async_trait]
impl PasswordResets for PgData {
    async fn begin_password_reset(
        &self,
        reset: &NewPasswordReset,
        replacing: Timestamp,
    ) -> Result<bool, DataError> {
        let forget = sqlx::query(FORGET).bind(reset.user_id).bind(replacing.as_millis());
        forget.execute(&self.pool).await?;
        let store = sqlx::query(STORE)
            .bind(reset.user_id)
            .bind(&reset.token_hash)
            .bind(reset.expires_at.as_millis());
        Ok(store.execute(&self.pool).await?.rows_affected() == 1)
    }

    async fn spend_password_reset(
        &self,
        token_hash: &str,
        now: Timestamp,
    ) -> Result<Option<RowId>, DataError> {
        let spend = sqlx::query_scalar(SPEND).bind(token_hash).bind(now.as_millis());
        Ok(spend.fetch_optional(&self.pool).await?)
    }
}
