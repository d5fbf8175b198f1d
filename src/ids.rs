//! Newtypes for everything that is named: a value that exists is valid.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The public name of a key: the id in an envelope, the `kid` of a JWT.
///
/// Matches `[A-Za-z0-9._-]+`, of any length (FORMATS section 1). Comparison is
/// exact and case-sensitive.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// Checks the grammar.
    ///
    /// # Errors
    /// [`InvalidKeyId`] when `id` is empty or holds any other character.
    pub fn new(id: &str) -> Result<Self, InvalidKeyId> {
        if is_key_id(id) { Ok(Self(id.into())) } else { Err(InvalidKeyId) }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `text` has the grammar of a key id.
pub(crate) fn is_key_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_in_key_id)
}

/// Whether a key id may hold this character.
pub(crate) const fn is_in_key_id(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// A key id that is empty or holds a character outside `[A-Za-z0-9._-]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key id is one or more of A-Z a-z 0-9 . _ -")]
pub struct InvalidKeyId;

impl TryFrom<String> for KeyId {
    type Error = InvalidKeyId;
    fn try_from(id: String) -> Result<Self, InvalidKeyId> {
        Self::new(&id)
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;
    fn from_str(id: &str) -> Result<Self, InvalidKeyId> {
        Self::new(id)
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.0.as_ref().into()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The version of the keychain: only ever rising, one for all secrets.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, ordered by the time of its making (UUID version 7).
            #[must_use]
            #[expect(clippy::new_without_default, reason = "two defaults would differ")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id!(
    /// One rollover.
    RolloverId
);
uuid_id!(
    /// One process that serves with a keychain.
    ReplicaId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_id_keeps_to_its_grammar() {
        for good in ["k-2025", "A.b_c-9", "007", "a"] {
            assert_eq!(KeyId::new(good).map(|id| id.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "k 2025", " k", "k:1", "ключ", "k\n"] {
            assert_eq!(KeyId::new(bad), Err(InvalidKeyId), "{bad:?}");
        }
    }
}
