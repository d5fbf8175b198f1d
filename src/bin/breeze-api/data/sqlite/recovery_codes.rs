//! MFA recovery codes, in JSON text.

use async_trait::async_trait;
use breeze_rollover::{clock::Timestamp, digest::Hash, rollover::Reliance};

use super::SqliteData;
use crate::data::{
    DataError, RecoveryCodeSets, RecoveryCodes, RecoveryNotice, RowId, Under, Window,
    recovery_codes::{counted, documents},
};

macro_rules! columns {
    () => {
        "id, email, mfa_recovery_codes AS hashes, mfa_recovery_code_peppers AS peppers,
         mfa_recovery_codes_due_at IS NOT NULL AS are_due"
    };
}

/// The hashes of a user, one a row, as `code`: none of what is no array.
macro_rules! hashes {
    () => {
        "json_each(CASE WHEN json_valid(mfa_recovery_codes)
            AND json_type(mfa_recovery_codes) = 'array' THEN mfa_recovery_codes ELSE '[]' END)
         AS code"
    };
}

/// Whether a user has a code under none of the peppers $1.
macro_rules! is_outdated {
    () => {
        concat!(
            "EXISTS (SELECT 1 FROM ",
            hashes!(),
            " WHERE coalesce(mfa_recovery_code_peppers ->> code.value, '')
                NOT IN (SELECT value FROM json_each($1)))"
        )
    };
}

/// Whether MFA is demanded of a user, and the array holds one of the hashes $2.
macro_rules! has_one {
    () => {
        concat!(
            "mfa_enabled AND EXISTS (SELECT 1 FROM ",
            hashes!(),
            " WHERE code.value IN (SELECT value FROM json_each($2)))"
        )
    };
}

/// The array without the hashes $2.
macro_rules! without {
    () => {
        concat!(
            "(SELECT json_group_array(code.value) FROM ",
            hashes!(),
            " WHERE code.value NOT IN (SELECT value FROM json_each($2)))"
        )
    };
}

/// Served by the primary key.
const FIND: &str = concat!("SELECT ", columns!(), " FROM users WHERE id = $1");

const REPLACE: &str = "
    UPDATE users
    SET mfa_recovery_codes = $2, mfa_recovery_code_peppers = $3,
        mfa_recovery_codes_due_at = NULL, mfa_recovery_notice_at = NULL
    WHERE id = $1 AND mfa_enabled";

/// Guards the single use: one statement has the write lock from its reading on.
const SPEND: &str = concat!(
    "UPDATE users SET mfa_recovery_codes = ",
    without!(),
    " WHERE id = $1 AND ",
    has_one!()
);

/// Guarded as SPEND is: a code that is spent meanwhile does not come back.
const REHASH: &str = concat!(
    "UPDATE users
     SET mfa_recovery_codes = json_insert(",
    without!(),
    ", '$[#]', $3),
         mfa_recovery_code_peppers =
            json_patch(coalesce(mfa_recovery_code_peppers, '{}'), json_object($3, $4))
     WHERE id = $1 AND ",
    has_one!()
);

/// Pages by the primary key.
const OUTDATED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM users
      WHERE mfa_enabled AND ($2 IS NULL OR id > $2) AND ",
    is_outdated!(),
    " ORDER BY id LIMIT $3"
);

/// Judges what is stored when it writes: codes that were made meanwhile stay.
const TAKE_BACK: &str = concat!(
    "UPDATE users
     SET mfa_recovery_codes = (
            SELECT json_group_array(code.value) FROM ",
    hashes!(),
    "       WHERE mfa_recovery_code_peppers ->> code.value IN (SELECT value FROM json_each($1))),
         mfa_recovery_codes_due_at = $3,
         mfa_recovery_notice_at = CASE WHEN $4 AND email IS NOT NULL THEN $3 END
     WHERE id IN (SELECT value FROM json_each($2)) AND ",
    is_outdated!(),
    " RETURNING id"
);

/// Guards that one process at a time tells a user. Served by `users_recovery_notice_idx`.
const CLAIM: &str = "
    UPDATE users SET mfa_recovery_notice_at = $2
    WHERE id = (
        SELECT id FROM users WHERE mfa_recovery_notice_at <= $1 AND email IS NOT NULL
        ORDER BY mfa_recovery_notice_at LIMIT 1)
    RETURNING id, email";

const END: &str = "UPDATE users SET mfa_recovery_notice_at = NULL WHERE id = $1";

/// Reads every user.
const UNDER: &str = concat!(
    "SELECT count(*) FILTER (WHERE needs), count(*) FILTER (WHERE NOT needs AND is_unknown)
     FROM (
        SELECT max(coalesce(pepper IN (SELECT value FROM json_each($1)), FALSE)) AS needs,
            max(pepper IS NULL) AS is_unknown
        FROM (
            SELECT users.id AS id, mfa_recovery_code_peppers ->> code.value AS pepper
            FROM users, ",
    hashes!(),
    "       WHERE mfa_enabled)
        GROUP BY id)"
);

/// Reads every user.
const COUNT: &str = concat!(
    "SELECT count(*), count(DISTINCT users.id) FROM users, ",
    hashes!(),
    " WHERE mfa_enabled"
);

fn texts(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

#[async_trait]
impl RecoveryCodeSets for SqliteData {
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
        let candidates = texts(candidates);
        let query = sqlx::query(SPEND).bind(user).bind(super::json(&candidates));
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }

    async fn rehash_recovery_code(
        &self,
        user: RowId,
        candidates: &[Hash],
        primary: &Under,
    ) -> Result<bool, DataError> {
        let candidates = texts(candidates);
        let query = sqlx::query(REHASH)
            .bind(user)
            .bind(super::json(&candidates))
            .bind(primary.hash.to_string())
            .bind(&primary.key);
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }

    async fn outdated_recovery_codes(
        &self,
        current: &[String],
        window: Window,
    ) -> Result<Vec<RecoveryCodes>, DataError> {
        let query = sqlx::query_as(OUTDATED)
            .bind(super::json(current))
            .bind(window.after)
            .bind(i64::from(window.limit));
        Ok(query.fetch_all(&self.pool).await?)
    }

    async fn take_back_recovery_codes(
        &self,
        users: &[RowId],
        current: &[String],
        by_mail: bool,
        now: Timestamp,
    ) -> Result<Vec<RowId>, DataError> {
        let users: Vec<String> = users.iter().map(RowId::to_string).collect();
        let query = sqlx::query_scalar(TAKE_BACK)
            .bind(super::json(current))
            .bind(super::json(&users))
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
        let query = sqlx::query_as(UNDER).bind(super::json(peppers));
        Ok(super::reliance(query.fetch_one(&self.pool).await?))
    }

    async fn count_recovery_codes(&self) -> Result<(u64, u64), DataError> {
        Ok(counted(sqlx::query_as(COUNT).fetch_one(&self.pool).await?))
    }
}
