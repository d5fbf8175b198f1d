//! Anthropic: `ANTHROPIC_API_KEY`, which the assistant speaks with.
//!
//! 1. A key is probed by asking for the model that the assistant uses: it costs nothing,
//!    and shows both that the key is known and that it may use the model.
//! 2. A reply has more time than other answers, and is asked for once: what may have been
//!    said is paid for.
//! 3. A key has no right to revoke keys: an operator does that in the console.
//!
//! The calls are `GET /v1/models/{model}` and `POST /v1/messages`, of version 2023-06-01.

use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderValue, Method};
use reqwest::RequestBuilder;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{
    Address, Connect, Limits, Provider, ProviderError, Trust,
    http::{Api, sensitive},
    patience::{Again, in_vain},
    words::Withheld,
};
use crate::{catalog::Secret, material::Material};

const FORM: &str = "an Anthropic API key is such as sk-ant-…, in visible ASCII";

/// So many times as long as any other answer a reply may take: 25 s by default, less than a
/// request of the API.
const REPLY: f64 = 2.5;

/// Anthropic's API.
#[derive(Debug, Clone)]
pub struct Anthropic {
    api: Api,
    model: String,
}

impl Anthropic {
    /// Where Anthropic is.
    pub const ADDRESS: &'static str = "https://api.anthropic.com";

    /// The API at `address`, to be used with `model`.
    #[must_use]
    pub fn new(address: Address, trust: &Trust, limits: Limits, model: impl Into<String>) -> Self {
        Self { api: Api::new(address, trust, limits), model: model.into() }
    }
}

#[async_trait]
impl Provider for Anthropic {
    fn secret(&self) -> Secret {
        Secret::AnthropicApiKey
    }

    fn check(&self, credential: &Material) -> Result<(), &'static str> {
        let key = credential.expose_source();
        let is_key = key.starts_with("sk-ant-") && key.bytes().all(|b| b.is_ascii_graphic());
        if is_key { Ok(()) } else { Err(FORM) }
    }

    async fn probe(&self, credential: &Material) -> Result<String, ProviderError> {
        self.client(credential)?.probe().await
    }
}

impl Connect for Anthropic {
    type Client = Assistant;

    fn client(&self, credential: &Material) -> Result<Assistant, ProviderError> {
        self.check(credential).map_err(ProviderError::Form)?;
        let key = sensitive(credential.expose_source()).ok_or(ProviderError::Form(FORM))?;
        let withheld = Withheld::of(credential);
        Ok(Assistant { api: self.api.clone(), model: self.model.clone(), key, withheld })
    }
}

/// The API, with one key.
pub struct Assistant {
    api: Api,
    model: String,
    key: HeaderValue,
    withheld: Withheld,
}

/// What the assistant said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The model that said it.
    pub model: String,
    /// Its words.
    pub text: String,
}

impl Assistant {
    /// What the assistant says to `content`, in at most `max_tokens`.
    ///
    /// # Errors
    /// [`ProviderError`] with what Anthropic answered.
    pub async fn reply(&self, content: &str, max_tokens: u32) -> Result<Reply, ProviderError> {
        #[derive(Serialize)]
        struct Ask<'a> {
            model: &'a str,
            max_tokens: u32,
            messages: [Said<'a>; 1],
        }
        #[derive(Serialize)]
        struct Said<'a> {
            role: &'static str,
            content: &'a str,
        }
        #[derive(Deserialize)]
        struct Message {
            model: String,
            content: Vec<Block>,
        }
        #[derive(Deserialize)]
        struct Block {
            #[serde(default)]
            text: String,
        }
        let messages = [Said { role: "user", content }];
        let ask = Ask { model: &self.model, max_tokens, messages };
        let call = || {
            let request = self.request(Method::POST, &["v1", "messages"]).json(&ask);
            request.timeout(self.patience())
        };
        let answer = self.api.ask(&self.withheld, Again::WithoutEffect, call);
        let answer = timeout(self.patience(), answer).await.unwrap_or_else(|_| Err(in_vain()))?;
        let message: Message = answer.accepted(&self.withheld)?.json()?;
        let text = message.content.into_iter().map(|block| block.text).collect();
        Ok(Reply { model: message.model, text })
    }

    /// How long a reply may take, tries and all.
    fn patience(&self) -> Duration {
        self.api.limits().answer.mul_f64(REPLY)
    }

    async fn probe(&self) -> Result<String, ProviderError> {
        #[derive(Deserialize)]
        struct Model {
            id: String,
            r#type: String,
        }
        let call = || self.request(Method::GET, &["v1", "models", &self.model]);
        let answer = self.api.ask(&self.withheld, Again::Never, call).await?;
        let model: Model = answer.accepted(&self.withheld)?.json()?;
        if model.r#type != "model" {
            return Err(ProviderError::Nonsense("an answer that describes no model".to_owned()));
        }
        Ok(format!("the key may use {}", self.withheld.told(&model.id)))
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.api
            .request(method, path)
            .header("x-api-key", self.key.clone())
            .header("anthropic-version", "2023-06-01")
    }
}

impl std::fmt::Debug for Assistant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assistant").field("model", &self.model).finish_non_exhaustive()
    }
}
