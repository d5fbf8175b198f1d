//! The admin router: nest it under `/admin`.
//!
//! | method and path | what it does |
//! |---|---|
//! | `GET /secrets` | every secret with its keys, by fingerprint, and when it is due |
//! | `POST /rollovers` | begins a rollover, or a dry run: 202 with a `Location` |
//! | `GET /rollovers`, `GET /rollovers/{id}` | lists them; one with its progress |
//! | `PATCH /rollovers/{id}` | changes the ceiling on rows a second |
//! | `POST /rollovers/{id}/pause`, `resume`, `roll-back` | what they say |
//! | `POST /rollovers/{id}/retire` | retires the old key, if nothing needs it |
//! | `POST /rollovers/{id}/revoked` | notes that the old credential is revoked at its provider |
//! | `POST /rollovers/{id}/destroy` | erases the retired key, after the backup horizon |
//! | `PUT /schedule/{secret}` | sets how many days one key of it should serve |
//! | `GET /health` | what would keep a rollover from beginning |
//! | `POST /incidents` | plans an emergency: 201 with a `Location`; nothing is done yet |
//! | `GET /incidents`, `GET /incidents/{id}` | lists them; one with its plan |
//! | `POST /incidents/{id}/confirm`, `cancel` | carries the plan out, or drops it |
//! | `GET /incidents/{id}/report` | the report, as JSON or `text/markdown` |
//! | `GET /census` | what every registered column holds, by form and key |
//! | `GET /replicas` | who serves, how far each is, and what is awaited from it |
//! | `POST /replicas/{id}/deregister` | notes that one without a lease is stopped for good |
//! | `GET /root-key` | how far a rollover of the root key is |
//! | `GET /lazy` | what lazy rewrap did in the process that answers |
//! | `GET /audit` | the audit trail, newest first |
//! | `GET /audit/verify` | whether the trail is whole, and where it is not |
//!
//! 1. Every route demands an access token of system scope with MFA: the router
//!    brings its own [`JwtLayer`], so that nesting it cannot leave it open. That layer holds
//!    the keys that let a call in until the call has its answer: none of them is said to be
//!    cut off before.
//! 2. No key, value or token is in any answer, log or audit entry.
//! 3. Every call is an audit entry, a refused one too. Calls of nobody known are told
//!    up to a number a minute, and counted beyond.

mod body;
mod guard;
mod operations;
mod problem;
mod replicas;
mod rollovers;
mod views;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post, put},
};

use crate::{
    keyring::NoKeyring, layer::jwt::JwtLayer, operator::Operator, problem::Problem, token::Scope,
};

/// What the handlers share.
#[derive(Debug, Clone)]
struct Admin {
    operator: Arc<Operator>,
    guard: Arc<guard::Guard>,
}

/// The admin router of `operator`, behind a layer of its own.
///
/// # Errors
/// [`NoKeyring`] when the keychain has no key to verify tokens with.
pub fn router(operator: Operator) -> Result<Router, NoKeyring> {
    router_with(operator, Router::new())
}

/// As [`router`], with `own` routes of the application beside, behind the same demands and
/// in the same audit trail: who calls is among the extensions, as verified `Claims`. A
/// fallback that `own` has is dropped.
///
/// # Errors
/// [`NoKeyring`] when the keychain has no key to verify tokens with.
///
/// # Panics
/// When `own` has a route that is there already.
pub fn router_with(operator: Operator, own: Router) -> Result<Router, NoKeyring> {
    let replica = operator.worker().replica();
    let names = JwtLayer::new(replica.keychain())?.clock(Arc::clone(replica.clock()));
    let demands = names.clone().require_scope(Scope::System).require_mfa();
    let guard = Arc::new(guard::Guard::new(names, replica.keychain()));
    let admin = Admin { operator: Arc::new(operator), guard };
    Ok(Router::new()
        .route("/secrets", get(views::secrets))
        .route("/census", get(views::census))
        .route("/replicas", get(replicas::list))
        .route("/replicas/{id}/deregister", post(replicas::deregister))
        .route("/root-key", get(views::root_key))
        .route("/lazy", get(views::lazy))
        .route("/audit", get(views::audit))
        .route("/audit/verify", get(views::verify_audit))
        .route("/rollovers", get(rollovers::list).post(rollovers::begin))
        .route("/rollovers/{id}", get(rollovers::inspect).patch(rollovers::limit))
        .route("/rollovers/{id}/pause", post(rollovers::pause))
        .route("/rollovers/{id}/resume", post(rollovers::resume))
        .route("/rollovers/{id}/roll-back", post(rollovers::roll_back))
        .route("/rollovers/{id}/retire", post(rollovers::retire))
        .route("/rollovers/{id}/revoked", post(rollovers::revoked))
        .route("/rollovers/{id}/destroy", post(rollovers::destroy))
        .route("/schedule/{secret}", put(operations::set_interval))
        .route("/health", get(operations::health))
        .route("/incidents", get(operations::list).post(operations::open))
        .route("/incidents/{id}", get(operations::inspect))
        .route("/incidents/{id}/confirm", post(operations::confirm))
        .route("/incidents/{id}/cancel", post(operations::cancel))
        .route("/incidents/{id}/report", get(operations::report))
        .merge(own.reset_fallback().with_state(()))
        .fallback(|| async {
            Problem::not_found("there is no such admin endpoint; the README lists them")
        })
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(demands)
        .layer(middleware::from_fn_with_state(admin.clone(), guard::record))
        .with_state(admin))
}
