//! Client certificates, which Cloudflare signs for agents.

use axum::{Json as Body, Router, extract::State, routing::post};
use breeze_rollover::{
    problem::Problem,
    provider::{Held, cloudflare::Zone},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    extract::{Caller, Json},
    outside::{failed, set_up},
    state::App,
};

pub(super) fn routes() -> Router<App> {
    Router::new().route("/client-certificates", post(sign))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sign {
    csr: String,
    days: Option<u32>,
}

async fn sign(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<Sign>,
) -> Result<(StatusCode, Body<Value>), Problem> {
    caller.require_system()?;
    if !body.csr.trim_start().starts_with("-----BEGIN CERTIFICATE REQUEST-----") {
        return Err(Problem::unprocessable("csr must be a certificate request in PEM"));
    }
    let zone = set_up(app.outside.zone.as_ref(), "CLOUDFLARE_ZONE_ID")?;
    let (csr, days) = (body.csr.as_str(), body.days.unwrap_or(90).clamp(1, 3650));
    let ask = |zone: Held<Zone>| async move { zone.sign(csr, days).await };
    let signed = zone.run(ask).await.map_err(failed("Cloudflare"))?;
    let view = json!({ "id": signed.id, "certificate": signed.certificate });
    Ok((StatusCode::CREATED, Body(view)))
}
