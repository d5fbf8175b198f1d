//! Webhooks. Documents come and go as their text.

use async_trait::async_trait;

use super::PgData;
use crate::data::{DataError, Reach, RowId, Webhook, WebhookDraft, Webhooks, Window};

macro_rules! columns {
    () => {
        "id, org_id, name, url, secret, headers::text AS headers, version"
    };
}

/// Served by the primary key.
const FIND: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM webhooks WHERE id = $1 AND ($2::uuid IS NULL OR org_id = $2)"
);

/// Pages by the primary key.
const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM webhooks
      WHERE ($1::uuid IS NULL OR org_id = $1) AND ($2::uuid IS NULL OR id > $2)
      ORDER BY id LIMIT $3"
);

const CREATE: &str = concat!(
    "INSERT INTO webhooks (id, org_id, name, url, secret, headers)
     VALUES ($1, $2, $3, $4, $5, $6::jsonb)
     RETURNING ",
    columns!()
);

/// Leaves every column that is not named as it is, so that a rewrap is never undone.
/// Guarded by the version where the caller knows one.
const EDIT: &str = concat!(
    "UPDATE webhooks SET
        name = coalesce($4, name),
        url = coalesce($5, url),
        secret = coalesce($6, secret),
        headers = coalesce($7::jsonb, headers),
        version = version + 1
     WHERE id = $1 AND ($2::uuid IS NULL OR org_id = $2) AND ($3::bigint IS NULL OR version = $3)
     RETURNING ",
    columns!()
);

const DELETE: &str = "DELETE FROM webhooks WHERE id = $1 AND ($2::uuid IS NULL OR org_id = $2)";

#[async_trait]
impl Webhooks for PgData {
    async fn webhook(&self, id: RowId, reach: Reach) -> Result<Option<Webhook>, DataError> {
        let query = sqlx::query_as(FIND).bind(id).bind(reach.organization());
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn webhooks(&self, reach: Reach, window: Window) -> Result<Vec<Webhook>, DataError> {
        let query = sqlx::query_as(PAGE)
            .bind(reach.organization())
            .bind(window.after)
            .bind(i64::from(window.limit));
        Ok(query.fetch_all(&self.pool).await?)
    }

    async fn create_webhook(
        &self,
        id: RowId,
        org_id: Option<RowId>,
        draft: &WebhookDraft,
    ) -> Result<Webhook, DataError> {
        let query = sqlx::query_as(CREATE)
            .bind(id)
            .bind(org_id)
            .bind(&draft.name)
            .bind(&draft.url)
            .bind(&draft.secret)
            .bind(&draft.headers);
        Ok(query.fetch_one(&self.pool).await?)
    }

    async fn edit_webhook(
        &self,
        id: RowId,
        reach: Reach,
        expected: Option<i64>,
        draft: &WebhookDraft,
    ) -> Result<Option<Webhook>, DataError> {
        let query = sqlx::query_as(EDIT)
            .bind(id)
            .bind(reach.organization())
            .bind(expected)
            .bind(&draft.name)
            .bind(&draft.url)
            .bind(&draft.secret)
            .bind(&draft.headers);
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn delete_webhook(&self, id: RowId, reach: Reach) -> Result<bool, DataError> {
        let query = sqlx::query(DELETE).bind(id).bind(reach.organization());
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }
}
