//! Who calls, and every admin call in the audit trail.
//!
//! 1. A call has its entry before it is answered: who, which endpoint, how it ended.
//!    What a call changes has an entry of its own, in the change's transaction.
//! 2. Nothing that a caller may choose freely is in it: no body, no query, no path that
//!    is none of the endpoints, nothing of a token.
//! 3. Whoever is nobody known (no token, or one that does not verify) is told as
//!    `anonymous`, [`STRANGERS`] times a minute in each process; the rest is counted, and
//!    the count is in the next entry. So nobody fills the trail from outside.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{Extensions, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::json;
use uuid::Uuid;

use super::Admin;
use crate::{
    catalog::Secret,
    clock::Timestamp,
    keyring::KeychainHandle,
    layer::jwt::JwtLayer,
    problem::Problem,
    store::{Actor, AuditEntry, Outcome},
    token::Claims,
};

/// Entries of callers that nobody knows, in one minute of one process.
pub(super) const STRANGERS: u32 = 60;

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
    extensions.get::<Arc<Claims>>().map(|claims| named(claims))
}

fn named(claims: &Claims) -> Actor {
    Actor::User { id: claims.sub.parse().unwrap_or_default(), email: claims.email.clone() }
}

/// Tells callers apart, whatever they may do.
#[derive(Debug)]
pub(super) struct Guard {
    names: JwtLayer,
    keychain: KeychainHandle,
    strangers: Mutex<Strangers>,
}

impl Guard {
    pub(super) fn new(names: JwtLayer, keychain: KeychainHandle) -> Self {
        Self { names, keychain, strangers: Mutex::default() }
    }
}

/// Calls of nobody known in the present minute.
#[derive(Debug, Default)]
struct Strangers {
    minute: i64,
    told: u32,
    untold: u64,
}

impl Strangers {
    /// How many were not told since the last that was; `None`: nor is this one.
    fn one_more(&mut self, now: Timestamp) -> Option<u64> {
        let minute = now.as_seconds().div_euclid(60);
        if minute != self.minute {
            (self.minute, self.told) = (minute, 0);
        }
        if self.told < STRANGERS {
            self.told += 1;
            Some(std::mem::take(&mut self.untold))
        } else {
            self.untold += 1;
            None
        }
    }
}

/// Lets a call of somebody known through, and writes the audit entry of any call.
pub(super) async fn record(
    State(admin): State<Admin>,
    mut request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let endpoint = endpoint(&request);
    let known = {
        let keychain = admin.guard.keychain.load_full();
        admin.guard.names.authorize(&keychain, request.headers())
    };
    let (who, response) = match known {
        Ok(claims) => {
            let who = claims.as_deref().map(named);
            if let Some(claims) = claims {
                request.extensions_mut().insert(claims);
            }
            (who, next.run(request).await)
        }
        Err(denied) => {
            tracing::debug!(reason = %denied, "request denied");
            (None, Problem::from(denied).into_response())
        }
    };
    let status = response.status();
    let replica = admin.operator.worker().replica();
    let now = replica.clock().now();
    let mut details = json!({ "method": method.as_str(), "status": status.as_u16() });
    let actor = match who {
        Some(actor) => actor,
        None => {
            let mut strangers =
                admin.guard.strangers.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(untold) = strangers.one_more(now) else { return response };
            details["caller"] = "anonymous".into();
            if untold > 0 {
                details["untoldBefore"] = untold.into();
            }
            Actor::System
        }
    };
    let entry = AuditEntry {
        at: now,
        actor,
        action: "admin.call".to_owned(),
        resource_type: "admin",
        resource_id: None,
        resource_name: Some(endpoint),
        details,
        outcome: if status.is_server_error() {
            Outcome::Failure
        } else if status.is_client_error() {
            Outcome::Denied
        } else {
            Outcome::Success
        },
    };
    if let Err(error) = replica.store().record(&entry).await {
        admin.operator.note_unaudited();
        tracing::error!(%error, "an admin call is missing from the audit trail");
    }
    response
}

/// The endpoint as the router knows it, with ids and names of secrets in their places.
fn endpoint(request: &Request) -> String {
    let Some(matched) = request.extensions().get::<MatchedPath>() else {
        return "no such endpoint".to_owned();
    };
    let told = |(pattern, part): (&str, &str)| {
        let is_harmless = part.parse::<Uuid>().is_ok() || part.parse::<Secret>().is_ok();
        if pattern.starts_with('{') && is_harmless { part.to_owned() } else { pattern.to_owned() }
    };
    // The router that this one is nested in takes its prefix off the path, not off the
    // pattern: both are read from their ends.
    let path = request.uri().path().rsplit('/').chain(std::iter::repeat(""));
    let mut parts: Vec<_> = matched.as_str().rsplit('/').zip(path).map(told).collect();
    parts.reverse();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_told_up_to_a_number_a_minute_and_counted_beyond() {
        let mut strangers = Strangers::default();
        let at = |seconds: i64| Timestamp::from_seconds(1_790_000_040 + seconds);
        let told = (0..100).filter(|_| strangers.one_more(at(0)).is_some()).count();
        assert_eq!(told, STRANGERS as usize);
        assert_eq!(strangers.one_more(at(60)), Some(100 - u64::from(STRANGERS)));
        assert_eq!(strangers.one_more(at(60)), Some(0));
    }
}
