//! Which values are fit to be a key.

use secrecy::SecretString;

use super::{
    canonical::{Identity, canonical, secret_part},
    fault::Fault,
    json::trim,
};
use crate::{
    catalog::Secret,
    material::{Fingerprint, Material},
};

/// The key that an operator hands in for `secret`, in its canonical form. `others` are those
/// that exist, each by the name of its secret, this one's own included.
///
/// # Errors
/// [`ValueFault`] when it, or what is secret in it, is too short, a placeholder, or in use
/// already.
pub fn check_value(
    secret: Secret,
    value: SecretString,
    others: &[(&'static str, Identity)],
) -> Result<Material, ValueFault> {
    let min = secret.entry().min_length;
    let written = Material::new(value).map_err(|_| ValueFault::Placeholder)?;
    match weakness(secret_part(secret, &written).expose_source(), min) {
        Some(Weakness::Short) => return Err(ValueFault::Short { min }),
        Some(Weakness::Placeholder) => return Err(ValueFault::Placeholder),
        None => {}
    }
    let identity = Identity::of(secret, &written);
    let is_own = |owner: &str| owner == secret.name();
    let known = others.iter().find(|(owner, other)| is_own(owner) && other.is(&identity));
    if let Some((_, known)) = known {
        return Err(ValueFault::Known(known.written()));
    }
    let shared = others.iter().find(|(owner, it)| !is_own(owner) && it.shares_with(&identity));
    match shared {
        Some((owner, _)) => Err(ValueFault::Shared(owner)),
        None => Ok(canonical(secret, &written)),
    }
}

/// Why a value cannot be a key. Never holds the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueFault {
    /// Fewer characters than the catalog asks for.
    #[error(
        "the value, or what is secret in it, is too short; use at least {min} characters, or leave it out to have one made"
    )]
    Short {
        /// The fewest characters (UTF-16 code units).
        min: usize,
    },
    /// A value that stands for a key and is none.
    #[error(
        "the value, or what is secret in it, is a placeholder; use a random one, or leave it out to have one made"
    )]
    Placeholder,
    /// A key of this secret already, whatever its state.
    #[error("the value is a key of this secret already (fingerprint {0}); use one that is new")]
    Known(Fingerprint),
    /// A key of another secret, or the root key; or it shares what is secret in it with one.
    #[error(
        "the value, or what is secret in it, is a key of {0}; give each secret a key of its own"
    )]
    Shared(&'static str),
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
        let known = |secret: Secret, text: &str| {
            (secret.name(), Identity::of(secret, &Material::new(text).unwrap()))
        };
        let long = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
        let check = |secret, value: &str, others: &[(&'static str, Identity)]| {
            check_value(secret, value.into(), others).map(|material| material.fingerprint())
        };
        assert_eq!(check(jwt, long, &[known(app, "other")]), Ok(print(long)));
        assert_eq!(check(jwt, "0f1e2d3c4b5a6978", &[]), Err(ValueFault::Short { min: 32 }));
        assert_eq!(check(app, "0f1e2d3c4b5a6978", &[]), Ok(print("0f1e2d3c4b5a6978")));
        assert_eq!(check(jwt, "", &[]), Err(ValueFault::Placeholder));
        assert_eq!(check(jwt, &"ab".repeat(3), &[]), Err(ValueFault::Short { min: 32 }));
        assert_eq!(
            check(jwt, long, &[known(app, long)]),
            Err(ValueFault::Shared("APP_ENCRYPTION_KEY"))
        );
        assert_eq!(
            check(jwt, long, &[known(app, long), known(jwt, long)]),
            Err(ValueFault::Known(print(long)))
        );
    }

    #[test]
    fn what_is_secret_in_a_value_is_judged_and_not_what_stands_around_it() {
        let (jwt, smtp, redis) = (Secret::JwtSecret, Secret::SmtpPass, Secret::RedisUrl);
        let known = |secret: Secret, text: &str| {
            (secret.name(), Identity::of(secret, &Material::new(text).unwrap()))
        };
        let mail = |user: &str, pass: &str| {
            format!("{{\"SMTP_PASS\": {pass:?}, \"SMTP_USER\": {user:?}}}")
        };
        let long = "0f1e2d3c4b5a69788796a5b4c3d2e1f@";
        let others = [
            known(jwt, long),
            known(smtp, &mail("u", "a password in use")),
            ("BREEZE_ROOT_KEY", {
                Identity::plain(Material::new("a root key").unwrap().fingerprint())
            }),
        ];
        let check = |secret, value: &str| {
            check_value(secret, value.into(), &others).map(|key| key.expose_source().to_owned())
        };
        let canonical = r#"{"SMTP_USER":"b","SMTP_PASS":"a password of its own"}"#;
        assert_eq!(check(smtp, &mail("b", "a password of its own")).as_deref(), Ok(canonical));
        assert_eq!(check(redis, "default:p@ssword").as_deref(), Ok(":p%40ssword"));
        for (secret, value, fault) in [
            (smtp, mail("a-user-of-the-tests", "changeme"), ValueFault::Placeholder),
            (smtp, mail("a-user-of-the-tests", "short"), ValueFault::Short { min: 8 }),
            (redis, "a-user-of-the-tests:%63hangeme".into(), ValueFault::Placeholder),
            (redis, "a-user-of-the-tests:short".into(), ValueFault::Short { min: 8 }),
            (smtp, mail("b", long), ValueFault::Shared("JWT_SECRET")),
            (redis, format!("api:{long}"), ValueFault::Shared("JWT_SECRET")),
            (redis, format!("api:{}", long.replace('@', "%40")), ValueFault::Shared("JWT_SECRET")),
            (redis, "api:a password in use".into(), ValueFault::Shared("SMTP_PASS")),
            (redis, "api:a root key".into(), ValueFault::Shared("BREEZE_ROOT_KEY")),
        ] {
            assert_eq!(check(secret, &value), Err(fault), "{value}");
        }
        let whole = others[1].1.written();
        assert_eq!(
            check(smtp, r#"{"SMTP_USER":"u","SMTP_PASS":"a password\u0020in use"}"#),
            Err(ValueFault::Known(whole))
        );
    }
}
