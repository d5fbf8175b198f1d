//! Replicas over HTTP.

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};

use super::{
    Admin,
    body::{Because, Body},
    guard::By,
};
use crate::{ids::ReplicaId, operator::Replicas, problem::Problem};

pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<Replicas>, Problem> {
    Ok(Json(admin.operator.replicas().await?))
}

pub(super) async fn deregister(
    State(admin): State<Admin>,
    By(actor): By,
    path: Result<Path<ReplicaId>, PathRejection>,
    Body(body): Body<Because>,
) -> Result<StatusCode, Problem> {
    let Path(id) =
        path.map_err(|_| Problem::not_found("a replica's id is a UUID").coded("no_such_replica"))?;
    admin.operator.deregister(id, actor, &body.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}
