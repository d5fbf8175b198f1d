//! Rollovers over HTTP.

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderValue, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Admin,
    body::{Because, Begin, Body, Limit, Retire},
    guard::By,
};
use crate::{
    ids::RolloverId,
    operator::{Accept, Request, RolloverView},
    problem::Problem,
    rollover::Rollover,
};

type Id = Result<Path<RolloverId>, PathRejection>;

fn id(path: Id) -> Result<RolloverId, Problem> {
    path.map(|Path(id)| id)
        .map_err(|_| Problem::not_found("a rollover's id is a UUID").coded("no_such_rollover"))
}

pub(super) async fn begin(
    State(admin): State<Admin>,
    By(actor): By,
    Body(body): Body<Begin>,
) -> Result<Response, Problem> {
    let request = Request {
        secret: body.secret,
        mode: body.mode,
        reason: body.reason,
        dry_run: body.dry_run,
        value: body.value,
        target: body.target,
        max_rows_per_second: body.max_rows_per_second,
        alongside: body.alongside,
        supersede: body.supersede,
        force: body.force,
    };
    let rollover = admin.operator.begin(request, actor).await?;
    let location = HeaderValue::try_from(format!("/admin/rollovers/{}", rollover.id))
        .expect("a UUID is within a header's alphabet");
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(rollover)).into_response())
}

/// `?before=<id>&limit=<1..200>`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    before: Option<RolloverId>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(admin): State<Admin>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(page) = page.map_err(|_| {
        Problem::bad_request("the query takes before=<rollover id> and limit=<1 to 200>")
    })?;
    let limit = page.limit.unwrap_or(50).clamp(1, 200);
    let store = admin.operator.worker().replica().store();
    let rollovers =
        store.rollovers(page.before, limit).await.map_err(crate::operator::Refusal::from)?;
    Ok(Json(json!({ "rollovers": rollovers })).into_response())
}

pub(super) async fn inspect(
    State(admin): State<Admin>,
    path: Id,
) -> Result<Json<RolloverView>, Problem> {
    Ok(Json(admin.operator.inspect(id(path)?).await?))
}

pub(super) async fn limit(
    State(admin): State<Admin>,
    By(actor): By,
    path: Id,
    Body(body): Body<Limit>,
) -> Result<Json<Rollover>, Problem> {
    let id = id(path)?;
    Ok(Json(admin.operator.limit(id, actor, body.max_rows_per_second).await?))
}

pub(super) async fn pause(
    State(admin): State<Admin>,
    By(actor): By,
    path: Id,
    Body(body): Body<Because>,
) -> Result<Json<Rollover>, Problem> {
    Ok(Json(admin.operator.pause(id(path)?, actor, &body.reason).await?))
}

pub(super) async fn resume(
    State(admin): State<Admin>,
    By(actor): By,
    path: Id,
    Body(body): Body<Because>,
) -> Result<Json<Rollover>, Problem> {
    Ok(Json(admin.operator.resume(id(path)?, actor, &body.reason).await?))
}

pub(super) async fn roll_back(
    State(admin): State<Admin>,
    By(actor): By,
    path: Id,
    Body(body): Body<Because>,
) -> Result<Json<Rollover>, Problem> {
    Ok(Json(admin.operator.roll_back(id(path)?, actor, &body.reason).await?))
}

pub(super) async fn retire(
    State(admin): State<Admin>,
    By(actor): By,
    path: Id,
    Body(body): Body<Retire>,
) -> Result<Json<Rollover>, Problem> {
    let id = id(path)?;
    let accept = Accept { quarantined: body.accept_quarantined, loss: body.accept_loss };
    Ok(Json(admin.operator.retire(id, actor, &body.reason, accept).await?))
}

pub(super) async fn revoked(
    State(admin): State<Admin>,
    By(actor): By,
    path: Id,
    Body(body): Body<Because>,
) -> Result<Json<Rollover>, Problem> {
    Ok(Json(admin.operator.revoked(id(path)?, actor, &body.reason).await?))
}

pub(super) async fn destroy(
    State(admin): State<Admin>,
    By(actor): By,
    path: Id,
    Body(body): Body<Because>,
) -> Result<Json<Rollover>, Problem> {
    Ok(Json(admin.operator.destroy(id(path)?, actor, &body.reason).await?))
}
