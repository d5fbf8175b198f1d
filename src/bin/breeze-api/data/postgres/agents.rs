//! Enrolled agents and their tokens. Times are timestamps, as Breeze keeps them.

use async_trait::async_trait;
use breeze_rollover::{clock::Timestamp, digest::Hash, rollover::Reliance};

use super::PgData;
use crate::data::{Agent, Agents, DataError, RowId, Under};

/// Served by `devices_agent_token_idx`, `devices_pending_token_idx` and
/// `devices_previous_token_idx`.
const BY_TOKEN: &str = "
    SELECT id, agent_id, agent_token_hash, agent_token_generation,
           pending_token_hash, pending_token_generation,
           (extract(epoch FROM pending_token_expires_at) * 1000)::bigint AS pending_token_expires_at,
           previous_token_hash, previous_token_generation,
           (extract(epoch FROM previous_token_expires_at) * 1000)::bigint AS previous_token_expires_at
    FROM devices
    WHERE agent_token_hash = $1 OR pending_token_hash = $1 OR previous_token_hash = $1
    LIMIT 1";

const NOTE: &str = "UPDATE devices SET last_seen_at = to_timestamp($2::bigint / 1000.0) AT TIME ZONE 'UTC' WHERE id = $1";

/// Guarded by the current token: who holds another is not offered one.
const OFFER: &str = "
    UPDATE devices SET pending_token_hash = $3, pending_token_generation = $4,
        pending_token_expires_at = to_timestamp($5::bigint / 1000.0)
    WHERE id = $1 AND agent_token_hash = $2";

/// Guarded by the pending token: of several who present it at once, one promotes it.
const PROMOTE: &str = "
    UPDATE devices SET
        previous_token_hash = agent_token_hash,
        previous_token_generation = agent_token_generation,
        previous_token_expires_at = to_timestamp($4::bigint / 1000.0),
        agent_token_hash = pending_token_hash,
        agent_token_generation = pending_token_generation,
        token_issued_at = to_timestamp($3::bigint / 1000.0),
        pending_token_hash = NULL, pending_token_generation = NULL,
        pending_token_expires_at = NULL
    WHERE id = $1 AND pending_token_hash = $2";

/// Guarded by its own outcome: done once, before any token was issued here.
const ADOPT: &str = "
    UPDATE devices SET agent_token_generation = $1,
        pending_token_generation = CASE WHEN pending_token_hash IS NOT NULL THEN $1 END,
        previous_token_generation = CASE WHEN previous_token_hash IS NOT NULL THEN $1 END
    WHERE agent_token_hash IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM devices WHERE agent_token_generation IS NOT NULL)";

/// A device counts once, whichever of its tokens it is. Serves a count that is taken now
/// and then: it reads every device.
const UNDER: &str = "
    SELECT coalesce(sum(CASE WHEN is_under THEN 1 ELSE 0 END), 0)::bigint,
           coalesce(sum(CASE WHEN is_unknown AND NOT is_under THEN 1 ELSE 0 END), 0)::bigint
    FROM (
        SELECT coalesce(agent_token_generation = ANY($2), FALSE)
               OR coalesce(pending_token_expires_at > to_timestamp($1::bigint / 1000.0)
                   AND pending_token_generation = ANY($2), FALSE)
               OR coalesce(previous_token_expires_at > to_timestamp($1::bigint / 1000.0)
                   AND previous_token_generation = ANY($2), FALSE) AS is_under,
               agent_token_hash IS NOT NULL AND agent_token_generation IS NULL AS is_unknown
        FROM devices
    ) AS tokens";

#[async_trait]
impl Agents for PgData {
    async fn agent_by_token(&self, hash: &Hash) -> Result<Option<Agent>, DataError> {
        let query = sqlx::query_as(BY_TOKEN).bind(hash.to_string());
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn note_agent(&self, id: RowId, now: Timestamp) -> Result<(), DataError> {
        sqlx::query(NOTE).bind(id).bind(now.as_millis()).execute(&self.pool).await?;
        Ok(())
    }

    async fn offer_agent_token(
        &self,
        id: RowId,
        current: &Hash,
        next: &Under,
        until: Timestamp,
    ) -> Result<bool, DataError> {
        let query = sqlx::query(OFFER)
            .bind(id)
            .bind(current.to_string())
            .bind(next.hash.to_string())
            .bind(&next.key)
            .bind(until.as_millis());
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }

    async fn promote_agent_token(
        &self,
        id: RowId,
        pending: &Hash,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), DataError> {
        let query = sqlx::query(PROMOTE)
            .bind(id)
            .bind(pending.to_string())
            .bind(now.as_millis())
            .bind(until.as_millis());
        query.execute(&self.pool).await?;
        Ok(())
    }

    async fn adopt_agent_tokens(&self, generation: &str) -> Result<u64, DataError> {
        let query = sqlx::query(ADOPT).bind(generation);
        Ok(query.execute(&self.pool).await?.rows_affected())
    }

    async fn agents_under(
        &self,
        generations: &[String],
        now: Timestamp,
    ) -> Result<Reliance, DataError> {
        let query = sqlx::query_as(UNDER).bind(now.as_millis()).bind(generations);
        Ok(super::reliance(query.fetch_one(&self.pool).await?))
    }
}
