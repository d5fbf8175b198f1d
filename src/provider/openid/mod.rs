//! Sign-on at an OpenID provider, for which this process is a relying party: the
//! authorization code flow (OpenID Connect Core 1.0, section 3.1, and Discovery 1.0).
//!
//! 1. A provider is what its discovery document says, and only if that names exactly the
//!    issuer that was set.
//! 2. The client secret goes to the provider's token endpoint alone, over TLS; a code goes
//!    with it, and once.
//! 3. A code counts with the verifier of its sign-on only (PKCE, RFC 7636, S256), which no
//!    browser sees.
//! 4. Who has come back, an ID token says: signed with a key of the provider's, for this
//!    client, at this time, in answer to this very sign-on.
//! 5. An error holds neither a secret nor a code nor a token.
//!
//! State, nonce and verifier are the caller's to make and to keep, each of 32 random bytes;
//! that a browser comes back with its own state, [`digest::state`](crate::digest::state)
//! is for.

mod id_token;

use base64_simd::URL_SAFE_NO_PAD;
use http::{HeaderValue, header::ACCEPT};
pub use id_token::IdTokenError;
use jsonwebtoken::jwk::JwkSet;
use reqwest::{RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{
    Address, Limits, ProviderError, Trust, UnfitAddress, address,
    http::{Answer, Api},
    patience::Again,
    words::{Withheld, escaped},
};
use crate::{clock::Timestamp, material::Material};

const DISCOVERY: [&str; 2] = [".well-known", "openid-configuration"];

/// How the token endpoint is told who asks.
const BASIC: &str = "client_secret_basic";

/// Reaches OpenID providers, whichever.
#[derive(Debug, Clone)]
pub struct OpenId {
    trust: Trust,
    limits: Limits,
    allows_loopback: bool,
}

/// What one provider knows this application by.
#[derive(Debug)]
pub struct Client {
    /// The provider, exactly as it names itself.
    pub issuer: String,
    /// The client id.
    pub id: String,
    /// The client secret.
    pub secret: Material,
    /// Where browsers come back to, as it is registered there.
    pub callback: Address,
}

/// Whom a provider has signed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Their e-mail address, if the provider says that it has verified it.
    pub verified_email: Option<String>,
}

/// Why nobody was signed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignOnError {
    /// An address at which no secret may be told.
    #[error("the issuer, or an address that the provider names, is unfit: {0}")]
    Unfit(#[from] UnfitAddress),
    /// The provider names itself otherwise than was set.
    #[error("the provider names itself {0}, and another issuer is set; set exactly that one")]
    Issuer(String),
    /// The provider does not take the code.
    #[error("the provider does not take the code: it was used, or came too late; begin again")]
    Code,
    /// What it says who has come back is not good.
    #[error(transparent)]
    Token(#[from] IdTokenError),
    /// The provider did not do it.
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

impl OpenId {
    /// Reaches providers whose certificates `trust` vouches for. Over TLS alone: whoever
    /// sets an issuer need not be whoever runs this process.
    #[must_use]
    pub const fn new(trust: Trust, limits: Limits) -> Self {
        Self { trust, limits, allows_loopback: false }
    }

    /// Reaches those on the loopback interface without TLS, too: for development.
    #[must_use]
    pub const fn allowing_loopback(mut self) -> Self {
        self.allows_loopback = true;
        self
    }

    /// The provider of `client`, as it describes itself now.
    ///
    /// # Errors
    /// [`SignOnError`]: it cannot be reached, is another one, or names unfit addresses.
    pub async fn discover(&self, client: Client) -> Result<RelyingParty, SignOnError> {
        self.guarded(&client.issuer)?;
        let api = Api::new(client.issuer.parse()?, &self.trust, self.limits);
        let withheld = Withheld::of(&client.secret);
        let found: Discovered = fetch(&api, &withheld, &api.url(&DISCOVERY)).await?;
        if found.issuer != client.issuer {
            return Err(SignOnError::Issuer(withheld.told(&found.issuer)));
        }
        let methods = found.token_endpoint_auth_methods_supported;
        Ok(RelyingParty {
            authorization: self.guarded(&found.authorization_endpoint)?,
            token: self.guarded(&found.token_endpoint)?,
            keys: self.guarded(&found.jwks_uri)?,
            takes_basic: methods.is_none_or(|methods| methods.iter().any(|one| one == BASIC)),
            api,
            client,
        })
    }

    fn guarded(&self, text: &str) -> Result<Url, UnfitAddress> {
        let url = address::guarded(text)?;
        let is_fit = self.allows_loopback || url.scheme() == "https";
        if is_fit { Ok(url) } else { Err(UnfitAddress::InTheClear) }
    }
}

/// What a provider says of itself.
#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// This application, at one provider.
#[derive(Debug)]
pub struct RelyingParty {
    api: Api,
    client: Client,
    authorization: Url,
    token: Url,
    keys: Url,
    takes_basic: bool,
}

impl RelyingParty {
    /// Where a browser is sent, to come back with `state` and a code.
    #[must_use]
    pub fn authorization_url(&self, state: &str, nonce: &str, verifier: &str) -> String {
        let mut url = self.authorization.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("scope", "openid email")
            .append_pair("client_id", &self.client.id)
            .append_pair("redirect_uri", &self.client.callback.to_string())
            .append_pair("state", state)
            .append_pair("nonce", nonce)
            .append_pair("code_challenge", &challenge(verifier))
            .append_pair("code_challenge_method", "S256");
        url.into()
    }

    /// Whom the provider has signed on: gives it the `code` that a browser came back with.
    ///
    /// # Errors
    /// [`SignOnError`]: it takes neither the code nor the client, cannot be reached, or its
    /// ID token is not good.
    pub async fn redeem(
        &self,
        code: &SecretString,
        nonce: &str,
        verifier: &str,
        now: Timestamp,
    ) -> Result<Identity, SignOnError> {
        let Client { issuer, id, secret, .. } = &self.client;
        let (code, secret) = (code.expose_secret(), secret.expose_source());
        let withheld = Withheld::parts(&[secret, code, verifier, &format!("{id}:{secret}")]);
        let call = || self.token_request(code, verifier);
        let answer = self.api.ask(&withheld, Again::WithoutEffect, call).await?;
        if is_invalid_grant(&answer) {
            return Err(SignOnError::Code);
        }
        let tokens: Tokens = answer.accepted(&withheld)?.json()?;
        let keys: JwkSet = fetch(&self.api, &withheld, &self.keys).await?;
        let expected = id_token::Expected { issuer, client: id, nonce, now };
        Ok(id_token::check(&keys, tokens.id_token.expose_secret(), &expected)?)
    }

    fn token_request(&self, code: &str, verifier: &str) -> RequestBuilder {
        let (id, secret) = (&self.client.id, self.client.secret.expose_source());
        let callback = self.client.callback.to_string();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &callback),
            ("code_verifier", verifier),
        ];
        let post = self.api.client().post(self.token.clone()).timeout(self.api.limits().answer);
        let post = post.header(ACCEPT, HeaderValue::from_static("application/json"));
        if self.takes_basic {
            // As RFC 6749 has it, in section 2.3.1.
            return post.basic_auth(escaped(id), Some(escaped(secret))).form(&form);
        }
        form.extend([("client_id", id.as_str()), ("client_secret", secret)]);
        post.form(&form)
    }
}

#[derive(Deserialize)]
struct Tokens {
    id_token: SecretString,
}

/// Whether it is about the code, and not about the client.
fn is_invalid_grant(answer: &Answer) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    answer.status.is_client_error()
        && answer.json().is_ok_and(|refusal: Refusal| refusal.error == "invalid_grant")
}

async fn fetch<T: DeserializeOwned>(
    api: &Api,
    withheld: &Withheld,
    url: &Url,
) -> Result<T, ProviderError> {
    let get = || api.client().get(url.clone()).timeout(api.limits().answer);
    api.ask(withheld, Again::Always, get).await?.accepted(withheld)?.json()
}

/// What a provider is told of a verifier beforehand.
fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode_to_string(Sha256::digest(verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    #[test]
    fn a_challenge_is_the_one_of_the_standard() {
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[tokio::test]
    async fn a_provider_without_tls_is_not_even_asked() {
        let openid = OpenId::new(Trust::public(), Limits::default());
        let discover = |issuer: &str| {
            openid.discover(Client {
                issuer: issuer.to_owned(),
                id: "id".to_owned(),
                secret: Material::new("secret").unwrap(),
                callback: "https://breeze.example.com/back".parse().unwrap(),
            })
        };
        for issuer in ["http://127.0.0.1:9", "http://id.example.com"] {
            let refused = discover(issuer).await.unwrap_err();
            assert_eq!(refused, SignOnError::Unfit(UnfitAddress::InTheClear), "{issuer}");
        }
    }
}
