//! The routes, one file a resource, and what each demands.

mod account;
mod agents;
mod answer;
mod api_keys;
mod assistant;
mod auth;
mod certificates;
mod discovery_profiles;
mod enrolment_keys;
mod files;
mod health;
mod ice;
mod messages;
mod mfa;
mod password_reset;
mod recovery_codes;
mod recovery_reissue;
mod row;
mod session;
mod sign_in;
mod sign_on;
mod sso_providers;
mod tenant_variables;
mod users;
mod viewer;
mod webhooks;

use axum::{Router, middleware as layers};
use breeze_rollover::layer::{
    api_key::ApiKeyLayer,
    jwt::{JwtLayer, ViewerLayer},
    sealed::SealedLayer,
    session::SessionLayer,
};
pub(crate) use recovery_reissue::{admin as recovery_admin, keep_telling};
use tower_http::{catch_panic::CatchPanicLayer, trace::TraceLayer};

use crate::{
    auth::IssuedKeys, limits::limit_requests, middleware, settings::REQUEST_TIMEOUT, state::App,
};

/// By what callers are known: one layer a kind of credential.
pub(crate) struct Doors {
    /// Users, by their access tokens.
    pub(crate) jwt: JwtLayer,
    /// Who watches a remote session, by the token for it.
    pub(crate) viewer: ViewerLayer,
    /// Services, by their API keys.
    pub(crate) api_key: ApiKeyLayer<IssuedKeys>,
    /// Browsers, by their cookies.
    pub(crate) sessions: SessionLayer,
}

/// The whole API over `app`, its callers known as `doors` say, and its columns sealed as
/// `sealed` says.
///
/// `extra` is merged beside it: the admin endpoint, with its own demands.
pub(crate) fn router(app: App, doors: Doors, sealed: SealedLayer, extra: Router) -> Router {
    let known = Router::new()
        .merge(auth::signed_in())
        .merge(users::routes())
        .merge(sso_providers::routes())
        .merge(webhooks::routes())
        .merge(discovery_profiles::routes())
        .merge(tenant_variables::routes())
        .merge(api_keys::routes())
        .merge(assistant::routes())
        .merge(certificates::routes())
        .merge(files::routes())
        .merge(messages::routes())
        .merge(ice::routes())
        .merge(viewer::signed_in())
        .merge(enrolment_keys::routes())
        .merge(recovery_codes::routes())
        .route_layer(layers::from_fn_with_state(app.clone(), limit_requests))
        .route_layer(doors.jwt);
    let by_key = api_keys::by_key().route_layer(doors.api_key);
    let watching = viewer::watching().route_layer(doors.viewer);
    let open = auth::open()
        .merge(agents::open())
        .merge(password_reset::routes())
        .merge(sign_on::routes())
        .merge(session::routes(doors.sessions));
    let api = known.merge(by_key).merge(watching).merge(open);
    let api = api.layer(layers::from_fn(middleware::answer_in_time)).layer(sealed);
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
