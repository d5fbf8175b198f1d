//! Second factors.

use async_trait::async_trait;
use breeze_rollover::clock::Timestamp;

use super::{
    PgData,
    users::{REVOKE_SESSIONS, columns},
};
use crate::data::{DataError, Factors, MfaOffer, NewFactor, RowId, User};

/// Guards against replay: a step only ever rises.
const SPEND_TOTP_STEP: &str =
    "UPDATE users SET mfa_last_step = $2 WHERE id = $1 AND mfa_last_step < $2";

const OFFER: &str = "
    INSERT INTO api_mfa_offers (user_id, secret, expires_at) VALUES ($1, $2, $3)
    ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, expires_at = excluded.expires_at";

/// Served by `api_mfa_offers_expiry_idx`.
const FORGET: &str = "DELETE FROM api_mfa_offers WHERE expires_at <= $1";

/// Served by the primary key.
const OFFERED: &str =
    "SELECT secret, expires_at FROM api_mfa_offers WHERE user_id = $1 AND expires_at > $2";

/// Guards that an offer is taken up once, and not in place of a later one.
const TAKE_UP: &str = "DELETE FROM api_mfa_offers WHERE user_id = $1 AND expires_at = $2";

/// Steps of which another seed's code was accepted are no steps of this one.
const ENABLE: &str = concat!(
    "UPDATE users
     SET mfa_secret = $2, mfa_enabled = true, mfa_epoch = mfa_epoch + 1,
         mfa_last_step = $3, version = version + 1
     WHERE id = $1
     RETURNING ",
    columns!()
);

const WITHDRAW: &str = "DELETE FROM api_mfa_offers WHERE user_id = $1";

const DISABLE: &str = concat!(
    "UPDATE users
     SET mfa_secret = NULL, mfa_enabled = false, mfa_epoch = mfa_epoch + 1, version = version + 1,
         mfa_recovery_codes = NULL, mfa_recovery_code_peppers = NULL,
         mfa_recovery_codes_due_at = NULL, mfa_recovery_notice_at = NULL
     WHERE id = $1 AND coalesce(mfa_enabled, false)
     RETURNING ",
    columns!()
);

#[async_trait]
impl Factors for PgData {
    async fn spend_totp_step(&self, id: RowId, step: i64) -> Result<bool, DataError> {
        let query = sqlx::query(SPEND_TOTP_STEP).bind(id).bind(step);
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }

    async fn offer_mfa(
        &self,
        id: RowId,
        secret: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), DataError> {
        sqlx::query(FORGET).bind(now.as_millis()).execute(&self.pool).await?;
        let offer = sqlx::query(OFFER).bind(id).bind(secret).bind(until.as_millis());
        offer.execute(&self.pool).await?;
        Ok(())
    }

    async fn mfa_offer(&self, id: RowId, now: Timestamp) -> Result<Option<MfaOffer>, DataError> {
        let query = sqlx::query_as(OFFERED).bind(id).bind(now.as_millis());
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn enable_mfa(
        &self,
        id: RowId,
        offer: &MfaOffer,
        factor: &NewFactor,
    ) -> Result<Option<User>, DataError> {
        let mut transaction = self.pool.begin().await?;
        let taken = sqlx::query(TAKE_UP).bind(id).bind(offer.expires_at);
        if taken.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(None);
        }
        let enable = sqlx::query_as(ENABLE).bind(id).bind(&factor.secret).bind(factor.step);
        let user = enable.fetch_optional(&mut *transaction).await?;
        sqlx::query(REVOKE_SESSIONS).bind(id).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(user)
    }

    async fn disable_mfa(&self, id: RowId) -> Result<Option<User>, DataError> {
        let mut transaction = self.pool.begin().await?;
        let disabled = sqlx::query_as(DISABLE).bind(id).fetch_optional(&mut *transaction).await?;
        if disabled.is_some() {
            sqlx::query(WITHDRAW).bind(id).execute(&mut *transaction).await?;
            sqlx::query(REVOKE_SESSIONS).bind(id).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(disabled)
    }
}
