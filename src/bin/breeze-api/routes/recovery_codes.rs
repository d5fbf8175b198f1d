//! Recovery codes: what a user logs in with when the authenticator is gone.
//!
//! 1. A user has ten, shown once, when they are made. New ones take the place of all that
//!    there were.
//! 2. Each opens the door once: of several logins at once with the same code, one passes.
//! 3. A code is accepted under every pepper that is accepted. A user some of whose codes
//!    stand under another pepper than the present one, or under one that is not known, or
//!    had codes taken back, is told at every login that passes MFA, until they make new
//!    ones, or have those checked that they hold: a code that is checked is hashed anew,
//!    and not spent.
//! 4. Of codes that are shown, or said to work or not, the pepper was live once they were
//!    written: else they are to be made, or checked, again.
//! 5. No code is in a log, an error or the audit trail.

use std::sync::Arc;

use axum::{
    Extension, Json as Body, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use breeze_rollover::{
    catalog::Secret,
    digest::{self, Hash},
    keyring::{Fenced, Keychain, Keyring, Verbatim},
    problem::Problem,
    token::Claims,
};
use http::{HeaderValue, StatusCode, header::CACHE_CONTROL};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::auth::denied;
use crate::{
    auth::{is_current, still_counts, unmade},
    data::{Reach, RecoveryCodes, RowId, Standing, Under, User},
    extract::{Columns, Json},
    state::App,
};

/// How many a user has.
const CODES: usize = 10;

const PEPPER: Secret = Secret::MfaRecoveryCodePepper;

/// What a user does with their own.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/auth/mfa/recovery-codes", get(show).post(make))
        .route("/auth/mfa/recovery-codes/check", post(check))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    /// Codes that may work.
    left: usize,
    /// Whether new ones should be made.
    outdated: bool,
    #[serde(flatten)]
    standing: Standing,
}

async fn show(
    State(app): State<App>,
    Extension(claims): Extension<Arc<Claims>>,
    columns: Columns,
) -> Result<Body<View>, Problem> {
    let user = assured(&app, &claims).await?;
    let (standing, outdated) = stand(&app, columns.0.keychain(), user.id).await?;
    Ok(Body(View { left: standing.left(), outdated, standing }))
}

/// Answers ten new codes, this once. Of before, none is left, also where the answer is to
/// send the call again: two sets at once would be twenty codes that open the door.
async fn make(
    State(app): State<App>,
    Extension(claims): Extension<Arc<Claims>>,
    columns: Columns,
) -> Result<Response, Problem> {
    let user = assured(&app, &claims).await?;
    let keychain = columns.0.keychain();
    let ring = peppers(keychain)?;
    let mut codes = Vec::with_capacity(CODES);
    let mut stored = Vec::with_capacity(CODES);
    for _ in 0..CODES {
        let code = digest::recovery_code().map_err(unmade)?;
        stored.push(under_primary(ring, &code)?);
        codes.push(code);
    }
    if !app.data.replace_recovery_codes(user.id, &stored).await? {
        return Err(not_enrolled());
    }
    still_counts(&app, keychain, PEPPER, ring.primary().id().as_str())?;
    tracing::info!(user = %user.id, "new recovery codes were made");
    let codes: Vec<&str> = codes.iter().map(SecretString::expose_secret).collect();
    let mut response = (StatusCode::CREATED, Body(json!({ "codes": codes }))).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    codes: Vec<SecretString>,
}

/// Says which of `codes` work, in their order. Those that do stand under the present
/// pepper from now on, and are not spent.
async fn check(
    State(app): State<App>,
    Extension(claims): Extension<Arc<Claims>>,
    columns: Columns,
    Json(body): Json<Check>,
) -> Result<Body<Value>, Problem> {
    let user = assured(&app, &claims).await?;
    if !(1..=CODES).contains(&body.codes.len()) {
        return Err(Problem::unprocessable(format!("codes must be a list of 1 to {CODES}")));
    }
    let account = user.email.as_deref().unwrap_or_default();
    let now = app.clock.now();
    app.limits.may_log_in(account, now).await?;
    let keychain = columns.0.keychain();
    let ring = peppers(keychain)?;
    let mut work = Vec::with_capacity(body.codes.len());
    for code in &body.codes {
        let primary = under_primary(ring, code)?;
        work.push(app.data.rehash_recovery_code(user.id, &candidates(ring, code), &primary).await?);
    }
    // Too late, one that was hashed anew elsewhere would be said not to work.
    still_counts(&app, keychain, PEPPER, ring.primary().id().as_str())?;
    // One failure a call: who has mistyped some of their own is not shut out.
    if work.contains(&false) {
        app.limits.login_failed(account, now).await;
    }
    let (standing, outdated) = stand(&app, keychain, user.id).await?;
    Ok(Body(json!({ "work": work, "left": standing.left(), "outdated": outdated })))
}

/// Spends `code` at a login of `user`, in place of a code of their authenticator.
pub(super) async fn pass(
    app: &App,
    columns: &Columns,
    user: &User,
    code: &SecretString,
) -> Result<(), Problem> {
    if !user.mfa_enabled {
        return Ok(());
    }
    let candidates = candidates(peppers(columns.0.keychain())?, code);
    if app.data.spend_recovery_code(user.id, &candidates).await? {
        tracing::info!(user = %user.id, "a recovery code was spent at a login");
        return Ok(());
    }
    // It may stand under a pepper that only others know by now.
    let wrong = denied("mfa_invalid", "the recovery code is wrong or was used; try another");
    columns.0.in_time(Err(wrong))
}

/// Whether `user` should make new codes; no reason to fail their login, whatever happens.
pub(super) async fn are_outdated(app: &App, keychain: &Keychain, user: RowId) -> bool {
    stand(app, keychain, user).await.is_ok_and(|(_, outdated)| outdated)
}

/// How the codes of `user` stand, and whether new ones should be made.
async fn stand(app: &App, keychain: &Keychain, user: RowId) -> Result<(Standing, bool), Problem> {
    let ring = peppers(keychain)?;
    let Some(codes): Option<RecoveryCodes> = app.data.recovery_codes(user).await? else {
        return Ok((Standing::default(), false));
    };
    let standing = codes.standing(ring);
    Ok((standing, codes.are_due || standing.is_outdated()))
}

pub(super) fn peppers(keychain: &Keychain) -> Result<&Keyring<Verbatim>, Problem> {
    keychain.verbatim(PEPPER).map_err(unmade)
}

/// What `code` may be stored as.
fn candidates(ring: &Keyring<Verbatim>, code: &SecretString) -> Vec<Hash> {
    let code = digest::normal_recovery_code(code.expose_secret());
    digest::peppered(ring, &code).into_iter().map(|(_, hash)| hash).collect()
}

/// What is stored of `code` from now on, while the lease of this process runs.
fn under_primary(ring: &Keyring<Verbatim>, code: &SecretString) -> Result<Under, Problem> {
    let code = digest::normal_recovery_code(code.expose_secret());
    let under = ring.make(|primary| {
        let hash = Hash::peppered(primary.expose(), &code);
        Ok::<Under, Fenced>(Under { hash, key: primary.id().to_string() })
    });
    Ok(under?)
}

/// The user of a session that passed MFA, and began since their password and MFA last
/// changed.
async fn assured(app: &App, claims: &Claims) -> Result<User, Problem> {
    if !claims.mfa {
        return Err(Problem::forbidden("sign in with a code of your authenticator app")
            .coded("mfa_required"));
    }
    let over = || denied("session_ended", "this session is over; sign in again");
    let id: RowId = claims.sub.parse().map_err(|_| over())?;
    let user = app.data.user(id, Reach::All).await?.filter(User::is_active).ok_or_else(over)?;
    if !is_current(claims, &user) {
        return Err(over());
    }
    if user.mfa_enabled { Ok(user) } else { Err(not_enrolled()) }
}

fn not_enrolled() -> Problem {
    Problem::conflict("set MFA up first: POST /api/v1/auth/mfa/setup").coded("mfa_not_set_up")
}
