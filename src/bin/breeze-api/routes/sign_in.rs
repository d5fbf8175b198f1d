//! Sessions that begin, and the answer that hands out their tokens.
//!
//! 1. Tokens are signed before anything is spent for them: a process that has lost its lease
//!    spends no code, and ends no session.
//! 2. Nobody is handed tokens that a change of the user's password or second factor has
//!    ended before they were told.

use std::time::Duration;

use axum::{
    Json as Body,
    response::{IntoResponse, Response},
};
use breeze_rollover::problem::Problem;
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, SET_COOKIE},
};
use secrecy::ExposeSecret;
use serde::Serialize;

use super::{auth::session_ended, recovery_codes, users};
use crate::{
    auth::{Issued, Session, cookies, issue, no_cookies},
    data::{RowId, User},
    extract::Columns,
    state::App,
};

/// A session that has yet to begin, with its tokens.
pub(super) struct Beginning {
    issued: Issued,
    mfa: bool,
    epochs: (i64, i64),
}

impl Beginning {
    /// Signs the tokens of a session of `user`.
    pub(super) fn of(
        app: &App,
        columns: &Columns,
        user: &User,
        mfa: bool,
    ) -> Result<Self, Problem> {
        let (session, now) = (Session { family: RowId::new(), mfa }, app.clock.now());
        let issued = issue(columns.0.keychain(), user, session, &app.lifetimes, now)?;
        Ok(Self { issued, mfa, epochs: epochs(user) })
    }

    /// Begins it, `user` being what they are by now.
    pub(super) async fn begin(
        self,
        app: &App,
        columns: &Columns,
        user: User,
    ) -> Result<Response, Problem> {
        if epochs(&user) != self.epochs {
            return Err(session_ended());
        }
        app.data.begin_family(self.issued.row, app.clock.now()).await?;
        let keychain = columns.0.keychain();
        let outdated = self.mfa && recovery_codes::are_outdated(app, keychain, user.id).await;
        Ok(signed_in_as(app, user, &self.issued, outdated))
    }
}

/// Of the password and of the second factor: tokens say them.
const fn epochs(user: &User) -> (i64, i64) {
    (user.auth_epoch, user.mfa_epoch)
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

/// The answer that hands out `issued`, in its body and as cookies.
pub(super) fn signed_in_as(
    app: &App,
    user: User,
    issued: &Issued,
    recovery_codes_outdated: bool,
) -> Response {
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

/// An empty answer that takes the cookies back.
pub(super) fn signed_out(app: &App) -> Response {
    with_cookies(StatusCode::NO_CONTENT.into_response(), no_cookies(app.cookies))
}

fn with_cookies(mut response: Response, cookies: [HeaderValue; 3]) -> Response {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
