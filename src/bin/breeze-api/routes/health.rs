//! Whether the process lives, and whether it can serve.

use std::time::Duration;

use axum::{Json, Router, extract::State, routing::get};
use breeze_rollover::problem::Problem;
use serde_json::{Value, json};

use crate::state::App;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/health", get(health)).route("/ready", get(ready))
}

/// The process answers: nothing else is looked at.
async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// The database answers, with the tables of this version.
async fn ready(State(app): State<App>) -> Result<Json<Value>, Problem> {
    app.data.check().await.map_err(|error| {
        tracing::warn!(%error, "not ready");
        Problem::unavailable("the database is not ready; the log says why", Duration::from_secs(1))
            .coded("not_ready")
    })?;
    let epoch = app.keychain.load().epoch();
    Ok(Json(json!({ "status": "ready", "epoch": epoch })))
}
