//! What clients share: they ask a replica, and what comes back is judged.
//!
//! A failure is needed only if its replica, or the database, was under a fault
//! meanwhile; a refusal never is, nor is an answer that the fault is the server's own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Method, StatusCode, header};
use serde_json::Value;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    figures::{Figures, Wrong},
    fleet::Terms,
    windows::Windows,
};
use crate::support::http::{Answer, Client as Http};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answer that says that the fault is the server's own: no fault here is.
const OURS: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) ports: Vec<u16>,
    pub(crate) terms: Terms,
    pub(crate) windows: Arc<Windows>,
    pub(crate) figures: Arc<Figures>,
    /// A login hashes a password, on purpose slowly: one at a time, or a busy machine
    /// would do nothing else.
    pub(crate) logging_in: Semaphore,
}

/// A token, and how long it surely lives.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) lives_until: Instant,
}

/// One request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) token: Option<&'a Token>,
    pub(crate) body: Option<Value>,
    pub(crate) if_match: Option<i64>,
    /// A refusal that the client is prepared for.
    pub(crate) accepts: Option<StatusCode>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: String, token: &'a Token) -> Self {
        let token = Some(token);
        Self { method: Method::GET, path, token, body: None, if_match: None, accepts: None }
    }

    pub(crate) fn post(path: &str, token: Option<&'a Token>, body: Value) -> Self {
        let (path, body) = (path.to_owned(), Some(body));
        Self { method: Method::POST, path, token, body, if_match: None, accepts: None }
    }
}

impl Shared {
    /// Asks one replica, and judges what comes back: an answer, or nothing if it
    /// failed, in which case it may have been done.
    pub(crate) async fn ask(&self, replica: usize, call: Call<'_>) -> Option<Answer> {
        let mut request = http::Request::builder().method(&call.method).uri(&call.path);
        if let Some(token) = call.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.text));
        }
        if let Some(version) = call.if_match {
            request = request.header(header::IF_MATCH, format!("\"{version}\""));
        }
        if call.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = call.body.map(|body| body.to_string()).unwrap_or_default();
        let (began, http) = (Instant::now(), Http::on(self.ports[replica]));
        let answer = timeout(PATIENCE, http.send(request.body(body).unwrap())).await;
        self.figures.request();
        let (status, cause) = match answer {
            Ok(Ok(answer)) if answer.status.is_success() => return Some(answer),
            Ok(Ok(answer)) if Some(answer.status) == call.accepts => return Some(answer),
            Ok(Ok(answer)) => (Some(answer.status), cause(&answer)),
            Ok(Err(_)) => (None, "refused or reset".to_owned()),
            Err(_) => (None, format!("no answer within {} s", PATIENCE.as_secs())),
        };
        self.figures.failure(&cause);
        let is_over = call.token.is_some_and(|token| token.lives_until < Instant::now());
        let is_unauthorized = status == Some(StatusCode::UNAUTHORIZED);
        let told = || {
            let (method, path) = (&call.method, &call.path);
            format!("{method} {path} at replica {replica}: {cause}")
        };
        if is_unauthorized && is_over {
            // It was held up until its token's life was over.
        } else if is_unauthorized {
            self.figures.wrong(Wrong::TokenRefused, told());
        } else if status.is_some_and(|it| it.is_client_error() || it == OURS)
            || !self.windows.excuse(replica, began)
        {
            self.figures.wrong(Wrong::Needless, told());
        }
        None
    }

    pub(crate) async fn present(&self, replica: usize, token: Token) {
        let call = Call::get("/api/v1/users/me".to_owned(), &token);
        self.ask(replica, call).await;
        self.figures.token_presented();
    }
}

/// Why there is no good answer, as the figures name it.
fn cause(answer: &Answer) -> String {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    format!("{} {}", answer.status.as_u16(), problem["code"].as_str().unwrap_or("without a code"))
}
