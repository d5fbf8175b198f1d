//! What every request passes on its way in and out.

use std::{any::Any, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use breeze_rollover::{keyring::Fenced, layer::sealed::Sealed, problem::Problem};
use http::{HeaderName, HeaderValue, StatusCode};
use sqlx::types::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of one request: the caller's own if it is harmless, or a new one.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

/// Names each request in the log and in its answer.
pub(crate) async fn name_request(mut request: Request, next: Next) -> Response {
    let id = request.headers().get(&REQUEST_ID).filter(|id| is_harmless(id)).cloned();
    let id = id.unwrap_or_else(|| {
        HeaderValue::try_from(Uuid::now_v7().to_string()).expect("a UUID is visible ASCII")
    });
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// What may stand in a log: neither long, nor able to break out of its line.
fn is_harmless(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    (1..=64).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// The span of one request. It holds the route, not the address: ids are told, and
/// queries, headers and bodies, which may hold secrets, are not.
pub(crate) fn span(request: &Request) -> tracing::Span {
    let id = request.extensions().get().map_or("", |RequestId(id)| id.to_str().unwrap_or_default());
    let route = request.extensions().get().map_or("", MatchedPath::as_str);
    tracing::info_span!("request", id, method = %request.method(), route)
}

/// Has a page asked for again, during which the lease ran out: it may lack a value, or be
/// a refusal for want of a key that others have by now. What may have been done is told as
/// its handler tells it, which judges itself what it refuses for want of a key.
pub(crate) async fn answer_in_time(request: Request, next: Next) -> Response {
    let is_safe = request.method().is_safe();
    let sealed = request.extensions().get::<Sealed>().filter(|_| is_safe).cloned();
    let response = next.run(request).await;
    let Some(sealed) = sealed else { return response };
    let outcome =
        if response.status().is_success() { Ok(response) } else { Err(Refusal(response)) };
    sealed.in_time(outcome).unwrap_or_else(|Refusal(response)| response)
}

/// An answer that is no success.
struct Refusal(Response);

impl From<Fenced> for Refusal {
    fn from(fenced: Fenced) -> Self {
        Self(Problem::from(fenced).into_response())
    }
}

/// Ends a request that takes longer than `limit`.
pub(crate) async fn limit_time(
    State(limit): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable(
            "the request took too long and was given up; if it was to change something, see whether it has before you try again",
            Duration::from_secs(1),
        )
        .coded("timeout")
        .into_response(),
    }
}

/// The answer of a handler that panicked. The panic's words may hold anything, so
/// they are not told.
pub(crate) fn answer_panic(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    Problem::internal().into_response()
}

/// There is nothing here.
pub(crate) async fn not_found() -> Problem {
    Problem::not_found("there is no such address; see the README for those that there are")
}

/// There is something here, of another method. The router adds `Allow`.
pub(crate) async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "Method not allowed",
        "the address takes the methods of the Allow header",
    )
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware as layers, routing::get};
    use breeze_rollover::{
        clock::Uptime,
        column::Registry,
        ids::Epoch,
        keyring::{Fence, Keychain, KeychainHandle},
        layer::sealed::SealedLayer,
    };
    use http::Method;
    use tower::ServiceExt;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    async fn answer(router: Router) -> (StatusCode, String) {
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_that_tells_nothing_of_it() {
        let panics = get(async || -> StatusCode { panic!("the secret is hunter2") });
        let router: Router = Router::new().route("/", panics);
        let (status, body) = answer(router.layer(CatchPanicLayer::custom(answer_panic))).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body.contains(r#""code":"internal""#) && !body.contains("hunter2"), "{body}");
    }

    /// What becomes of `answer` to a request of `method` during which the lease runs out,
    /// where the process `accepts` without it or not.
    async fn outlives_its_lease(method: Method, answer: StatusCode, accepts: bool) -> StatusCode {
        let fence = Fence::at(Uptime::now().plus(Duration::from_secs(60)));
        let keys = KeychainHandle::new(Keychain::new(Epoch(1)).under(fence.clone()));
        let page = async move || {
            fence.shut();
            answer
        };
        let sealed = SealedLayer::new(keys, Registry::empty());
        let router = Router::new()
            .route("/", get(page.clone()).post(page))
            .layer(layers::from_fn(answer_in_time))
            .layer(if accepts { sealed.accepting_while_fenced() } else { sealed });
        let request = http::Request::builder().method(method).body(Body::empty()).unwrap();
        router.oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn pages_are_asked_for_again_where_the_lease_ran_out_and_what_may_be_done_is_told() {
        use StatusCode as Is;
        for (method, answer, accepts, told) in [
            (Method::GET, Is::OK, false, Is::SERVICE_UNAVAILABLE),
            (Method::GET, Is::NOT_FOUND, false, Is::SERVICE_UNAVAILABLE),
            (Method::GET, Is::OK, true, Is::OK),
            (Method::GET, Is::NOT_FOUND, true, Is::SERVICE_UNAVAILABLE),
            (Method::POST, Is::CREATED, false, Is::CREATED),
            (Method::POST, Is::BAD_GATEWAY, false, Is::BAD_GATEWAY),
            (Method::POST, Is::BAD_GATEWAY, true, Is::BAD_GATEWAY),
        ] {
            assert_eq!(outlives_its_lease(method, answer, accepts).await, told);
        }
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_given_up() {
        let never = get(|| async { std::future::pending::<()>().await });
        let limit = layers::from_fn_with_state(Duration::from_millis(1), limit_time);
        let (status, body) = answer(Router::new().route("/", never).layer(limit)).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains(r#""code":"timeout""#), "{body}");
    }
}
