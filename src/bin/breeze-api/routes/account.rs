//! What a user does with their own password. For their second factor see [`super::mfa`].

use axum::{Router, extract::State, response::Response, routing::post};
use breeze_rollover::problem::Problem;
use secrecy::SecretString;
use serde::Deserialize;

use super::{auth::denied, sign_in::signed_out};
use crate::{
    data::{Reach, RowId, User},
    extract::{Caller, Json},
    state::App,
};

pub(super) fn routes() -> Router<App> {
    Router::new().route("/auth/change-password", post(change_password))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChangePassword {
    current_password: SecretString,
    new_password: SecretString,
}

/// Sets a new password, and ends every session of the user, this one included.
async fn change_password(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<ChangePassword>,
) -> Result<Response, Problem> {
    let user = known(&app, caller.id).await?;
    prove_password(&app, &user, body.current_password).await?;
    let hash = app.passwords.hash(body.new_password).await?;
    app.data.set_password(user.id, &hash).await?;
    Ok(signed_out(&app))
}

/// The user of the token.
pub(super) async fn known(app: &App, id: RowId) -> Result<User, Problem> {
    app.data
        .user(id, Reach::All)
        .await?
        .filter(User::is_active)
        .ok_or_else(|| denied("unknown_user", "the user of this token is gone"))
}

/// Demands the password of `user`. A wrong one counts as a wrong login.
pub(super) async fn prove_password(
    app: &App,
    user: &User,
    password: SecretString,
) -> Result<(), Problem> {
    let (now, account) = (app.clock.now(), user.email.as_deref().unwrap_or_default());
    app.limits.may_log_in(account, now).await?;
    if app.passwords.verify(password, user.password_hash.clone()).await? {
        return Ok(());
    }
    app.limits.login_failed(account, now).await;
    Err(denied("invalid_credentials", "the password is wrong"))
}
