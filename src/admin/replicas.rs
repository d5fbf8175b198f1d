//! Replicas over HTTP.

use axum::{
    Extension, Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};

use super::{
    Admin,
    body::{Because, Body},
    guard::actor,
};
use crate::{ids::ReplicaId, operator::Replicas, problem::Problem, token::Claims};

pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<Replicas>, Problem> {
    Ok(Json(admin.operator.replicas().await?))
}

pub(super) async fn deregister(
    State(admin): State<Admin>,
    Extension(claims): Extension<Claims>,
    path: Result<Path<ReplicaId>, PathRejection>,
    Body(body): Body<Because>,
) -> Result<StatusCode, Problem> {
    let Path(id) =
        path.map_err(|_| Problem::not_found("a replica's id is a UUID").coded("no_such_replica"))?;
    admin.operator.deregister(id, actor(&claims), &body.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}
