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

use std::time::Duration;

use axum::{
    Json as Body, Router,
    extract::State,
    response::{IntoResponse, Response},
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
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, SET_COOKIE, WWW_AUTHENTICATE},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{account, mfa, recovery_codes, users};
use crate::{
    auth::{Issued, REFRESH_COOKIE, Session, cookies, is_current, issue, no_cookies},
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SignedIn<'a> {
    user: users::View,
    tokens: Tokens<'a>,
    mfa_required: bool,
    /// The user should make new recovery codes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    recovery_codes_outdated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tokens<'a> {
    access_token: &'a str,
    refresh_token: &'a str,
    expires_in_seconds: u64,
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
    let mfa = pass(&app, &columns, &user, &codes).await?;
    begin_session(&app, &columns, user, mfa).await
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

/// Whether `user` passed MFA with `codes`: not, when they are not enrolled. A wrong code is
/// a failed login of theirs.
pub(super) async fn pass(
    app: &App,
    columns: &Columns,
    user: &User,
    codes: &Codes,
) -> Result<bool, Problem> {
    let passed = match codes {
        Codes::Nothing => return second_factor(app, columns, user, None).await,
        Codes::OneTime(code) => second_factor(app, columns, user, Some(code)).await,
        Codes::Recovery(code) => recovery_codes::pass(app, columns.0.keychain(), user, code).await,
    };
    if passed.is_err() {
        let account = user.email.as_deref().unwrap_or_default();
        app.limits.login_failed(account, app.clock.now()).await;
    }
    passed
}

/// A session of `user` that begins now.
pub(super) async fn begin_session(
    app: &App,
    columns: &Columns,
    user: User,
    mfa: bool,
) -> Result<Response, Problem> {
    let (now, session) = (app.clock.now(), Session { family: RowId::new(), mfa });
    let keychain = columns.0.keychain();
    let issued = issue(keychain, &user, session, &app.lifetimes, now)?;
    app.data.begin_family(issued.row, now).await?;
    let outdated = mfa && recovery_codes::are_outdated(app, keychain, user.id).await;
    Ok(signed_in_as(app, user, &issued, outdated))
}

/// Whether the user passed MFA: not, when they are not enrolled.
async fn second_factor(
    app: &App,
    columns: &Columns,
    user: &User,
    code: Option<&str>,
) -> Result<bool, Problem> {
    if !user.mfa_enabled {
        return Ok(false);
    }
    let Some(code) = code else {
        return Err(denied(
            "mfa_required",
            "send the code of your authenticator app as mfaCode, or a recoveryCode",
        )
        .with("mfaRequired", true));
    };
    mfa::prove(app, columns, user, code).await?;
    Ok(true)
}

async fn refresh(
    State(app): State<App>,
    columns: Columns,
    headers: HeaderMap,
    MaybeJson(body): MaybeJson<Refresh>,
) -> Result<Response, Problem> {
    let presented = match (body.refresh_token, cookie(&headers, REFRESH_COOKIE)) {
        (Some(token), _) => token,
        (None, Some(token)) if proves_same_site(&headers) => token.into(),
        (None, Some(_)) => {
            return Err(Problem::forbidden("repeat the CSRF cookie in x-breeze-csrf")
                .coded("csrf_required"));
        }
        (None, None) => {
            return Err(denied("refresh_required", "send refreshToken, or its cookie"));
        }
    };
    let now = app.clock.now();
    let claims = verified(columns.0.keychain(), &presented, now)?;
    let parsed = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<RowId>().ok());
    let (Ok(id), Some(jti), Some(family)) =
        (claims.sub.parse::<RowId>(), parsed(&claims.jti), parsed(&claims.fam))
    else {
        return Err(refused());
    };
    let user = app.data.user(id, Reach::All).await?.filter(User::is_active).ok_or_else(refused)?;
    if !is_current(&claims, &user) {
        return Err(denied(
            "session_ended",
            "the password or MFA of this user has changed; sign in again",
        ));
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

/// An empty answer that takes the cookies back.
pub(super) fn signed_out(app: &App) -> Response {
    with_cookies(StatusCode::NO_CONTENT.into_response(), no_cookies(app.cookies))
}

fn signed_in_as(app: &App, user: User, issued: &Issued, recovery_codes_outdated: bool) -> Response {
    let body = SignedIn {
        user: user.into(),
        tokens: Tokens {
            access_token: issued.access.expose_secret(),
            refresh_token: issued.refresh.expose_secret(),
            expires_in_seconds: app.lifetimes.access.as_secs(),
        },
        mfa_required: false,
        recovery_codes_outdated,
    };
    let lifetime = Duration::from_secs(app.lifetimes.refresh.as_secs());
    with_cookies(Body(body).into_response(), cookies(app.cookies, issued, lifetime))
}

fn with_cookies(mut response: Response, cookies: [HeaderValue; 3]) -> Response {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
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
