//! Makes tokens, byte for byte as Breeze makes them with a keyring: the same
//! header, the same claims in the same order.

use std::time::Duration;

use jsonwebtoken::{Algorithm, Header};
use secrecy::SecretString;
use serde::Serialize;

use super::{
    API_AUDIENCE, ISSUER, VIEWER_AUDIENCE, VIEWER_PURPOSE,
    claims::{Scope, TokenKind},
    error::SignError,
};
use crate::{
    clock::Timestamp,
    keyring::{Keyring, Signing},
};

/// How long each kind of token lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of an access token.
    pub access: Duration,
    /// Of a refresh token.
    pub refresh: Duration,
    /// Of a viewer token.
    pub viewer: Duration,
}

impl Lifetimes {
    /// Breeze's own: 15 minutes, 7 days, 2 hours.
    pub const BREEZE: Self = Self {
        access: Duration::from_secs(15 * 60),
        refresh: Duration::from_secs(7 * 24 * 60 * 60),
        viewer: Duration::from_secs(2 * 60 * 60),
    };

    /// The longest of them: how long a signing key drains after its last signature.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.access.max(self.refresh).max(self.viewer)
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self::BREEZE
    }
}

/// An access or refresh token to be signed.
///
/// ```
/// use breeze_rollover::token::{NewToken, Scope};
///
/// let email = "ann@example.test".to_owned();
/// let token = NewToken::access("user-1", Scope::System).email(email).mfa(true);
/// # let _ = token;
/// ```
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewToken {
    sub: String,
    email: Option<String>,
    role_id: Option<String>,
    org_id: Option<String>,
    partner_id: Option<String>,
    scope: Scope,
    mfa: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    mdid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aep: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mep: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fam: Option<String>,
    #[serde(rename = "type")]
    kind: TokenKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(skip)]
    lifetime: Duration,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: impl Into<$type>) -> Self {
            self.$name = $name.into();
            self
        }
    )*};
}

impl NewToken {
    /// An access token of Breeze's lifetime for the user `sub`.
    #[must_use]
    pub fn access(sub: impl Into<String>, scope: Scope) -> Self {
        Self {
            sub: sub.into(),
            email: None,
            role_id: None,
            org_id: None,
            partner_id: None,
            scope,
            mfa: false,
            mdid: None,
            aep: None,
            mep: None,
            sid: None,
            fam: None,
            kind: TokenKind::Access,
            jti: None,
            lifetime: Lifetimes::BREEZE.access,
        }
    }

    /// A refresh token of Breeze's lifetime, known by `jti`, for the user `sub`.
    #[must_use]
    pub fn refresh(sub: impl Into<String>, scope: Scope, jti: impl Into<String>) -> Self {
        Self {
            kind: TokenKind::Refresh,
            jti: Some(jti.into()),
            lifetime: Lifetimes::BREEZE.refresh,
            ..Self::access(sub, scope)
        }
    }

    setters! {
        /// The user's address.
        email: Option<String>;
        /// The user's role.
        role_id: Option<String>;
        /// The organization that the user acts for.
        org_id: Option<String>;
        /// The partner that the user acts for.
        partner_id: Option<String>;
        /// Whether the user passed MFA.
        mfa: bool;
        /// The device that remembers MFA.
        mdid: Option<String>;
        /// The user's authentication epoch.
        aep: Option<i64>;
        /// The user's MFA epoch.
        mep: Option<i64>;
        /// The session of an access token.
        sid: Option<String>;
        /// The family that a refresh token descends in.
        fam: Option<String>;
        /// How long it lives, in place of Breeze's own lifetime.
        lifetime: Duration;
    }
}

/// A viewer token to be signed: one remote session, watched.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewViewerToken {
    sub: String,
    email: String,
    session_id: String,
    purpose: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mfa_satisfied: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assurance_absolute_expires_at: Option<i64>,
    jti: String,
    #[serde(skip)]
    lifetime: Duration,
}

impl NewViewerToken {
    /// A viewer token of Breeze's lifetime, known by `jti`.
    #[must_use]
    pub fn new(
        sub: impl Into<String>,
        email: impl Into<String>,
        session_id: impl Into<String>,
        jti: impl Into<String>,
    ) -> Self {
        Self {
            sub: sub.into(),
            email: email.into(),
            session_id: session_id.into(),
            purpose: VIEWER_PURPOSE,
            mfa_satisfied: None,
            assurance_absolute_expires_at: None,
            jti: jti.into(),
            lifetime: Lifetimes::BREEZE.viewer,
        }
    }

    /// The user passed MFA, and that counts up to `until`: not before the token
    /// expires, and within its lifetime, or no verifier accepts it.
    #[must_use]
    pub fn assured_until(mut self, until: Timestamp) -> Self {
        self.mfa_satisfied = Some(true);
        self.assurance_absolute_expires_at = Some(until.as_seconds());
        self
    }

    setters! {
        /// How long it lives, in place of Breeze's own lifetime.
        lifetime: Duration;
    }
}

/// Signs `token` at `now` with the primary key, which it names.
///
/// # Errors
/// [`SignError`] once the lease of this process has run out, or when `jsonwebtoken`
/// cannot sign.
pub fn sign(
    ring: &Keyring<Signing>,
    token: &NewToken,
    now: Timestamp,
) -> Result<SecretString, SignError> {
    encode(ring, token, API_AUDIENCE, now, token.lifetime)
}

/// Signs a viewer token at `now` with the primary key, which it names.
///
/// # Errors
/// [`SignError`] once the lease of this process has run out, or when `jsonwebtoken`
/// cannot sign.
pub fn sign_viewer(
    ring: &Keyring<Signing>,
    token: &NewViewerToken,
    now: Timestamp,
) -> Result<SecretString, SignError> {
    encode(ring, token, VIEWER_AUDIENCE, now, token.lifetime)
}

/// The claims of a token, then those that every token has.
#[derive(Serialize)]
struct Payload<'a, T> {
    #[serde(flatten)]
    claims: &'a T,
    iat: i64,
    exp: i64,
    iss: &'static str,
    aud: &'static str,
}

fn encode<T: Serialize>(
    ring: &Keyring<Signing>,
    claims: &T,
    aud: &'static str,
    now: Timestamp,
    lifetime: Duration,
) -> Result<SecretString, SignError> {
    let (iat, exp) = (now.as_seconds(), now.plus(lifetime).as_seconds());
    let payload = Payload { claims, iat, exp, iss: ISSUER, aud };
    ring.make(|key| {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = None;
        header.kid = Some(key.id().to_string());
        Ok(jsonwebtoken::encode(&header, &payload, key.encoding())?.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signing_key_drains_for_the_longest_lifetime() {
        let hour = |n: u64| Duration::from_secs(n * 3600);
        assert_eq!(Lifetimes::default().longest(), hour(7 * 24));
        let odd = Lifetimes { access: hour(3), refresh: hour(1), viewer: hour(2) };
        assert_eq!(odd.longest(), hour(3));
    }
}
