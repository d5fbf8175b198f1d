//! The schedule, health and incidents over HTTP.

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Admin,
    body::{Because, Body, Exposed, Interval},
    guard::By,
};
use crate::{
    catalog::Secret,
    incident::Incident,
    operator::{Exposure, Refusal},
    problem::Problem,
};

pub(super) async fn set_interval(
    State(admin): State<Admin>,
    By(actor): By,
    path: Result<Path<String>, PathRejection>,
    Body(body): Body<Interval>,
) -> Result<StatusCode, Problem> {
    let secret: Option<Secret> = path.ok().and_then(|Path(name)| name.parse().ok());
    let secret = secret.ok_or_else(|| {
        Problem::not_found("there is no such secret; GET /admin/secrets lists them")
            .coded("no_such_secret")
    })?;
    admin.operator.set_interval(secret, body.days, actor, &body.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn health(State(admin): State<Admin>) -> Result<Json<Value>, Problem> {
    let ailments = admin.operator.ailments().await?;
    Ok(Json(json!({ "healthy": ailments.is_empty(), "ailments": ailments })))
}

pub(super) async fn open(
    State(admin): State<Admin>,
    By(actor): By,
    Body(body): Body<Exposed>,
) -> Result<Response, Problem> {
    let exposure =
        Exposure { secrets: body.secrets, since: body.exposed_since, reason: body.reason };
    let incident = admin.operator.open_incident(exposure, actor).await?;
    let location = HeaderValue::try_from(format!("/admin/incidents/{}", incident.id))
        .expect("a UUID is within a header's alphabet");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(incident)).into_response())
}

pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<Value>, Problem> {
    let store = admin.operator.worker().replica().store();
    let incidents = store.incidents(200).await.map_err(Refusal::from)?;
    Ok(Json(json!({ "incidents": incidents })))
}

pub(super) async fn inspect(
    State(admin): State<Admin>,
    path: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<Incident>, Problem> {
    Ok(Json(admin.operator.incident(id(path)?).await?))
}

pub(super) async fn confirm(
    State(admin): State<Admin>,
    By(actor): By,
    path: Result<Path<Uuid>, PathRejection>,
) -> Result<Response, Problem> {
    let incident = admin.operator.confirm_incident(id(path)?, actor).await?;
    Ok((StatusCode::ACCEPTED, Json(incident)).into_response())
}

pub(super) async fn cancel(
    State(admin): State<Admin>,
    By(actor): By,
    path: Result<Path<Uuid>, PathRejection>,
    Body(body): Body<Because>,
) -> Result<Json<Incident>, Problem> {
    Ok(Json(admin.operator.cancel_incident(id(path)?, actor, &body.reason).await?))
}

/// Markdown for whoever accepts `text/markdown`, else JSON.
pub(super) async fn report(
    State(admin): State<Admin>,
    path: Result<Path<Uuid>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let report = admin.operator.incident_report(id(path)?).await?;
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accepts.is_some_and(|accept| accept.contains("text/markdown")) {
        const MARKDOWN: HeaderValue = HeaderValue::from_static("text/markdown; charset=utf-8");
        return Ok(([(header::CONTENT_TYPE, MARKDOWN)], report.markdown()).into_response());
    }
    Ok(Json(report).into_response())
}

fn id(path: Result<Path<Uuid>, PathRejection>) -> Result<Uuid, Problem> {
    path.map(|Path(id)| id)
        .map_err(|_| Problem::not_found("an incident's id is a UUID").coded("no_such_incident"))
}
