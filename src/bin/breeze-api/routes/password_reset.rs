//! A forgotten password: a link by mail, and a new password by that link.
//!
//! 1. Whether an address is a user's is not told, nor can it be told from how long the
//!    answer takes: the mail goes out afterwards.
//! 2. A link counts once, and for an hour. The token stands in its fragment, which no
//!    browser sends to a server, and is stored as its hash.
//! 3. A user is mailed once a minute at most, whoever asks.
//! 4. A new password ends every session of the user.

use std::time::Duration;

use axum::{Router, extract::State, routing::post};
use breeze_rollover::{material::Material, problem::Problem, provider::mail::Mail};
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{data::NewPasswordReset, extract::Json, outside::set_up, state::App};

/// How long a link counts.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// How long a user is left alone after a mail.
const PAUSE: Duration = Duration::from_secs(60);

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/auth/forgot-password", post(forgot))
        .route("/auth/reset-password", post(reset))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forgot {
    email: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Reset {
    token: SecretString,
    new_password: SecretString,
}

async fn forgot(State(app): State<App>, Json(body): Json<Forgot>) -> Result<StatusCode, Problem> {
    set_up(app.outside.post.as_ref(), "MAIL_FROM and MAIL_PROVIDER")?;
    tokio::spawn(async move {
        if let Err(error) = mail(&app, &body.email).await {
            tracing::error!(%error, "a password reset was not mailed");
        }
    });
    Ok(StatusCode::ACCEPTED)
}

async fn reset(State(app): State<App>, Json(body): Json<Reset>) -> Result<StatusCode, Problem> {
    let hash = app.passwords.hash(body.new_password).await?;
    let token = hashed(body.token.expose_secret());
    let user = app.data.spend_password_reset(&token, app.clock.now()).await?.ok_or_else(|| {
        Problem::unprocessable("the link is spent or expired; ask for another").coded("reset_spent")
    })?;
    app.data.set_password(user, &hash).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Mails a link to the user of this address, if there is one who may log in.
async fn mail(app: &App, email: &str) -> anyhow::Result<()> {
    let Some(post) = &app.outside.post else { return Ok(()) };
    let user = app.data.user_by_email(email.trim()).await?.filter(|user| user.is_active());
    let Some((user, address)) = user.and_then(|user| Some((user.id, user.email?))) else {
        return Ok(());
    };
    let (token, now) = (Material::generate()?, app.clock.now());
    let reset = NewPasswordReset {
        user_id: user,
        token_hash: hashed(token.expose_source()),
        expires_at: now.plus(LIFETIME),
    };
    if !app.data.begin_password_reset(&reset, now.plus(LIFETIME - PAUSE)).await? {
        return Ok(());
    }
    let dashboard = app.outside.dashboard.trim_end_matches('/');
    let text = format!(
        "Choose a new password within an hour:\n\n{dashboard}/reset-password#token={}\n\n\
         Who did not ask for this need do nothing.\n",
        token.expose_source()
    );
    let mail = Mail::new(&address, "Your new password", text)?;
    post.send(&mail).await?;
    Ok(())
}

/// What is stored of `token`.
pub(super) fn hashed(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
