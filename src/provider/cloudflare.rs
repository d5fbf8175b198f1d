//! Cloudflare: `CLOUDFLARE_API_TOKEN`, which client certificates are signed with.
//!
//! 1. A token is probed by having it verified, and by listing the client certificates of
//!    the zone, for which it needs the zone's permission.
//! 2. A new token is a copy of the present one: the same policies, another value. The
//!    present one works on. (Rolling its value would end it before the new one is proven,
//!    or even stored.)
//! 3. A copy whose value was lost on the way, because the process died, is not left over:
//!    the next attempt finds it by its name, and rolls its value.
//! 4. The old token is deleted by means of the new one. Without the permission to edit
//!    tokens, making and deleting are left to an operator.
//!
//! The calls are those of version 4: `/user/tokens`, `/user/tokens/verify`,
//! `/user/tokens/{id}`, `/user/tokens/{id}/value`, `/zones/{zone}/client_certificates`.

use std::fmt;

use async_trait::async_trait;
use http::{HeaderValue, Method, StatusCode};
use reqwest::RequestBuilder;
use secrecy::SecretString;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Address, Connect, Limits, Provider, ProviderError, Trust,
    http::{Answer, Api, sensitive},
    patience::Again,
    words::Withheld,
};
use crate::{catalog::Secret, material::Material};

const FORM: &str = "a Cloudflare API token has 40 letters, digits, - and _, or more";
const BY_HAND_MAKE: &str = "the present token may not make tokens: make the new one at Cloudflare, and hand it in as `value`";
const BY_HAND_ENDS: &str = "the present token ends by itself: make the new one at Cloudflare, with an end of its own, and hand it in as `value`";
const BY_HAND_DELETE: &str =
    "the new token may not delete tokens: delete the old one at Cloudflare";

/// Cloudflare's API.
#[derive(Debug, Clone)]
pub struct Cloudflare {
    api: Api,
    zone: String,
}

impl Cloudflare {
    /// Where Cloudflare is.
    pub const ADDRESS: &'static str = "https://api.cloudflare.com/client/v4";

    /// The API at `address`, to be used for the zone of this id.
    #[must_use]
    pub fn new(address: Address, trust: &Trust, limits: Limits, zone: impl Into<String>) -> Self {
        Self { api: Api::new(address, trust, limits), zone: zone.into() }
    }
}

#[async_trait]
impl Provider for Cloudflare {
    fn secret(&self) -> Secret {
        Secret::CloudflareApiToken
    }

    fn check(&self, credential: &Material) -> Result<(), &'static str> {
        let token = credential.expose_source();
        let is_of_it = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if token.len() >= 40 && token.bytes().all(is_of_it) { Ok(()) } else { Err(FORM) }
    }

    async fn probe(&self, credential: &Material) -> Result<String, ProviderError> {
        let zone = self.client(credential)?;
        let token = zone.verify().await?;
        zone.list().await?;
        Ok(format!("token {} is active, and sees the client certificates of the zone", token.id))
    }

    async fn make(&self, present: &Material) -> Result<Material, ProviderError> {
        self.client(present)?.copy(&format!("breeze-api after {}", present.fingerprint())).await
    }

    async fn revoke(&self, old: &Material, present: &Material) -> Result<String, ProviderError> {
        let old = match self.client(old)?.verify().await {
            Ok(token) => token,
            Err(ProviderError::Refused(said)) => {
                return Ok(format!("Cloudflare knows the old token no more: {said}"));
            }
            Err(error) => return Err(error),
        };
        let present = self.client(present)?;
        if present.verify().await?.id == old.id {
            return Err(ProviderError::ByHand(BY_HAND_DELETE));
        }
        present.delete(&old.id).await?;
        Ok(format!("token {} is deleted", old.id))
    }
}

impl Connect for Cloudflare {
    type Client = Zone;

    fn client(&self, credential: &Material) -> Result<Zone, ProviderError> {
        self.check(credential).map_err(ProviderError::Form)?;
        let bearer = format!("Bearer {}", credential.expose_source());
        let bearer = sensitive(&bearer).ok_or(ProviderError::Form(FORM))?;
        let withheld = Withheld::of(credential);
        Ok(Zone { api: self.api.clone(), id: self.zone.clone(), bearer, withheld })
    }
}

/// One zone, with one token.
pub struct Zone {
    api: Api,
    id: String,
    bearer: HeaderValue,
    withheld: Withheld,
}

/// A client certificate that Cloudflare has signed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ClientCertificate {
    /// Its id at Cloudflare.
    pub id: String,
    /// It, in PEM.
    pub certificate: String,
}

#[derive(Deserialize)]
struct Verified {
    id: String,
    status: String,
}

/// What is copied of a token.
#[derive(Deserialize)]
struct Rights {
    policies: Value,
    #[serde(default)]
    condition: Option<Value>,
    #[serde(default)]
    expires_on: Option<Value>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    name: String,
}

impl Zone {
    /// Has a client certificate signed that is valid for `days`.
    ///
    /// # Errors
    /// [`ProviderError`] with what Cloudflare answered.
    pub async fn sign(&self, csr: &str, days: u32) -> Result<ClientCertificate, ProviderError> {
        #[derive(Serialize)]
        struct Ask<'a> {
            csr: &'a str,
            validity_days: u32,
        }
        let ask = Ask { csr, validity_days: days };
        let path = ["zones", &self.id, "client_certificates"];
        let call = || self.request(Method::POST, &path).json(&ask);
        result(&self.accepted(Again::WithoutEffect, call).await?)
    }

    async fn verify(&self) -> Result<Verified, ProviderError> {
        let call = || self.request(Method::GET, &["user", "tokens", "verify"]);
        let token: Verified = result(&self.accepted(Again::Never, call).await?)?;
        if token.status == "active" {
            return Ok(Verified { id: self.withheld.told(&token.id), ..token });
        }
        let status = self.withheld.told(&token.status);
        Err(ProviderError::Refused(format!("the token is {status}, and not active")))
    }

    async fn list(&self) -> Result<(), ProviderError> {
        let path = ["zones", &self.id, "client_certificates"];
        let call = || self.request(Method::GET, &path).query(&[("per_page", "5")]);
        result::<Vec<Value>>(&self.accepted(Again::Never, call).await?).map(drop)
    }

    /// A token with the rights of this one, known by `name`.
    async fn copy(&self, name: &str) -> Result<Material, ProviderError> {
        let own = self.verify().await?;
        let path = ["user", "tokens", &own.id];
        let read = || self.request(Method::GET, &path);
        let rights: Rights = result(&self.may(BY_HAND_MAKE, read).await?)?;
        if rights.expires_on.is_some_and(|end| !end.is_null()) {
            return Err(ProviderError::ByHand(BY_HAND_ENDS));
        }
        let value: SecretString = match self.named(name).await? {
            Some(lost) => {
                let path = ["user", "tokens", &lost, "value"];
                let roll = || self.request(Method::PUT, &path).json(&json!({}));
                result(&self.may(BY_HAND_MAKE, roll).await?)?
            }
            None => {
                #[derive(Deserialize)]
                struct Made {
                    value: SecretString,
                }
                let mut like = json!({ "name": name, "policies": rights.policies });
                if let Some(condition) = rights.condition {
                    like["condition"] = condition;
                }
                let create = || self.request(Method::POST, &["user", "tokens"]).json(&like);
                result::<Made>(&self.may(BY_HAND_MAKE, create).await?)?.value
            }
        };
        let empty = |_| ProviderError::Nonsense("a token without a value".to_owned());
        Material::new(value).map_err(empty)
    }

    /// The id of the token that is called `name`, if there is one.
    async fn named(&self, name: &str) -> Result<Option<String>, ProviderError> {
        const PAGE: usize = 50;
        for page in 1.. {
            let window = [("per_page", PAGE), ("page", page)];
            let list = || self.request(Method::GET, &["user", "tokens"]).query(&window);
            let tokens: Vec<Named> = result(&self.may(BY_HAND_MAKE, list).await?)?;
            let is_last = tokens.len() < PAGE;
            let found = tokens.into_iter().find(|token| token.name == name);
            if found.is_some() || is_last {
                return Ok(found.map(|token| token.id));
            }
        }
        Ok(None)
    }

    async fn delete(&self, id: &str) -> Result<(), ProviderError> {
        let path = ["user", "tokens", id];
        let call = || self.request(Method::DELETE, &path);
        let answer = self.api.ask(&self.withheld, Again::Never, call).await?;
        match answer.status {
            // By whomever.
            StatusCode::NOT_FOUND => Ok(()),
            StatusCode::FORBIDDEN => Err(ProviderError::ByHand(BY_HAND_DELETE)),
            _ => answer.accepted(&self.withheld).map(drop),
        }
    }

    /// The answer to what a token needs a permission of its own for.
    async fn may(
        &self,
        by_hand: &'static str,
        call: impl Fn() -> RequestBuilder,
    ) -> Result<Answer, ProviderError> {
        match self.accepted(Again::Never, call).await {
            Err(ProviderError::Lacking(_)) => Err(ProviderError::ByHand(by_hand)),
            answer => answer,
        }
    }

    async fn accepted(
        &self,
        again: Again,
        call: impl Fn() -> RequestBuilder,
    ) -> Result<Answer, ProviderError> {
        self.api.ask(&self.withheld, again, call).await?.accepted(&self.withheld)
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.api.request(method, path).header("authorization", self.bearer.clone())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zone").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What every answer of Cloudflare carries.
fn result<T: DeserializeOwned>(answer: &Answer) -> Result<T, ProviderError> {
    #[derive(Deserialize)]
    struct Envelope<T> {
        result: T,
    }
    Ok(answer.json::<Envelope<T>>()?.result)
}
