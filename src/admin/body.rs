//! Request bodies: strict JSON, and an error that says where it is wrong.

use std::collections::BTreeSet;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
};
use secrecy::SecretString;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    catalog::Secret, clock::Timestamp, envelope::Target, ids::RolloverId, operator::Check,
    problem::Problem, rollover::Mode,
};

/// A JSON body. Its text may hold a new secret, so that no error quotes it.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(|_| {
            Problem::bad_request("the body could not be read; send JSON of at most 1 MiB")
        })?;
        let bytes = if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes };
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let what = if error.is_data() {
                "is not of the expected form; the README lists the fields"
            } else {
                "is not JSON"
            };
            Problem::unprocessable(format!("the body {what} (line {line}, column {column})"))
                .coded("invalid_body")
        })
    }
}

/// `POST /rollovers`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Begin {
    pub(super) secret: Secret,
    #[serde(default = "graceful")]
    pub(super) mode: Mode,
    pub(super) reason: String,
    #[serde(default)]
    pub(super) dry_run: bool,
    #[serde(default)]
    pub(super) value: Option<SecretString>,
    #[serde(default)]
    pub(super) target: Target,
    #[serde(default)]
    pub(super) max_rows_per_second: Option<u32>,
    #[serde(default)]
    pub(super) alongside: bool,
    #[serde(default)]
    pub(super) supersede: Option<RolloverId>,
    #[serde(default)]
    pub(super) force: BTreeSet<Check>,
}

const fn graceful() -> Mode {
    Mode::Graceful
}

/// `POST /rollovers/{id}/pause` and the like.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Because {
    pub(super) reason: String,
}

/// `POST /rollovers/{id}/retire`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Retire {
    pub(super) reason: String,
    #[serde(default)]
    pub(super) accept_quarantined: bool,
    #[serde(default)]
    pub(super) accept_loss: bool,
}

/// `PATCH /rollovers/{id}`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Limit {
    /// `null` lifts the ceiling.
    pub(super) max_rows_per_second: Option<u32>,
}

/// `PUT /schedule/{secret}`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Interval {
    /// `null` takes the catalog's interval back.
    pub(super) days: Option<u32>,
    pub(super) reason: String,
}

/// `POST /incidents`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Exposed {
    pub(super) secrets: Vec<Secret>,
    /// Milliseconds since the Unix epoch, as every other time here.
    pub(super) exposed_since: Timestamp,
    pub(super) reason: String,
}
