//! One hash, and the hashes that a value may be stored as while peppers roll over.

use std::{fmt, str::FromStr};

use serde::Serialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    ids::KeyId,
    keyring::{Keyring, Verbatim},
    material::Material,
};

/// A SHA-256 as it is stored. Equality takes constant time.
#[derive(Clone, Copy)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Of `text` alone: tokens, API keys, enrolment secrets.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Of `<pepper>:<text>`: enrolment keys and recovery codes.
    #[must_use]
    pub fn peppered(pepper: &Material, text: &str) -> Self {
        let hasher = Sha256::new().chain_update(pepper.expose_source()).chain_update(":");
        Self(hasher.chain_update(text).finalize().into())
    }
}

/// Every hash that `text` may be stored as, with the id of its pepper: the primary first,
/// then the others in the keyring's order, none of them twice.
#[must_use]
pub fn peppered<'r>(ring: &'r Keyring<Verbatim>, text: &str) -> Vec<(&'r KeyId, Hash)> {
    let primary = ring.primary();
    let others = ring.keys().filter(|key| key.id() != primary.id());
    let mut candidates: Vec<(&KeyId, Hash)> = Vec::new();
    for key in std::iter::once(primary).chain(others) {
        let hash = Hash::peppered(key.prepared().expose(), text);
        if !candidates.iter().any(|(_, earlier)| *earlier == hash) {
            candidates.push((key.id(), hash));
        }
    }
    candidates
}

impl PartialEq for Hash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Hash {}

/// In lower case, as Breeze writes it.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(…)")
    }
}

/// Of either case, as Breeze reads it.
impl FromStr for Hash {
    type Err = InvalidHash;
    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(InvalidHash);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Result<u8, InvalidHash> {
    let value = char::from(digit).to_digit(16).ok_or(InvalidHash)?;
    Ok(u8::try_from(value).unwrap_or_default())
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Text that is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 hexadecimal digits")]
pub struct InvalidHash;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::keyring::{Key, KeyState};

    fn ring(peppers: &[(&str, KeyState, &str)]) -> Keyring<Verbatim> {
        let key = |(id, state, pepper): &(&str, KeyState, &str)| {
            let material = Material::new(*pepper).expect("not empty");
            Key::verbatim(KeyId::new(id).expect("valid"), *state, material, Arc::default())
        };
        Keyring::new(peppers.iter().map(key).collect()).expect("valid")
    }

    #[test]
    fn the_primary_pepper_comes_first_wherever_it_stands_and_no_hash_twice() {
        use KeyState::{Primary, Retiring, Staged};
        let ring = ring(&[
            ("old", Retiring, "a"),
            ("new", Staged, "b"),
            ("now", Primary, "c"),
            ("old-again", Retiring, "a"),
        ]);
        let ids: Vec<_> = peppered(&ring, "raw").iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["now", "old", "new"]);
    }

    #[test]
    fn a_hash_is_read_in_either_case_and_nothing_else_is() {
        let hash = Hash::of("x");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.to_string().to_uppercase().parse(), Ok(hash));
        for wrong in ["", "zz", &"g".repeat(64), &"é".repeat(32), &"0".repeat(63)] {
            assert_eq!(wrong.parse::<Hash>(), Err(InvalidHash));
        }
    }

    #[test]
    fn debug_shows_no_hash() {
        assert_eq!(format!("{:?}", Hash::of("x")), "Hash(…)");
    }
}
