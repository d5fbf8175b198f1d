//! The session of a browser, known by its cookie alone.
//!
//! 1. It lives as long as its refresh tokens: a logout, a new password or a change of MFA
//!    ends it, also where somebody kept the cookie.
//! 2. To end it takes proof that a page of ours asked: [`SessionLayer`] sees to that.

use std::sync::Arc;

use axum::{
    Extension, Json as Body, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use breeze_rollover::{
    layer::session::{Session, SessionLayer},
    problem::Problem,
};
use http::{HeaderValue, header::CACHE_CONTROL};
use serde::Serialize;

use super::{auth::denied, sign_in::signed_out, users};
use crate::{
    auth::{self, session_of},
    data::{Reach, RowId, User},
    state::App,
};

/// Demands a session cookie, as `layer` says.
pub(super) fn routes(layer: SessionLayer) -> Router<App> {
    Router::new().route("/auth/session", get(show).delete(end)).route_layer(layer.require())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    user: users::View,
    mfa: bool,
    /// In seconds since the Unix epoch.
    expires_at: i64,
}

async fn show(
    State(app): State<App>,
    Extension(says): Extension<Arc<Session>>,
) -> Result<Response, Problem> {
    let (user, session) = live(&app, &says).await?;
    let view = View { user: user.into(), mfa: session.mfa, expires_at: says.exp };
    let mut response = Body(view).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn end(
    State(app): State<App>,
    Extension(says): Extension<Arc<Session>>,
) -> Result<Response, Problem> {
    let (user, session) = live(&app, &says).await?;
    app.data.revoke_family(user.id, session.family).await?;
    Ok(signed_out(&app))
}

/// Whose session it is, if it is not over.
async fn live(app: &App, says: &Session) -> Result<(User, auth::Session), Problem> {
    let over = || denied("session_ended", "this session is over; sign in again");
    let id: RowId = says.sub.parse().map_err(|_| over())?;
    let user = app.data.user(id, Reach::All).await?.filter(User::is_active).ok_or_else(over)?;
    let session = session_of(says, &user).ok_or_else(over)?;
    if app.data.is_live(user.id, session.family, app.clock.now()).await? {
        Ok((user, session))
    } else {
        Err(over())
    }
}
