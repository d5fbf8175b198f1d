//! Users.

use async_trait::async_trait;

use super::{BEGIN_WRITING, SqliteData};
use crate::data::{DataError, Reach, RowId, User, UserDraft, Users, Window};

/// A user's columns.
macro_rules! columns {
    () => {
        "id, email, name, password_hash, status, scope, org_id, partner_id, \
         mfa_secret, mfa_enabled, \
         auth_epoch, mfa_epoch, version"
    };
}
pub(super) use columns;

/// Served by `users_email_lower_key`.
const BY_EMAIL: &str = concat!("SELECT ", columns!(), " FROM users WHERE lower(email) = lower($1)");

/// Served by the primary key.
const FIND: &str =
    concat!("SELECT ", columns!(), " FROM users WHERE id = $1 AND ($2 IS NULL OR org_id = $2)");

/// Pages by the primary key.
const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM users WHERE ($1 IS NULL OR org_id = $1) AND ($2 IS NULL OR id > $2)
      ORDER BY id LIMIT $3"
);

const CREATE: &str = concat!(
    "INSERT INTO users
        (id, email, name, scope, org_id, password_hash, mfa_secret, mfa_enabled, status)
     VALUES ($1, $2, $3, coalesce($4, 'organization'), $5, $6, $7, $7 IS NOT NULL, 'active')
     RETURNING ",
    columns!()
);

const HAS_USERS: &str = "SELECT EXISTS (SELECT 1 FROM users WHERE password_hash IS NOT NULL)";

/// Leaves every column that is not named as it is. Guarded by the version where the
/// caller knows one.
const EDIT: &str = concat!(
    "UPDATE users SET email = coalesce($3, email), name = coalesce($4, name),
        scope = coalesce($5, scope), org_id = coalesce($6, org_id), version = version + 1
     WHERE id = $1 AND ($2 IS NULL OR version = $2)
     RETURNING ",
    columns!()
);

const SET_PASSWORD: &str = "
    UPDATE users
    SET password_hash = $2, auth_epoch = auth_epoch + 1, version = version + 1
    WHERE id = $1";

/// Served by `api_refresh_tokens_user_idx`.
pub(super) const REVOKE_SESSIONS: &str =
    "UPDATE api_refresh_tokens SET revoked = true WHERE user_id = $1 AND NOT revoked";

const DELETE: &str = "DELETE FROM users WHERE id = $1";

#[async_trait]
impl Users for SqliteData {
    async fn user_by_email(&self, email: &str) -> Result<Option<User>, DataError> {
        Ok(sqlx::query_as(BY_EMAIL).bind(email).fetch_optional(&self.pool).await?)
    }

    async fn user(&self, id: RowId, reach: Reach) -> Result<Option<User>, DataError> {
        let query = sqlx::query_as(FIND).bind(id).bind(reach.organization());
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn users(&self, reach: Reach, window: Window) -> Result<Vec<User>, DataError> {
        let query = sqlx::query_as(PAGE)
            .bind(reach.organization())
            .bind(window.after)
            .bind(i64::from(window.limit));
        Ok(query.fetch_all(&self.pool).await?)
    }

    async fn create_user(&self, id: RowId, draft: &UserDraft) -> Result<User, DataError> {
        let mut connection = self.pool.acquire().await?;
        create(&mut connection, id, draft).await
    }

    async fn create_first_user(&self, id: RowId, draft: &UserDraft) -> Result<bool, DataError> {
        let mut transaction = self.pool.begin_with(BEGIN_WRITING).await?;
        if sqlx::query_scalar(HAS_USERS).fetch_one(&mut *transaction).await? {
            return Ok(false);
        }
        create(&mut transaction, id, draft).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn has_users(&self) -> Result<bool, DataError> {
        Ok(sqlx::query_scalar(HAS_USERS).fetch_one(&self.pool).await?)
    }

    async fn edit_user(
        &self,
        id: RowId,
        expected: Option<i64>,
        draft: &UserDraft,
    ) -> Result<Option<User>, DataError> {
        let query = sqlx::query_as(EDIT)
            .bind(id)
            .bind(expected)
            .bind(&draft.email)
            .bind(&draft.name)
            .bind(draft.scope)
            .bind(draft.org_id);
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn set_password(&self, id: RowId, password_hash: &str) -> Result<bool, DataError> {
        let mut transaction = self.pool.begin_with(BEGIN_WRITING).await?;
        let set = sqlx::query(SET_PASSWORD).bind(id).bind(password_hash);
        let found = set.execute(&mut *transaction).await?.rows_affected() == 1;
        sqlx::query(REVOKE_SESSIONS).bind(id).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(found)
    }

    async fn delete_user(&self, id: RowId) -> Result<bool, DataError> {
        let query = sqlx::query(DELETE).bind(id);
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }
}

async fn create(
    connection: &mut sqlx::SqliteConnection,
    id: RowId,
    draft: &UserDraft,
) -> Result<User, DataError> {
    let query = sqlx::query_as(CREATE)
        .bind(id)
        .bind(&draft.email)
        .bind(&draft.name)
        .bind(draft.scope)
        .bind(draft.org_id)
        .bind(&draft.password_hash)
        .bind(&draft.mfa_secret);
    Ok(query.fetch_one(connection).await?)
}
