//! The first part of a token: which algorithm, which key.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::{
    error::{Part, TokenError},
    value::Value,
};

/// What the header says of the key.
#[derive(Debug, PartialEq)]
pub(super) enum Signer<'a> {
    /// The key of this id.
    Named(Cow<'a, str>),
    /// A key from before tokens named theirs.
    Unnamed,
}

/// Reads `json`, which nobody has authenticated yet.
pub(super) fn signer(json: &[u8]) -> Result<Signer<'_>, TokenError> {
    let header: Header<'_> =
        serde_json::from_slice(json).map_err(|_| TokenError::Malformed(Part::Header))?;
    if !header.alg.is_text("HS256") {
        return Err(TokenError::Algorithm);
    }
    if header.has_extension {
        return Err(TokenError::Extension);
    }
    match header.kid {
        Value::Absent => Ok(Signer::Unnamed),
        Value::Text(kid) if kid.is_empty() => Ok(Signer::Unnamed),
        Value::Text(kid) => Ok(Signer::Named(kid)),
        _ => Err(TokenError::KeyIdType),
    }
}

#[derive(Default)]
struct Header<'a> {
    alg: Value<'a>,
    kid: Value<'a>,
    has_extension: bool,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Alg,
    Kid,
    Crit,
    B64,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Header<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header<'de>, A::Error> {
        let mut header = Header::default();
        while let Some(member) = map.next_key()? {
            match member {
                Member::Alg => header.alg = map.next_value()?,
                Member::Kid => header.kid = map.next_value()?,
                Member::Crit | Member::B64 => {
                    header.has_extension = true;
                    map.next_value::<IgnoredAny>()?;
                }
                Member::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_its_key_by_text_or_not_at_all() {
        let named = |kid: &'static str| Ok(Signer::Named(kid.into()));
        for (json, expected) in [
            (r#"{"alg":"HS256"}"#, Ok(Signer::Unnamed)),
            (r#"{"alg":"HS256","kid":""}"#, Ok(Signer::Unnamed)),
            (r#"{"kid":"k3","typ":"JWT","alg":"HS256"}"#, named("k3")),
            (r#"{"alg":"HS256","kid":"k\u0033"}"#, named("k3")),
            (r#"{"alg":"HS256","kid":"k2","kid":"k3"}"#, named("k3")),
            (r#"{"alg":"HS256","kid":5}"#, Err(TokenError::KeyIdType)),
            (r#"{"alg":"HS256","kid":null}"#, Err(TokenError::KeyIdType)),
            (r#"{"alg":"HS256","kid":["k3"]}"#, Err(TokenError::KeyIdType)),
        ] {
            assert_eq!(signer(json.as_bytes()), expected, "{json}");
        }
    }

    #[test]
    fn only_plain_hs256_is_accepted() {
        for (json, error) in [
            (r#"{"alg":"none"}"#, TokenError::Algorithm),
            (r#"{"alg":"hs256"}"#, TokenError::Algorithm),
            (r#"{"alg":"HS384"}"#, TokenError::Algorithm),
            (r#"{"alg":["HS256"]}"#, TokenError::Algorithm),
            (r#"{"kid":"k3"}"#, TokenError::Algorithm),
            (r#"{"alg":"HS256","crit":["b64"]}"#, TokenError::Extension),
            (r#"{"alg":"HS256","b64":true}"#, TokenError::Extension),
            ("[]", TokenError::Malformed(Part::Header)),
            ("", TokenError::Malformed(Part::Header)),
            (r#"{"alg":"HS256"} x"#, TokenError::Malformed(Part::Header)),
        ] {
            assert_eq!(signer(json.as_bytes()), Err(error), "{json}");
        }
    }
}
