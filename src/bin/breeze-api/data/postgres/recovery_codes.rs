//! MFA recovery codes, in Breeze's own `jsonb` array.

use async_trait::async_trait;
use breeze_rollover::{clock::Timestamp, digest::Hash, rollover::Reliance};
use sqlx::types::Uuid;

use super::PgData;
use crate::data::{
    DataError, RecoveryCodeSets, RecoveryCodes, RecoveryNotice, RowId, Under, Window,
    recovery_codes::{counted, documents},
};

macro_rules! columns {
    () => {
        "id, email, mfa_recovery_codes::text AS hashes, mfa_recovery_code_peppers::text AS peppers,
         mfa_recovery_codes_due_at IS NOT NULL AS are_due"
    };
}

/// The hashes of a user, one a row, as `code (hash)`: none of what is no array.
macro_rules! hashes {
    () => {
        "jsonb_array_elements_text(CASE jsonb_typeof(mfa_recovery_codes)
            WHEN 'array' THEN mfa_recovery_codes ELSE '[]' END) AS code (hash)"
    };
}

/// Whether a user has a code under none of the peppers $1.
macro_rules! is_outdated {
    () => {
        concat!(
            "EXISTS (SELECT FROM ",
            hashes!(),
            " WHERE coalesce(mfa_recovery_code_peppers ->> hash, '') <> ALL ($1))"
        )
    };
}

/// Whether MFA is demanded of a user, and the array holds one of the hashes $2.
macro_rules! has_one {
    () => {
        "coalesce(mfa_enabled, false) AND jsonb_typeof(mfa_recovery_codes) = 'array'
         AND mfa_recovery_codes ?| $2"
    };
}

/// Served by the primary key.
const FIND: &str = concat!("SELECT ", columns!(), " FROM users WHERE id = $1");

const REPLACE: &str = "
    UPDATE users
    SET mfa_recovery_codes = $2::jsonb, mfa_recovery_code_peppers = $3::jsonb,
        mfa_recovery_codes_due_at = NULL, mfa_recovery_notice_at = NULL
    WHERE id = $1 AND coalesce(mfa_enabled, false)";

/// Guards the single use: of several at once, each sees the array that the one before left.
const SPEND: &str = concat!(
    "UPDATE users SET mfa_recovery_codes = mfa_recovery_codes - $2 WHERE id = $1 AND ",
    has_one!()
);

/// Guarded as SPEND is: a code that is spent meanwhile does not come back.
const REHASH: &str = concat!(
    "UPDATE users
     SET mfa_recovery_codes = (mfa_recovery_codes - $2) || jsonb_build_array($3::text),
         mfa_recovery_code_peppers =
            coalesce(mfa_recovery_code_peppers, '{}') || jsonb_build_object($3::text, $4::text)
     WHERE id = $1 AND ",
    has_one!()
);

/// Pages by the primary key.
const OUTDATED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM users
      WHERE coalesce(mfa_enabled, false) AND ($2::uuid IS NULL OR id > $2) AND ",
    is_outdated!(),
    " ORDER BY id LIMIT $3"
);

/// Judges what is stored when it writes: codes that were made meanwhile stay. Rows are
/// locked in one order, so that two who do it at once do not wait for each other.
const TAKE_BACK: &str = concat!(
    "UPDATE users
     SET mfa_recovery_codes = (
            SELECT coalesce(jsonb_agg(hash), '[]') FROM ",
    hashes!(),
    "       WHERE mfa_recovery_code_peppers ->> hash = ANY ($1)),
         mfa_recovery_codes_due_at = $3,
         mfa_recovery_notice_at = CASE WHEN $4 AND email IS NOT NULL THEN $3 END
     WHERE id IN (SELECT id FROM users WHERE id = ANY ($2) ORDER BY id FOR UPDATE) AND ",
    is_outdated!(),
    " RETURNING id"
);

/// Guards that one process at a time tells a user. Served by `users_recovery_notice_idx`.
const CLAIM: &str = "
    UPDATE users SET mfa_recovery_notice_at = $2
    WHERE mfa_recovery_notice_at <= $1 AND id = (
        SELECT id FROM users WHERE mfa_recovery_notice_at <= $1 AND email IS NOT NULL
        ORDER BY mfa_recovery_notice_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, email";

const END: &str = "UPDATE users SET mfa_recovery_notice_at = NULL WHERE id = $1";

/// Reads every user.
const UNDER: &str = concat!(
    "SELECT count(*) FILTER (WHERE needs), count(*) FILTER (WHERE NOT needs AND is_unknown)
     FROM (
        SELECT bool_or(coalesce(mfa_recovery_code_peppers ->> hash = ANY ($1), false)) AS needs,
            bool_or(mfa_recovery_code_peppers ->> hash IS NULL) AS is_unknown
        FROM users, ",
    hashes!(),
    "   WHERE coalesce(mfa_enabled, false) GROUP BY users.id) AS standing"
);

/// Reads every user.
const COUNT: &str = concat!(
    "SELECT count(*), count(DISTINCT users.id) FROM users, ",
    hashes!(),
    " WHERE coalesce(mfa_enabled, false)"
);

fn texts(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

#[async_trait]
impl RecoveryCodeSets for PgData {
    async fn recovery_codes(&self, user: RowId) -> Result<Option<RecoveryCodes>, DataError> {
        Ok(sqlx::query_as(FIND).bind(user).fetch_optional(&self.pool).await?)
    }

    async fn replace_recovery_codes(
        &self,
        user: RowId,
        codes: &[Under],
    ) -> Result<bool, DataError> {
        let (hashes, peppers) = documents(codes);
        let query = sqlx::query(REPLACE).bind(user).bind(hashes).bind(peppers);
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }

    async fn spend_recovery_code(
        &self,
        user: RowId,
        candidates: &[Hash],
    ) -> Result<bool, DataError> {
        let query = sqlx::query(SPEND).bind(user).bind(texts(candidates));
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }

    async fn rehash_recovery_code(
        &self,
        user: RowId,
        candidates: &[Hash],
        primary: &Under,
    ) -> Result<bool, DataError> {
        let query = sqlx::query(REHASH)
            .bind(user)
            .bind(texts(candidates))
            .bind(primary.hash.to_string())
            .bind(&primary.key);
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }

    async fn outdated_recovery_codes(
        &self,
        current: &[String],
        window: Window,
    ) -> Result<Vec<RecoveryCodes>, DataError> {
        let query =
            sqlx::query_as(OUTDATED).bind(current).bind(window.after).bind(i64::from(window.limit));
        Ok(query.fetch_all(&self.pool).await?)
    }

    async fn take_back_recovery_codes(
        &self,
        users: &[RowId],
        current: &[String],
        by_mail: bool,
        now: Timestamp,
    ) -> Result<Vec<RowId>, DataError> {
        let users: Vec<Uuid> = users.iter().map(|id| id.0).collect();
        let query = sqlx::query_scalar(TAKE_BACK)
            .bind(current)
            .bind(users)
            .bind(now.as_millis())
            .bind(by_mail);
        Ok(query.fetch_all(&self.pool).await?)
    }

    async fn claim_recovery_notice(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<RecoveryNotice>, DataError> {
        let query = sqlx::query_as(CLAIM).bind(now.as_millis()).bind(until.as_millis());
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn end_recovery_notice(&self, user: RowId) -> Result<(), DataError> {
        sqlx::query(END).bind(user).execute(&self.pool).await?;
        Ok(())
    }

    async fn recovery_codes_under(&self, peppers: &[String]) -> Result<Reliance, DataError> {
        let query = sqlx::query_as(UNDER).bind(peppers);
        Ok(super::reliance(query.fetch_one(&self.pool).await?))
    }

    async fn count_recovery_codes(&self) -> Result<(u64, u64), DataError> {
        Ok(counted(sqlx::query_as(COUNT).fetch_one(&self.pool).await?))
    }
}
