//! Viewer tokens: with one, a user watches one remote session, and does nothing else.
//!
//! 1. Only who is signed in gets one, for a session that they name. It outlives the
//!    session that it was made in, and says itself how far MFA was passed.
//! 2. It opens what is for watching, and no other token does ([`ViewerLayer`]).
//!
//! [`ViewerLayer`]: breeze_rollover::layer::jwt::ViewerLayer

use std::sync::Arc;

use axum::{
    Extension, Json as Body, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use breeze_rollover::{
    problem::Problem,
    token::{Claims, ViewerClaims},
};
use http::{HeaderValue, StatusCode, header::CACHE_CONTROL};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{auth::denied, mfa::current, row::require_text};
use crate::{
    auth::viewer,
    data::{Reach, RowId, User},
    extract::{Columns, Json},
    state::App,
};

/// Needs an access token.
pub(super) fn signed_in() -> Router<App> {
    Router::new().route("/remote/viewer-tokens", post(mint))
}

/// Needs a viewer token.
pub(super) fn watching() -> Router<App> {
    Router::new().route("/remote/viewer", get(show))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Watch {
    session_id: String,
}

/// A token for one remote session. It says that MFA was passed if the access token does.
async fn mint(
    State(app): State<App>,
    Extension(claims): Extension<Arc<Claims>>,
    columns: Columns,
    Json(body): Json<Watch>,
) -> Result<Response, Problem> {
    require_text("sessionId", Some(&body.session_id))?;
    let (user, now) = (current(&app, &claims).await?, app.clock.now());
    let keychain = columns.0.keychain();
    let token = viewer(keychain, &user, &body.session_id, claims.mfa, &app.lifetimes, now)?;
    let view = json!({
        "token": token.expose_secret(),
        "sessionId": body.session_id,
        "expiresInSeconds": app.lifetimes.viewer.as_secs(),
    });
    let mut response = (StatusCode::CREATED, Body(view)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What the token lets its bearer watch.
async fn show(
    State(app): State<App>,
    Extension(claims): Extension<Arc<ViewerClaims>>,
) -> Result<Body<Value>, Problem> {
    let gone = || denied("unknown_user", "the user of this token is gone");
    let id: RowId = claims.sub.parse().map_err(|_| gone())?;
    let user = app.data.user(id, Reach::All).await?.filter(User::is_active).ok_or_else(gone)?;
    Ok(Body(json!({
        "userId": user.id,
        "sessionId": claims.session_id,
        "assuredUntil": claims.assured_until,
        "expiresAt": claims.exp,
    })))
}
