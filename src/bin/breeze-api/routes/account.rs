//! What a user does with their own account: the password, and MFA.

use axum::{Json as Body, Router, extract::State, response::Response, routing::post};
use breeze_rollover::problem::Problem;
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    auth::{denied, signed_out, unreadable_seed},
    row::Row,
};
use crate::{
    auth::{MFA_COLUMN, accepted_step, enrol},
    data::{Reach, User},
    extract::{Caller, Columns, Json},
    state::App,
};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/auth/change-password", post(change_password))
        .route("/auth/mfa/setup", post(set_up_mfa))
        .route("/auth/mfa/enable", post(enable_mfa))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChangePassword {
    current_password: SecretString,
    new_password: SecretString,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetUpMfa {
    password: SecretString,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EnableMfa {
    code: String,
}

/// Sets a new password, and ends every session of the user, this one included.
async fn change_password(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<ChangePassword>,
) -> Result<Response, Problem> {
    let user = proven(&app, caller, body.current_password).await?;
    let hash = app.passwords.hash(body.new_password).await?;
    app.data.set_password(user.id, &hash).await?;
    Ok(signed_out(&app))
}

/// Offers a seed, told here once. MFA is demanded once a code of it has been sent.
async fn set_up_mfa(
    State(app): State<App>,
    caller: Caller,
    columns: Columns,
    Json(body): Json<SetUpMfa>,
) -> Result<Body<Value>, Problem> {
    let user = proven(&app, caller, body.password).await?;
    let enrolment = enrol(user.email.as_deref().unwrap_or("user")).map_err(|error| {
        tracing::error!(%error, "no enrolment can be made");
        Problem::internal()
    })?;
    let (table, column) = MFA_COLUMN;
    let sealed = Row::new(&columns, table, user.id).seal(column, Some(&enrolment.seed))?;
    if !app.data.offer_mfa(user.id, &sealed.unwrap_or_default()).await? {
        return Err(Problem::conflict("MFA is enabled already").coded("mfa_enabled"));
    }
    Ok(Body(json!({
        "secret": enrolment.seed.expose_secret(),
        "otpauthUrl": enrolment.uri.expose_secret(),
    })))
}

/// Demands MFA from now on. Sessions that began without it end at their next refresh.
async fn enable_mfa(
    State(app): State<App>,
    caller: Caller,
    columns: Columns,
    Json(body): Json<EnableMfa>,
) -> Result<StatusCode, Problem> {
    let user = known(&app, caller).await?;
    let (table, column) = MFA_COLUMN;
    let seed = Row::new(&columns, table, user.id)
        .text(column, user.mfa_secret.as_deref())
        .await
        .map_err(|why| why.or(unreadable_seed))?
        .ok_or_else(|| Problem::conflict("set MFA up first").coded("mfa_not_set_up"))?;
    let step = accepted_step(&seed, &body.code, app.clock.now()).map_err(|_| unreadable_seed())?;
    let step = step.ok_or_else(|| denied("mfa_invalid", "the code is wrong; try the next one"))?;
    app.data.spend_totp_step(user.id, step).await?;
    if app.data.enable_mfa(user.id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::conflict("MFA is enabled already").coded("mfa_enabled"))
    }
}

/// The user of the token.
async fn known(app: &App, caller: Caller) -> Result<User, Problem> {
    app.data
        .user(caller.id, Reach::All)
        .await?
        .filter(User::is_active)
        .ok_or_else(|| denied("unknown_user", "the user of this token is gone"))
}

/// The user of the token, who has just proven to know their password.
async fn proven(app: &App, caller: Caller, password: SecretString) -> Result<User, Problem> {
    let user = known(app, caller).await?;
    if app.passwords.verify(password, user.password_hash.clone()).await? {
        Ok(user)
    } else {
        Err(denied("invalid_credentials", "the password is wrong"))
    }
}
