//! The secrets of the rotation guide, as data: everything else reads this table.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A secret that can be rolled over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Secret {
    /// Signs access, refresh and viewer tokens.
    JwtSecret,
    /// Seals the columns of the registry.
    AppEncryptionKey,
    /// Seals `users.mfa_secret`.
    MfaEncryptionKey,
}

/// What a secret does, which decides how its old key runs dry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Signs: the old key is accepted until the longest lifetime that it signed has passed.
    Signing,
    /// Seals: the old key is accepted until the census finds nothing under it.
    Sealing,
}

/// One row of the catalog.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The secret.
    pub secret: Secret,
    /// The variable that holds it, and its name everywhere else.
    pub name: &'static str,
    /// Other variables that Breeze reads in its place, in order.
    pub aliases: &'static [&'static str],
    /// The variables of its previous values: one value, or a JSON array of values,
    /// newest first (FORMATS section 0.3).
    pub previous: &'static [&'static str],
    /// The variable of its ring (a JSON object: key id to source), and that ring's aliases.
    pub keyring: &'static [&'static str],
    /// The variable that names the ring's active key, and its aliases.
    pub active_id: &'static [&'static str],
    /// Other secrets that once sealed for it, tried last (FORMATS section 2.1).
    pub legacy: &'static [&'static str],
    /// What Breeze's own tests seal with when `NODE_ENV=test` names no key (FORMATS sections 2.1 and 4).
    pub test_value: Option<&'static str>,
    /// What it does.
    pub class: Class,
    /// What it protects.
    pub protects: &'static str,
    /// How long one key should serve.
    pub interval: Duration,
    /// What a graceful rollover disturbs.
    pub graceful_disruption: &'static str,
    /// What a hard rollover breaks.
    pub hard_disruption: &'static str,
    /// What retiring the old key waits for.
    pub drains_when: &'static str,
    /// The fewest characters that a key may have.
    pub min_length: usize,
}

const DAY: u64 = 24 * 60 * 60;

/// Every secret, in the guide's order.
pub const CATALOG: &[Entry] = &[
    Entry {
        secret: Secret::JwtSecret,
        name: "JWT_SECRET",
        aliases: &[],
        previous: &["JWT_SECRET_PREVIOUS"],
        keyring: &["JWT_SIGNING_KEYRING"],
        active_id: &["JWT_ACTIVE_KID"],
        legacy: &[],
        test_value: None,
        class: Class::Signing,
        protects: "access, refresh and viewer tokens",
        interval: Duration::from_secs(90 * DAY),
        graceful_disruption: "none",
        hard_disruption: "every user is logged out",
        drains_when: "the longest lifetime that the old key signed has passed",
        min_length: 32,
    },
    Entry {
        secret: Secret::AppEncryptionKey,
        name: "APP_ENCRYPTION_KEY",
        aliases: &["SSO_ENCRYPTION_KEY", "SECRET_ENCRYPTION_KEY"],
        previous: &["APP_ENCRYPTION_KEY_PREVIOUS", "OLD_ENCRYPTION_KEY"],
        keyring: &["APP_ENCRYPTION_KEYRING", "SECRET_ENCRYPTION_KEYRING"],
        active_id: &["APP_ENCRYPTION_KEY_ID", "SECRET_ENCRYPTION_KEY_ID"],
        legacy: &["JWT_SECRET", "SESSION_SECRET"],
        test_value: Some("test-only-secret-encryption-key"),
        class: Class::Sealing,
        protects: "the sealed columns of the registry",
        interval: Duration::from_secs(365 * DAY),
        graceful_disruption: "none",
        hard_disruption: "a value that is not yet rewrapped cannot be read until it is",
        drains_when: "the census finds nothing under the old key on any registered column",
        min_length: 16,
    },
    Entry {
        secret: Secret::MfaEncryptionKey,
        name: "MFA_ENCRYPTION_KEY",
        aliases: &[],
        previous: &["MFA_ENCRYPTION_KEY_PREVIOUS"],
        keyring: &[],
        active_id: &[],
        legacy: &[],
        test_value: Some("test-only-mfa-encryption-key"),
        class: Class::Sealing,
        protects: "the TOTP seeds in users.mfa_secret",
        interval: Duration::from_secs(365 * DAY),
        graceful_disruption: "none",
        hard_disruption: "a user whose seed is not yet rewrapped cannot pass MFA until it is",
        drains_when: "the census finds nothing under the old key in users.mfa_secret",
        min_length: 16,
    },
];

impl Secret {
    /// Every secret, in the catalog's order.
    pub fn all() -> impl Iterator<Item = Self> {
        CATALOG.iter().map(|entry| entry.secret)
    }

    /// Its row of the catalog.
    #[must_use]
    pub fn entry(self) -> &'static Entry {
        // The catalog is in the order of the enum; a test holds it there.
        &CATALOG[self as usize]
    }

    /// Its name: the environment variable that holds it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().name
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Secret {
    type Err = UnknownSecret;
    fn from_str(name: &str) -> Result<Self, UnknownSecret> {
        CATALOG
            .iter()
            .find(|entry| entry.name == name)
            .map(|entry| entry.secret)
            .ok_or(UnknownSecret)
    }
}

/// A name that is not in the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct UnknownSecret;

impl fmt::Display for UnknownSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Secret::all().map(Secret::name).collect();
        write!(f, "no such secret in the catalog, which has {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_is_in_the_order_of_the_enum_and_names_are_unique() {
        for (index, entry) in CATALOG.iter().enumerate() {
            assert_eq!(entry.secret as usize, index);
            assert_eq!(entry.name.parse(), Ok(entry.secret));
            assert_eq!(
                serde_json::to_value(entry.secret).expect("a string"),
                entry.name,
                "JSON and catalog agree on the name"
            );
        }
        assert_eq!("NOPE".parse::<Secret>(), Err(UnknownSecret));
    }
}
