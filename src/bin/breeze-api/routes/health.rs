//! Whether the process lives, and whether it should be sent requests. Open to
//! everybody: the answers hold no secret.

use std::time::Duration;

use axum::{Json, Router, extract::State, routing::get};
use breeze_rollover::problem::Problem;
use serde_json::{Value, json};

use crate::state::App;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/health", get(health)).route("/ready", get(ready))
}

/// The process answers: nothing else is looked at. Who restarts what is fenced, or
/// waits for its database, makes nothing better.
async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// It goes on serving, has its lease, and the database answers, with the tables of
/// this version.
async fn ready(State(app): State<App>) -> Result<Json<Value>, Problem> {
    if app.stopping.is_asked() {
        let detail = "this process is about to end; ask another one";
        return Err(Problem::unavailable(detail, PATIENCE).coded("shutting_down"));
    }
    let epoch = {
        let keychain = app.keychain.load();
        keychain.fence().check()?;
        keychain.epoch()
    };
    let checked = tokio::time::timeout(PATIENCE, app.data.check()).await;
    let reason = match checked {
        Ok(Ok(())) => return Ok(Json(json!({ "status": "ready", "epoch": epoch }))),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the database takes too long".to_owned(),
    };
    tracing::warn!(reason, "not ready");
    let detail = "the database is not ready; the log says why";
    Err(Problem::unavailable(detail, PATIENCE).coded("not_ready"))
}

/// How long a probe waits for the database, and when to come back.
const PATIENCE: Duration = Duration::from_secs(1);
