//! Credentials of a TURN server, which shares `TURN_SECRET` (FORMATS section 6).
//!
//! 1. A credential is made with the primary secret, and only while the lease runs.
//! 2. None lives longer than [`LONGEST`]: a rollover that waits for so long leaves none
//!    that was made with the old secret.
//! 3. The secret itself goes to nobody. The server is given it by an operator.
//!
//! This is the TURN REST API, as coturn's `use-auth-secret` has it: the user is
//! `<expiry>:<who>`, the password base64(HMAC-SHA1(secret, user)). SHA-1 is the format's;
//! as an HMAC it is not known to be broken.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use rand::{TryRng, rngs::SysRng};
use secrecy::SecretString;
use sha1::Sha1;

use crate::{
    clock::Timestamp,
    keyring::{Fenced, Keyring, Verbatim},
    material::NoEntropy,
};

/// The longest life of a credential.
pub const LONGEST: Duration = Duration::from_secs(15 * 60);

/// The shortest.
pub const SHORTEST: Duration = Duration::from_secs(60);

/// Breeze's own.
pub const USUAL: Duration = Duration::from_secs(10 * 60);

/// How long a credential lives by `TURN_CREDENTIAL_TTL_SECONDS`: the whole number that
/// `setting` begins with, in seconds, between [`SHORTEST`] and [`LONGEST`]; else [`USUAL`].
#[must_use]
pub fn lifetime(setting: &str) -> Duration {
    let text = setting.trim_start();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    match &digits[..end] {
        "" => USUAL,
        // A number that is too large is larger than the longest.
        digits => digits.parse().map_or(LONGEST, |seconds: i64| {
            Duration::from_secs(u64::try_from(sign * seconds).unwrap_or(0)).clamp(SHORTEST, LONGEST)
        }),
    }
}

/// What one remote session may use a TURN server with.
#[derive(Debug)]
pub struct TurnCredential {
    /// The user's name there.
    pub username: String,
    /// The password.
    pub credential: SecretString,
    /// From when on it is of no use.
    pub expires_at: Timestamp,
}

/// Who a credential is for: only the first 12 characters of each are told.
#[derive(Debug, Clone, Copy)]
pub struct Bearer<'a> {
    /// The user.
    pub user: &'a str,
    /// The remote session.
    pub session: &'a str,
    /// The device, if it is one's.
    pub device: Option<&'a str>,
}

/// Makes a credential that lives for `ttl`, held between [`SHORTEST`] and [`LONGEST`].
///
/// # Errors
/// [`MintError`] without a lease, or without randomness.
pub fn mint(
    ring: &Keyring<Verbatim>,
    bearer: Bearer<'_>,
    ttl: Duration,
    now: Timestamp,
) -> Result<TurnCredential, MintError> {
    let mut nonce = [0; 8];
    SysRng.try_fill_bytes(&mut nonce).map_err(|_| NoEntropy)?;
    mint_with(nonce, ring, bearer, ttl, now)
}

fn mint_with(
    nonce: [u8; 8],
    ring: &Keyring<Verbatim>,
    bearer: Bearer<'_>,
    ttl: Duration,
    now: Timestamp,
) -> Result<TurnCredential, MintError> {
    let expires_at = now.plus(ttl.clamp(SHORTEST, LONGEST));
    let username = format!(
        "{}:breeze:{}.{}.{}.{}",
        expires_at.as_seconds(),
        short(bearer.user),
        short(bearer.session),
        bearer.device.map_or_else(|| "no-device".to_owned(), short),
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(nonce),
    );
    let credential = ring.make(|primary| {
        let secret = primary.expose().expose_source().as_bytes();
        let mac = Hmac::<Sha1>::new_from_slice(secret)
            .expect("HMAC takes a key of any length")
            .chain_update(username.as_bytes())
            .finalize()
            .into_bytes();
        Ok::<_, MintError>(base64_simd::STANDARD.encode_to_string(mac))
    })?;
    Ok(TurnCredential { username, credential: credential.into(), expires_at })
}

/// The first 12 characters, of those that part neither a user's name nor its fields.
fn short(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(12).collect()
}

/// No credential could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The process has no lease.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// The operating system gave no random bytes.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use secrecy::ExposeSecret;

    use super::*;
    use crate::{
        ids::KeyId,
        keyring::{Key, KeyState},
        material::Material,
    };

    fn ring(secret: &str) -> Keyring<Verbatim> {
        let id = KeyId::new("turn").unwrap();
        let material = Material::new(secret).unwrap();
        Keyring::new(vec![Key::verbatim(id, KeyState::Primary, material, Arc::default())]).unwrap()
    }

    const ANN: Bearer<'static> =
        Bearer { user: "0198c5a0-0000-7000", session: "s:1 2", device: None };

    #[test]
    fn the_user_tells_the_expiry_and_the_beginnings() {
        let now = Timestamp::from_seconds(1_700_000_000);
        let made = mint(&ring("s"), ANN, USUAL, now).unwrap();
        let (told, nonce) = made.username.rsplit_once('.').unwrap();
        assert_eq!(told, "1700000600:breeze:0198c5a0-000.s12.no-device");
        assert_eq!(nonce.len(), 11);
        assert_eq!(made.expires_at.as_seconds(), 1_700_000_600);
    }

    #[test]
    fn no_credential_outlives_the_longest() {
        let now = Timestamp::from_seconds(0);
        let lives = |ttl| mint(&ring("s"), ANN, ttl, now).unwrap().expires_at.as_seconds();
        assert_eq!(lives(Duration::from_secs(1)), 60);
        assert_eq!(lives(Duration::from_secs(86_400)), 900);
    }

    /// Credentials that Breeze's own code made.
    #[test]
    fn credentials_are_those_of_breeze() {
        let vectors = include_str!("../../tests/vectors/breeze-vectors.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        let mut made = 0;
        for v in vectors["vectors"].as_array().unwrap() {
            let Some(secret) = v["env"]["TURN_SECRET"].as_str() else { continue };
            let Some(nonce) = v["rand_hex"][0].as_str().filter(|_| v["group"] == "turn") else {
                continue;
            };
            let nonce = u64::from_str_radix(nonce, 16).unwrap().to_be_bytes();
            let ttl = lifetime(v["env"]["TURN_CREDENTIAL_TTL_SECONDS"].as_str().unwrap_or(""));
            let now = Timestamp::from_seconds(v["now"].as_i64().unwrap());
            let of = &v["args"][0];
            let bearer = Bearer {
                user: of["userId"].as_str().unwrap(),
                session: of["sessionId"].as_str().unwrap(),
                device: of["deviceId"].as_str(),
            };
            let credential = mint_with(nonce, &ring(secret), bearer, ttl, now).unwrap();
            let expected = &v["expected"]["ok"];
            assert_eq!(expected["username"], *credential.username, "{}", v["id"]);
            assert_eq!(expected["credential"], *credential.credential.expose_secret());
            assert_eq!(expected["ttlSeconds"], ttl.as_secs());
            assert_eq!(expected["expiresAt"], credential.expires_at.as_seconds());
            made += 1;
        }
        assert_eq!(made, 8);
    }

    /// RFC 2202, test case 2, in base64.
    #[test]
    fn the_password_is_the_hmac_of_the_user() {
        let mac = Hmac::<Sha1>::new_from_slice(b"Jefe")
            .unwrap()
            .chain_update(b"what do ya want for nothing?")
            .finalize()
            .into_bytes();
        let known = "7/zfauXrL6LSdBbV8YTfnCWafHk=";
        assert_eq!(base64_simd::STANDARD.encode_to_string(mac), known);
        let made = mint(&ring("Jefe"), ANN, USUAL, Timestamp::from_seconds(0)).unwrap();
        let again = Hmac::<Sha1>::new_from_slice(b"Jefe")
            .unwrap()
            .chain_update(made.username.as_bytes())
            .finalize()
            .into_bytes();
        assert_eq!(made.credential.expose_secret(), &base64_simd::STANDARD.encode_to_string(again));
    }
}
