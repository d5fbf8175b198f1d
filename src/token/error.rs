//! Why a token was refused, or could not be made: never what was in it.

use std::fmt;

use crate::keyring::Fenced;

/// Why a token was refused.
///
/// For logs: a caller from outside learns only that its token is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts separated by full stops.
    #[error("a token has exactly three parts")]
    PartCount,
    /// A part that is not base64, or not a JSON object.
    #[error("the {0} cannot be read")]
    Malformed(Part),
    /// An algorithm other than HS256, `none` included.
    #[error("the algorithm is not HS256")]
    Algorithm,
    /// A header with `crit` or `b64`.
    #[error("the header asks for an extension that is not understood")]
    Extension,
    /// A `kid` that is not text.
    #[error("the key id is not text")]
    KeyIdType,
    /// A `kid` that names no accepted key.
    #[error("the key id names no accepted key")]
    UnknownKey,
    /// No `kid`, and no accepted key ever signed without one.
    #[error("the token names no key, and no accepted key predates key ids")]
    NoUnnamedKey,
    /// The signature is not that of the key.
    #[error("the signature does not match")]
    BadSignature,
    /// A required claim is missing, or empty where it must not be.
    #[error("the claim {0} is missing")]
    MissingClaim(&'static str),
    /// A claim of the wrong type, or of a value that it cannot have.
    #[error("the claim {0} is not what it must be")]
    BadClaim(&'static str),
    /// Made by another issuer.
    #[error("the issuer is another one")]
    WrongIssuer,
    /// Meant for another audience.
    #[error("the token is meant for another audience")]
    WrongAudience,
    /// `exp` has been reached.
    #[error("the token has expired")]
    Expired,
    /// `nbf` lies in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// A viewer token whose MFA claims are incomplete or outlive it.
    #[error("the MFA assurance is incomplete or out of bounds")]
    BadAssurance,
}

/// One of the three parts of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The first.
    Header,
    /// The second.
    Payload,
    /// The third.
    Signature,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Signature => "signature",
        })
    }
}

/// A token could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The lease of this process has run out.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// `jsonwebtoken` cannot sign.
    #[error("the token could not be signed: {0}")]
    Encode(#[from] jsonwebtoken::errors::Error),
}
