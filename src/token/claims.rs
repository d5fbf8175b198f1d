//! What a verified token says, typed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// The claims of a verified access or refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The user.
    pub sub: String,
    /// The user's address.
    pub email: Option<String>,
    /// The user's role.
    pub role_id: Option<String>,
    /// The organization that the user acts for.
    pub org_id: Option<String>,
    /// The partner that the user acts for.
    pub partner_id: Option<String>,
    /// How far the token reaches; `None` when it says nothing that is known, which
    /// grants nothing.
    pub scope: Option<Scope>,
    /// What the token is for (`type`).
    pub kind: TokenKind,
    /// Whether the user passed MFA: only a literal `true` counts.
    pub mfa: bool,
    /// The device that remembers MFA.
    pub mdid: Option<String>,
    /// The family that a refresh token descends in.
    pub fam: Option<String>,
    /// The session of an access token.
    pub sid: Option<String>,
    /// The token's own id.
    pub jti: Option<String>,
    /// The user's authentication epoch when it was made.
    pub aep: Option<i64>,
    /// The user's MFA epoch when it was made.
    pub mep: Option<i64>,
    /// When it was made.
    pub iat: Option<Timestamp>,
    /// From when on it is expired.
    pub exp: Timestamp,
}

/// The claims of a verified viewer token: one remote session, watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewerClaims {
    /// The user.
    pub sub: String,
    /// The user's address.
    pub email: Option<String>,
    /// The remote session.
    pub session_id: String,
    /// The token's own id.
    pub jti: String,
    /// If the user passed MFA: until when that counts.
    pub assured_until: Option<Timestamp>,
    /// When it was made.
    pub iat: Option<Timestamp>,
    /// From when on it is expired.
    pub exp: Timestamp,
}

/// How far a token reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything: the platform's own operators.
    System,
    /// A partner and its organizations.
    Partner,
    /// One organization.
    Organization,
}

impl Scope {
    /// Its name in a token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Partner => "partner",
            Self::Organization => "organization",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;
    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        [Self::System, Self::Partner, Self::Organization]
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or(UnknownScope)
    }
}

/// Text that is no scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a scope is system, partner or organization")]
pub struct UnknownScope;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// Accompanies requests.
    Access,
    /// Is exchanged for new tokens, once.
    Refresh,
}

impl TokenKind {
    /// Its name in a token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }
}
