//! Enrolment keys. Times are milliseconds, lists are JSON.

use async_trait::async_trait;
use breeze_rollover::{clock::Timestamp, digest::Hash, rollover::Reliance};

use super::{BEGIN_WRITING, SqliteData};
use crate::data::{
    DataError, EnrolmentKey, EnrolmentKeys, NewAgent, NewEnrolmentKey, Reach, RowId, Under, Window,
};

macro_rules! columns {
    () => {
        "id, org_id, site_id, name, key_secret_hash, usage_count,
         max_usage, expires_at"
    };
}

/// What an enrolment key must be to be used at $1.
macro_rules! is_usable {
    () => {
        "(expires_at IS NULL OR expires_at > $1)
         AND (max_usage IS NULL OR usage_count < max_usage)"
    };
}

/// Pages by the primary key.
const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM enrollment_keys
      WHERE ($1 IS NULL OR org_id = $1) AND ($2 IS NULL OR id > $2)
      ORDER BY id LIMIT $3"
);

const CREATE: &str = concat!(
    "INSERT INTO enrollment_keys
        (id, org_id, site_id, name, key, key_pepper_id, key_secret_hash, max_usage, expires_at,
         created_by)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
     RETURNING ",
    columns!()
);

/// Leaves the time of one that has ended as it is.
const EXPIRE: &str = "
    UPDATE enrollment_keys SET expires_at = CASE
        WHEN expires_at <= $3 THEN expires_at
        ELSE $3 END
    WHERE id = $1 AND ($2 IS NULL OR org_id = $2)";

/// Served by the unique index of `key`.
const FIND: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM enrollment_keys WHERE key IN (SELECT value FROM json_each($1)) LIMIT 1"
);

/// Guards the number of uses: of several at once, each sees the count of the one before.
const USE: &str = concat!(
    "UPDATE enrollment_keys SET usage_count = usage_count + 1, key = $3, key_pepper_id = $4
     WHERE id = $2 AND ",
    is_usable!()
);

const ENROL: &str = "
    INSERT INTO devices
        (id, org_id, site_id, agent_id, hostname, os_type, os_version, architecture,
         agent_version, agent_token_hash, agent_token_generation, token_issued_at, enrolled_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)";

/// Served by `enrollment_keys_pepper_idx`.
const UNDER: &str = concat!(
    "SELECT count(key_pepper_id), count(*) - count(key_pepper_id) FROM enrollment_keys
     WHERE (key_pepper_id IS NULL OR key_pepper_id IN (SELECT value FROM json_each($2))) AND ",
    is_usable!()
);

/// Serves a count that is taken now and then: it reads every key.
const WITHOUT_SECRET: &str = concat!(
    "SELECT count(*) FROM enrollment_keys WHERE key_secret_hash IS NULL AND ",
    is_usable!()
);

#[async_trait]
impl EnrolmentKeys for SqliteData {
    async fn enrolment_keys(
        &self,
        reach: Reach,
        window: Window,
    ) -> Result<Vec<EnrolmentKey>, DataError> {
        let query = sqlx::query_as(PAGE)
            .bind(reach.organization())
            .bind(window.after)
            .bind(i64::from(window.limit));
        Ok(query.fetch_all(&self.pool).await?)
    }

    async fn create_enrolment_key(&self, new: &NewEnrolmentKey) -> Result<EnrolmentKey, DataError> {
        let query = sqlx::query_as(CREATE)
            .bind(new.id)
            .bind(new.org_id)
            .bind(new.site_id)
            .bind(&new.name)
            .bind(new.key.hash.to_string())
            .bind(&new.key.key)
            .bind(new.secret.map(|hash| hash.to_string()))
            .bind(new.max_usage)
            .bind(new.expires_at.as_millis())
            .bind(new.created_by);
        Ok(query.fetch_one(&self.pool).await?)
    }

    async fn expire_enrolment_key(
        &self,
        id: RowId,
        reach: Reach,
        now: Timestamp,
    ) -> Result<bool, DataError> {
        let query = sqlx::query(EXPIRE).bind(id).bind(reach.organization()).bind(now.as_millis());
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }

    async fn find_enrolment_key(
        &self,
        candidates: &[Hash],
    ) -> Result<Option<EnrolmentKey>, DataError> {
        let candidates: Vec<String> = candidates.iter().map(Hash::to_string).collect();
        let query = sqlx::query_as(FIND).bind(super::json(&candidates));
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn enrol(
        &self,
        found: &EnrolmentKey,
        primary: &Under,
        agent: &NewAgent,
        now: Timestamp,
    ) -> Result<bool, DataError> {
        let mut transaction = self.pool.begin_with(BEGIN_WRITING).await?;
        let used = sqlx::query(USE)
            .bind(now.as_millis())
            .bind(found.id)
            .bind(primary.hash.to_string())
            .bind(&primary.key);
        if used.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let enrol = sqlx::query(ENROL)
            .bind(agent.id)
            .bind(found.org_id)
            .bind(found.site_id)
            .bind(&agent.agent_id)
            .bind(&agent.hostname)
            .bind(agent.os_type)
            .bind(&agent.os_version)
            .bind(&agent.architecture)
            .bind(&agent.agent_version)
            .bind(agent.token.hash.to_string())
            .bind(&agent.token.key)
            .bind(now.as_millis());
        enrol.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn enrolment_keys_under(
        &self,
        peppers: &[String],
        now: Timestamp,
    ) -> Result<Reliance, DataError> {
        let query = sqlx::query_as(UNDER).bind(now.as_millis()).bind(super::json(peppers));
        Ok(super::reliance(query.fetch_one(&self.pool).await?))
    }

    async fn enrolment_keys_without_secret(&self, now: Timestamp) -> Result<u64, DataError> {
        let query = sqlx::query_scalar::<_, i64>(WITHOUT_SECRET).bind(now.as_millis());
        Ok(query.fetch_one(&self.pool).await?.unsigned_abs())
    }
}
