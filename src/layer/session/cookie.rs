//! The value of a session cookie, its format and nothing else (FORMATS section 0.6).
//!
//! ```text
//! v1.<key id>.<base64url of the payload>.<base64url of HMAC-SHA-256 over all before it>
//! ```
//!
//! 1. The key is the one that the cookie names, and no other is tried.
//! 2. Nothing of the payload is read before its signature is proven, in constant time.
//! 3. One value, one spelling: padding, the other alphabet and stray last bits are
//!    refused.
//! 4. `exp == now` is expired.
//!
//! A key id may hold full stops, so a cookie is split from its end.

use base64_simd::URL_SAFE_NO_PAD;
use hmac::Mac;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    keyring::{Fenced, Key, Keyring, Signing},
};

const VERSION: &str = "v1.";

/// The longest value in bytes: with its name and flags, no browser stores more.
pub const LONGEST: usize = 3800;

/// What a session cookie says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whose it is.
    pub sub: String,
    /// Its own name, by which the application can end it.
    pub sid: String,
    /// When it began, in seconds since the Unix epoch.
    pub iat: i64,
    /// When it ends: it is expired from this second on.
    pub exp: i64,
    /// What else the application keeps in it. The user can read it.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub data: serde_json::Map<String, serde_json::Value>,
}

impl Session {
    /// How many seconds are left of it at `now`.
    #[must_use]
    pub fn seconds_left(&self, now: Timestamp) -> u64 {
        u64::try_from(self.exp.saturating_sub(now.as_seconds())).unwrap_or(0)
    }
}

/// A session that a live key signed, and that key.
#[derive(Debug)]
pub struct Verified<'k> {
    /// What the cookie says.
    pub session: Session,
    /// The key that signed it.
    pub key: &'k Key<Signing>,
}

/// Why a cookie is refused. For logs: who presents it learns nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CookieError {
    /// Not of the form above, or too long to be ours.
    #[error("the cookie is malformed")]
    Malformed,
    /// It names no accepted key.
    #[error("the cookie names no accepted key")]
    UnknownKey,
    /// The signature is not that of the key.
    #[error("the signature of the cookie does not match")]
    BadSignature,
    /// Its session is over.
    #[error("the session has expired")]
    Expired,
}

/// Why no cookie was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignCookieError {
    /// The lease of this process has run out.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// It would be longer than a browser stores.
    #[error("the session does not fit into a cookie of {LONGEST} bytes; keep less in it")]
    TooLong,
}

/// Signs `session` with the primary key, which the cookie names.
///
/// # Errors
/// [`SignCookieError`] once the lease of this process has run out, or when the session
/// is too long for a cookie.
pub fn sign(ring: &Keyring<Signing>, session: &Session) -> Result<SecretString, SignCookieError> {
    ring.make(|key| {
        let json = serde_json::to_vec(session).expect("a session is plain JSON");
        let payload = URL_SAFE_NO_PAD.encode_to_string(json);
        let signed = format!("{VERSION}{}.{payload}", key.id());
        let tag = key.mac().clone().chain_update(&signed).finalize().into_bytes();
        let value = format!("{signed}.{}", URL_SAFE_NO_PAD.encode_to_string(tag));
        if value.len() > LONGEST { Err(SignCookieError::TooLong) } else { Ok(value.into()) }
    })
}

/// The session of a cookie's value at `now`.
///
/// # Errors
/// [`CookieError`] names the first reason to refuse it.
pub fn verify<'k>(
    ring: &'k Keyring<Signing>,
    value: &str,
    now: Timestamp,
) -> Result<Verified<'k>, CookieError> {
    if value.len() > LONGEST {
        return Err(CookieError::Malformed);
    }
    let (signed, tag) = value.rsplit_once('.').ok_or(CookieError::Malformed)?;
    let named = signed.strip_prefix(VERSION).and_then(|rest| rest.rsplit_once('.'));
    let (id, payload) = named.ok_or(CookieError::Malformed)?;
    let tag = decode(tag)?;
    let key = ring.get(id).ok_or(CookieError::UnknownKey)?;
    let mac = key.prepared().mac().clone().chain_update(signed);
    mac.verify_slice(&tag).map_err(|_| CookieError::BadSignature)?;
    let session: Session =
        serde_json::from_slice(&decode(payload)?).map_err(|_| CookieError::Malformed)?;
    if session.exp <= now.as_seconds() {
        return Err(CookieError::Expired);
    }
    Ok(Verified { session, key })
}

fn decode(text: &str) -> Result<Vec<u8>, CookieError> {
    URL_SAFE_NO_PAD.decode_to_vec(text).map_err(|_| CookieError::Malformed)
}
