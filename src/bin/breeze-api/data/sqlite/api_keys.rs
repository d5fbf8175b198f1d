//! API keys that users hold.

use breeze_rollover::{clock::Timestamp, ids::KeyId, rollover::Reliance};
use sqlx::SqliteConnection;

use super::{BEGIN_WRITING, SqliteData};
use crate::data::{
    ApiKeyRow, DataError, Holders, NewApiKey, Reach, RowId, Window,
    api_keys::{self, api_keys_on},
};

api_keys_on!(SqliteData, pool => pool.begin_with(BEGIN_WRITING));

async fn issue(connection: &mut SqliteConnection, key: &NewApiKey) -> Result<ApiKeyRow, DataError> {
    let query = sqlx::query_as(api_keys::ISSUE)
        .bind(key.id)
        .bind(key.org_id)
        .bind(key.held_by)
        .bind(&key.name)
        .bind(key.hash.to_string())
        .bind(&key.prefix)
        .bind(key.generation.as_str())
        .bind(key.ends_at.map(Timestamp::as_millis));
    Ok(query.fetch_one(connection).await?)
}
