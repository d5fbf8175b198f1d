//! One-time codes (RFC 6238): SHA-1, 6 digits, 30 seconds, one step of tolerance, as
//! Breeze's authenticator apps expect.

use breeze_rollover::clock::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use totp_rs::{Builder, Secret, Totp};

/// The sealed column of the seeds.
pub(crate) const MFA_COLUMN: (&str, &str) = ("users", "mfa_secret");

/// The sealed column of seeds that were offered to a user, and not yet proven.
pub(crate) const OFFER_COLUMN: (&str, &str) = ("api_mfa_offers", "secret");

/// A new seed, in base32, and the URI from which an authenticator app learns it.
pub(crate) struct Enrolment {
    pub(crate) seed: SecretString,
    pub(crate) uri: SecretString,
}

/// A seed that is no base32, or an account that fits in no URI.
#[derive(Debug, thiserror::Error)]
#[error("the TOTP seed or account name is malformed; enrol the user again")]
pub(crate) struct TotpError;

/// Makes a seed of 160 bits for `account`.
pub(crate) fn enrol(account: &str) -> Result<Enrolment, TotpError> {
    let seed = SecretString::from(Secret::generate().to_base32());
    let uri = otpauth_uri(&seed, account)?;
    Ok(Enrolment { seed, uri })
}

/// The URI of `seed`, which holds it.
fn otpauth_uri(seed: &SecretString, account: &str) -> Result<SecretString, TotpError> {
    let account = account.replace(':', "_");
    let builder = builder(seed)?.with_issuer(Some("Breeze")).with_account_name(account);
    Ok(builder.build_noncompliant().to_url().map_err(|_| TotpError)?.into())
}

/// The step in which `code` is right, at `now` or one step beside it. Whoever accepts
/// a code must see to it that its step counts once.
pub(crate) fn accepted_step(
    seed: &SecretString,
    code: &str,
    now: Timestamp,
) -> Result<Option<i64>, TotpError> {
    let totp: Totp = builder(seed)?.build_noncompliant();
    let now = u64::try_from(now.as_seconds()).unwrap_or(0);
    Ok(totp.check(code.trim(), now).and_then(|step| i64::try_from(step).ok()))
}

/// Breeze's own seeds have 80 bits, fewer than the RFC asks for, so its rule is not
/// applied.
fn builder(seed: &SecretString) -> Result<Builder, TotpError> {
    let seed = seed.expose_secret().trim().trim_end_matches('=').to_ascii_uppercase();
    Ok(Builder::new().with_secret(Secret::try_from_base32(seed).map_err(|_| TotpError)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B: the seed `12345678901234567890`, the code at 59 s.
    const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn the_code_of_the_rfc_is_right_in_its_step_and_one_beside_it() {
        let seed = SecretString::from(SEED);
        let at = |second| accepted_step(&seed, "287082", Timestamp::from_seconds(second));
        assert_eq!(at(59).expect("base32"), Some(1));
        assert_eq!(at(60).expect("base32"), Some(1));
        assert_eq!(at(90).expect("base32"), None);
    }

    #[test]
    fn a_short_seed_of_breeze_works_and_a_malformed_one_is_an_error() {
        let seed = SecretString::from("JBSWY3DPEHPK3PXP");
        assert!(accepted_step(&seed, "000000", Timestamp::from_seconds(0)).is_ok());
        assert!(otpauth_uri(&seed, "ann@example.test").is_ok());
        assert!(accepted_step(&"not base32!".into(), "000000", Timestamp::default()).is_err());
    }
}
