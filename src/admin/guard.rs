//! Refused admin calls, told to the audit trail.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use serde_json::json;

use super::Admin;
use crate::{
    store::{Actor, AuditEntry, Outcome},
    token::Claims,
};

/// Who asks, from the token.
pub(super) fn actor(claims: &Claims) -> Actor {
    match claims.sub.parse() {
        Ok(id) => Actor::User { id, email: claims.email.clone() },
        Err(_) => Actor::User { id: uuid::Uuid::nil(), email: claims.email.clone() },
    }
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
    let who = request.extensions().get::<Arc<Claims>>().map(|claims| actor(claims));
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
