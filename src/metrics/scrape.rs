//! `GET /metrics/scrape`, as FORMATS section 6 has it.
//!
//! 1. Without a `METRICS_SCRAPE_TOKEN` nothing is served: 503.
//! 2. Whoever is not among the allowed addresses gets 403, whatever they present.
//! 3. One `Authorization` header must be exactly `Bearer <token>`; the token is compared
//!    in constant time with every live key, and which was presented is noted. Anything
//!    else: 401.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, State},
    http::{Extensions, HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{Allowed, render};
use crate::{catalog::Secret, operator::Operator, problem::Problem};

struct Scrape {
    operator: Operator,
    allowed: Option<Allowed>,
    accepts_while_fenced: bool,
}

/// `GET /metrics/scrape` of `operator`. Only the addresses of `allowed` may ask, if it is
/// given: then the router must be served with
/// [`into_make_service_with_connect_info`](Router::into_make_service_with_connect_info).
pub fn router(operator: Operator, allowed: Option<Allowed>, accepts_while_fenced: bool) -> Router {
    let scrape = Arc::new(Scrape { operator, allowed, accepts_while_fenced });
    Router::new().route("/metrics/scrape", get(answer)).with_state(scrape)
}

async fn answer(
    State(scrape): State<Arc<Scrape>>,
    extensions: Extensions,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    scrape.admit(&extensions, &headers)?;
    Ok(([(header::CONTENT_TYPE, TEXT)], render(&scrape.operator).await).into_response())
}

impl Scrape {
    fn admit(&self, extensions: &Extensions, headers: &HeaderMap) -> Result<(), Problem> {
        let replica = self.operator.worker().replica();
        let keychain = replica.keychain();
        let keychain = keychain.load();
        let ring = keychain.verbatim(Secret::MetricsScrapeToken).map_err(|_| {
            Problem::unavailable(
                "metrics are switched off; set METRICS_SCRAPE_TOKEN and restart",
                std::time::Duration::from_secs(60),
            )
            .coded("metrics_off")
        })?;
        if let Some(allowed) = &self.allowed {
            let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
            if !peer.is_some_and(|peer| allowed.covers(peer)) {
                return Err(Problem::forbidden("this address may not scrape metrics"));
            }
        }
        let mut sent = headers.get_all(header::AUTHORIZATION).iter();
        let one = sent.next().filter(|_| sent.next().is_none());
        let token = one.and_then(|sent| sent.to_str().ok()?.strip_prefix("Bearer "));
        let accepted = token
            .and_then(|token| ring.accept(token, replica.clock().now()))
            .map(drop)
            .ok_or_else(|| Problem::unauthorized("send the metrics token as Bearer"));
        keychain.fence().in_time(accepted, self.accepts_while_fenced)
    }
}
