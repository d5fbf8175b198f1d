//! Tenant variables.

use async_trait::async_trait;

use super::PgData;
use crate::data::{
    DataError, Reach, RowId, TenantVariable, TenantVariableDraft, TenantVariables, Window,
};

macro_rules! columns {
    () => {
        "id, org_id, name, value, version"
    };
}

/// Served by the primary key.
const FIND: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM tenant_variables WHERE id = $1 AND ($2::uuid IS NULL OR org_id = $2)"
);

/// Pages by the primary key.
const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM tenant_variables
      WHERE ($1::uuid IS NULL OR org_id = $1) AND ($2::uuid IS NULL OR id > $2)
      ORDER BY id LIMIT $3"
);

const CREATE: &str = concat!(
    "INSERT INTO tenant_variables (id, org_id, name, value)
     VALUES ($1, $2, $3, $4)
     RETURNING ",
    columns!()
);

/// Leaves every column that is not named as it is, so that a rewrap is never undone.
/// Guarded by the version where the caller knows one.
const EDIT: &str = concat!(
    "UPDATE tenant_variables SET
        name = coalesce($4, name),
        value = coalesce($5, value),
        version = version + 1
     WHERE id = $1 AND ($2::uuid IS NULL OR org_id = $2) AND ($3::bigint IS NULL OR version = $3)
     RETURNING ",
    columns!()
);

const DELETE: &str =
    "DELETE FROM tenant_variables WHERE id = $1 AND ($2::uuid IS NULL OR org_id = $2)";

#[async_trait]
impl TenantVariables for PgData {
    async fn tenant_variable(
        &self,
        id: RowId,
        reach: Reach,
    ) -> Result<Option<TenantVariable>, DataError> {
        let query = sqlx::query_as(FIND).bind(id).bind(reach.organization());
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn tenant_variables(
        &self,
        reach: Reach,
        window: Window,
    ) -> Result<Vec<TenantVariable>, DataError> {
        let query = sqlx::query_as(PAGE)
            .bind(reach.organization())
            .bind(window.after)
            .bind(i64::from(window.limit));
        Ok(query.fetch_all(&self.pool).await?)
    }

    async fn create_tenant_variable(
        &self,
        id: RowId,
        org_id: Option<RowId>,
        draft: &TenantVariableDraft,
    ) -> Result<TenantVariable, DataError> {
        let query =
            sqlx::query_as(CREATE).bind(id).bind(org_id).bind(&draft.name).bind(&draft.value);
        Ok(query.fetch_one(&self.pool).await?)
    }

    async fn edit_tenant_variable(
        &self,
        id: RowId,
        reach: Reach,
        expected: Option<i64>,
        draft: &TenantVariableDraft,
    ) -> Result<Option<TenantVariable>, DataError> {
        let query = sqlx::query_as(EDIT)
            .bind(id)
            .bind(reach.organization())
            .bind(expected)
            .bind(&draft.name)
            .bind(&draft.value);
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn delete_tenant_variable(&self, id: RowId, reach: Reach) -> Result<bool, DataError> {
        let query = sqlx::query(DELETE).bind(id).bind(reach.organization());
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }
}
