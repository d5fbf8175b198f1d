//! Sign-on at the OpenID provider of one's organization, in place of a password.
//!
//! 1. Who comes back is who was sent away: the cookie of the browser belongs to the state,
//!    under any live key of `APP_ENCRYPTION_KEY`. What began before a promotion is finished
//!    after it, on whichever replica.
//! 2. A state counts once, and for as long as its cookie.
//! 3. A provider speaks for the users of its own organization, and for addresses that it
//!    has verified.
//! 4. Whoever is enrolled in MFA gets no token without a code, as at any login: the same
//!    browser sends it after the state.
//! 5. No state, code, token or secret is in a problem, nor in the log.

use axum::{
    Router,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
    routing::get,
};
use breeze_rollover::{
    catalog::Secret,
    digest::state,
    keyring::{Keyring, Sealing},
    layer::session::{CookiePolicy, SameSite, cookie},
    material::Material,
    problem::Problem,
    provider::{
        ProviderError, Unavailable,
        openid::{Client, RelyingParty, SignOnError},
    },
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, LOCATION, SET_COOKIE},
};
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    answer,
    auth::{Codes, denied, pass},
    password_reset::hashed,
    row::Row,
    sign_in::Beginning,
};
use crate::{
    data::{Reach, RowId, SignOn, SsoProvider, User},
    extract::{Columns, Id, Json},
    outside::{self, SignOns, set_up},
    state::App,
};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/sso/login/{id}", get(begin))
        .route("/sso/callback", get(come_back).post(prove))
}

/// Sends the browser to the provider.
async fn begin(State(app): State<App>, columns: Columns, Id(id): Id) -> Result<Response, Problem> {
    let sign_ons = sign_ons(&app)?;
    let provider = provider(&app, id).await?.ok_or_else(|| answer::missing("SSO provider"))?;
    let party = relying_party(sign_ons, &columns, &provider).await?;
    let (state, nonce, verifier) = (random()?, random()?, random()?);
    let cookie = state::sso(ring(&columns)?, &state)?;
    let now = app.clock.now();
    let to = party.authorization_url(&state, &nonce, &verifier);
    let sign_on = SignOn {
        state_hash: hashed(&state),
        provider_id: provider.id,
        nonce,
        verifier,
        user_id: None,
        expires_at: now.plus(sign_ons.lifetime).as_millis(),
    };
    app.data.keep_sign_on(&sign_on, now).await?;
    let mut response = StatusCode::FOUND.into_response();
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::try_from(to).expect("an address is ASCII"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SET_COOKIE, state_cookie(&app, &cookie, sign_ons.lifetime.as_secs()));
    Ok(response)
}

/// What a provider sends back by way of the browser.
#[derive(Deserialize)]
struct Returned {
    state: Option<String>,
    code: Option<SecretString>,
    error: Option<String>,
    /// Which provider it is, where that tells (RFC 9207).
    iss: Option<String>,
}

/// Begins the session of whom the provider has signed on.
async fn come_back(
    State(app): State<App>,
    columns: Columns,
    headers: HeaderMap,
    returned: Result<Query<Returned>, QueryRejection>,
) -> Result<Response, Problem> {
    let sign_ons = sign_ons(&app)?;
    let incomplete =
        || Problem::bad_request("a provider sends a browser here, with state and code");
    let Query(returned) = returned.map_err(|_| incomplete())?;
    if returned.error.is_some() {
        return Err(refused());
    }
    let (state, code) = returned.state.zip(returned.code).ok_or_else(incomplete)?;
    let now = app.clock.now();
    let state_hash = sent_away(&columns, &headers, &state)?;
    let sign_on = app.data.take_sign_on(&state_hash, false, now).await?.ok_or_else(over)?;
    let provider = provider(&app, sign_on.provider_id).await?.ok_or_else(over)?;
    if returned.iss.is_some() && returned.iss != provider.issuer {
        return Err(refused());
    }
    let party = relying_party(sign_ons, &columns, &provider).await?;
    let identity = party.redeem(&code, &sign_on.nonce, &sign_on.verifier, now).await;
    let email = identity.map_err(failed)?.verified_email.ok_or_else(unverified)?;
    let user = app.data.user_by_email(&email).await?;
    let is_theirs = |user: &User| user.is_active() && user.org_id == provider.org_id;
    let user = user.filter(is_theirs).ok_or_else(unknown)?;
    let session = Beginning::of(&app, &columns, &user, user.mfa_enabled)?;
    match pass(&app, &columns, &user, &Codes::Nothing).await {
        Ok(()) => signed_on(&app, &columns, user, session).await,
        Err(asked) => {
            let awaited = SignOn { user_id: Some(user.id), ..sign_on };
            app.data.keep_sign_on(&awaited, now).await?;
            Err(asked)
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Proof {
    state: String,
    mfa_code: Option<String>,
    recovery_code: Option<SecretString>,
}

/// Begins the session of somebody whose second factor was asked for.
async fn prove(
    State(app): State<App>,
    columns: Columns,
    headers: HeaderMap,
    Json(body): Json<Proof>,
) -> Result<Response, Problem> {
    let codes = Codes::one_of(body.mfa_code, body.recovery_code)?;
    let now = app.clock.now();
    let state_hash = sent_away(&columns, &headers, &body.state)?;
    let sign_on = app.data.take_sign_on(&state_hash, true, now).await?.ok_or_else(over)?;
    match second_factor(&app, &columns, &sign_on, &codes).await {
        Ok((user, session)) => signed_on(&app, &columns, user, session).await,
        Err(refused) => {
            app.data.keep_sign_on(&sign_on, now).await?;
            Err(refused)
        }
    }
}

/// Whose sign-on it is, and their session, once they passed MFA with `codes`.
async fn second_factor(
    app: &App,
    columns: &Columns,
    sign_on: &SignOn,
    codes: &Codes,
) -> Result<(User, Beginning), Problem> {
    let id = sign_on.user_id.ok_or_else(over)?;
    let user = app.data.user(id, Reach::All).await?.filter(User::is_active).ok_or_else(unknown)?;
    let account = user.email.as_deref().unwrap_or_default();
    app.limits.may_log_in(account, app.clock.now()).await?;
    let session = Beginning::of(app, columns, &user, user.mfa_enabled)?;
    pass(app, columns, &user, codes).await?;
    Ok((user, session))
}

/// A session, as a login answers it, and no state any more.
async fn signed_on(
    app: &App,
    columns: &Columns,
    user: User,
    session: Beginning,
) -> Result<Response, Problem> {
    let mut response = session.begin(app, columns, user).await?;
    response.headers_mut().append(SET_COOKIE, state_cookie(app, "", 0));
    Ok(response)
}

/// What is kept of `state`, if this browser was sent away with it.
fn sent_away(columns: &Columns, headers: &HeaderMap, state: &str) -> Result<String, Problem> {
    let elsewhere = || {
        let detail = "this browser did not begin this sign-on, or the key that vouched for it is \
                      retired; begin again";
        denied("sso_state_invalid", detail)
    };
    let cookie = cookie(headers, state::SSO_COOKIE).ok_or_else(elsewhere)?;
    state::verify_sso(ring(columns)?, state, &cookie).ok_or_else(elsewhere)?;
    Ok(hashed(state))
}

fn sign_ons(app: &App) -> Result<&SignOns, Problem> {
    set_up(app.outside.sign_ons.as_ref(), "SSO_CALLBACK_URL")
}

async fn provider(app: &App, id: RowId) -> Result<Option<SsoProvider>, Problem> {
    Ok(app.data.sso_provider(id, Reach::All).await?)
}

/// This API at `provider`, as that describes itself now.
async fn relying_party(
    sign_ons: &SignOns,
    columns: &Columns,
    provider: &SsoProvider,
) -> Result<RelyingParty, Problem> {
    let row = Row::new(columns, "sso_providers", provider.id);
    let secret = row.text("client_secret", provider.client_secret.as_deref()).await?;
    let secret = secret.and_then(|secret| Material::new(secret).ok());
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (Some(issuer), Some(id), Some(secret)) =
        (set(&provider.issuer), set(&provider.client_id), secret)
    else {
        let detail =
            "the provider lacks its issuer, clientId or clientSecret; ask an administrator";
        return Err(Problem::conflict(detail).coded("sso_incomplete"));
    };
    let client = Client { issuer, id, secret, callback: sign_ons.callback.clone() };
    sign_ons.openid.discover(client).await.map_err(failed)
}

fn ring(columns: &Columns) -> Result<&Keyring<Sealing>, Problem> {
    columns.0.keychain().sealing(Secret::AppEncryptionKey).map_err(|error| {
        tracing::error!(%error, "nobody can sign on");
        Problem::internal()
    })
}

fn random() -> Result<String, Problem> {
    let made = Material::generate().map_err(|error| {
        tracing::error!(%error, "nobody can sign on");
        Problem::internal()
    })?;
    Ok(made.expose_source().to_owned())
}

/// The provider's link back is another site's: the cookie has to come with it.
fn state_cookie(app: &App, value: &str, max_age: u64) -> HeaderValue {
    let policy = CookiePolicy { same_site: SameSite::Lax, ..app.cookies };
    policy.http_only(state::SSO_COOKIE, value, state::SSO_PATH, max_age)
}

/// What to answer when nobody was signed on; the log has the cause, if it is the provider's.
fn failed(error: SignOnError) -> Problem {
    let error = match error {
        SignOnError::Code => return refused(),
        SignOnError::Issuer(_) | SignOnError::Unfit(_) => {
            tracing::warn!(%error, "an SSO provider is not set up as it should be");
            let (status, title) = (StatusCode::BAD_GATEWAY, "The issuer will not do");
            return Problem::new(status, "sso_issuer_mismatch", title, error.to_string());
        }
        SignOnError::Provider(error @ ProviderError::Unreachable(_)) => error,
        error => ProviderError::Nonsense(error.to_string()),
    };
    outside::failed("the provider of your organization")(Unavailable::Provider(error))
}

fn refused() -> Problem {
    let detail = "the provider did not sign you on; begin again, or ask an administrator";
    denied("sso_refused", detail)
}

fn over() -> Problem {
    let detail = "this sign-on was finished before, or took too long; begin again";
    denied("sso_state_spent", detail)
}

fn unverified() -> Problem {
    let detail = "the provider does not vouch for your e-mail address; have it verified there";
    Problem::forbidden(detail).coded("sso_email_unverified")
}

fn unknown() -> Problem {
    let detail = "nobody of this organization has your e-mail address; ask an administrator";
    Problem::forbidden(detail).coded("sso_unknown_user")
}
