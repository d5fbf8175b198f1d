//! Why a request was not let through, and what its caller is told.

use std::time::Duration;

use super::cookie::CookieError;
use crate::{
    keyring::{Fenced, NoKeyring},
    problem::Problem,
};

/// Why a request was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The process is without its lease.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// A session is demanded, and no cookie came.
    #[error("no session cookie")]
    NoCookie,
    /// A session is demanded, and the cookie is refused.
    #[error(transparent)]
    InvalidCookie(#[from] CookieError),
    /// The method may change something, and nothing proves that a page of ours sent it.
    #[error("the request does not repeat the CSRF cookie")]
    NoProof,
    /// There is no key to verify anything with.
    #[error(transparent)]
    NoKeyring(#[from] NoKeyring),
}

impl From<Denied> for Problem {
    /// Whatever is wrong with a cookie, the answer is the same.
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Fenced(fenced) => fenced.into(),
            Denied::NoCookie | Denied::InvalidCookie(_) => {
                Self::unauthorized("sign in: the session cookie is missing or not valid any more")
                    .coded("session_required")
            }
            Denied::NoProof => {
                Self::forbidden("repeat the CSRF cookie in x-breeze-csrf").coded("csrf_required")
            }
            Denied::NoKeyring(_) => Self::unavailable(
                "no session can be verified now; try again",
                Duration::from_secs(5),
            )
            .coded("no_signing_key"),
        }
    }
}
