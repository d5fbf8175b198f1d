//! Who calls, and every admin call in the audit trail.
//!
//! 1. A call has its entry before it is answered: who, which endpoint, how it ended. One
//!    that is given up before, by its client or by a limit, has one that says so. What a
//!    call changes has an entry of its own, in the change's transaction.
//! 2. Nothing that a caller may choose freely is in it: no body, no query, no path that
//!    is none of the endpoints, nothing of a token.
//! 3. Whoever is nobody known (no token, or one that does not verify) is told as
//!    `anonymous`, [`STRANGERS`] times a minute in each process; the rest is counted, and
//!    the count is in the next entry. So nobody fills the trail from outside.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{Extensions, Method, StatusCode, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::json;
use tokio::{runtime::Handle, task::JoinHandle};
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
    let known = {
        let keychain = admin.guard.keychain.load_full();
        admin.guard.names.authorize(&keychain, request.headers())
    };
    let (who, denied) = match known {
        Ok(claims) => {
            let who = claims.as_deref().map(named);
            if let Some(claims) = claims {
                request.extensions_mut().insert(claims);
            }
            (who, None)
        }
        Err(denied) => {
            tracing::debug!(reason = %denied, "request denied");
            (None, Some(Problem::from(denied)))
        }
    };
    let call = Call {
        admin,
        who,
        method: request.method().clone(),
        endpoint: endpoint(&request),
        is_told: false,
    };
    let response = match denied {
        None => next.run(request).await,
        Some(denied) => denied.into_response(),
    };
    call.answered(response.status()).await;
    response
}

/// A call that is told when it is answered, or when it is given up before.
struct Call {
    admin: Admin,
    who: Option<Actor>,
    method: Method,
    endpoint: String,
    is_told: bool,
}

impl Call {
    async fn answered(mut self, status: StatusCode) {
        if let Some(told) = self.tell(Some(status)) {
            drop(told.await);
        }
    }

    /// Writes the entry in a task of its own, which goes on when the call is given up.
    fn tell(&mut self, status: Option<StatusCode>) -> Option<JoinHandle<()>> {
        self.is_told = true;
        let entry = self.entry(status)?;
        let admin = self.admin.clone();
        let writing = async move {
            let store = admin.operator.worker().replica().store();
            if let Err(error) = store.record(&entry).await {
                admin.operator.note_unaudited();
                tracing::error!(%error, "an admin call is missing from the audit trail");
            }
        };
        match Handle::try_current() {
            Ok(runtime) => Some(runtime.spawn(writing)),
            Err(error) => {
                self.admin.operator.note_unaudited();
                tracing::error!(%error, "an admin call is missing from the audit trail");
                None
            }
        }
    }

    /// `None` for one stranger too many.
    fn entry(&self, status: Option<StatusCode>) -> Option<AuditEntry> {
        let now = self.admin.operator.worker().replica().clock().now();
        let code = status.map(|status| status.as_u16());
        let mut details = json!({ "method": self.method.as_str(), "status": code });
        if status.is_none() {
            details["givenUp"] = true.into();
        }
        let actor = match &self.who {
            Some(actor) => actor.clone(),
            None => {
                let strangers = &self.admin.guard.strangers;
                let mut strangers = strangers.lock().unwrap_or_else(PoisonError::into_inner);
                let untold = strangers.one_more(now)?;
                details["caller"] = "anonymous".into();
                if untold > 0 {
                    details["untoldBefore"] = untold.into();
                }
                Actor::System
            }
        };
        Some(AuditEntry {
            at: now,
            actor,
            action: "admin.call".to_owned(),
            resource_type: "admin",
            resource_id: None,
            resource_name: Some(self.endpoint.clone()),
            details,
            outcome: match status {
                Some(status) if status.is_client_error() => Outcome::Denied,
                Some(status) if !status.is_server_error() => Outcome::Success,
                _ => Outcome::Failure,
            },
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_told {
            drop(self.tell(None));
        }
    }
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
