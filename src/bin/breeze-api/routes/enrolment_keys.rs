//! Enrolment keys: shown once, when they are created, and only if they count. To create or
//! end one lets agents in, or keeps them out, and demands a second factor.

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use breeze_rollover::{
    catalog::Secret,
    clock::Timestamp,
    digest::{self, Hash},
    keyring::{Fenced, Keychain},
    problem::Problem,
};
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    answer::{self, List},
    row::require_text,
};
use crate::{
    auth::{still_counts, unmade},
    data::{EnrolmentKey, NewEnrolmentKey, RowId, Under},
    extract::{Caller, Columns, Id, Json, Page},
    state::App,
};

const WHAT: &str = "enrolment key";

/// The longest life that may be asked for, in minutes: a year.
const LONGEST: u32 = 366 * 24 * 60;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/enrollment-keys", get(page).post(create))
        .route("/enrollment-keys/{id}/expire", post(expire))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    id: RowId,
    org_id: RowId,
    site_id: Option<RowId>,
    name: String,
    has_secret: bool,
    usage_count: i64,
    max_usage: Option<i64>,
    expires_at: Option<String>,
    is_usable: bool,
    /// Of a key that was created just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl View {
    fn of(key: EnrolmentKey, now: Timestamp) -> Self {
        Self {
            is_usable: key.is_usable(now),
            id: key.id,
            org_id: key.org_id,
            site_id: key.site_id,
            name: key.name,
            has_secret: key.key_secret_hash.is_some(),
            usage_count: key.usage_count,
            max_usage: key.max_usage,
            expires_at: key.expires_at.map(|at| Timestamp::from_millis(at).to_string()),
            key: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Create {
    org_id: Option<RowId>,
    site_id: Option<RowId>,
    name: String,
    /// How many agents may enrol with it; any number if it is left out.
    max_usage: Option<u32>,
    ttl_minutes: Option<u32>,
    /// A secret of its own, to be presented in place of the service's.
    secret: Option<SecretString>,
}

async fn page(
    State(app): State<App>,
    caller: Caller,
    Page(window): Page,
) -> Result<axum::Json<List<View>>, Problem> {
    let now = app.clock.now();
    let rows = app.data.enrolment_keys(caller.reach()?, window).await?;
    let views = rows.into_iter().map(|key| View::of(key, now)).collect();
    Ok(answer::list(views, window.limit, |view| view.id))
}

async fn create(
    State(app): State<App>,
    caller: Caller,
    Columns(sealed): Columns,
    Json(body): Json<Create>,
) -> Result<Response, Problem> {
    caller.require_mfa()?;
    let org_id = caller.placing(body.org_id)?;
    let org_id = org_id.ok_or_else(|| Problem::unprocessable("orgId says whose agents enrol"))?;
    require_text("name", Some(&body.name))?;
    if body.max_usage.is_some_and(|most| most == 0 || most > i32::MAX.unsigned_abs()) {
        return Err(Problem::unprocessable("maxUsage must be at least 1, or left out"));
    }
    if body.ttl_minutes.is_some_and(|minutes| !(1..=LONGEST).contains(&minutes)) {
        return Err(Problem::unprocessable(format!("ttlMinutes must be from 1 to {LONGEST}")));
    }
    let secret = body.secret.as_ref().map(|secret| digest::trim(secret.expose_secret()));
    if secret == Some("") {
        return Err(Problem::unprocessable("secret must not be blank; leave it out for none"));
    }
    let keychain = sealed.keychain();
    let raw = digest::enrolment_key().map_err(unmade)?;
    let now = app.clock.now();
    let lifetime = body.ttl_minutes.map(|n| Duration::from_secs(u64::from(n) * 60));
    let new = NewEnrolmentKey {
        id: RowId::new(),
        org_id,
        site_id: body.site_id,
        name: body.name,
        key: under_primary(keychain, raw.expose_secret())?,
        secret: secret.map(Hash::of),
        max_usage: body.max_usage.map(i64::from),
        expires_at: now.plus(lifetime.unwrap_or(app.agents.key_lifetime)),
        created_by: caller.id,
    };
    let created = app.data.create_enrolment_key(&new).await?;
    still_counts(&app, keychain, Secret::EnrollmentKeyPepper, &new.key.key)?;
    let mut view = View::of(created, now);
    view.key = Some(raw.expose_secret().to_owned());
    let mut response = answer::row(1, &view);
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

async fn expire(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    caller.require_mfa()?;
    let now = app.clock.now();
    answer::deleted(WHAT, app.data.expire_enrolment_key(id, caller.reach()?, now).await?)
}

/// What is stored of an enrolment key: its hash under the primary pepper, while the lease
/// of this process runs.
pub(super) fn under_primary(keychain: &Keychain, raw: &str) -> Result<Under, Problem> {
    let ring = keychain.verbatim(Secret::EnrollmentKeyPepper).map_err(unmade)?;
    let under = ring.make(|primary| {
        let hash = Hash::peppered(primary.expose(), raw);
        Ok::<Under, Fenced>(Under { hash, key: primary.id().to_string() })
    });
    Ok(under?)
}
