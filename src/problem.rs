//! Every error that leaves over HTTP, in one form: RFC 9457 problem details.
//!
//! 1. `code` is stable, for programs; `type` is derived from it.
//! 2. `detail` is a sentence for people that says what to do next.
//! 3. A problem holds nothing that its maker did not put there: no source error,
//!    no request text, no secret.

use std::{fmt, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

use crate::keyring::Fenced;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// One problem, as it will be told.
///
/// ```
/// use breeze_rollover::problem::Problem;
/// use http::StatusCode;
///
/// let problem = Problem::new(
///     StatusCode::CONFLICT,
///     "rollover_in_progress",
///     "A rollover is in progress",
///     "wait for it, or pause it first",
/// )
/// .with("rollover", "0198c5a0-0000-7000-8000-000000000000");
/// assert_eq!(
///     serde_json::to_string(&problem).unwrap(),
///     r#"{"type":"urn:breeze:problem:rollover_in_progress","title":"A rollover is in progress","#
///         .to_owned()
///         + r#""status":409,"detail":"wait for it, or pause it first","#
///         + r#""code":"rollover_in_progress","rollover":"0198c5a0-0000-7000-8000-000000000000"}"#
/// );
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    members: Map<String, Value>,
    /// Boxed, so that a `Result` which may hold a problem stays small.
    headers: Box<HeaderMap>,
}

impl Problem {
    /// A problem of any kind. `code` is in `snake_case`, and never changes its meaning.
    #[must_use]
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            members: Map::new(),
            headers: Box::default(),
        }
    }

    /// 400: the request cannot be understood.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", "Bad request", detail)
    }

    /// 401: who asks is not known.
    #[must_use]
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Not authenticated", detail)
    }

    /// 403: who asks is known, and may not.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    /// 409: the present state does not allow it.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Conflict", detail)
    }

    /// 422: the request is understood, and its values will not do.
    #[must_use]
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", "Not acceptable", detail)
    }

    /// 500: a fault of ours. It tells nothing of its cause, which belongs in the log.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Internal error",
            "the fault is ours and has been logged; try again later",
        )
    }

    /// 503: not now, but after `wait` (in whole seconds, at least one).
    #[must_use]
    pub fn unavailable(detail: impl Into<String>, wait: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now", detail)
            .with_header(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)))
    }

    /// This problem with another `code`, where a program must tell it from its like.
    #[must_use]
    pub fn coded(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    /// This problem with one more member. The members of RFC 9457 and `code` are
    /// not to be replaced.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let name = name.into();
        debug_assert!(!OWN_MEMBERS.contains(&name.as_str()), "{name} is a member already");
        self.members.insert(name, value.into());
        self
    }

    /// This problem with a response header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The status of its response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Its stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// What to do next.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The response that tells it.
    #[must_use]
    pub fn response<B: From<String>>(self) -> Response<B> {
        let body = serde_json::to_string(&self).expect("a problem is plain JSON");
        let mut response = Response::new(B::from(body));
        *response.status_mut() = self.status;
        *response.headers_mut() = *self.headers;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        response
    }
}

const OWN_MEMBERS: [&str; 5] = ["type", "title", "status", "detail", "code"];

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("urn:breeze:problem:{}", self.code))?;
        map.serialize_entry("title", self.title)?;
        map.serialize_entry("status", &self.status.as_u16())?;
        map.serialize_entry("detail", &self.detail)?;
        map.serialize_entry("code", self.code)?;
        for (name, value) in &self.members {
            if !OWN_MEMBERS.contains(&name.as_str()) {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.title, self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

impl From<Fenced> for Problem {
    /// 503: another process answers, or this one when it has its lease again.
    fn from(fenced: Fenced) -> Self {
        Self::unavailable(fenced.to_string(), Duration::from_secs(1)).coded("fenced")
    }
}

#[cfg(feature = "admin")]
impl axum::response::IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        self.response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_the_problem_in_its_media_type() {
        let problem = Problem::unavailable("come back", Duration::from_millis(1)).coded("fenced");
        let response: Response<String> = problem.response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[CONTENT_TYPE], MEDIA_TYPE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        let body: Value = serde_json::from_str(response.body()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:breeze:problem:fenced", "title": "Not available now",
                "status": 503, "detail": "come back", "code": "fenced"
            })
        );
    }

    #[test]
    fn an_added_member_stands_after_the_registered_ones() {
        let problem = Problem::conflict("one runs").with("rollover", 7);
        let json = serde_json::to_string(&problem).unwrap();
        assert!(json.ends_with(r#""code":"conflict","rollover":7}"#), "{json}");
    }

    #[test]
    fn an_internal_error_tells_nothing_of_its_cause() {
        assert_eq!(Problem::internal().code(), "internal");
        assert!(Problem::internal().members.is_empty());
    }
}
