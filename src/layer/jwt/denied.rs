//! Why a request was not let through, and what its caller is told.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE};

use crate::{
    keyring::{Fenced, NoKeyring},
    problem::Problem,
    token::{Scope, TokenError, TokenKind},
};

/// Why a request was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The process is without its lease.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// No token came with it.
    #[error("no bearer token")]
    NoToken,
    /// More than one `Authorization`, or one that is no bearer token's.
    #[error("the authorization header is malformed or not the only one")]
    InvalidRequest,
    /// The token is refused.
    #[error("{0}")]
    InvalidToken(#[from] TokenError),
    /// The token is of another kind: a refresh token opens no door.
    #[error("the token is of kind {}", .0.as_str())]
    WrongKind(TokenKind),
    /// The token does not reach as far as this scope.
    #[error("the token lacks the scope {0}")]
    InsufficientScope(Scope),
    /// The user has not passed MFA.
    #[error("the token was made without MFA")]
    MfaRequired,
    /// There is no key to verify anything with.
    #[error(transparent)]
    NoKeyring(#[from] NoKeyring),
}

impl From<Denied> for Problem {
    /// The challenge of RFC 6750, section 3. Whatever is wrong with a token, the
    /// answer is the same.
    fn from(denied: Denied) -> Self {
        let unauthorized = || {
            Self::unauthorized(
                "send a valid access token as a bearer token; if yours is not, refresh it or sign in again",
            )
        };
        match denied {
            Denied::Fenced(fenced) => fenced.into(),
            Denied::NoToken => challenge(unauthorized(), r#"Bearer realm="breeze""#),
            Denied::InvalidToken(_) | Denied::WrongKind(_) => {
                challenge(unauthorized(), r#"Bearer realm="breeze", error="invalid_token""#)
            }
            Denied::InvalidRequest => challenge(
                Self::bad_request("send one Authorization header: Bearer, a space, and one token")
                    .coded("invalid_request"),
                r#"Bearer realm="breeze", error="invalid_request""#,
            ),
            Denied::InsufficientScope(scope) => Self::new(
                StatusCode::FORBIDDEN,
                "insufficient_scope",
                "The token does not reach this far",
                format!("use a token of scope {scope}"),
            )
            .with("scope", scope.as_str())
            .with_header(WWW_AUTHENTICATE, insufficient_scope(scope)),
            Denied::MfaRequired => challenge(
                Self::new(
                    StatusCode::FORBIDDEN,
                    "mfa_required",
                    "Multi-factor authentication is required",
                    "sign in again with a second factor",
                ),
                // RFC 9470, section 3.
                r#"Bearer realm="breeze", error="insufficient_user_authentication""#,
            ),
            Denied::NoKeyring(_) => {
                Self::unavailable("no token can be verified now; try again", Duration::from_secs(5))
                    .coded("no_signing_key")
            }
        }
    }
}

fn challenge(problem: Problem, value: &'static str) -> Problem {
    problem.with_header(WWW_AUTHENTICATE, HeaderValue::from_static(value))
}

fn insufficient_scope(scope: Scope) -> HeaderValue {
    HeaderValue::from_static(match scope {
        Scope::System => r#"Bearer realm="breeze", error="insufficient_scope", scope="system""#,
        Scope::Partner => r#"Bearer realm="breeze", error="insufficient_scope", scope="partner""#,
        Scope::Organization => {
            r#"Bearer realm="breeze", error="insufficient_scope", scope="organization""#
        }
    })
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;
    use crate::catalog::Secret;

    fn told(denied: Denied) -> (u16, Option<String>, serde_json::Value) {
        let response: Response<String> = Problem::from(denied).response();
        let header = response.headers().get(WWW_AUTHENTICATE);
        let header = header.map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), header, serde_json::from_str(response.body()).unwrap())
    }

    #[test]
    fn whatever_is_wrong_with_a_token_the_answer_is_the_same() {
        let dull = told(Denied::InvalidToken(TokenError::BadSignature));
        for denied in [
            Denied::InvalidToken(TokenError::Expired),
            Denied::InvalidToken(TokenError::UnknownKey),
            Denied::WrongKind(TokenKind::Refresh),
        ] {
            assert_eq!(told(denied), dull);
        }
        assert_eq!(dull.1.unwrap(), r#"Bearer realm="breeze", error="invalid_token""#);
        // Without a token there is no error to name (RFC 6750, section 3.1).
        let (status, header, body) = told(Denied::NoToken);
        assert_eq!((status, header.as_deref()), (401, Some(r#"Bearer realm="breeze""#)));
        assert_eq!(body, dull.2);
    }

    #[test]
    fn each_other_denial_has_its_own_answer() {
        for (denied, status, code, error) in [
            (Denied::InvalidRequest, 400, "invalid_request", Some(r#"error="invalid_request""#)),
            (
                Denied::InsufficientScope(Scope::System),
                403,
                "insufficient_scope",
                Some(r#"error="insufficient_scope", scope="system""#),
            ),
            (
                Denied::MfaRequired,
                403,
                "mfa_required",
                Some(r#"error="insufficient_user_authentication""#),
            ),
            (Denied::Fenced(Fenced), 503, "fenced", None),
            (Denied::NoKeyring(NoKeyring(Secret::JwtSecret)), 503, "no_signing_key", None),
        ] {
            let (told_status, header, body) = told(denied);
            assert_eq!((told_status, body["code"].as_str()), (status, Some(code)));
            let expected = error.map(|error| format!(r#"Bearer realm="breeze", {error}"#));
            assert_eq!(header, expected);
        }
    }
}
