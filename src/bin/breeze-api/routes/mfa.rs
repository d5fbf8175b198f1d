//! A user's second factor: enrolment, another device, its end, and step-up.
//!
//! 1. A seed is shown once, sealed, and counts for nothing until a code of it is sent
//!    back. The device that a user has goes on until then.
//! 2. Who has a second factor proves it before it is replaced or taken away: with a code,
//!    or with a token that says `mfa: true`; and the password besides.
//! 3. A code counts once, whichever call and whichever replica it is sent to.
//! 4. Tries are counted before they are judged, for all replicas together.
//! 5. A change of the factor ends every session of the user, but that the one that made it
//!    goes on with new tokens.
//! 6. What a call answers is signed and sealed before a code is spent for it, or a session
//!    ended: a process that has lost its lease answers 503, and everything is as before.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json as Body, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::post,
};
use breeze_rollover::{problem::Problem, token::Claims};
use http::{HeaderValue, header::CACHE_CONTROL};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{
    account::{known, prove_password},
    auth::{denied, session_ended},
    row::Row,
    sign_in::Beginning,
};
use crate::{
    auth::{MFA_COLUMN, OFFER_COLUMN, Session, accepted_step, access, enrol, is_current},
    data::{NewFactor, RowId, User},
    extract::{Columns, Json},
    state::App,
};

/// How long a seed that was shown waits for a code.
const OFFER: Duration = Duration::from_secs(10 * 60);

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/auth/mfa/setup", post(set_up))
        .route("/auth/mfa/enable", post(enable))
        .route("/auth/mfa/disable", post(disable))
        .route("/auth/mfa/step-up", post(step_up))
}

/// Of a user who has a second factor, the code of the present device; a token that says
/// `mfa: true` serves in its place.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Change {
    password: SecretString,
    code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Code {
    code: String,
}

/// Offers a seed, told here once. It is the user's once a code of it has been sent.
async fn set_up(
    State(app): State<App>,
    Extension(claims): Extension<Arc<Claims>>,
    columns: Columns,
    Json(body): Json<Change>,
) -> Result<Response, Problem> {
    let user = current(&app, &claims).await?;
    let enrolment = enrol(user.email.as_deref().unwrap_or("user")).map_err(|error| {
        tracing::error!(%error, "no enrolment can be made");
        Problem::internal()
    })?;
    let (table, column) = OFFER_COLUMN;
    let sealed = Row::new(&columns, table, user.id).seal(column, Some(&enrolment.seed))?;
    prove_change(&app, &claims, &columns, &user, body).await?;
    let now = app.clock.now();
    let until = now.plus(OFFER);
    app.data.offer_mfa(user.id, &sealed.unwrap_or_default(), until, now).await?;
    Ok(kept_by_nobody(json!({
        "secret": enrolment.seed.expose_secret(),
        "otpauthUrl": enrolment.uri.expose_secret(),
        "expiresAt": until,
    })))
}

/// Makes the seed that was offered the user's, and demands its codes from now on.
async fn enable(
    State(app): State<App>,
    Extension(claims): Extension<Arc<Claims>>,
    columns: Columns,
    Json(body): Json<Code>,
) -> Result<Response, Problem> {
    let user = current(&app, &claims).await?;
    let not_set_up = || Problem::conflict("set MFA up first").coded("mfa_not_set_up");
    let now = app.clock.now();
    let offer = app.data.mfa_offer(user.id, now).await?.ok_or_else(not_set_up)?;
    app.limits.may_try_code(user.id, now).await?;
    let (table, column) = OFFER_COLUMN;
    let seed = Row::new(&columns, table, user.id).text(column, Some(&offer.secret)).await;
    let seed = seed.map_err(|why| why.or(unreadable_seed))?.ok_or_else(unreadable_seed)?;
    let step = accepted_step(&seed, &body.code, now).map_err(|_| unreadable_seed())?;
    let step = step.ok_or_else(|| denied("mfa_invalid", "the code is wrong; try the next one"))?;
    app.limits.code_was_right(user.id, now).await;
    // Bound to its place: an offer cannot be copied into the user's row, only sealed anew.
    let (table, column) = MFA_COLUMN;
    let sealed = Row::new(&columns, table, user.id).seal(column, Some(&seed))?;
    let factor = NewFactor { secret: sealed.unwrap_or_default(), step };
    let session = Beginning::of(&app, &columns, &changed(&user), true)?;
    let user = app.data.enable_mfa(user.id, &offer, &factor).await?.ok_or_else(not_set_up)?;
    session.begin(&app, &columns, user).await
}

/// Demands no code any more.
async fn disable(
    State(app): State<App>,
    Extension(claims): Extension<Arc<Claims>>,
    columns: Columns,
    Json(body): Json<Change>,
) -> Result<Response, Problem> {
    let user = current(&app, &claims).await?;
    let session = Beginning::of(&app, &columns, &changed(&user), false)?;
    prove_change(&app, &claims, &columns, &user, body).await?;
    let user = app.data.disable_mfa(user.id).await?;
    let user = user.ok_or_else(|| Problem::conflict("MFA is not enabled").coded("mfa_disabled"))?;
    session.begin(&app, &columns, user).await
}

/// `user` as a change of their second factor leaves them, for tokens that are signed before.
fn changed(user: &User) -> User {
    User { mfa_epoch: user.mfa_epoch + 1, ..user.clone() }
}

/// An access token that says `mfa: true`, for the session of one that does not. The
/// session itself stays what it is: the next refresh gives a token like those before.
async fn step_up(
    State(app): State<App>,
    Extension(claims): Extension<Arc<Claims>>,
    columns: Columns,
    Json(body): Json<Code>,
) -> Result<Response, Problem> {
    let user = current(&app, &claims).await?;
    let over = || denied("session_ended", "this session is over; sign in again");
    let family: RowId = claims.sid.as_deref().and_then(|sid| sid.parse().ok()).ok_or_else(over)?;
    if !app.data.is_live(user.id, family, app.clock.now()).await? {
        return Err(over());
    }
    if !user.mfa_enabled {
        return Err(Problem::conflict("set MFA up first").coded("mfa_not_set_up"));
    }
    let session = Session { family, mfa: true };
    let (keychain, now) = (columns.0.keychain(), app.clock.now());
    let token = access(keychain, &user, session, &app.lifetimes, now)?;
    prove(&app, &columns, &user, &body.code).await?;
    Ok(kept_by_nobody(json!({
        "accessToken": token.expose_secret(),
        "expiresInSeconds": app.lifetimes.access.as_secs(),
    })))
}

/// Demands that `user` proves who they are, as for any change of their second factor.
async fn prove_change(
    app: &App,
    claims: &Claims,
    columns: &Columns,
    user: &User,
    body: Change,
) -> Result<(), Problem> {
    prove_password(app, user, body.password).await?;
    match body.code {
        Some(code) if user.mfa_enabled => prove(app, columns, user, &code).await,
        None if user.mfa_enabled && !claims.mfa => {
            Err(denied("mfa_required", "send the code of your present device as code"))
        }
        _ => Ok(()),
    }
}

/// The user of the token, unless their password or MFA has changed since it was made.
pub(super) async fn current(app: &App, claims: &Claims) -> Result<User, Problem> {
    let gone = |_| denied("unknown_user", "the user of this token is gone");
    let user = known(app, claims.sub.parse().map_err(gone)?).await?;
    if is_current(claims, &user) {
        return Ok(user);
    }
    Err(session_ended())
}

/// Demands a code of `user` that is right and was not sent before. From now on it was.
pub(super) async fn prove(
    app: &App,
    columns: &Columns,
    user: &User,
    code: &str,
) -> Result<(), Problem> {
    let invalid = || denied("mfa_invalid", "the code is wrong or was used; wait for the next one");
    let now = app.clock.now();
    app.limits.may_try_code(user.id, now).await?;
    let (table, column) = MFA_COLUMN;
    let seed = Row::new(columns, table, user.id)
        .text(column, user.mfa_secret.as_deref())
        .await
        .map_err(|why| why.or(unreadable_seed))?
        .ok_or_else(unreadable_seed)?;
    let step = accepted_step(&seed, code, now).map_err(|_| unreadable_seed())?;
    let step = step.ok_or_else(invalid)?;
    if !app.data.spend_totp_step(user.id, step).await? {
        return Err(invalid());
    }
    app.limits.code_was_right(user.id, now).await;
    Ok(())
}

/// Nobody gets in without MFA because a seed is lost.
fn unreadable_seed() -> Problem {
    tracing::error!("a user's TOTP seed does not open");
    Problem::internal().coded("mfa_unreadable")
}

/// An answer with a secret in it.
fn kept_by_nobody(body: serde_json::Value) -> Response {
    let mut response = Body(body).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
