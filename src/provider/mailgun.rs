//! Mailgun: `MAILGUN_API_KEY`, which mails go out with.
//!
//! 1. A key is probed by sending a mail to its own sender in test mode: Mailgun accepts
//!    it and delivers nothing. Keys that may only send can do nothing else.
//! 2. A mail that may have arrived is not sent twice.
//! 3. An operator deletes the old key.
//!
//! The call is `POST /v3/{domain}/messages`.

use std::fmt;

use async_trait::async_trait;
use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{
    Address, Connect, Limits, Provider, ProviderError, Trust,
    http::Api,
    mail::{Mail, MailFrom},
    patience::Again,
    words::Withheld,
};
use crate::{catalog::Secret, material::Material};

const FORM: &str = "a Mailgun API key has 32 letters, digits and -, or more";

/// Mailgun's API, for one domain.
#[derive(Debug, Clone)]
pub struct Mailgun {
    api: Api,
    domain: String,
    from: MailFrom,
}

impl Mailgun {
    /// Where Mailgun is; in Europe, `https://api.eu.mailgun.net`.
    pub const ADDRESS: &'static str = "https://api.mailgun.net";

    /// The API at `address`, with mails from `from` by `domain`.
    #[must_use]
    pub fn new(
        address: Address,
        trust: &Trust,
        limits: Limits,
        domain: impl Into<String>,
        from: MailFrom,
    ) -> Self {
        Self { api: Api::new(address, trust, limits), domain: domain.into(), from }
    }
}

#[async_trait]
impl Provider for Mailgun {
    fn secret(&self) -> Secret {
        Secret::MailgunApiKey
    }

    fn check(&self, credential: &Material) -> Result<(), &'static str> {
        let key = credential.expose_source();
        let is_of_it = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if key.len() >= 32 && key.bytes().all(is_of_it) { Ok(()) } else { Err(FORM) }
    }

    async fn probe(&self, credential: &Material) -> Result<String, ProviderError> {
        let sender = self.client(credential)?;
        let text = "A key is being tried. Nobody gets this.";
        let mail = Mail::new(self.from.address(), "Breeze tries a key", text)
            .map_err(|error| ProviderError::Declined(error.to_string()))?;
        sender.post(&mail, Again::Never, &[("o:testmode", "yes")]).await?;
        Ok(format!("the key may send mail by {}", self.domain))
    }
}

impl Connect for Mailgun {
    type Client = Sender;

    fn client(&self, credential: &Material) -> Result<Sender, ProviderError> {
        self.check(credential).map_err(ProviderError::Form)?;
        let key = credential.expose_source();
        Ok(Sender {
            api: self.api.clone(),
            domain: self.domain.clone(),
            from: self.from.clone(),
            withheld: Withheld::parts(&[key, &format!("api:{key}")]),
            key: key.into(),
        })
    }
}

/// The API, with one key.
pub struct Sender {
    api: Api,
    domain: String,
    from: MailFrom,
    key: SecretString,
    withheld: Withheld,
}

impl Sender {
    /// Hands `mail` over, and answers its id.
    ///
    /// # Errors
    /// [`ProviderError`] with what Mailgun answered.
    pub async fn send(&self, mail: &Mail) -> Result<String, ProviderError> {
        self.post(mail, Again::WithoutEffect, &[]).await
    }

    async fn post(
        &self,
        mail: &Mail,
        again: Again,
        more: &[(&str, &str)],
    ) -> Result<String, ProviderError> {
        #[derive(Deserialize)]
        struct Queued {
            id: String,
        }
        let from = self.from.to_string();
        let mut form = vec![
            ("from", from.as_str()),
            ("to", mail.to()),
            ("subject", mail.subject()),
            ("text", mail.text()),
        ];
        form.extend(more);
        let call = || {
            self.api
                .request(Method::POST, &["v3", &self.domain, "messages"])
                .basic_auth("api", Some(self.key.expose_secret()))
                .form(&form)
        };
        let answer = self.api.ask(&self.withheld, again, call).await?.accepted(&self.withheld)?;
        Ok(self.withheld.told(&answer.json::<Queued>()?.id))
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("domain", &self.domain).finish_non_exhaustive()
    }
}
