//! SSO providers.

use async_trait::async_trait;

use super::PgData;
use crate::data::{DataError, Reach, RowId, SsoProvider, SsoProviderDraft, SsoProviders, Window};

macro_rules! columns {
    () => {
        "id, org_id, name, issuer, client_id, client_secret, version"
    };
}

/// Served by the primary key.
const FIND: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM sso_providers WHERE id = $1 AND ($2::uuid IS NULL OR org_id = $2)"
);

/// Pages by the primary key.
const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM sso_providers
      WHERE ($1::uuid IS NULL OR org_id = $1) AND ($2::uuid IS NULL OR id > $2)
      ORDER BY id LIMIT $3"
);

const CREATE: &str = concat!(
    "INSERT INTO sso_providers (id, org_id, name, issuer, client_id, client_secret)
     VALUES ($1, $2, $3, $4, $5, $6)
     RETURNING ",
    columns!()
);

/// Leaves every column that is not named as it is, so that a rewrap is never undone.
/// Guarded by the version where the caller knows one.
const EDIT: &str = concat!(
    "UPDATE sso_providers SET
        name = coalesce($4, name),
        issuer = coalesce($5, issuer),
        client_id = coalesce($6, client_id),
        client_secret = coalesce($7, client_secret),
        version = version + 1
     WHERE id = $1 AND ($2::uuid IS NULL OR org_id = $2) AND ($3::bigint IS NULL OR version = $3)
     RETURNING ",
    columns!()
);

const DELETE: &str =
    "DELETE FROM sso_providers WHERE id = $1 AND ($2::uuid IS NULL OR org_id = $2)";

#[async_trait]
impl SsoProviders for PgData {
    async fn sso_provider(
        &self,
        id: RowId,
        reach: Reach,
    ) -> Result<Option<SsoProvider>, DataError> {
        let query = sqlx::query_as(FIND).bind(id).bind(reach.organization());
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn sso_providers(
        &self,
        reach: Reach,
        window: Window,
    ) -> Result<Vec<SsoProvider>, DataError> {
        let query = sqlx::query_as(PAGE)
            .bind(reach.organization())
            .bind(window.after)
            .bind(i64::from(window.limit));
        Ok(query.fetch_all(&self.pool).await?)
    }

    async fn create_sso_provider(
        &self,
        id: RowId,
        org_id: Option<RowId>,
        draft: &SsoProviderDraft,
    ) -> Result<SsoProvider, DataError> {
        let query = sqlx::query_as(CREATE)
            .bind(id)
            .bind(org_id)
            .bind(&draft.name)
            .bind(&draft.issuer)
            .bind(&draft.client_id)
            .bind(&draft.client_secret);
        Ok(query.fetch_one(&self.pool).await?)
    }

    async fn edit_sso_provider(
        &self,
        id: RowId,
        reach: Reach,
        expected: Option<i64>,
        draft: &SsoProviderDraft,
    ) -> Result<Option<SsoProvider>, DataError> {
        let query = sqlx::query_as(EDIT)
            .bind(id)
            .bind(reach.organization())
            .bind(expected)
            .bind(&draft.name)
            .bind(&draft.issuer)
            .bind(&draft.client_id)
            .bind(&draft.client_secret);
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn delete_sso_provider(&self, id: RowId, reach: Reach) -> Result<bool, DataError> {
        let query = sqlx::query(DELETE).bind(id).bind(reach.organization());
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }
}
