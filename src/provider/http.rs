//! A provider's API over HTTP.
//!
//! 1. Every call ends: connecting, answering, and the size of an answer are limited.
//! 2. What did not arrive, or comes too early, is asked again after a growing and partly
//!    random while; what may have had an effect is not asked twice.
//! 3. No redirect is followed: a credential goes where it was meant to go.
//! 4. An error never holds the credential, nor the address of the call, which may be signed.

use std::{error::Error, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::RETRY_AFTER};
use rand::{RngExt, rng};
use reqwest::{Client, RequestBuilder, Response, redirect::Policy};
use serde::de::DeserializeOwned;

use super::{
    Address, ProviderError, Trust,
    words::{Withheld, sentence},
};

/// The most bytes of an answer that is read whole.
const LARGEST: usize = 1 << 20;

/// How long a provider is waited for, and how often it is asked.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until a connection is there.
    pub connect: Duration,
    /// Until an answer is there, whole; between two parts of one that is streamed.
    pub answer: Duration,
    /// How often a call is made that finds nobody, at most.
    pub tries: u32,
    /// Before the second time; twice as long before each further one, and up to as long
    /// again by chance.
    pub wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            answer: Duration::from_secs(10),
            tries: 3,
            wait: Duration::from_millis(200),
        }
    }
}

/// When a call that got no answer is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Never: whoever asks repeats it.
    Never,
    /// When it certainly had no effect: nobody was there, or it was turned away.
    WithoutEffect,
    /// Always: twice is as good as once.
    Always,
}

/// One provider's API. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub(super) struct Api {
    client: Client,
    address: Address,
    limits: Limits,
}

impl Api {
    pub(super) fn new(address: Address, trust: &Trust, limits: Limits) -> Self {
        let client = Client::builder()
            .tls_backend_preconfigured(trust.client_config())
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(limits.connect)
            .read_timeout(limits.answer)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("the TLS configuration is of the version of rustls that the client has");
        Self { client, address, limits }
    }

    /// A request to `path` below the provider's address.
    pub(super) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.client.request(method, self.address.join(path)).timeout(self.limits.answer)
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The answer to a call, whatever it says, as long as it says something.
    pub(super) async fn ask(
        &self,
        withheld: &Withheld,
        again: Again,
        call: impl Fn() -> RequestBuilder,
    ) -> Result<Answer, ProviderError> {
        let mut wait = self.limits.wait;
        for tries in 1.. {
            let error = match self.once(withheld, call()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let is_last = tries >= self.limits.tries || !error.allows(again);
            if is_last || error.after.is_some_and(|after| after > self.limits.answer) {
                return Err(error.told);
            }
            let jitter = wait.mul_f64(rng().random());
            tokio::time::sleep(error.after.unwrap_or(wait) + jitter).await;
            wait *= 2;
        }
        unreachable!("the loop has no end of its own")
    }

    async fn once(&self, withheld: &Withheld, call: RequestBuilder) -> Result<Answer, Unanswered> {
        let response = call.send().await.map_err(|error| unanswered(withheld, error))?;
        let after = retry_after(response.headers());
        let answer = answer(withheld, response).await?;
        let status = answer.status;
        let is_turned_away = matches!(status.as_u16(), 429 | 503 | 529);
        if is_turned_away || status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
            let told = ProviderError::Unreachable(answer.words(withheld));
            return Err(Unanswered { told, had_no_effect: is_turned_away, after });
        }
        Ok(answer)
    }
}

/// Why a call has no answer, and whether it may be made again.
struct Unanswered {
    told: ProviderError,
    had_no_effect: bool,
    after: Option<Duration>,
}

impl Unanswered {
    const fn allows(&self, again: Again) -> bool {
        match again {
            Again::Never => false,
            Again::WithoutEffect => self.had_no_effect,
            Again::Always => self.told.is_transient(),
        }
    }
}

fn unanswered(withheld: &Withheld, error: reqwest::Error) -> Unanswered {
    let had_no_effect = error.is_connect();
    Unanswered { told: unreachable(withheld, error), had_no_effect, after: None }
}

/// What kept an answer from coming, without the address that was asked.
pub(super) fn unreachable(withheld: &Withheld, error: reqwest::Error) -> ProviderError {
    if error.is_timeout() {
        return ProviderError::Unreachable("no answer in time".to_owned());
    }
    let error = error.without_url();
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        told = format!("{told}: {cause}");
        source = cause.source();
    }
    ProviderError::Unreachable(withheld.told(&told))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The answer to a call that is not made again, if it is a yes.
pub(super) async fn read(withheld: &Withheld, response: Response) -> Result<Answer, ProviderError> {
    match answer(withheld, response).await {
        Ok(answer) => answer.accepted(withheld),
        Err(error) => Err(error.told),
    }
}

async fn answer(withheld: &Withheld, response: Response) -> Result<Answer, Unanswered> {
    let status = response.status();
    let body = whole(response).await.map_err(|error| unanswered(withheld, error))?;
    let told = || ProviderError::Nonsense(format!("{status} and more than {LARGEST} bytes"));
    let body =
        body.ok_or_else(|| Unanswered { told: told(), had_no_effect: false, after: None })?;
    Ok(Answer { status, body })
}

/// The whole body; `None` when it is too large.
async fn whole(mut response: Response) -> Result<Option<Bytes>, reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > LARGEST {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}

/// What a provider answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Answer {
    /// The status, and the sentence that goes with it.
    pub(super) fn words(&self, withheld: &Withheld) -> String {
        let status = self.status;
        sentence(&self.body).map_or_else(
            || status.to_string(),
            |said| format!("{} {}", status.as_u16(), withheld.told(&said)),
        )
    }

    /// It, if it is a yes.
    pub(super) fn accepted(self, withheld: &Withheld) -> Result<Self, ProviderError> {
        let words = || self.words(withheld);
        match self.status {
            status if status.is_success() => Ok(self),
            StatusCode::UNAUTHORIZED => Err(ProviderError::Refused(words())),
            StatusCode::FORBIDDEN => Err(ProviderError::Lacking(words())),
            status if status.is_client_error() => Err(ProviderError::Declined(words())),
            status if status.is_server_error() => Err(ProviderError::Unreachable(words())),
            _ => Err(ProviderError::Nonsense(words())),
        }
    }

    /// Its JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ProviderError> {
        serde_json::from_slice(&self.body).map_err(|_| {
            ProviderError::Nonsense(format!("{} without what it documents", self.status))
        })
    }
}

/// A header's value that no log shows.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
