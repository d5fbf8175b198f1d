//! Key bytes: the only type that holds them, how keys are derived from them,
//! and the fingerprint by which everything else names them.
//!
//! 1. The bytes leave this type through [`Material::expose_source`] and
//!    [`Material::derive_aes256`] only.
//! 2. `Debug` prints the fingerprint.
//! 3. A fingerprint tells nothing of a derived key: it is an HMAC under a label
//!    of its own, cut to 64 bits.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use rand::{TryRng, rngs::SysRng};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// The source text of one key, exactly as the operator gave it.
///
/// Breeze takes the text verbatim: neither hex nor base64 is decoded, and
/// nothing is trimmed (FORMATS section 1).
pub struct Material(SecretString);

impl Material {
    /// Takes over `source`.
    ///
    /// # Errors
    /// [`EmptyMaterial`] for the empty string, which can be no key.
    pub fn new(source: impl Into<SecretString>) -> Result<Self, EmptyMaterial> {
        let source = source.into();
        if source.expose_secret().is_empty() {
            return Err(EmptyMaterial);
        }
        Ok(Self(source))
    }

    /// 32 random bytes from the operating system, as 43 characters of base64url.
    ///
    /// # Errors
    /// [`NoEntropy`] when the operating system has no randomness to give.
    pub fn generate() -> Result<Self, NoEntropy> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        SysRng.try_fill_bytes(&mut *bytes).map_err(|_| NoEntropy)?;
        let text = base64_simd::URL_SAFE_NO_PAD.encode_to_string(*bytes);
        Ok(Self(SecretString::from(text)))
    }

    /// The same once more, for a keyring of its own. Each copy is wiped when it is dropped.
    pub(crate) fn copied(&self) -> Self {
        Self(self.0.clone())
    }

    /// The source text itself. Search for this name to find every reader of it.
    #[must_use]
    pub fn expose_source(&self) -> &str {
        self.0.expose_secret()
    }

    /// The AES-256 key: SHA-256 of the source (FORMATS section 1).
    #[must_use]
    pub fn derive_aes256(&self) -> Zeroizing<[u8; 32]> {
        let mut digest = Sha256::digest(self.expose_source().as_bytes());
        let key = Zeroizing::new(digest.into());
        digest.zeroize();
        key
    }

    /// The name of this key in every output.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mac = Hmac::<Sha256>::new_from_slice(self.expose_source().as_bytes())
            .expect("HMAC takes a key of any length")
            .chain_update(b"breeze-rollover fingerprint v1")
            .finalize()
            .into_bytes();
        let mut short = [0; 8];
        short.copy_from_slice(&mac[..8]);
        Fingerprint(short)
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Material({})", self.fingerprint())
    }
}

/// Equal sources, compared in constant time.
impl PartialEq for Material {
    fn eq(&self, other: &Self) -> bool {
        self.expose_source().as_bytes().ct_eq(other.expose_source().as_bytes()).into()
    }
}

/// The first 64 bits of HMAC-SHA-256(source, `breeze-rollover fingerprint v1`),
/// printed as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 8]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = InvalidFingerprint;
    fn try_from(text: String) -> Result<Self, InvalidFingerprint> {
        text.parse()
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = InvalidFingerprint;
    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidFingerprint);
        }
        let bits = u64::from_str_radix(text, 16).map_err(|_| InvalidFingerprint)?;
        Ok(Self(bits.to_be_bytes()))
    }
}

/// Text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 16 hexadecimal digits")]
pub struct InvalidFingerprint;

/// A key source that is the empty string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key must not be empty")]
pub struct EmptyMaterial;

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes; no key or nonce can be made")]
pub struct NoEntropy;

#[cfg(test)]
mod tests {
    use super::*;

    fn material(source: &str) -> Material {
        Material::new(source).expect("not empty")
    }

    #[test]
    fn the_aes_key_is_sha_256_of_the_verbatim_source() {
        let spaced = material("  key with outer spaces  ");
        assert_eq!(
            *spaced.derive_aes256(),
            <[u8; 32]>::from(Sha256::digest(b"  key with outer spaces  "))
        );
    }

    #[test]
    fn debug_shows_the_fingerprint_and_nothing_else() {
        let key = material("a-very-secret-source");
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("Material({})", key.fingerprint()));
        assert!(!shown.contains("secret-source"));
    }

    #[test]
    fn a_fingerprint_survives_its_text() {
        let fingerprint = material("x").fingerprint();
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert_ne!(fingerprint, material("y").fingerprint());
        assert_eq!("short".parse::<Fingerprint>(), Err(InvalidFingerprint));
    }

    #[test]
    fn generated_keys_differ() {
        let (a, b) =
            (Material::generate().expect("entropy"), Material::generate().expect("entropy"));
        assert_ne!(a, b);
        assert_eq!(a.expose_source().len(), 43);
    }
}
