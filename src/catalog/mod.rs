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
    /// Goes into the hashes of enrolment keys.
    EnrollmentKeyPepper,
    /// Goes into the hashes of MFA recovery codes.
    MfaRecoveryCodePepper,
    /// What an agent presents beside its enrolment key.
    AgentEnrollmentSecret,
    /// Signs session cookies.
    SessionSecret,
    /// The generation of the API keys that users hold.
    UserApiKeys,
    /// The generation of the tokens that agents hold.
    AgentTokens,
    /// What Cloudflare knows the API by.
    CloudflareApiToken,
    /// Where and as whom the API reaches PostgreSQL.
    DatabaseUrl,
    /// Where and as whom the API reaches Redis.
    RedisUrl,
    /// The key pair of the file storage.
    #[serde(rename = "S3_SECRET_KEY")]
    S3SecretKey,
    /// What TURN credentials are made with.
    TurnSecret,
    /// What Prometheus presents.
    MetricsScrapeToken,
    /// User and password at the mail server.
    SmtpPass,
    /// What Resend knows the API by.
    ResendApiKey,
    /// What Mailgun knows the API by.
    MailgunApiKey,
    /// Account and token at Twilio.
    TwilioAuthToken,
    /// What Anthropic knows the API by.
    AnthropicApiKey,
}

/// What a secret does, which decides how its old key runs dry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Signs: the old key is accepted until the longest lifetime that it signed has passed.
    Signing,
    /// Seals: the old key is accepted until the census finds nothing under it.
    Sealing,
    /// Goes into hashes: the old one is accepted until no hash that counts needs it.
    Pepper,
    /// Known to others too: the old one is accepted for a grace period, and until nobody
    /// presents it any more.
    Shared,
    /// Known to an outside provider: the new one is probed first, and the old one is
    /// kept until it is revoked there.
    Provider,
    /// Names a generation of what is handed out one by one: the old one is accepted
    /// until nothing of it is left.
    Issued,
}

/// What becomes of a secret that nobody has given a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Absence {
    /// It is made, and refused in production.
    Development,
    /// It is made.
    Made,
    /// What it is for is switched off.
    Off,
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
    /// The variables that make it up together, where one does not: its value is then
    /// the JSON object of them.
    pub parts: &'static [&'static str],
    /// The variables of its previous values: one value, or a JSON array of values,
    /// newest first (FORMATS section 0.3).
    pub previous: &'static [&'static str],
    /// The variable of its ring (a JSON object: key id to source), and that ring's aliases.
    pub keyring: &'static [&'static str],
    /// The variable that names the ring's active key, and its aliases.
    pub active_id: &'static [&'static str],
    /// Other secrets that once did its work, tried last (FORMATS sections 2.1 and 6).
    pub legacy: &'static [&'static str],
    /// What Breeze's own tests use when `NODE_ENV=test` names no key (FORMATS sections
    /// 2.1, 4 and 6).
    pub test_value: Option<&'static str>,
    /// Whether Breeze drops white space around it.
    pub trimmed: bool,
    /// What it does.
    pub class: Class,
    /// What becomes of it when nobody gives a value.
    pub absence: Absence,
    /// What it protects.
    pub protects: &'static str,
    /// How long one key should serve.
    pub interval: Duration,
    /// How long, at least, the old one is accepted once the new one is in use.
    pub grace: Duration,
    /// What a graceful rollover disturbs.
    pub graceful_disruption: &'static str,
    /// What a hard rollover breaks.
    pub hard_disruption: &'static str,
    /// What retiring the old key waits for.
    pub drains_when: &'static str,
    /// What an operator does elsewhere, in order, for whoever shares the secret. A value
    /// that is made here can be read by nobody: where this is not empty, the new one is
    /// the operator's to make.
    pub elsewhere: &'static [&'static str],
    /// Whether a graceful rollover of it ends only once people have done something, each
    /// in their own time.
    pub waits_for_people: bool,
    /// How an operator takes its power from a credential that a rollover did not keep
    /// (providers).
    pub revoked_by_hand: &'static str,
    /// The fewest characters that a key may have.
    pub min_length: usize,
    /// What to roll over as well when it has leaked, in order.
    pub related: &'static [Secret],
}

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 60 * 60)
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// A secret that is one variable and nothing more.
const fn entry(secret: Secret, name: &'static str, class: Class, absence: Absence) -> Entry {
    Entry {
        secret,
        name,
        aliases: &[],
        parts: &[],
        previous: &[],
        keyring: &[],
        active_id: &[],
        legacy: &[],
        test_value: None,
        trimmed: false,
        class,
        absence,
        protects: "",
        interval: days(90),
        grace: Duration::ZERO,
        graceful_disruption: "none",
        hard_disruption: "",
        drains_when: "",
        elsewhere: &[],
        waits_for_people: false,
        revoked_by_hand: "",
        min_length: 1,
        related: &[],
    }
}

/// A credential at an outside provider, and how an operator revokes one there.
const fn credential(secret: Secret, name: &'static str, revoked_by_hand: &'static str) -> Entry {
    Entry {
        revoked_by_hand,
        drains_when: "the old credential is revoked at the provider",
        hard_disruption: "operations in flight with the old credential fail",
        min_length: 8,
        ..entry(secret, name, Class::Provider, Absence::Off)
    }
}

/// Every secret, in the order of the enum.
pub const CATALOG: &[Entry] = &[
    Entry {
        previous: &["JWT_SECRET_PREVIOUS"],
        keyring: &["JWT_SIGNING_KEYRING"],
        active_id: &["JWT_ACTIVE_KID"],
        protects: "access, refresh and viewer tokens",
        hard_disruption: "every user is logged out",
        drains_when: "the longest lifetime that the old key signed has passed",
        min_length: 32,
        related: &[Secret::SessionSecret],
        ..entry(Secret::JwtSecret, "JWT_SECRET", Class::Signing, Absence::Development)
    },
    Entry {
        aliases: &["SSO_ENCRYPTION_KEY", "SECRET_ENCRYPTION_KEY"],
        previous: &["APP_ENCRYPTION_KEY_PREVIOUS", "OLD_ENCRYPTION_KEY"],
        keyring: &["APP_ENCRYPTION_KEYRING", "SECRET_ENCRYPTION_KEYRING"],
        active_id: &["APP_ENCRYPTION_KEY_ID", "SECRET_ENCRYPTION_KEY_ID"],
        legacy: &["JWT_SECRET", "SESSION_SECRET"],
        test_value: Some("test-only-secret-encryption-key"),
        protects: "the sealed columns of the registry",
        interval: days(365),
        hard_disruption: "a value that is not yet rewrapped cannot be read until it is, and a \
                          sign-on elsewhere that is on its way begins anew",
        drains_when: "the census finds nothing under the old key on any registered column",
        min_length: 16,
        related: &[Secret::MfaEncryptionKey],
        ..entry(
            Secret::AppEncryptionKey,
            "APP_ENCRYPTION_KEY",
            Class::Sealing,
            Absence::Development,
        )
    },
    Entry {
        previous: &["MFA_ENCRYPTION_KEY_PREVIOUS"],
        test_value: Some("test-only-mfa-encryption-key"),
        protects: "the TOTP seeds in users.mfa_secret",
        interval: days(365),
        hard_disruption: "a user whose seed is not yet rewrapped cannot pass MFA until it is",
        drains_when: "the census finds nothing under the old key in users.mfa_secret",
        min_length: 16,
        related: &[Secret::MfaRecoveryCodePepper],
        ..entry(
            Secret::MfaEncryptionKey,
            "MFA_ENCRYPTION_KEY",
            Class::Sealing,
            Absence::Development,
        )
    },
    Entry {
        previous: &["ENROLLMENT_KEY_PEPPER_PREVIOUS"],
        legacy: &[
            "APP_ENCRYPTION_KEY",
            "SSO_ENCRYPTION_KEY",
            "SECRET_ENCRYPTION_KEY",
            "JWT_SECRET",
            "SESSION_SECRET",
        ],
        test_value: Some("test-enrollment-key-pepper"),
        trimmed: true,
        protects: "the hashes of enrolment keys",
        interval: days(365),
        hard_disruption: "enrolment keys that were made before it stop working",
        drains_when: "no unexpired enrolment key is hashed with the old pepper",
        min_length: 32,
        related: &[Secret::AgentEnrollmentSecret],
        ..entry(
            Secret::EnrollmentKeyPepper,
            "ENROLLMENT_KEY_PEPPER",
            Class::Pepper,
            Absence::Development,
        )
    },
    Entry {
        previous: &["MFA_RECOVERY_CODE_PEPPER_PREVIOUS"],
        test_value: Some("test-mfa-recovery-code-pepper"),
        trimmed: true,
        protects: "the hashes of MFA recovery codes",
        interval: days(365),
        hard_disruption: "recovery codes that were handed out before it stop working",
        drains_when: "no unused recovery code is hashed with the old pepper",
        waits_for_people: true,
        min_length: 32,
        ..entry(
            Secret::MfaRecoveryCodePepper,
            "MFA_RECOVERY_CODE_PEPPER",
            Class::Pepper,
            Absence::Development,
        )
    },
    Entry {
        previous: &["AGENT_ENROLLMENT_SECRET_PREVIOUS"],
        trimmed: true,
        protects: "the enrolment of new agents",
        grace: days(7),
        hard_disruption: "an installer that presents the old secret enrols no agent",
        drains_when: "the grace period is over, and nobody has presented the old secret for as long",
        elsewhere: &[
            "make a new secret, such as `openssl rand -hex 32` prints, and hand it in as `value`",
            "put it into the installers; one that presents the old one enrols until the rollover is retired",
        ],
        min_length: 32,
        ..entry(
            Secret::AgentEnrollmentSecret,
            "AGENT_ENROLLMENT_SECRET",
            Class::Shared,
            Absence::Off,
        )
    },
    Entry {
        previous: &["SESSION_SECRET_PREVIOUS"],
        protects: "session cookies",
        hard_disruption: "every browser session ends",
        drains_when: "the longest lifetime that the old key signed has passed",
        min_length: 32,
        ..entry(Secret::SessionSecret, "SESSION_SECRET", Class::Signing, Absence::Made)
    },
    Entry {
        protects: "the API keys that users hold",
        hard_disruption: "every API key that was handed out before it stops working",
        drains_when: "no API key of before is left that has neither ended nor been revoked",
        ..entry(Secret::UserApiKeys, "USER_API_KEYS", Class::Issued, Absence::Made)
    },
    Entry {
        protects: "the tokens that agents hold",
        interval: days(180),
        hard_disruption: "every agent enrols anew",
        drains_when: "every agent has presented a token of its new generation",
        ..entry(Secret::AgentTokens, "AGENT_TOKENS", Class::Issued, Absence::Made)
    },
    Entry {
        previous: &["CLOUDFLARE_API_TOKEN_PREVIOUS"],
        protects: "client certificates and DNS at Cloudflare",
        ..credential(
            Secret::CloudflareApiToken,
            "CLOUDFLARE_API_TOKEN",
            "delete it at Cloudflare, among the API tokens; one that was made here is called `breeze-api after …`",
        )
    },
    Entry {
        previous: &["DATABASE_URL_PREVIOUS"],
        protects: "everything in the database",
        drains_when: "no connection of the old role is left, and its password is taken away",
        hard_disruption: "nothing beyond a graceful one: work in flight on the old role ends before it does",
        related: &[Secret::AppEncryptionKey],
        ..credential(
            Secret::DatabaseUrl,
            "DATABASE_URL",
            "`ALTER ROLE … PASSWORD NULL` for its role, unless that is the present one as well",
        )
    },
    Entry {
        previous: &["REDIS_URL_PREVIOUS"],
        protects: "rate limits and login throttling",
        drains_when: "no connection with the old password is left, as far as the server tells, and it is taken away",
        hard_disruption: "nothing beyond a graceful one: counts go on, and both passwords work until the old one is taken away",
        ..credential(
            Secret::RedisUrl,
            "REDIS_URL",
            "`ACL SETUSER … !SHA256` with the SHA-256 of its password, which `ACL GETUSER …` lists",
        )
    },
    Entry {
        parts: &["S3_ACCESS_KEY", "S3_SECRET_KEY"],
        previous: &["S3_SECRET_KEY_PREVIOUS"],
        protects: "uploaded files",
        ..credential(
            Secret::S3SecretKey,
            "S3_SECRET_KEY",
            "delete the access key where it was made",
        )
    },
    Entry {
        previous: &["TURN_SECRET_PREVIOUS"],
        protects: "credentials of the TURN server",
        hard_disruption: "remote sessions through the TURN server cannot be set up until it has the new secret",
        drains_when: "the longest lifetime of a TURN credential has passed",
        elsewhere: &[
            "let the TURN server accept a new secret beside the old one: `turnadmin -s NEW -r REALM -b /var/lib/turn/turndb`, which coturn with use-auth-secret reads at once; or another line static-auth-secret=NEW in turnserver.conf, and a restart",
            "hand the new secret in as `value`",
            "once the rollover is retired, let it accept the old one no more: `turnadmin -X OLD -r REALM -b /var/lib/turn/turndb`; or take its line away, and restart",
        ],
        min_length: 16,
        ..entry(Secret::TurnSecret, "TURN_SECRET", Class::Shared, Absence::Off)
    },
    Entry {
        previous: &["METRICS_SCRAPE_TOKEN_PREVIOUS"],
        trimmed: true,
        protects: "the metrics",
        interval: days(180),
        grace: minutes(15),
        hard_disruption: "scrapes fail until Prometheus presents the new token",
        drains_when: "the grace period is over, and nobody has presented the old token for as long",
        elsewhere: &[
            "make a new token, such as `openssl rand -hex 32` prints, and hand it in as `value`",
            "put it into Prometheus: it reads the file of `credentials_file` anew for each scrape",
        ],
        min_length: 16,
        ..entry(Secret::MetricsScrapeToken, "METRICS_SCRAPE_TOKEN", Class::Shared, Absence::Off)
    },
    Entry {
        parts: &["SMTP_USER", "SMTP_PASS"],
        previous: &["SMTP_PASS_PREVIOUS"],
        protects: "outgoing mail by SMTP",
        ..credential(
            Secret::SmtpPass,
            "SMTP_PASS",
            "have the mail server take the password no more",
        )
    },
    Entry {
        previous: &["RESEND_API_KEY_PREVIOUS"],
        protects: "outgoing mail by Resend",
        ..credential(
            Secret::ResendApiKey,
            "RESEND_API_KEY",
            "delete it at Resend, among the API keys",
        )
    },
    Entry {
        previous: &["MAILGUN_API_KEY_PREVIOUS"],
        protects: "outgoing mail by Mailgun",
        ..credential(
            Secret::MailgunApiKey,
            "MAILGUN_API_KEY",
            "delete it at Mailgun, among the API keys",
        )
    },
    Entry {
        parts: &["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"],
        previous: &["TWILIO_AUTH_TOKEN_PREVIOUS"],
        protects: "outgoing SMS",
        ..credential(
            Secret::TwilioAuthToken,
            "TWILIO_AUTH_TOKEN",
            "delete the secondary token at Twilio, among the auth tokens",
        )
    },
    Entry {
        previous: &["ANTHROPIC_API_KEY_PREVIOUS"],
        protects: "the assistant",
        ..credential(
            Secret::AnthropicApiKey,
            "ANTHROPIC_API_KEY",
            "delete it in the console of Anthropic, among the API keys",
        )
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
