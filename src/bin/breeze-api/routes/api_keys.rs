//! API keys that users hold.
//!
//! 1. A key is shown once, when it is issued and counts, and to whom it is issued: nobody
//!    rotates the key of another user.
//! 2. Everybody sees and ends their own; those of others are for administrators.

use std::time::Duration;

use axum::{
    Extension, Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use breeze_rollover::{
    catalog::Secret,
    clock::Timestamp,
    digest::{API_KEY_PREFIX, Hash, api_key},
    keyring::{Fenced, Keychain},
    problem::Problem,
};
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    answer::{self, List},
    row::require_text,
};
use crate::{
    auth::{KeyHolder, still_counts},
    data::{ApiKeyRow, Holders, NewApiKey, RowId},
    extract::{Caller, Columns, Id, Json, MaybeJson, Page},
    state::App,
};

const WHAT: &str = "API key";
const SECRET: Secret = Secret::UserApiKeys;

/// How long the old key lives beside the new one, at most.
const LONGEST_OVERLAP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api-keys", get(page).post(create))
        .route("/api-keys/{id}", axum::routing::delete(revoke))
        .route("/api-keys/{id}/rotate", post(rotate))
        .route("/api-keys/revoke", post(revoke_all))
}

/// Behind the layer that knows callers by their key.
pub(super) fn by_key() -> Router<App> {
    Router::new().route("/service/identity", get(identity))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    id: RowId,
    org_id: Option<RowId>,
    user_id: Option<RowId>,
    name: Option<String>,
    /// Its first characters.
    prefix: String,
    ends_at: Option<String>,
    last_used_at: Option<String>,
    /// Itself, in the answer that issues it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl From<ApiKeyRow> for View {
    fn from(row: ApiKeyRow) -> Self {
        let shown = |ms: Option<i64>| ms.map(|ms| Timestamp::from_millis(ms).to_string());
        Self {
            id: row.id,
            org_id: row.org_id,
            user_id: row.held_by,
            name: row.name,
            prefix: row.key_prefix,
            ends_at: shown(row.ends_at_ms),
            last_used_at: shown(row.used_at_ms),
            key: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Create {
    org_id: Option<RowId>,
    name: String,
    /// It never ends by itself without.
    expires_in_seconds: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rotate {
    /// The old key ends at once without.
    overlap_seconds: Option<u32>,
    /// The new key ends when the old one would have without.
    expires_in_seconds: Option<u32>,
}

/// Of one of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RevokeAll {
    user_id: Option<RowId>,
    org_id: Option<RowId>,
}

/// A key of the present generation, and what is stored of it.
fn minted(
    keychain: &Keychain,
    name: String,
    held_by: RowId,
    org_id: Option<RowId>,
    ends_at: Option<Timestamp>,
) -> Result<(SecretString, NewApiKey), Problem> {
    let key = api_key().map_err(|error| {
        tracing::error!(%error, "no API key can be made");
        Problem::internal()
    })?;
    let ring = keychain.verbatim(SECRET).map_err(|error| {
        tracing::error!(%error, "no API key can be issued");
        Problem::internal()
    })?;
    let generation = ring.make(|primary| Ok::<_, Fenced>(primary.id().clone()))?;
    let text = key.expose_secret();
    let prefix = text.chars().take(API_KEY_PREFIX).collect();
    let hash = Hash::of(text);
    let id = RowId::new();
    Ok((key, NewApiKey { id, org_id, held_by, name, hash, prefix, generation, ends_at }))
}

fn issued(key: &SecretString, row: ApiKeyRow) -> Response {
    let id = row.id;
    let view = View { key: Some(key.expose_secret().to_owned()), ..View::from(row) };
    answer::created("api-keys", id, 1, &view)
}

async fn page(
    State(app): State<App>,
    caller: Caller,
    Page(window): Page,
) -> Result<axum::Json<List<View>>, Problem> {
    let holder = Some(caller.id).filter(|_| caller.require_system().is_err());
    let rows = app.data.api_keys(caller.reach()?, holder, window).await?;
    let views: Vec<_> = rows.into_iter().map(View::from).collect();
    Ok(answer::list(views, window.limit, |view| view.id))
}

async fn create(
    State(app): State<App>,
    caller: Caller,
    Columns(sealed): Columns,
    Json(body): Json<Create>,
) -> Result<Response, Problem> {
    require_text("name", Some(&body.name))?;
    let org_id = caller.placing(body.org_id)?;
    let ends_at = body.expires_in_seconds.map(|seconds| in_seconds(&app, seconds));
    let (key, new) = minted(sealed.keychain(), body.name, caller.id, org_id, ends_at)?;
    let row = app.data.issue_api_key(&new).await?;
    still_counts(&app, sealed.keychain(), SECRET, new.generation.as_str())?;
    Ok(issued(&key, row))
}

/// A new key in the place of one, which lives on for the overlap.
async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Columns(sealed): Columns,
    Id(id): Id,
    MaybeJson(body): MaybeJson<Rotate>,
) -> Result<Response, Problem> {
    let overlap = Duration::from_secs(body.overlap_seconds.unwrap_or(0).into());
    if overlap > LONGEST_OVERLAP {
        return Err(Problem::unprocessable("overlapSeconds must be at most 30 days"));
    }
    let reach = caller.reach()?;
    let old = app.data.api_key(id, reach).await?;
    let old = old.ok_or_else(|| answer::missing(WHAT))?;
    match old.held_by {
        Some(holder) if holder == caller.id => {}
        // One that Breeze issued: whoever administers takes it over.
        None => caller.require_system()?,
        Some(_) => {
            return Err(Problem::forbidden(
                "only its holder rotates an API key, who alone is shown the new one; revoke it",
            )
            .coded("not_the_holder"));
        }
    }
    let name = old.name.unwrap_or_default();
    let ends_at = match body.expires_in_seconds {
        Some(seconds) => Some(in_seconds(&app, seconds)),
        None => old.ends_at_ms.map(Timestamp::from_millis),
    };
    let (key, new) = minted(sealed.keychain(), name, caller.id, old.org_id, ends_at)?;
    let now = app.clock.now();
    let rotated = app.data.rotate_api_key(id, reach, &new, now, now.plus(overlap)).await?;
    let row = rotated.ok_or_else(|| answer::missing(WHAT))?;
    still_counts(&app, sealed.keychain(), SECRET, new.generation.as_str())?;
    Ok(issued(&key, row))
}

fn in_seconds(app: &App, seconds: u32) -> Timestamp {
    app.clock.now().plus(Duration::from_secs(seconds.into()))
}

async fn revoke(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    let reach = caller.reach()?;
    let key = app.data.api_key(id, reach).await?.ok_or_else(|| answer::missing(WHAT))?;
    caller.require_holder(key.held_by)?;
    let revoked = app.data.revoke_api_key(id, reach, app.clock.now()).await?;
    answer::deleted(WHAT, revoked)
}

/// Every key of a user or of an organization. Those of everyone end by a hard rollover
/// of `USER_API_KEYS`.
async fn revoke_all(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<RevokeAll>,
) -> Result<axum::Json<Value>, Problem> {
    let holders = match (body.user_id, body.org_id) {
        (Some(user), None) => Holders::User(user),
        (None, Some(org)) => Holders::Organization(org),
        _ => {
            return Err(Problem::unprocessable(
                "send userId or orgId; for everyone, roll over USER_API_KEYS with mode hard",
            ));
        }
    };
    caller.require_holder(body.user_id)?;
    let revoked = app.data.revoke_api_keys(holders, caller.reach()?, app.clock.now()).await?;
    Ok(axum::Json(json!({ "revoked": revoked })))
}

async fn identity(Extension(holder): Extension<KeyHolder>) -> axum::Json<Value> {
    axum::Json(json!({
        "keyId": holder.key,
        "userId": holder.user,
        "orgId": holder.org_id,
        "name": holder.name,
    }))
}
