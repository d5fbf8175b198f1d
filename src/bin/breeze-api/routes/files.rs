//! Files, kept at an S3 server. They pass through, whatever their size.
//!
//! 1. A file is found by callers of the organization that sent it, and by nobody else;
//!    those of system scope have files of their own.
//! 2. A file on its way to a caller finishes on the credential that it began with, whose
//!    rollover waits for it; rollovers of other secrets do not.
//! 3. It ends, also where the caller has stopped reading.

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::{get, post},
};
use breeze_rollover::{
    problem::Problem,
    provider::{Current, Unavailable, s3::S3},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::answer::missing;
use crate::{
    data::{Reach, RowId},
    extract::{Caller, Id},
    outside::{failed, set_up},
    state::App,
};

/// The largest file, in bytes: what S3 takes in one request.
const LARGEST: u64 = 5 << 30;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/files", post(send)).route("/files/{id}", get(fetch).delete(remove))
}

async fn send(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (id, length) = (RowId::new(), length(request.headers())?);
    let kind = request.headers().get(header::CONTENT_TYPE).cloned();
    let content = reqwest::Body::wrap_stream(request.into_body().into_data_stream());
    let files = files(&app)?.client().map_err(storage)?;
    files.put(&key(caller, id)?, length, kind, content).await.map_err(storage)?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id.to_string(), "size": length }))))
}

async fn fetch(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<Response, Problem> {
    let files = files(&app)?.for_transfer().map_err(storage)?;
    let file = files.get(&key(caller, id)?).await.map_err(storage)?.ok_or_else(none)?;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    if let Some(length) = file.length() {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let unknown = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, file.kind().cloned().unwrap_or(unknown));
    // Whatever was sent: no browser takes it for a page of this API.
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    *response.body_mut() = Body::from_stream(file.content(files));
    Ok(response)
}

async fn remove(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    let (files, key) = (files(&app)?.client().map_err(storage)?, key(caller, id)?);
    files.get(&key).await.map_err(storage)?.ok_or_else(none)?;
    files.delete(&key).await.map_err(storage)?;
    Ok(StatusCode::NO_CONTENT)
}

fn files(app: &App) -> Result<&Current<S3>, Problem> {
    set_up(app.outside.files.as_ref(), "S3_BUCKET")
}

fn storage(error: impl Into<Unavailable>) -> Problem {
    failed("the file storage")(error.into())
}

fn none() -> Problem {
    missing("file")
}

/// The name of a file at the server.
fn key(caller: Caller, id: RowId) -> Result<String, Problem> {
    Ok(match caller.reach()? {
        Reach::All => format!("files/system/{id}"),
        Reach::Organization(organization) => format!("files/{organization}/{id}"),
    })
}

/// How much comes: S3 wants to know beforehand.
fn length(headers: &HeaderMap) -> Result<u64, Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    match length.and_then(|length| length.parse().ok()) {
        Some(length) if length <= LARGEST => Ok(length),
        Some(_) => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "Too large",
            format!("send at most {LARGEST} bytes"),
        )),
        None => Err(Problem::new(
            StatusCode::LENGTH_REQUIRED,
            "length_required",
            "Length required",
            "send Content-Length; the storage wants to know it beforehand",
        )),
    }
}
