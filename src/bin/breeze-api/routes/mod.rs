//! The routes, one file a resource, and what each demands.

mod account;
mod agents;
mod answer;
mod auth;
mod discovery_profiles;
mod enrolment_keys;
mod health;
mod row;
mod sso_providers;
mod tenant_variables;
mod users;
mod webhooks;

use axum::{Router, middleware as layers};
use breeze_rollover::layer::{jwt::JwtLayer, sealed::SealedLayer};
use tower_http::{catch_panic::CatchPanicLayer, trace::TraceLayer};

use crate::{middleware, settings::REQUEST_TIMEOUT, state::App};

/// The whole API over `app`, its callers known as `jwt` says and its columns sealed as
/// `sealed` says.
///
/// `extra` is merged beside it: the admin endpoint, with its own demands.
pub(crate) fn router(app: App, jwt: JwtLayer, sealed: SealedLayer, extra: Router) -> Router {
    let known = Router::new()
        .merge(auth::signed_in())
        .merge(users::routes())
        .merge(sso_providers::routes())
        .merge(webhooks::routes())
        .merge(discovery_profiles::routes())
        .merge(tenant_variables::routes())
        .merge(enrolment_keys::routes())
        .route_layer(jwt);
    let api = known.merge(auth::open()).merge(agents::open()).layer(sealed);
    Router::new()
        .nest("/api/v1", api)
        .merge(health::routes())
        .with_state(app)
        .merge(extra)
        .fallback(middleware::not_found)
        .method_not_allowed_fallback(middleware::method_not_allowed)
        .layer(layers::from_fn_with_state(REQUEST_TIMEOUT, middleware::limit_time))
        .layer(CatchPanicLayer::custom(middleware::answer_panic))
        .layer(TraceLayer::new_for_http().make_span_with(middleware::span))
        .layer(layers::from_fn(middleware::name_request))
}
