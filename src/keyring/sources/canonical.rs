//! One form of every value, whichever way it was written, and what of it has to be secret.
//!
//! 1. Texts that stand for one value have one [`canonical`] form. Whatever becomes a key,
//!    from the environment, a file, a secrets manager, a provider or an operator, does so in
//!    that form: equal credentials have equal fingerprints.
//! 2. A text that is not of its secret's form stays as it is; whoever would use it says what
//!    is wrong with it.
//! 3. A key of before, which may stand in another form, is known again by its [`Identity`].
//! 4. What must not be weak, nor in use by two secrets, is the *secret part* of a value:
//!    its password, secret key or token. Whole values must not be in use by two, either.
//!
//! | the secret | its canonical form | is written as well | its secret part |
//! |---|---|---|---|
//! | has parts | the JSON object of them, in the catalog's order | with blanks, in another order, with other escapes | the part that is called as it is |
//! | is the login at a server | `user:password`, of which all but unreserved characters (RFC 3986 section 2.3) stand behind `%` | with others behind `%`, or fewer; of Redis with the user `default`, for none | the password, decoded |
//! | has white space around it dropped | without it | | all of it |
//! | is any other | the text | | all of it |

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::json;
use crate::{
    catalog::Secret,
    material::{Fingerprint, Material},
};

/// `material` in the one form that its value has.
pub(crate) fn canonical(secret: Secret, material: &Material) -> Material {
    read(secret, material).map_or_else(|| material.copied(), |read| read.canonical)
}

/// What of `material` has to be secret.
pub(super) fn secret_part(secret: Secret, material: &Material) -> Material {
    read(secret, material).map_or_else(|| material.copied(), |read| read.secret_part)
}

/// Whether the value is the login at a server, which stands in the server's URL.
pub(super) const fn is_login(secret: Secret) -> bool {
    matches!(secret, Secret::DatabaseUrl | Secret::RedisUrl)
}

/// The parts of a credential, in the catalog's order; `None` unless `text` is the JSON
/// object of exactly those, each a text that is not empty.
pub(crate) fn parts(secret: Secret, text: &str) -> Option<Vec<Zeroizing<String>>> {
    let names = secret.entry().parts;
    let mut members = json::entries(text).ok()?;
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let place = members.iter().position(|(member, _)| member.as_str() == *name)?;
        let (_, raw) = members.swap_remove(place);
        let part: String = serde_json::from_str(raw.get()).ok()?;
        found.push(Zeroizing::new(part));
    }
    let is_whole = members.is_empty() && found.iter().all(|part| !part.is_empty());
    is_whole.then_some(found)
}

/// User and password of a credential as a URL writes it: `%` before what a URL cannot
/// hold. `None` for anything else, a whole URL too.
pub(crate) fn login(credential: &Material) -> Option<(String, SecretString)> {
    let text = credential.expose_source();
    let (user, password) = text.split_once(':').filter(|_| !text.contains("://"))?;
    let decoded = |text| percent_decode_str(text).decode_utf8().ok();
    let (user, password) = (decoded(user)?, decoded(password)?);
    (!password.is_empty()).then(|| (user.into_owned(), password.into_owned().into()))
}

/// A value that is of its secret's form.
struct Read {
    canonical: Material,
    secret_part: Material,
}

fn read(secret: Secret, material: &Material) -> Option<Read> {
    let entry = secret.entry();
    if is_login(secret) {
        read_login(secret, material)
    } else if !entry.parts.is_empty() {
        read_parts(secret, material)
    } else if entry.trimmed {
        let trimmed = Material::new(json::trim(material.expose_source())).ok()?;
        Some(Read { secret_part: trimmed.copied(), canonical: trimmed })
    } else {
        None
    }
}

fn read_parts(secret: Secret, material: &Material) -> Option<Read> {
    let entry = secret.entry();
    let parts = parts(secret, material.expose_source())?;
    let named = || entry.parts.iter().copied().zip(parts.iter().map(|part| part.as_str()));
    let object = Zeroizing::new(json::object(named()));
    let (_, own) = named().find(|(name, _)| *name == entry.name)?;
    Some(Read {
        canonical: Material::new(object.as_str()).ok()?,
        secret_part: Material::new(own).ok()?,
    })
}

/// What a URL may hold as it is, wherever it stands.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The user that Redis takes for one that is not named.
const REDIS_DEFAULT: &str = "default";

fn read_login(secret: Secret, material: &Material) -> Option<Read> {
    let (user, password) = login(material)?;
    let user = match (secret, user.as_str()) {
        (Secret::RedisUrl, REDIS_DEFAULT) => "",
        (_, user) => user,
    };
    let encoded = |text| utf8_percent_encode(text, RESERVED);
    let text = Zeroizing::new(format!("{}:{}", encoded(user), encoded(password.expose_secret())));
    Some(Read {
        canonical: Material::new(text.as_str()).ok()?,
        secret_part: Material::new(password).ok()?,
    })
}

/// By what a value is known again: fingerprints of its text, of its canonical form and of
/// its secret part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    written: Fingerprint,
    canonical: Fingerprint,
    secret_part: Fingerprint,
}

impl Identity {
    /// That of `material`, as it is written.
    #[must_use]
    pub fn of(secret: Secret, material: &Material) -> Self {
        Self {
            written: material.fingerprint(),
            canonical: canonical(secret, material).fingerprint(),
            secret_part: secret_part(secret, material).fingerprint(),
        }
    }

    /// That of a value whose text is not at hand, or is all that there is to it.
    #[must_use]
    pub const fn plain(written: Fingerprint) -> Self {
        Self { written, canonical: written, secret_part: written }
    }

    /// The fingerprint of its text.
    #[must_use]
    pub const fn written(&self) -> Fingerprint {
        self.written
    }

    /// Whether both are one value of one secret.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.written == other.written || self.canonical == other.canonical
    }

    /// Whether two secrets have something in common that each should have for itself.
    #[must_use]
    pub fn shares_with(&self, other: &Self) -> bool {
        let own = [self.canonical, self.secret_part];
        own.contains(&other.canonical) || own.contains(&other.secret_part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S3: Secret = Secret::S3SecretKey;

    fn material(text: &str) -> Material {
        Material::new(text).unwrap()
    }

    /// Canonical form and secret part.
    fn of(secret: Secret, text: &str) -> (String, String) {
        let shown = |material: Material| material.expose_source().to_owned();
        let written = material(text);
        (shown(canonical(secret, &written)), shown(secret_part(secret, &written)))
    }

    #[test]
    fn every_way_to_write_a_value_has_one_form() {
        let pair = r#"{"S3_ACCESS_KEY":"a\"b","S3_SECRET_KEY":"s"}"#;
        let mail = r#"{"SMTP_USER":"u","SMTP_PASS":"p/ü"}"#;
        let cases: &[(Secret, &str, &str, &[&str])] = &[
            (
                S3,
                pair,
                "s",
                &[
                    pair,
                    r#"{"S3_ACCESS_KEY": "a\"b", "S3_SECRET_KEY": "s"}"#,
                    "\n{ \"S3_SECRET_KEY\":\"\\u0073\",\n\"S3_ACCESS_KEY\":\"a\\u0022b\" }\n",
                ],
            ),
            (
                Secret::SmtpPass,
                mail,
                "p/ü",
                &[mail, r#"{"SMTP_PASS":"p\/\u00fc","SMTP_USER":"u"}"#],
            ),
            (
                Secret::DatabaseUrl,
                "api_b:p%40%3Aw",
                "p@:w",
                &["api_b:p%40%3Aw", "api_b:p@:w", "api%5fb:p%40:%77"],
            ),
            (Secret::RedisUrl, ":p%2Bw", "p+w", &[":p+w", "default:p%2bw", "%64efault:p+w"]),
            (Secret::DatabaseUrl, "default:pw", "pw", &["default:pw"]),
            (Secret::EnrollmentKeyPepper, "p p", "p p", &["p p", " p p\n"]),
            (Secret::JwtSecret, " k\n", " k\n", &[" k\n"]),
        ];
        for (secret, form, part, ways) in cases {
            for way in *ways {
                assert_eq!(of(*secret, way), ((*form).into(), (*part).into()), "{way}");
            }
        }
    }

    #[test]
    fn what_is_of_no_form_stays_as_it_is() {
        for (secret, text) in [
            (S3, "AKIA"),
            (S3, "[]"),
            (S3, r#"{"S3_ACCESS_KEY": "a"}"#),
            (S3, r#"{"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": ""}"#),
            (S3, r#"{"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": 1}"#),
            (S3, r#"{"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "s", "X": "x"}"#),
            (S3, r#"{"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "s", "S3_SECRET_KEY": "t"}"#),
            (Secret::DatabaseUrl, "api"),
            (Secret::DatabaseUrl, "api:"),
            (Secret::DatabaseUrl, "api:%ff"),
            (Secret::RedisUrl, "redis://api:p@cache"),
            (Secret::MetricsScrapeToken, "  "),
            (Secret::JwtSecret, r#"{"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "s"}"#),
        ] {
            assert_eq!(of(secret, text), (text.into(), text.into()), "{text}");
        }
    }

    #[test]
    fn a_value_is_known_again_however_it_is_written() {
        let login = |text| Identity::of(Secret::RedisUrl, &material(text));
        assert!(login("api:p@").is(&login("api:p%40")));
        assert!(login("api:p@").is(&Identity::plain(material("api:p@").fingerprint())));
        assert!(!login("api:p@").is(&Identity::plain(material("p@").fingerprint())));
        assert!(!login("api:p@").is(&login("b:p@")));
    }

    #[test]
    fn two_secrets_share_a_part_or_the_whole_whichever_has_it_as_a_part() {
        let whole = |text| Identity::of(Secret::JwtSecret, &material(text));
        let login = |text| Identity::of(Secret::RedisUrl, &material(text));
        let pair = Identity::of(S3, &material(r#"{"S3_ACCESS_KEY":"a","S3_SECRET_KEY":"p@"}"#));
        for (one, other) in [
            (whole("p@"), login("api:p%40")),
            (whole("p@"), pair),
            (pair, login("api:p%40")),
            (whole("api:p%40"), login("api:p@")),
        ] {
            assert!(one.shares_with(&other) && other.shares_with(&one));
        }
        for other in [login("p@:x"), pair, login("api:p")] {
            assert!(!whole("a").shares_with(&other), "a user or an id may be known");
        }
    }
}
