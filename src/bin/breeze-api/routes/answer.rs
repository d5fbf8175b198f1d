//! The forms that answers share.

use axum::response::{IntoResponse, Response};
use breeze_rollover::problem::Problem;
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, ETAG, LOCATION},
};
use serde::Serialize;

use crate::data::RowId;

/// One row, with its version as the ETag. Never to be kept by a cache on the way.
pub(super) fn row(version: i64, view: &impl Serialize) -> Response {
    let mut response = axum::Json(view).into_response();
    let etag = HeaderValue::try_from(format!("\"{version}\"")).expect("digits in quotes");
    response.headers_mut().insert(ETAG, etag);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A row that was created at `<collection>/<id>`.
pub(super) fn created(
    collection: &str,
    id: RowId,
    version: i64,
    view: &impl Serialize,
) -> Response {
    let mut response = row(version, view);
    *response.status_mut() = StatusCode::CREATED;
    let location = HeaderValue::try_from(format!("/api/v1/{collection}/{id}"));
    response.headers_mut().insert(LOCATION, location.expect("a path of ours and a UUID"));
    response
}

/// A page of rows, and where the next begins.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List<T> {
    data: Vec<T>,
    /// To be passed as `after`; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<RowId>,
}

/// What each of `rows` shows, one after the other.
pub(super) async fn views<R, F: Future>(rows: Vec<R>, view: impl Fn(R) -> F) -> Vec<F::Output> {
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        views.push(view(row).await);
    }
    views
}

/// A page of `data`, at most `limit` of it.
pub(super) fn list<T>(data: Vec<T>, limit: u32, id: impl Fn(&T) -> RowId) -> axum::Json<List<T>> {
    let is_full = data.len() >= limit as usize;
    let next = data.last().filter(|_| is_full).map(id);
    axum::Json(List { data, next })
}

/// A row that is not there, or not in reach: which of them is not told.
pub(super) fn missing(what: &'static str) -> Problem {
    Problem::not_found(format!("there is no such {what}, or it is not yours"))
}

/// Why an edit found no row: it is gone, or it was edited meanwhile.
pub(super) fn unedited(what: &'static str, is_there: bool) -> Problem {
    if !is_there {
        return missing(what);
    }
    Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "edited_meanwhile",
        "Edited meanwhile",
        "somebody edited it since; read it again, and send its new ETag as If-Match",
    )
}

/// The answer to a delete.
pub(super) fn deleted(what: &'static str, was_there: bool) -> Result<StatusCode, Problem> {
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(missing(what)) }
}
