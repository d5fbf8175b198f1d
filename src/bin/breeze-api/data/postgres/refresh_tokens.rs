//! Refresh tokens, by family.

use async_trait::async_trait;
use breeze_rollover::clock::Timestamp;
use sqlx::PgConnection;

use super::PgData;
use crate::data::{DataError, Exchange, NewRefreshToken, RefreshTokens, RowId};

const STORE: &str = "
    INSERT INTO api_refresh_tokens (jti, family, user_id, expires_at) VALUES ($1, $2, $3, $4)";

/// Guards the single use: of several at once, the row lock lets one see `NOT spent`.
const SPEND: &str = "
    UPDATE api_refresh_tokens SET spent = true
    WHERE jti = $1 AND family = $2 AND user_id = $3 AND NOT spent AND NOT revoked";

const WAS_SPENT: &str =
    "SELECT spent FROM api_refresh_tokens WHERE jti = $1 AND family = $2 AND user_id = $3";

/// Served by `api_refresh_tokens_family_idx`.
const REVOKE: &str = "
    UPDATE api_refresh_tokens SET revoked = true
    WHERE family = $1 AND user_id = $2 AND NOT revoked";

/// A family has at most one token that is neither spent nor revoked. Served by
/// `api_refresh_tokens_expiry_idx`.
const LIVE: &str = "
    SELECT count(*) FROM api_refresh_tokens
    WHERE expires_at > $1 AND NOT spent AND NOT revoked";

/// Served by `api_refresh_tokens_family_idx`.
const IS_LIVE: &str = "
    SELECT EXISTS (
        SELECT 1 FROM api_refresh_tokens
        WHERE family = $1 AND user_id = $2 AND expires_at > $3 AND NOT spent AND NOT revoked
    )";

/// Served by `api_refresh_tokens_expiry_idx`.
const FORGET: &str = "DELETE FROM api_refresh_tokens WHERE expires_at < $1";

#[async_trait]
impl RefreshTokens for PgData {
    async fn begin_family(&self, token: NewRefreshToken, now: Timestamp) -> Result<(), DataError> {
        sqlx::query(FORGET).bind(now.as_millis()).execute(&self.pool).await?;
        let mut transaction = self.pool.begin().await?;
        store(&mut transaction, token).await?;
        Ok(transaction.commit().await?)
    }

    async fn exchange(&self, jti: RowId, next: NewRefreshToken) -> Result<Exchange, DataError> {
        let mut transaction = self.pool.begin().await?;
        let spend = sqlx::query(SPEND).bind(jti).bind(next.family).bind(next.user_id);
        let outcome = if spend.execute(&mut *transaction).await?.rows_affected() == 1 {
            store(&mut transaction, next).await?;
            Exchange::Done
        } else {
            let was_spent = sqlx::query_scalar(WAS_SPENT)
                .bind(jti)
                .bind(next.family)
                .bind(next.user_id)
                .fetch_optional(&mut *transaction)
                .await?;
            if was_spent == Some(true) {
                revoke(&mut transaction, next.user_id, next.family).await?;
                Exchange::Reused
            } else {
                Exchange::Unknown
            }
        };
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn live_sessions(&self, now: Timestamp) -> Result<u64, DataError> {
        let query = sqlx::query_scalar::<_, i64>(LIVE).bind(now.as_millis());
        Ok(u64::try_from(query.fetch_one(&self.pool).await?).unwrap_or(0))
    }

    async fn is_live(
        &self,
        user_id: RowId,
        family: RowId,
        now: Timestamp,
    ) -> Result<bool, DataError> {
        let query = sqlx::query_scalar(IS_LIVE).bind(family).bind(user_id).bind(now.as_millis());
        Ok(query.fetch_one(&self.pool).await?)
    }

    async fn revoke_family(&self, user_id: RowId, family: RowId) -> Result<(), DataError> {
        let mut transaction = self.pool.begin().await?;
        revoke(&mut transaction, user_id, family).await?;
        Ok(transaction.commit().await?)
    }
}

async fn store(connection: &mut PgConnection, token: NewRefreshToken) -> Result<(), DataError> {
    let query = sqlx::query(STORE)
        .bind(token.jti)
        .bind(token.family)
        .bind(token.user_id)
        .bind(token.expires_at.as_millis());
    query.execute(connection).await?;
    Ok(())
}

async fn revoke(
    connection: &mut PgConnection,
    user_id: RowId,
    family: RowId,
) -> Result<(), DataError> {
    sqlx::query(REVOKE).bind(family).bind(user_id).execute(connection).await?;
    Ok(())
}
