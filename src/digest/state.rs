//! The state of a sign-on or a consent elsewhere, as Breeze signs it: what comes back with a
//! browser is what it was sent away with (FORMATS section 7).
//!
//! 1. Signed with the primary key of `APP_ENCRYPTION_KEY`, and accepted under every live
//!    one: what was begun before a promotion is finished after it.
//! 2. A value for one purpose proves nothing for another.
//! 3. Every live key is compared with, in constant time.
//!
//! | what | value |
//! |---|---|
//! | [`sso`] | hexadecimal HMAC-SHA-256 of `sso-login-state:<state>` |
//! | [`accounting`] | `<base64url of JSON>.<base64url of HMAC-SHA-256 of accounting-oauth:<what stands before the full stop>>` |
//!
//! The HMAC is keyed by the source text of the key, trimmed: Breeze uses one secret for two
//! things here. How long a value may be on its way, [`LIFETIME`], is for
//! `Setup::longest` to know, so that the old key is not retired before.
//!
//! Pure: no clock, no I/O. Whether a state is too old, or was used, its keeper knows.

use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use hmac::Mac;
use subtle::ConstantTimeEq;

use crate::keyring::{Fenced, Key, Keyring, Sealing};

/// The cookie of [`sso`].
pub const SSO_COOKIE: &str = "breeze_sso_state";
/// Where it is sent.
pub const SSO_PATH: &str = "/api/v1/sso/callback";
/// The cookie of [`accounting`].
pub const ACCOUNTING_COOKIE: &str = "breeze_accounting_oauth_state";
/// How long a sign-on may take.
pub const LIFETIME: Duration = Duration::from_secs(600);

const SSO: &str = "sso-login-state:";
const ACCOUNTING: &str = "accounting-oauth:";

/// The value of the cookie beside the `state` of a sign-on.
///
/// # Errors
/// [`Fenced`] once the lease of this process has run out.
pub fn sso(ring: &Keyring<Sealing>, state: &str) -> Result<String, Fenced> {
    ring.make(|key| Ok(hexadecimal(&tag(key.state_mac(), SSO, state))))
}

/// The key under which `cookie` belongs to `state`, if it does.
#[must_use]
pub fn verify_sso<'r>(
    ring: &'r Keyring<Sealing>,
    state: &str,
    cookie: &str,
) -> Option<&'r Key<Sealing>> {
    find(ring, SSO, state, |tag| hexadecimal(tag).as_bytes().ct_eq(cookie.as_bytes()).into())
}

/// `json`, signed.
///
/// # Errors
/// [`Fenced`] once the lease of this process has run out.
pub fn accounting(ring: &Keyring<Sealing>, json: &str) -> Result<String, Fenced> {
    let first = URL_SAFE_NO_PAD.encode_to_string(json);
    ring.make(|key| {
        let tag = tag(key.state_mac(), ACCOUNTING, &first);
        Ok(format!("{first}.{}", URL_SAFE_NO_PAD.encode_to_string(tag)))
    })
}

/// The JSON of `value`, if a live key signed it, and that key.
#[must_use]
pub fn verify_accounting<'r>(
    ring: &'r Keyring<Sealing>,
    value: &str,
) -> Option<(Vec<u8>, &'r Key<Sealing>)> {
    let (first, signature) = value.split_once('.')?;
    let is_it = |tag: &[u8; 32]| {
        URL_SAFE_NO_PAD.encode_to_string(tag).as_bytes().ct_eq(signature.as_bytes()).into()
    };
    let key = find(ring, ACCOUNTING, first, is_it)?;
    Some((URL_SAFE_NO_PAD.decode_to_vec(first).ok()?, key))
}

/// The key whose tag `is_it`. None is passed over, whichever it is.
fn find<'r>(
    ring: &'r Keyring<Sealing>,
    label: &str,
    text: &str,
    is_it: impl Fn(&[u8; 32]) -> bool,
) -> Option<&'r Key<Sealing>> {
    let mut found = None;
    for key in ring.keys() {
        if is_it(&tag(key.prepared().state_mac(), label, text)) {
            found = Some(key);
        }
    }
    found
}

fn tag(mac: &hmac::Hmac<sha2::Sha256>, label: &str, text: &str) -> [u8; 32] {
    mac.clone().chain_update(label).chain_update(text).finalize().into_bytes().into()
}

fn hexadecimal(tag: &[u8; 32]) -> String {
    tag.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        ids::KeyId,
        keyring::{KeyState, SealBudget},
        material::Material,
    };

    const OLD: &str = "  an application key of the tests  ";

    fn ring(keys: &[(&str, KeyState, &str)]) -> Keyring<Sealing> {
        let key = |&(id, state, text): &(&str, KeyState, &str)| {
            let (id, text) = (KeyId::new(id).unwrap(), Material::new(text).unwrap());
            Key::sealing(id, state, false, &text, Arc::new(SealBudget::default()))
        };
        Keyring::new(keys.iter().map(key).collect()).unwrap()
    }

    fn before() -> Keyring<Sealing> {
        ring(&[("old", KeyState::Primary, OLD)])
    }

    /// Made with `openssl dgst -sha256 -hmac 'an application key of the tests'`.
    #[test]
    fn values_are_those_of_another_implementation() {
        let value = "16da8ac954481ca8d07fc4066e8da49c3a9350d5bd73aeb421f61bca9cccd6e9";
        assert_eq!(sso(&before(), "a-state").unwrap(), value);
        let value = "eyJvcmciOiJhIn0.Cq1k0BMi4L3K4PYUhkvUD1P2mThQovkUavTENsgj7ZY";
        assert_eq!(accounting(&before(), r#"{"org":"a"}"#).unwrap(), value);
    }

    #[test]
    fn what_was_begun_before_a_promotion_is_finished_after_it_and_not_after_retirement() {
        let (cookie, signed) = (sso(&before(), "s").unwrap(), accounting(&before(), "{}").unwrap());
        let promoted = ring(&[("new", KeyState::Primary, "new"), ("old", KeyState::Retiring, OLD)]);
        let retired = ring(&[("new", KeyState::Primary, "new")]);
        assert_eq!(verify_sso(&promoted, "s", &cookie).unwrap().id().as_str(), "old");
        let (json, key) = verify_accounting(&promoted, &signed).unwrap();
        assert_eq!((json.as_slice(), key.id().as_str()), (b"{}".as_slice(), "old"));
        assert_ne!(sso(&promoted, "s").unwrap(), cookie, "the primary signs");
        assert!(verify_sso(&retired, "s", &cookie).is_none());
        assert!(verify_accounting(&retired, &signed).is_none());
    }

    #[test]
    fn anything_else_proves_nothing() {
        let ring = before();
        let (cookie, signed) = (sso(&ring, "s").unwrap(), accounting(&ring, "{}").unwrap());
        assert!(verify_sso(&ring, "t", &cookie).is_none());
        for bad in ["", &cookie[1..], &cookie.to_uppercase(), &format!("{cookie}0")] {
            assert!(verify_sso(&ring, "s", bad).is_none(), "{bad}");
        }
        let (first, tag) = signed.split_once('.').unwrap();
        let as_sso = sso(&ring, first).unwrap();
        for bad in ["", first, &format!("{first}x.{tag}"), &format!("{signed}="), &as_sso] {
            assert!(verify_accounting(&ring, bad).is_none(), "{bad}");
        }
    }
}
