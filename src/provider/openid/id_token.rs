//! Whether an ID token is the one that a sign-on waits for (OpenID Connect Core 1.0,
//! section 3.1.3.7).
//!
//! 1. A key pair of the provider's signed it: `none` and shared keys are refused.
//! 2. It is of this issuer, for this client, and has not expired. Clocks may differ by
//!    [`TOLERANCE`].
//! 3. It repeats the nonce of this sign-on, compared in constant time.
//! 4. An address counts only where `email_verified` is `true`, and nothing like it.
//!
//! Pure: no clock, no I/O.

use std::time::Duration;

use jsonwebtoken::{
    AlgorithmFamily, DecodingKey, Header, Validation, decode, decode_header,
    errors::{Error, ErrorKind},
    jwk::{Jwk, JwkSet, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::Identity;
use crate::clock::Timestamp;

/// How much a provider's clock may lag.
pub(super) const TOLERANCE: Duration = Duration::from_secs(60);

/// What a sign-on waits for.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now: Timestamp,
}

/// Why an ID token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// It is none.
    #[error("the ID token is malformed")]
    Malformed,
    /// Its algorithm is not one of key pairs.
    #[error("the ID token is not signed with a key pair")]
    Algorithm,
    /// Not exactly one key of the provider's can have signed it.
    #[error("the ID token does not tell which key of the provider has signed it")]
    UnknownKey,
    /// That key did not.
    #[error("the signature of the ID token does not match")]
    Signature,
    /// Another issuer's.
    #[error("the ID token is of another issuer")]
    Issuer,
    /// Another client's.
    #[error("the ID token is for another client")]
    Audience,
    /// It was good once.
    #[error("the ID token has expired")]
    Expired,
    /// Another sign-on's.
    #[error("the ID token answers another sign-on")]
    Nonce,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    exp: i64,
    nonce: Option<String>,
    azp: Option<String>,
    email: Option<String>,
    #[serde(default)]
    email_verified: Value,
}

/// Whom `token` names.
pub(super) fn check(
    keys: &JwkSet,
    token: &str,
    expected: &Expected<'_>,
) -> Result<Identity, IdTokenError> {
    let header = decode_header(token).map_err(|_| IdTokenError::Malformed)?;
    if header.alg.family() == AlgorithmFamily::Hmac {
        return Err(IdTokenError::Algorithm);
    }
    let key = signer(keys, &header).ok_or(IdTokenError::UnknownKey)?;
    let mut demands = Validation::new(header.alg);
    demands.set_required_spec_claims(&["iss", "sub", "aud", "exp"]);
    demands.set_audience(&[expected.client]);
    // By the caller's clock, below.
    demands.validate_exp = false;
    let claims: Claims = decode(token, &key, &demands).map_err(|error| refused(&error))?.claims;
    if claims.iss != expected.issuer {
        return Err(IdTokenError::Issuer);
    }
    if claims.azp.is_some_and(|party| party != expected.client) {
        return Err(IdTokenError::Audience);
    }
    if Timestamp::from_seconds(claims.exp).plus(TOLERANCE) <= expected.now {
        return Err(IdTokenError::Expired);
    }
    let nonce = claims.nonce.unwrap_or_default();
    if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
        return Err(IdTokenError::Nonce);
    }
    let is_verified = claims.email_verified == Value::Bool(true);
    Ok(Identity { verified_email: claims.email.filter(|_| is_verified) })
}

/// The only key that can have signed under `header`.
fn signer(keys: &JwkSet, header: &Header) -> Option<DecodingKey> {
    let is_meant = |jwk: &&Jwk| {
        let may_sign = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        may_sign && (header.kid.is_none() || header.kid == jwk.common.key_id)
    };
    let mut fit = keys
        .keys
        .iter()
        .filter(is_meant)
        .filter_map(|jwk| DecodingKey::from_jwk(jwk).ok())
        .filter(|key| key.family() == header.alg.family());
    let only = fit.next()?;
    fit.next().is_none().then_some(only)
}

fn refused(error: &Error) -> IdTokenError {
    match error.kind() {
        ErrorKind::InvalidSignature => IdTokenError::Signature,
        ErrorKind::InvalidAudience => IdTokenError::Audience,
        ErrorKind::InvalidAlgorithm => IdTokenError::Algorithm,
        _ => IdTokenError::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, EncodingKey, encode};
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_790_000_000;

    struct Provider {
        key: EncodingKey,
        keys: JwkSet,
    }

    fn provider(kid: &str) -> Provider {
        let pair = rcgen::KeyPair::generate().unwrap();
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(kid.to_owned());
        Provider { key, keys: JwkSet { keys: vec![jwk] } }
    }

    fn good() -> Value {
        json!({
            "iss": "https://id.example.com", "sub": "ann", "aud": ["us"], "exp": NOW + 60,
            "nonce": "n", "email": "ann@example.test", "email_verified": true,
        })
    }

    /// What becomes of [`good`] with `changes`; `null` takes a claim away.
    fn checked(changes: &Value) -> Result<Identity, IdTokenError> {
        let provider = provider("k");
        let mut claims = good();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let token = encode(&header(Algorithm::ES256, Some("k")), &claims, &provider.key).unwrap();
        check(&provider.keys, &token, &expected())
    }

    fn header(algorithm: Algorithm, kid: Option<&str>) -> Header {
        Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) }
    }

    const fn expected() -> Expected<'static> {
        let now = Timestamp::from_seconds(NOW);
        Expected { issuer: "https://id.example.com", client: "us", nonce: "n", now }
    }

    #[test]
    fn an_address_counts_only_where_the_provider_has_verified_it() {
        let email = |changes: Value| checked(&changes).unwrap().verified_email;
        assert_eq!(email(json!({})).as_deref(), Some("ann@example.test"));
        assert_eq!(email(json!({ "email": null })), None);
        for unverified in [json!(false), json!("true"), json!(1), Value::Null] {
            assert_eq!(email(json!({ "email_verified": unverified })), None);
        }
    }

    #[test]
    fn what_is_for_another_sign_on_client_or_time_is_refused() {
        for (changes, why) in [
            (json!({ "iss": "https://id.example.com/" }), IdTokenError::Issuer),
            (json!({ "iss": null }), IdTokenError::Malformed),
            (json!({ "sub": null }), IdTokenError::Malformed),
            (json!({ "aud": "them" }), IdTokenError::Audience),
            (json!({ "aud": null }), IdTokenError::Malformed),
            (json!({ "aud": ["us", "them"], "azp": "them" }), IdTokenError::Audience),
            (json!({ "exp": NOW - 60 }), IdTokenError::Expired),
            (json!({ "exp": null }), IdTokenError::Malformed),
            (json!({ "nonce": "m" }), IdTokenError::Nonce),
            (json!({ "nonce": null }), IdTokenError::Nonce),
        ] {
            assert_eq!(checked(&changes), Err(why), "{changes}");
        }
        for changes in [json!({ "aud": ["us", "them"], "azp": "us" }), json!({ "exp": NOW - 59 })] {
            assert!(checked(&changes).is_ok(), "{changes}");
        }
    }

    #[test]
    fn only_a_key_of_the_provider_signs() {
        let (ours, other) = (provider("k"), provider("k"));
        let signed =
            |by: &Provider, kid| encode(&header(Algorithm::ES256, kid), &good(), &by.key).unwrap();
        let judge = |keys: &JwkSet, token: &str| check(keys, token, &expected()).map(drop);
        assert_eq!(judge(&ours.keys, &signed(&ours, Some("k"))), Ok(()));
        assert_eq!(judge(&ours.keys, &signed(&ours, None)), Ok(()), "there is one alone");
        assert_eq!(judge(&ours.keys, &signed(&ours, Some("l"))), Err(IdTokenError::UnknownKey));
        assert_eq!(judge(&ours.keys, &signed(&other, Some("k"))), Err(IdTokenError::Signature));
        let mut two = ours.keys.clone();
        two.keys.extend(provider("l").keys.keys);
        assert_eq!(judge(&two, &signed(&ours, Some("k"))), Ok(()));
        assert_eq!(judge(&two, &signed(&ours, None)), Err(IdTokenError::UnknownKey));
        let mut to_encrypt = ours.keys.clone();
        to_encrypt.keys[0].common.public_key_use = Some(PublicKeyUse::Encryption);
        assert_eq!(judge(&to_encrypt, &signed(&ours, None)), Err(IdTokenError::UnknownKey));
    }

    #[test]
    fn a_token_without_a_signature_or_with_a_shared_key_is_refused() {
        let ours = provider("k");
        let shared = EncodingKey::from_secret(b"what everybody can read");
        let token = encode(&header(Algorithm::HS256, Some("k")), &good(), &shared).unwrap();
        assert_eq!(check(&ours.keys, &token, &expected()), Err(IdTokenError::Algorithm));
        let part = |value: Value| base64_simd::URL_SAFE_NO_PAD.encode_to_string(value.to_string());
        let none = format!("{}.{}.", part(json!({ "alg": "none" })), part(good()));
        for token in [none.as_str(), "", "a.b", "a.b.c"] {
            assert_eq!(check(&ours.keys, token, &expected()), Err(IdTokenError::Malformed));
        }
    }
}
