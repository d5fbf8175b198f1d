//! Discovery profiles. Arrays and documents come and go as JSON text.

use async_trait::async_trait;

use super::PgData;
use crate::data::{
    DataError, DiscoveryProfile, DiscoveryProfileDraft, DiscoveryProfiles, Reach, RowId, Window,
};

macro_rules! columns {
    () => {
        "id, org_id, name, to_jsonb(snmp_communities)::text AS snmp_communities, \
         snmp_credentials::text AS snmp_credentials, version"
    };
}

/// Served by the primary key.
const FIND: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM discovery_profiles WHERE id = $1 AND ($2::uuid IS NULL OR org_id = $2)"
);

/// Pages by the primary key.
const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM discovery_profiles
      WHERE ($1::uuid IS NULL OR org_id = $1) AND ($2::uuid IS NULL OR id > $2)
      ORDER BY id LIMIT $3"
);

const CREATE: &str = concat!(
    "INSERT INTO discovery_profiles (id, org_id, name, snmp_communities, snmp_credentials)
     VALUES ($1, $2, $3, ARRAY(
        SELECT item FROM jsonb_array_elements_text($4::jsonb) WITH ORDINALITY AS items (item, place)
        ORDER BY place
     ), $5::jsonb)
     RETURNING ",
    columns!()
);

/// Leaves every column that is not named as it is, so that a rewrap is never undone.
/// Guarded by the version where the caller knows one.
const EDIT: &str = concat!(
    "UPDATE discovery_profiles SET
        name = coalesce($4, name),
        snmp_communities = CASE WHEN $5::jsonb IS NULL THEN snmp_communities ELSE ARRAY(
            SELECT item
            FROM jsonb_array_elements_text($5::jsonb) WITH ORDINALITY AS items (item, place)
            ORDER BY place
        ) END,
        snmp_credentials = coalesce($6::jsonb, snmp_credentials),
        version = version + 1
     WHERE id = $1 AND ($2::uuid IS NULL OR org_id = $2) AND ($3::bigint IS NULL OR version = $3)
     RETURNING ",
    columns!()
);

const DELETE: &str =
    "DELETE FROM discovery_profiles WHERE id = $1 AND ($2::uuid IS NULL OR org_id = $2)";

#[async_trait]
impl DiscoveryProfiles for PgData {
    async fn discovery_profile(
        &self,
        id: RowId,
        reach: Reach,
    ) -> Result<Option<DiscoveryProfile>, DataError> {
        let query = sqlx::query_as(FIND).bind(id).bind(reach.organization());
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn discovery_profiles(
        &self,
        reach: Reach,
        window: Window,
    ) -> Result<Vec<DiscoveryProfile>, DataError> {
        let query = sqlx::query_as(PAGE)
            .bind(reach.organization())
            .bind(window.after)
            .bind(i64::from(window.limit));
        Ok(query.fetch_all(&self.pool).await?)
    }

    async fn create_discovery_profile(
        &self,
        id: RowId,
        org_id: Option<RowId>,
        draft: &DiscoveryProfileDraft,
    ) -> Result<DiscoveryProfile, DataError> {
        let query = sqlx::query_as(CREATE)
            .bind(id)
            .bind(org_id)
            .bind(&draft.name)
            .bind(&draft.snmp_communities)
            .bind(&draft.snmp_credentials);
        Ok(query.fetch_one(&self.pool).await?)
    }

    async fn edit_discovery_profile(
        &self,
        id: RowId,
        reach: Reach,
        expected: Option<i64>,
        draft: &DiscoveryProfileDraft,
    ) -> Result<Option<DiscoveryProfile>, DataError> {
        let query = sqlx::query_as(EDIT)
            .bind(id)
            .bind(reach.organization())
            .bind(expected)
            .bind(&draft.name)
            .bind(&draft.snmp_communities)
            .bind(&draft.snmp_credentials);
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn delete_discovery_profile(&self, id: RowId, reach: Reach) -> Result<bool, DataError> {
        let query = sqlx::query(DELETE).bind(id).bind(reach.organization());
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }
}
