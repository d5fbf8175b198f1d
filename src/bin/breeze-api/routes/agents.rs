//! Agents: they enrol with an enrolment key, tell that they live, and change their token.
//!
//! 1. Why an enrolment key is refused (unknown, expired, used up) is not told.
//! 2. A token is shown once, in the answer that issues it, and only if it counts.

use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::post,
};
use breeze_rollover::{
    catalog::Secret,
    digest::{self, Hash},
    problem::Problem,
};
use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{answer, enrolment_keys::under_primary, row::require_text};
use crate::{
    auth::{CallingAgent, mint_token, pending_until, still_counts, unmade},
    data::{NewAgent, RowId},
    extract::{Columns, Json},
    state::App,
};

/// Where the enrolment secret may stand, if not in the body.
const SECRET_HEADER: &str = "x-agent-enrollment-secret";

/// They know callers by their own tokens.
pub(super) fn open() -> Router<App> {
    Router::new()
        .route("/agents/enroll", post(enrol))
        .route("/agents/{id}/heartbeat", post(heartbeat))
        .route("/agents/{id}/rotate-token", post(rotate))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Enrol {
    enrollment_key: SecretString,
    enrollment_secret: Option<SecretString>,
    hostname: String,
    os_type: OsType,
    os_version: String,
    architecture: String,
    agent_version: String,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum OsType {
    Windows,
    Macos,
    Linux,
}

impl OsType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Macos => "macos",
            Self::Linux => "linux",
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Enrolled {
    agent_id: String,
    device_id: RowId,
    org_id: RowId,
    site_id: Option<RowId>,
    auth_token: String,
}

async fn enrol(
    State(app): State<App>,
    Columns(sealed): Columns,
    headers: HeaderMap,
    Json(body): Json<Enrol>,
) -> Result<Response, Problem> {
    for (name, text, most) in [
        ("hostname", &body.hostname, 255),
        ("osVersion", &body.os_version, 100),
        ("architecture", &body.architecture, 20),
        ("agentVersion", &body.agent_version, 50),
    ] {
        require_text(name, Some(text))?;
        if text.chars().count() > most {
            return Err(Problem::unprocessable(format!("{name} has at most {most} characters")));
        }
    }
    let (keychain, now) = (sealed.keychain(), app.clock.now());
    let raw = body.enrollment_key.expose_secret();
    let peppers = keychain.verbatim(Secret::EnrollmentKeyPepper).map_err(unmade)?;
    let candidates: Vec<Hash> =
        digest::peppered(peppers, raw).into_iter().map(|(_, hash)| hash).collect();
    let found = app.data.find_enrolment_key(&candidates).await?;
    // It may stand under a pepper, and the secret be one, that only others know by now.
    let found = found.filter(|key| key.is_usable(now)).ok_or_else(unfit_key);
    let found = sealed.in_time(found)?;
    let in_header = headers.get(SECRET_HEADER).and_then(|value| value.to_str().ok());
    let presented = body.enrollment_secret.or_else(|| in_header.map(SecretString::from));
    sealed.in_time(app.agents.admit(keychain, &found, presented.as_ref(), now))?;
    let (token, stored) = mint_token(keychain)?;
    let id = RowId::new();
    let agent = NewAgent {
        id,
        agent_id: id.0.simple().to_string(),
        hostname: body.hostname,
        os_type: body.os_type.as_str(),
        os_version: body.os_version,
        architecture: body.architecture,
        agent_version: body.agent_version,
        token: stored,
    };
    let primary = under_primary(keychain, raw)?;
    if !app.data.enrol(&found, &primary, &agent, now).await? {
        return Err(unfit_key());
    }
    still_counts(&app, keychain, Secret::AgentTokens, &agent.token.key)?;
    let mut response = answer::row(
        1,
        &Enrolled {
            agent_id: agent.agent_id,
            device_id: id,
            org_id: found.org_id,
            site_id: found.site_id,
            auth_token: token.expose_secret().to_owned(),
        },
    );
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

fn unfit_key() -> Problem {
    Problem::unauthorized("the enrolment key is not accepted; ask for a new one")
        .coded("enrolment_key")
}

async fn heartbeat(
    State(app): State<App>,
    agent: CallingAgent,
    Path(id): Path<String>,
) -> Result<axum::Json<Value>, Problem> {
    require_own(&agent, &id)?;
    app.data.note_agent(agent.id, app.clock.now()).await?;
    Ok(axum::Json(json!({ "tokenRotationRequired": agent.must_rotate })))
}

/// Answers the next token. Until it is presented, the present one goes on to count, so
/// that an answer that is lost costs nothing: the agent asks again.
async fn rotate(
    State(app): State<App>,
    agent: CallingAgent,
    Columns(sealed): Columns,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    require_own(&agent, &id)?;
    let (token, stored) = mint_token(sealed.keychain())?;
    let until = pending_until(app.clock.now());
    if !app.data.offer_agent_token(agent.id, &agent.presented, &stored, until).await? {
        return Err(Problem::conflict("the token was rotated already; use the new one")
            .coded("token_rotated"));
    }
    still_counts(&app, sealed.keychain(), Secret::AgentTokens, &stored.key)?;
    let view = json!({ "authToken": token.expose_secret(), "expiresAt": until.to_string() });
    Ok(answer::row(1, &view))
}

fn require_own(agent: &CallingAgent, id: &str) -> Result<(), Problem> {
    if agent.agent_id == id { Ok(()) } else { Err(answer::missing("agent")) }
}
