//! Which values are fit to be a key.

use secrecy::{ExposeSecret, SecretString};

use super::{fault::Fault, json::trim};
use crate::{
    catalog::Secret,
    material::{Fingerprint, Material},
};

/// Checks a value that an operator hands in for `secret`. `others` are the keys
/// that exist, each with its secret, this one's own included.
///
/// # Errors
/// [`ValueFault`] when the value is too short, a placeholder, or in use already.
pub fn check_value(
    secret: Secret,
    value: SecretString,
    others: &[(Secret, Fingerprint)],
) -> Result<Material, ValueFault> {
    let min = secret.entry().min_length;
    match weakness(value.expose_secret(), min) {
        Some(Weakness::Short) => return Err(ValueFault::Short { min }),
        Some(Weakness::Placeholder) => return Err(ValueFault::Placeholder),
        None => {}
    }
    let material = Material::new(value).map_err(|_| ValueFault::Short { min })?;
    let fingerprint = material.fingerprint();
    let same = || others.iter().filter(|(_, other)| *other == fingerprint);
    if same().any(|(owner, _)| *owner == secret) {
        return Err(ValueFault::Known(fingerprint));
    }
    match same().next() {
        Some((owner, _)) => Err(ValueFault::Shared(*owner)),
        None => Ok(material),
    }
}

/// Why a value cannot be a key. Never holds the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueFault {
    /// Fewer characters than the catalog asks for.
    #[error(
        "the value is too short; use at least {min} characters, or leave it out to have one made"
    )]
    Short {
        /// The fewest characters (UTF-16 code units).
        min: usize,
    },
    /// A value that stands for a key and is none.
    #[error("the value is a placeholder; use a random one, or leave it out to have one made")]
    Placeholder,
    /// A key of this secret already, whatever its state.
    #[error("the value is a key of this secret already (fingerprint {0}); use one that is new")]
    Known(Fingerprint),
    /// A key of another secret.
    #[error("the value is a key of {0}; give each secret a key of its own")]
    Shared(Secret),
}

/// Why a text is too easily guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weakness {
    Short,
    Placeholder,
}

impl Weakness {
    /// The fault of the variable `name`, which should have `min` characters.
    pub(crate) fn of(self, name: &str, min: usize) -> Fault {
        let name = name.to_owned();
        match self {
            Self::Short => Fault::Short { name, min },
            Self::Placeholder => Fault::Placeholder { name },
        }
    }
}

/// Whether `text` is too weak to sign or seal with. Length is counted in UTF-16
/// code units, as Breeze counts it.
pub(crate) fn weakness(text: &str, min: usize) -> Option<Weakness> {
    if is_placeholder(text) {
        Some(Weakness::Placeholder)
    } else if text.encode_utf16().count() < min {
        Some(Weakness::Short)
    } else {
        None
    }
}

/// Whole values of templates.
const WORDS: &[&str] = &["secret", "password", "default", "example", "test", "dev", "todo", "none"];

/// How values of templates begin.
const OPENINGS: &[&str] = &[
    "changeme",
    "change-me",
    "change_me",
    "change me",
    "change-this",
    "change_this",
    "your-",
    "your_",
    "your ",
    "replace-",
    "replace_",
    "replace ",
    "replaceme",
    "placeholder",
    "redacted",
    "insert-",
    "insert_",
    "example-",
    "example_",
    "<",
    "${",
    "{{",
];

/// Whether `text` is a word or the beginning of the lists above, whatever its
/// case, or one character again and again.
fn is_placeholder(text: &str) -> bool {
    let text = zeroize::Zeroizing::new(trim(text).to_lowercase());
    let mut characters = text.chars();
    let is_monotone = match characters.next() {
        Some(first) => characters.all(|next| next == first),
        None => true,
    };
    is_monotone
        || WORDS.contains(&text.as_str())
        || OPENINGS.iter().any(|opening| text.starts_with(opening))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_told_from_keys() {
        for placeholder in [
            "changeme",
            "change-me-to-a-long-random-string-please",
            "CHANGE_ME_CHANGE_ME_CHANGE_ME_CHANGE_ME",
            "secret",
            " Secret ",
            "your-super-secret-jwt-key-min-32-chars",
            "REDACTED_DEV_TOKEN",
            "placeholder-placeholder-placeholder",
            "<generate with openssl rand -base64 32>",
            "${APP_ENCRYPTION_KEY:-unset-unset-unset}",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "                                        ",
        ] {
            assert_eq!(weakness(placeholder, 0), Some(Weakness::Placeholder), "{placeholder}");
        }
        for key in [
            "kit-app-key-generation-2-111111111111",
            "  key with outer spaces  ",
            "ring secret for 2023 (kit)",
            "secret-but-followed-by-9f86d081884c7d65",
            "test-only-secret-encryption-key",
        ] {
            assert_eq!(weakness(key, 16), None, "{key}");
        }
    }

    #[test]
    fn length_is_counted_as_javascript_counts_it() {
        let sixteen_pairs = "🔐🗝".repeat(8);
        assert_eq!(weakness(&sixteen_pairs, 32), None, "an astral character counts twice");
        assert_eq!(weakness(&"éà".repeat(15), 32), Some(Weakness::Short), "bytes do not count");
        assert_eq!(weakness("kit-jwt-secret-0123456789abcdef", 32), Some(Weakness::Short));
    }

    #[test]
    fn a_supplied_value_is_long_random_and_new() {
        let (jwt, app) = (Secret::JwtSecret, Secret::AppEncryptionKey);
        let print = |text: &str| Material::new(text).unwrap().fingerprint();
        let long = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
        let check = |secret, value: &str, others: &[(Secret, Fingerprint)]| {
            check_value(secret, value.into(), others).map(|material| material.fingerprint())
        };
        assert_eq!(check(jwt, long, &[(app, print("other"))]), Ok(print(long)));
        assert_eq!(check(jwt, "0f1e2d3c4b5a6978", &[]), Err(ValueFault::Short { min: 32 }));
        assert_eq!(check(app, "0f1e2d3c4b5a6978", &[]), Ok(print("0f1e2d3c4b5a6978")));
        assert_eq!(check(jwt, "", &[]), Err(ValueFault::Placeholder));
        assert_eq!(check(jwt, &"ab".repeat(3), &[]), Err(ValueFault::Short { min: 32 }));
        assert_eq!(check(jwt, long, &[(app, print(long))]), Err(ValueFault::Shared(app)));
        assert_eq!(
            check(jwt, long, &[(app, print(long)), (jwt, print(long))]),
            Err(ValueFault::Known(print(long)))
        );
    }
}
