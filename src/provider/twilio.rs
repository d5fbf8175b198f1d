//! Twilio: `TWILIO_ACCOUNT_SID` and `TWILIO_AUTH_TOKEN`, which SMS go out with.
//!
//! 1. A credential is probed by reading its account, which must be active.
//! 2. An account has two tokens at most: a new one is made as the secondary, beside the
//!    primary. Promoting it is what revokes the old one.
//! 3. An SMS that may have gone out is not sent twice.
//!
//! The calls are `GET /2010-04-01/Accounts/{sid}.json`, `POST …/{sid}/Messages.json`, and
//! of the accounts API `POST /v1/AuthTokens/Secondary` and `POST /v1/AuthTokens/Promote`.

use std::fmt;

use async_trait::async_trait;
use http::Method;
use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    Address, Connect, Limits, Provider, ProviderError, Trust,
    http::{Answer, Api},
    parts::parts,
    patience::Again,
    words::Withheld,
};
use crate::{catalog::Secret, material::Material};

const FORM: &str = r#"a Twilio credential is {"TWILIO_ACCOUNT_SID": "AC…", "TWILIO_AUTH_TOKEN": "…"}, each of 32 hexadecimal digits"#;
const BY_HAND_MAKE: &str = "Twilio makes no secondary token, as where the account has one: hand that in as `value` if it is known; if nobody uses it, such as one that a rollover which came to nothing has left, delete it (DELETE /v1/AuthTokens/Secondary at accounts.twilio.com), and begin again";
const BY_HAND_PROMOTE: &str = "promote the secondary token at Twilio, which ends the old one";

/// Twilio's APIs.
#[derive(Debug, Clone)]
pub struct Twilio {
    api: Api,
    accounts: Api,
    from: String,
}

impl Twilio {
    /// Where messages are sent.
    pub const ADDRESS: &'static str = "https://api.twilio.com";
    /// Where tokens are made.
    pub const ACCOUNTS: &'static str = "https://accounts.twilio.com";

    /// The API at `address`, and that of accounts at `accounts`, with SMS from the number
    /// `from`.
    #[must_use]
    pub fn new(
        address: Address,
        accounts: Address,
        trust: &Trust,
        limits: Limits,
        from: impl Into<String>,
    ) -> Self {
        Self {
            api: Api::new(address, trust, limits),
            accounts: Api::new(accounts, trust, limits),
            from: from.into(),
        }
    }
}

#[async_trait]
impl Provider for Twilio {
    fn secret(&self) -> Secret {
        Secret::TwilioAuthToken
    }

    fn check(&self, credential: &Material) -> Result<(), &'static str> {
        pair(credential).map(drop).ok_or(FORM)
    }

    async fn probe(&self, credential: &Material) -> Result<String, ProviderError> {
        self.client(credential)?.probe().await
    }

    async fn make(&self, present: &Material) -> Result<Material, ProviderError> {
        #[derive(Deserialize)]
        struct Made {
            secondary_auth_token: SecretString,
        }
        let present = self.client(present)?;
        let answer = present.token("Secondary", BY_HAND_MAKE).await?;
        let token = answer.json::<Made>()?.secondary_auth_token;
        let value = json!({
            "TWILIO_ACCOUNT_SID": present.sid,
            "TWILIO_AUTH_TOKEN": token.expose_secret(),
        });
        let made = Material::new(value.to_string()).ok();
        made.filter(|made| self.check(made).is_ok())
            .ok_or_else(|| ProviderError::Nonsense("a token of another form".to_owned()))
    }

    async fn revoke(&self, old: &Material, present: &Material) -> Result<String, ProviderError> {
        let (old, present) = (self.client(old)?, self.client(present)?);
        match old.probe().await {
            Err(ProviderError::Refused(said)) => {
                return Ok(format!("Twilio takes the old token no more: {said}"));
            }
            Err(error) => return Err(error),
            Ok(_) if old.sid != present.sid => return Err(ProviderError::ByHand(BY_HAND_PROMOTE)),
            Ok(_) => {}
        }
        present.token("Promote", BY_HAND_PROMOTE).await?;
        Ok("the new token is the account's primary one, which ended the old one".to_owned())
    }
}

impl Connect for Twilio {
    type Client = Account;

    fn client(&self, credential: &Material) -> Result<Account, ProviderError> {
        let [sid, token] = pair(credential).ok_or(ProviderError::Form(FORM))?;
        Ok(Account {
            api: self.api.clone(),
            accounts: self.accounts.clone(),
            from: self.from.clone(),
            withheld: Withheld::parts(&[&token, &format!("{}:{}", *sid, *token)]),
            sid: (*sid).clone(),
            token: token.as_str().into(),
        })
    }
}

/// Account and token, of the form that Twilio's have.
fn pair(credential: &Material) -> Option<[Zeroizing<String>; 2]> {
    let pair: [Zeroizing<String>; 2] = parts(Secret::TwilioAuthToken, credential)?;
    let is_hex = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let is_fit = pair[0].strip_prefix("AC").is_some_and(is_hex) && is_hex(&pair[1]);
    is_fit.then_some(pair)
}

/// One account, with one token.
pub struct Account {
    api: Api,
    accounts: Api,
    from: String,
    sid: String,
    token: SecretString,
    withheld: Withheld,
}

impl Account {
    /// Sends an SMS to the number `to`, and answers its id.
    ///
    /// # Errors
    /// [`ProviderError`] with what Twilio answered.
    pub async fn send(&self, to: &str, text: &str) -> Result<String, ProviderError> {
        #[derive(Deserialize)]
        struct Queued {
            sid: String,
        }
        let form = [("To", to), ("From", &self.from), ("Body", text)];
        let path = ["2010-04-01", "Accounts", &self.sid, "Messages.json"];
        let call = || self.known(self.api.request(Method::POST, &path)).form(&form);
        let answer = self.api.ask(&self.withheld, Again::WithoutEffect, call).await?;
        let answer = answer.accepted(&self.withheld)?;
        Ok(self.withheld.told(&answer.json::<Queued>()?.sid))
    }

    async fn probe(&self) -> Result<String, ProviderError> {
        #[derive(Deserialize)]
        struct Seen {
            status: String,
        }
        let file = format!("{}.json", self.sid);
        let path = ["2010-04-01", "Accounts", &file];
        let call = || self.known(self.api.request(Method::GET, &path));
        let answer = self.api.ask(&self.withheld, Again::Never, call).await?;
        let seen: Seen = answer.accepted(&self.withheld)?.json()?;
        match seen.status.as_str() {
            "active" => Ok(format!("account {} is active", self.sid)),
            status => Err(ProviderError::Lacking(format!(
                "the account is {}, and not active",
                self.withheld.told(status)
            ))),
        }
    }

    /// What the accounts API does with the account's tokens.
    async fn token(&self, what: &str, by_hand: &'static str) -> Result<Answer, ProviderError> {
        let path = ["v1", "AuthTokens", what];
        let call = || self.known(self.accounts.request(Method::POST, &path));
        let answer = self.accounts.ask(&self.withheld, Again::Never, call).await?;
        match answer.accepted(&self.withheld) {
            Err(ProviderError::Lacking(_) | ProviderError::Declined(_)) => {
                Err(ProviderError::ByHand(by_hand))
            }
            answer => answer,
        }
    }

    fn known(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(&self.sid, Some(self.token.expose_secret()))
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("sid", &self.sid).finish_non_exhaustive()
    }
}
