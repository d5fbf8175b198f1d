//! Who calls, and refused admin calls, told to the audit trail.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{Extensions, request::Parts},
    middleware::Next,
    response::Response,
};
use serde_json::json;

use super::Admin;
use crate::{
    problem::Problem,
    store::{Actor, AuditEntry, Outcome},
    token::Claims,
};

/// Who calls, from the token that the JWT layer has verified.
pub(super) struct By(pub(super) Actor);

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        caller(&parts.extensions).map(Self).ok_or_else(|| {
            tracing::error!("an admin route that asks who calls stands outside the JWT layer");
            Problem::internal()
        })
    }
}

fn caller(extensions: &Extensions) -> Option<Actor> {
    let claims = extensions.get::<Arc<Claims>>()?;
    let id = claims.sub.parse().unwrap_or_default();
    Some(Actor::User { id, email: claims.email.clone() })
}

/// Writes an audit entry for every call that changes something and is refused.
/// What is carried out has its entry in its own transaction.
pub(super) async fn record_refusals(
    State(admin): State<Admin>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let who = caller(request.extensions());
    let response = next.run(request).await;
    let status = response.status();
    if !method.is_safe()
        && (status.is_client_error() || status.is_server_error())
        && let Some(actor) = who
    {
        let replica = admin.operator.worker().replica();
        let entry = AuditEntry {
            at: replica.clock().now(),
            actor,
            action: "rollover.refused".to_owned(),
            resource_type: "admin",
            resource_id: None,
            resource_name: Some(path.chars().take(255).collect()),
            details: json!({ "method": method.as_str(), "status": status.as_u16() }),
            outcome: if status.is_server_error() { Outcome::Failure } else { Outcome::Denied },
        };
        if let Err(error) = replica.store().record(&entry).await {
            tracing::error!(%error, "a refused admin call is missing from the audit trail");
        }
    }
    response
}
