//! What can be read: inventory, census, audit trail.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Admin;
use crate::{
    audit::{Report, Verifier},
    operator::{Census, Refusal, RootKeyView},
    problem::Problem,
    store,
    worker::LazyTotals,
};

pub(super) async fn secrets(State(admin): State<Admin>) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({ "secrets": admin.operator.secrets().await? })))
}

pub(super) async fn census(State(admin): State<Admin>) -> Result<Json<Census>, Problem> {
    Ok(Json(admin.operator.census().await?))
}

pub(super) async fn root_key(State(admin): State<Admin>) -> Result<Json<RootKeyView>, Problem> {
    Ok(Json(admin.operator.root_key().await?))
}

pub(super) async fn lazy(State(admin): State<Admin>) -> Json<LazyTotals> {
    Json(admin.operator.lazy_totals())
}

/// `?before=<entry id>&limit=<1..500>`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    before: Option<Uuid>,
    limit: Option<u32>,
}

pub(super) async fn audit(
    State(admin): State<Admin>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(page) = page.map_err(|_| {
        Problem::bad_request("the query takes before=<entry id> and limit=<1 to 500>")
    })?;
    let limit = page.limit.unwrap_or(100).clamp(1, 500);
    let store = admin.operator.worker().replica().store();
    let entries = store.audit(page.before, limit).await.map_err(Refusal::from)?;
    Ok(Json(json!({ "entries": entries })))
}

/// A trail of millions of entries takes longer than a request may: the command checks it.
pub(super) async fn verify_audit(State(admin): State<Admin>) -> Result<Json<Report>, Problem> {
    let store = admin.operator.worker().replica().store();
    let report = store::verify_audit(store.as_ref(), Verifier::default()).await;
    Ok(Json(report.map_err(Refusal::from)?))
}
