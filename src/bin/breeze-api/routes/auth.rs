//! Sessions: login, refresh, logout.
//!
//! 1. A wrong password, an unknown user and a user who may not log in look alike, and
//!    take as long.
//! 2. Whoever is enrolled in MFA gets no token without a code, of their authenticator or
//!    one of their recovery codes, and each code counts once. Only after a code does a
//!    token say `mfa: true`; where step-up is demanded, only the access token that the
//!    code opened.
//! 3. A refresh token counts once. When one is presented again, its whole family is
//!    revoked, since somebody has a copy.
//! 4. A session ends when the user's password or MFA changes: the tokens say which
//!    epochs they were made in.
//! 5. A refresh token is refused for what it is, and not because a process without its lease
//!    does not know its key.

use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use breeze_rollover::{
    catalog::Secret,
    clock::Timestamp,
    keyring::Keychain,
    layer::session::{cookie, proves_same_site},
    problem::Problem,
    token::{self, Claims, TokenKind},
};
use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{
    account, mfa, recovery_codes,
    sign_in::{Beginning, signed_in_as, signed_out},
    users,
};
use crate::{
    auth::{REFRESH_COOKIE, Session, is_current, issue},
    data::{Exchange, Reach, RowId, User},
    extract::{Caller, Columns, Json, MaybeJson},
    state::App,
};

/// What needs no access token.
pub(super) fn open() -> Router<App> {
    Router::new().route("/auth/login", post(login)).route("/auth/refresh", post(refresh))
}

/// What needs one.
pub(super) fn signed_in() -> Router<App> {
    Router::new()
        .route("/auth/me", get(users::me))
        .route("/auth/logout", post(logout))
        .merge(account::routes())
        .merge(mfa::routes())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Login {
    email: String,
    password: SecretString,
    mfa_code: Option<String>,
    /// In place of `mfaCode`.
    recovery_code: Option<SecretString>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Refresh {
    /// The cookie serves in its place.
    refresh_token: Option<SecretString>,
}

async fn login(
    State(app): State<App>,
    columns: Columns,
    Json(body): Json<Login>,
) -> Result<Response, Problem> {
    let codes = Codes::one_of(body.mfa_code, body.recovery_code)?;
    let now = app.clock.now();
    app.limits.may_log_in(&body.email, now).await?;
    let user = app.data.user_by_email(body.email.trim()).await?;
    let hash = user.as_ref().and_then(|user| user.password_hash.clone());
    let is_right = app.passwords.verify(body.password, hash).await?;
    let Some(user) = user.filter(|user| is_right && user.is_active()) else {
        app.limits.login_failed(&body.email, now).await;
        return Err(denied("invalid_credentials", "the address or the password is wrong"));
    };
    // Before a code is spent for them: a process that has lost its lease spends none.
    let session = Beginning::of(&app, &columns, &user, user.mfa_enabled)?;
    pass(&app, &columns, &user, &codes).await?;
    session.begin(&app, &columns, user).await
}

/// What was sent to prove a second factor with, if anything.
pub(super) enum Codes {
    Nothing,
    OneTime(String),
    Recovery(SecretString),
}

impl Codes {
    pub(super) fn one_of(
        mfa_code: Option<String>,
        recovery_code: Option<SecretString>,
    ) -> Result<Self, Problem> {
        match (mfa_code, recovery_code) {
            (None, None) => Ok(Self::Nothing),
            (Some(code), None) => Ok(Self::OneTime(code)),
            (None, Some(code)) => Ok(Self::Recovery(code)),
            _ => Err(Problem::unprocessable("send mfaCode or recoveryCode, not both")),
        }
    }
}

/// Demands that `codes` prove the second factor of whoever is enrolled. A wrong code is a
/// failed login of theirs.
pub(super) async fn pass(
    app: &App,
    columns: &Columns,
    user: &User,
    codes: &Codes,
) -> Result<(), Problem> {
    let passed = match codes {
        Codes::Nothing => return second_factor(app, columns, user, None).await,
        Codes::OneTime(code) => second_factor(app, columns, user, Some(code)).await,
        Codes::Recovery(code) => recovery_codes::pass(app, columns, user, code).await,
    };
    if let Err(refused) = &passed
        && refused.status() == StatusCode::UNAUTHORIZED
    {
        let account = user.email.as_deref().unwrap_or_default();
        app.limits.login_failed(account, app.clock.now()).await;
    }
    passed
}

/// Demands a code, of whoever is enrolled.
async fn second_factor(
    app: &App,
    columns: &Columns,
    user: &User,
    code: Option<&str>,
) -> Result<(), Problem> {
    if !user.mfa_enabled {
        return Ok(());
    }
    let Some(code) = code else {
        return Err(denied(
            "mfa_required",
            "send the code of your authenticator app as mfaCode, or a recoveryCode",
        )
        .with("mfaRequired", true));
    };
    mfa::prove(app, columns, user, code).await
}

async fn refresh(
    State(app): State<App>,
    columns: Columns,
    headers: HeaderMap,
    MaybeJson(body): MaybeJson<Refresh>,
) -> Result<Response, Problem> {
    let presented = match (body.refresh_token, cookie(&headers, REFRESH_COOKIE)) {
        (Some(token), _) => token,
        (None, Some(token)) if proves_same_site(&headers) => token.into_owned().into(),
        (None, Some(_)) => {
            return Err(Problem::forbidden("repeat the CSRF cookie in x-breeze-csrf")
                .coded("csrf_required"));
        }
        (None, None) => {
            return Err(denied("refresh_required", "send refreshToken, or its cookie"));
        }
    };
    let now = app.clock.now();
    let claims = columns.0.in_time(verified(columns.0.keychain(), &presented, now))?;
    let parsed = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<RowId>().ok());
    let (Ok(id), Some(jti), Some(family)) =
        (claims.sub.parse::<RowId>(), parsed(&claims.jti), parsed(&claims.fam))
    else {
        return Err(refused());
    };
    let user = app.data.user(id, Reach::All).await?.filter(User::is_active).ok_or_else(refused)?;
    if !is_current(&claims, &user) {
        return Err(session_ended());
    }
    let session = Session { family, mfa: claims.mfa && !app.step_up };
    let issued = issue(columns.0.keychain(), &user, session, &app.lifetimes, now)?;
    match app.data.exchange(jti, issued.row).await? {
        Exchange::Done => Ok(signed_in_as(&app, user, &issued, false)),
        Exchange::Unknown => Err(refused()),
        Exchange::Reused => {
            tracing::warn!(user = %id, %family, "a spent refresh token was presented");
            Err(denied(
                "refresh_reused",
                "the refresh token was used before, so its session is over; sign in again",
            ))
        }
    }
}

/// The claims of a refresh token that some live key signed.
fn verified(
    keychain: &Keychain,
    presented: &SecretString,
    now: Timestamp,
) -> Result<Claims, Problem> {
    let ring = keychain.signing(Secret::JwtSecret).map_err(|error| {
        tracing::error!(%error, "no token can be verified");
        Problem::internal()
    })?;
    match token::verify(ring, presented.expose_secret(), now) {
        Ok(verified) if verified.claims.kind == TokenKind::Refresh => Ok(verified.claims),
        Ok(_) => Err(refused()),
        Err(reason) => {
            tracing::debug!(%reason, "a refresh token was refused");
            Err(refused())
        }
    }
}

/// Ends the session of the token. Its access token runs out by itself.
async fn logout(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    if let Some(family) = caller.session {
        app.data.revoke_family(caller.id, family).await?;
    }
    Ok(signed_out(&app))
}

/// What a token of before a change of the password, or of the second factor, is answered.
pub(super) fn session_ended() -> Problem {
    denied("session_ended", "the password or MFA of this user has changed; sign in again")
}

fn refused() -> Problem {
    denied("refresh_invalid", "the refresh token is not valid any more; sign in again")
}

/// 401, with the challenge that RFC 9110 asks for.
pub(super) fn denied(code: &'static str, detail: &str) -> Problem {
    Problem::unauthorized(detail)
        .coded(code)
        .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="breeze""#))
}
