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
use reqwest::{Client, RequestBuilder, Response, Url, redirect::Policy};
use serde::de::DeserializeOwned;

use super::{
    Address, Limits, ProviderError, Trust,
    patience::{Again, Unanswered, in_vain},
    words::{Withheld, sentence},
};

/// The most bytes of an answer that is read whole.
const LARGEST: usize = 1 << 20;

/// One provider's API. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    client: Client,
    address: Address,
    limits: Limits,
}

impl Api {
    pub(crate) fn new(address: Address, trust: &Trust, limits: Limits) -> Self {
        let client = Client::builder()
            .tls_backend_preconfigured(trust.client_config())
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(limits.connect)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("the TLS configuration is of the version of rustls that the client has");
        Self { client, address, limits }
    }

    /// A request to `path` below the provider's address.
    pub(crate) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.client.request(method, self.url(path)).timeout(self.limits.answer)
    }

    /// The address of `path` below the provider's.
    pub(crate) fn url(&self, path: &[&str]) -> Url {
        self.address.join(path)
    }

    /// The answer to a request to wherever it is for, once; nothing if there is none.
    #[cfg(feature = "aws")]
    pub(crate) async fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> Option<http::Response<Bytes>> {
        let mut request = reqwest::Request::try_from(request).ok()?;
        *request.timeout_mut() = Some(self.limits.answer);
        let response = self.client.execute(request).await.ok()?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut answer = http::Response::new(whole(response).await.ok()??);
        (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
        Some(answer)
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The answer to a call, whatever it says, as long as it says something.
    pub(crate) async fn ask(
        &self,
        withheld: &Withheld,
        again: Again,
        call: impl Fn() -> RequestBuilder,
    ) -> Result<Answer, ProviderError> {
        self.limits.asked(again, || self.once(withheld, call())).await
    }

    async fn once(&self, withheld: &Withheld, call: RequestBuilder) -> Result<Answer, Unanswered> {
        let response = call.send().await.map_err(|error| unanswered(withheld, error))?;
        heard(withheld, response).await
    }
}

/// The whole of an answer, unless it says that there is none now.
pub(crate) async fn heard(withheld: &Withheld, response: Response) -> Result<Answer, Unanswered> {
    let after = retry_after(response.headers());
    let answer = answer(withheld, response).await?;
    let status = answer.status;
    let is_turned_away = matches!(status.as_u16(), 429 | 503 | 529);
    if is_turned_away || status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
        let told = ProviderError::Unreachable(answer.words(withheld));
        return Err(Unanswered { after, ..Unanswered::of(told, is_turned_away) });
    }
    Ok(answer)
}

/// Why there is none.
pub(crate) fn unanswered(withheld: &Withheld, error: reqwest::Error) -> Unanswered {
    let had_no_effect = error.is_connect();
    Unanswered::of(unreachable(withheld, error), had_no_effect)
}

/// What kept an answer from coming, without the address that was asked.
fn unreachable(withheld: &Withheld, error: reqwest::Error) -> ProviderError {
    if error.is_timeout() {
        return in_vain();
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
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The status, and the sentence that goes with it.
    pub(crate) fn words(&self, withheld: &Withheld) -> String {
        let status = self.status;
        sentence(&self.body).map_or_else(
            || status.to_string(),
            |said| format!("{} {}", status.as_u16(), withheld.told(&said)),
        )
    }

    /// It, if it is a yes.
    pub(crate) fn accepted(self, withheld: &Withheld) -> Result<Self, ProviderError> {
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
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ProviderError> {
        serde_json::from_slice(&self.body).map_err(|_| {
            ProviderError::Nonsense(format!("{} without what it documents", self.status))
        })
    }
}

/// A header's value that no log shows.
pub(crate) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
