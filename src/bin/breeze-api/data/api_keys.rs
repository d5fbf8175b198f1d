//! API keys that users hold: their hashes. One text of SQL for both databases.

use async_trait::async_trait;
use breeze_rollover::{clock::Timestamp, digest::Hash, ids::KeyId, rollover::Reliance};
use sqlx::FromRow;

use super::{DataError, Reach, RowId, Window};

/// An API key that was issued. The key itself is kept by whoever holds it.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct ApiKeyRow {
    pub(crate) id: RowId,
    pub(crate) org_id: Option<RowId>,
    pub(crate) held_by: Option<RowId>,
    pub(crate) name: Option<String>,
    pub(crate) key_prefix: String,
    pub(crate) generation: Option<String>,
    pub(crate) ends_at_ms: Option<i64>,
    pub(crate) used_at_ms: Option<i64>,
}

/// A key that is issued.
#[derive(Debug)]
pub(crate) struct NewApiKey {
    pub(crate) id: RowId,
    pub(crate) org_id: Option<RowId>,
    pub(crate) held_by: RowId,
    pub(crate) name: String,
    pub(crate) hash: Hash,
    pub(crate) prefix: String,
    pub(crate) generation: KeyId,
    pub(crate) ends_at: Option<Timestamp>,
}

/// Whose keys are revoked together.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Holders {
    User(RowId),
    Organization(RowId),
}

#[async_trait]
pub(crate) trait ApiKeys {
    /// The key of this hash, unless it was revoked, or its holder may not log in any more.
    async fn api_key_by_hash(&self, hash: &Hash) -> Result<Option<ApiKeyRow>, DataError>;

    /// One that is not revoked.
    async fn api_key(&self, id: RowId, reach: Reach) -> Result<Option<ApiKeyRow>, DataError>;

    /// Keys that are not revoked; with `holder`, those of theirs alone.
    async fn api_keys(
        &self,
        reach: Reach,
        holder: Option<RowId>,
        window: Window,
    ) -> Result<Vec<ApiKeyRow>, DataError>;

    async fn issue_api_key(&self, key: &NewApiKey) -> Result<ApiKeyRow, DataError>;

    /// Issues `next` in the place of `id`, which ends at `until` unless it ends before:
    /// both or nothing. `None` where `id` is not there, out of reach or at its end.
    async fn rotate_api_key(
        &self,
        id: RowId,
        reach: Reach,
        next: &NewApiKey,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ApiKeyRow>, DataError>;

    async fn revoke_api_key(
        &self,
        id: RowId,
        reach: Reach,
        now: Timestamp,
    ) -> Result<bool, DataError>;

    /// Revokes every key of `holders` within `reach`; answers how many.
    async fn revoke_api_keys(
        &self,
        holders: Holders,
        reach: Reach,
        now: Timestamp,
    ) -> Result<u64, DataError>;

    /// Notes when keys were last used.
    async fn note_api_keys_used(&self, used: &[(RowId, Timestamp)]) -> Result<(), DataError>;

    /// Gives keys of before there was a generation this one; answers how many.
    async fn adopt_api_keys(&self, generation: &KeyId) -> Result<u64, DataError>;

    /// Keys that still work at `now`, of one of `generations`; and those of none.
    async fn live_api_keys(
        &self,
        generations: &[KeyId],
        now: Timestamp,
    ) -> Result<Reliance, DataError>;
}

macro_rules! columns {
    () => {
        "id, org_id, held_by, name, key_prefix, generation, ends_at_ms, used_at_ms"
    };
}

/// Whether whoever holds it may still log in, if anybody does. Served by the primary key.
macro_rules! holder_is_active {
    () => {
        "(held_by IS NULL OR EXISTS
            (SELECT 1 FROM users WHERE users.id = held_by AND CAST(status AS text) = 'active'))"
    };
}

/// Served by `api_keys_hash_key`.
pub(super) const BY_HASH: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM api_keys WHERE key_hash = $1 AND revoked_at_ms IS NULL AND ",
    holder_is_active!()
);

/// Served by the primary key.
pub(super) const FIND: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM api_keys
      WHERE id = $1 AND (CAST($2 AS uuid) IS NULL OR org_id = $2) AND revoked_at_ms IS NULL"
);

/// Pages by the primary key.
pub(super) const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM api_keys
      WHERE (CAST($1 AS uuid) IS NULL OR org_id = $1) AND (CAST($2 AS uuid) IS NULL OR id > $2)
        AND (CAST($4 AS uuid) IS NULL OR held_by = $4) AND revoked_at_ms IS NULL
      ORDER BY id LIMIT $3"
);

pub(super) const ISSUE: &str = concat!(
    "INSERT INTO api_keys
        (id, org_id, held_by, name, key_hash, key_prefix, generation, ends_at_ms)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
     RETURNING ",
    columns!()
);

/// Never later than it would have ended. Served by the primary key.
pub(super) const END: &str = "
    UPDATE api_keys
    SET ends_at_ms = CASE WHEN ends_at_ms < $4 THEN ends_at_ms ELSE $4 END
    WHERE id = $1 AND (CAST($2 AS uuid) IS NULL OR org_id = $2)
      AND revoked_at_ms IS NULL AND (ends_at_ms IS NULL OR ends_at_ms > $3)";

/// Served by the primary key.
pub(super) const REVOKE: &str = "
    UPDATE api_keys SET revoked_at_ms = $3
    WHERE id = $1 AND (CAST($2 AS uuid) IS NULL OR org_id = $2) AND revoked_at_ms IS NULL";

/// Served by `api_keys_held_by_idx`.
pub(super) const REVOKE_OF_USER: &str = "
    UPDATE api_keys SET revoked_at_ms = $3
    WHERE held_by = $1 AND (CAST($2 AS uuid) IS NULL OR org_id = $2) AND revoked_at_ms IS NULL";

pub(super) const REVOKE_OF_ORGANIZATION: &str = "
    UPDATE api_keys SET revoked_at_ms = $3
    WHERE org_id = $1 AND (CAST($2 AS uuid) IS NULL OR org_id = $2) AND revoked_at_ms IS NULL";

/// Never earlier than before. Served by the primary key.
pub(super) const USED: &str = "
    UPDATE api_keys SET used_at_ms = $2
    WHERE id = $1 AND (used_at_ms IS NULL OR used_at_ms < $2)";

/// Served by `api_keys_generation_idx`.
pub(super) const ADOPT: &str = "UPDATE api_keys SET generation = $1 WHERE generation IS NULL";

/// Served by `api_keys_generation_idx`.
pub(super) const LIVE: &str = concat!(
    "SELECT count(*) FROM api_keys
     WHERE generation = $1 AND revoked_at_ms IS NULL AND (ends_at_ms IS NULL OR ends_at_ms > $2)
       AND ",
    holder_is_active!()
);

/// Served by `api_keys_generation_idx`.
pub(super) const LIVE_OF_NONE: &str = concat!(
    "SELECT count(*) FROM api_keys
     WHERE generation IS NULL AND revoked_at_ms IS NULL AND (ends_at_ms IS NULL OR ends_at_ms > $1)
       AND ",
    holder_is_active!()
);

/// [`ApiKeys`] on the pool of `$data`, a transaction beginning as `$begin` says.
macro_rules! api_keys_on {
    ($data:ty, $pool:ident => $begin:expr) => {
        #[async_trait::async_trait]
        impl $crate::data::ApiKeys for $data {
            async fn api_key_by_hash(
                &self,
                hash: &breeze_rollover::digest::Hash,
            ) -> Result<Option<ApiKeyRow>, DataError> {
                let query = sqlx::query_as(api_keys::BY_HASH).bind(hash.to_string());
                Ok(query.fetch_optional(&self.pool).await?)
            }

            async fn api_key(
                &self,
                id: RowId,
                reach: Reach,
            ) -> Result<Option<ApiKeyRow>, DataError> {
                let query = sqlx::query_as(api_keys::FIND).bind(id).bind(reach.organization());
                Ok(query.fetch_optional(&self.pool).await?)
            }

            async fn api_keys(
                &self,
                reach: Reach,
                holder: Option<RowId>,
                window: Window,
            ) -> Result<Vec<ApiKeyRow>, DataError> {
                let query = sqlx::query_as(api_keys::PAGE)
                    .bind(reach.organization())
                    .bind(window.after)
                    .bind(i64::from(window.limit))
                    .bind(holder);
                Ok(query.fetch_all(&self.pool).await?)
            }

            async fn issue_api_key(&self, key: &NewApiKey) -> Result<ApiKeyRow, DataError> {
                let $pool = &self.pool;
                let mut transaction = $begin.await?;
                let issued = issue(&mut transaction, key).await?;
                transaction.commit().await?;
                Ok(issued)
            }

            async fn rotate_api_key(
                &self,
                id: RowId,
                reach: Reach,
                next: &NewApiKey,
                now: Timestamp,
                until: Timestamp,
            ) -> Result<Option<ApiKeyRow>, DataError> {
                let $pool = &self.pool;
                let mut transaction = $begin.await?;
                let ended = sqlx::query(api_keys::END)
                    .bind(id)
                    .bind(reach.organization())
                    .bind(now.as_millis())
                    .bind(until.as_millis())
                    .execute(&mut *transaction)
                    .await?;
                if ended.rows_affected() == 0 {
                    return Ok(None);
                }
                let issued = issue(&mut transaction, next).await?;
                transaction.commit().await?;
                Ok(Some(issued))
            }

            async fn revoke_api_key(
                &self,
                id: RowId,
                reach: Reach,
                now: Timestamp,
            ) -> Result<bool, DataError> {
                let query = sqlx::query(api_keys::REVOKE)
                    .bind(id)
                    .bind(reach.organization())
                    .bind(now.as_millis());
                Ok(query.execute(&self.pool).await?.rows_affected() == 1)
            }

            async fn revoke_api_keys(
                &self,
                holders: Holders,
                reach: Reach,
                now: Timestamp,
            ) -> Result<u64, DataError> {
                let (statement, id) = match holders {
                    Holders::User(id) => (api_keys::REVOKE_OF_USER, id),
                    Holders::Organization(id) => (api_keys::REVOKE_OF_ORGANIZATION, id),
                };
                let query = sqlx::query(statement)
                    .bind(id)
                    .bind(reach.organization())
                    .bind(now.as_millis());
                Ok(query.execute(&self.pool).await?.rows_affected())
            }

            async fn note_api_keys_used(
                &self,
                used: &[(RowId, Timestamp)],
            ) -> Result<(), DataError> {
                let $pool = &self.pool;
                let mut transaction = $begin.await?;
                for (id, at) in used {
                    sqlx::query(api_keys::USED)
                        .bind(*id)
                        .bind(at.as_millis())
                        .execute(&mut *transaction)
                        .await?;
                }
                Ok(transaction.commit().await?)
            }

            async fn adopt_api_keys(&self, generation: &KeyId) -> Result<u64, DataError> {
                let query = sqlx::query(api_keys::ADOPT).bind(generation.as_str());
                Ok(query.execute(&self.pool).await?.rows_affected())
            }

            async fn live_api_keys(
                &self,
                generations: &[KeyId],
                now: Timestamp,
            ) -> Result<Reliance, DataError> {
                let mut live = 0;
                for generation in generations {
                    let query = sqlx::query_scalar::<_, i64>(api_keys::LIVE)
                        .bind(generation.as_str())
                        .bind(now.as_millis());
                    live += query.fetch_one(&self.pool).await?;
                }
                let query =
                    sqlx::query_scalar::<_, i64>(api_keys::LIVE_OF_NONE).bind(now.as_millis());
                let unknown = query.fetch_one(&self.pool).await?;
                let count = |rows: i64| u64::try_from(rows).unwrap_or(0);
                Ok(Reliance::Counted { rows: count(live), unknown: count(unknown) })
            }
        }
    };
}
pub(super) use api_keys_on;
