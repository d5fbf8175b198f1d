//! Where a remote session finds its other side: the ICE servers, with a credential for the
//! TURN server that lives for minutes (FORMATS section 6).

use axum::{
    Json as Body, Router,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderName, header},
    routing::get,
};
use breeze_rollover::{
    catalog::Secret,
    problem::Problem,
    provider::turn::{Bearer, MintError, mint},
};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{extract::Caller, state::App};

pub(super) fn routes() -> Router<App> {
    Router::new().route("/remote/ice-servers", get(servers))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct For {
    session: String,
    device: Option<String>,
}

/// STUN, and the TURN server where there is one, and a secret to share with it.
async fn servers(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<For>, QueryRejection>,
) -> Result<([(HeaderName, &'static str); 1], Body<Value>), Problem> {
    let Ok(Query(asked)) = query else {
        return Err(Problem::bad_request("say for which session: ?session=<id>&device=<id>"));
    };
    let mut servers = vec![json!({ "urls": "stun:stun.l.google.com:19302" })];
    let (relay, keychain) = (&app.outside.relay, app.keychain.load());
    if let (Some(host), Ok(ring)) = (&relay.host, keychain.verbatim(Secret::TurnSecret)) {
        let user = caller.id.to_string();
        let bearer =
            Bearer { user: &user, session: &asked.session, device: asked.device.as_deref() };
        let made = mint(ring, bearer, relay.ttl, app.clock.now()).map_err(unmade)?;
        let url = |transport| format!("turn:{host}:{}?transport={transport}", relay.port);
        servers.push(json!({
            "urls": [url("udp"), url("tcp")],
            "username": made.username,
            "credential": made.credential.expose_secret(),
        }));
    }
    Ok(([(header::CACHE_CONTROL, "no-store")], Body(json!({ "iceServers": servers }))))
}

fn unmade(error: MintError) -> Problem {
    match error {
        MintError::Fenced(fenced) => fenced.into(),
        MintError::NoEntropy(error) => {
            tracing::error!(%error, "no TURN credential can be made");
            Problem::internal()
        }
    }
}
