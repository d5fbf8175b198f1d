//! Resend: `RESEND_API_KEY`, which mails go out with.
//!
//! 1. A key is probed by listing the domains. A key that may only send is known by being
//!    told so, and is fit.
//! 2. A mail carries an idempotency key, so that one that got no answer is sent again, and
//!    arrives once.
//! 3. A key has no right to find itself among the keys: an operator deletes the old one.
//!
//! The calls are `GET /domains` and `POST /emails`.

use std::fmt;

use async_trait::async_trait;
use http::{HeaderValue, Method, StatusCode};
use reqwest::RequestBuilder;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{
    Address, Connect, Limits, Provider, ProviderError, Trust,
    http::{Api, sensitive},
    mail::{Mail, MailFrom},
    patience::Again,
    words::Withheld,
};
use crate::{catalog::Secret, material::Material};

const FORM: &str = "a Resend API key is such as re_…, in visible ASCII";

/// Resend's API.
#[derive(Debug, Clone)]
pub struct Resend {
    api: Api,
    from: MailFrom,
}

impl Resend {
    /// Where Resend is.
    pub const ADDRESS: &'static str = "https://api.resend.com";

    /// The API at `address`, with mails from `from`.
    #[must_use]
    pub fn new(address: Address, trust: &Trust, limits: Limits, from: MailFrom) -> Self {
        Self { api: Api::new(address, trust, limits), from }
    }
}

#[async_trait]
impl Provider for Resend {
    fn secret(&self) -> Secret {
        Secret::ResendApiKey
    }

    fn check(&self, credential: &Material) -> Result<(), &'static str> {
        let key = credential.expose_source();
        let is_key = key.starts_with("re_") && key.bytes().all(|b| b.is_ascii_graphic());
        if is_key { Ok(()) } else { Err(FORM) }
    }

    async fn probe(&self, credential: &Material) -> Result<String, ProviderError> {
        self.client(credential)?.probe().await
    }
}

impl Connect for Resend {
    type Client = Sender;

    fn client(&self, credential: &Material) -> Result<Sender, ProviderError> {
        self.check(credential).map_err(ProviderError::Form)?;
        let bearer = format!("Bearer {}", credential.expose_source());
        let bearer = sensitive(&bearer).ok_or(ProviderError::Form(FORM))?;
        let withheld = Withheld::of(credential);
        Ok(Sender { api: self.api.clone(), from: self.from.clone(), bearer, withheld })
    }
}

/// The API, with one key.
pub struct Sender {
    api: Api,
    from: MailFrom,
    bearer: HeaderValue,
    withheld: Withheld,
}

impl Sender {
    /// Hands `mail` over, and answers its id.
    ///
    /// # Errors
    /// [`ProviderError`] with what Resend answered.
    pub async fn send(&self, mail: &Mail) -> Result<String, ProviderError> {
        #[derive(Deserialize)]
        struct Sent {
            id: String,
        }
        let message = json!({
            "from": self.from.to_string(),
            "to": [mail.to()],
            "subject": mail.subject(),
            "text": mail.text(),
        });
        let once = Uuid::new_v4().to_string();
        let call = || {
            let request = self.request(Method::POST, "emails");
            request.header("idempotency-key", &once).json(&message)
        };
        let answer = self.api.ask(&self.withheld, Again::Always, call).await?;
        let answer = unknown(answer.accepted(&self.withheld))?;
        Ok(self.withheld.told(&answer.json::<Sent>()?.id))
    }

    async fn probe(&self) -> Result<String, ProviderError> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        #[derive(Deserialize)]
        struct Domains {
            #[serde(rename = "data")]
            _data: Vec<serde_json::Value>,
        }
        let call = || self.request(Method::GET, "domains");
        let answer = self.api.ask(&self.withheld, Again::Never, call).await?;
        if answer.status == StatusCode::UNAUTHORIZED
            && answer.json::<Named>().is_ok_and(|error| error.name == "restricted_api_key")
        {
            return Ok("the key may send mail, and nothing else".to_owned());
        }
        unknown(answer.accepted(&self.withheld))?.json::<Domains>()?;
        Ok("the key may do everything".to_owned())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.api.request(method, &[path]).header("authorization", self.bearer.clone())
    }
}

/// Resend answers 403 to a key that it does not know.
fn unknown<T>(answer: Result<T, ProviderError>) -> Result<T, ProviderError> {
    answer.map_err(|error| match error {
        ProviderError::Lacking(said) if said.contains("API key is invalid") => {
            ProviderError::Refused(said)
        }
        error => error,
    })
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("from", &self.from).finish_non_exhaustive()
    }
}
