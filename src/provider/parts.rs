//! A credential that several variables make up: the JSON object of them.

use serde::{Deserialize, Deserializer, de};
use zeroize::Zeroizing;

use crate::{catalog::Secret, material::Material};

/// The parts of `credential`, in the catalog's order; `None` unless it is the JSON object
/// of exactly those, each a text that is not empty.
pub(super) fn parts<const N: usize>(
    secret: Secret,
    credential: &Material,
) -> Option<[Zeroizing<String>; N]> {
    let names = secret.entry().parts;
    let Members(mut members) = serde_json::from_str(credential.expose_source()).ok()?;
    let found: Vec<_> = names
        .iter()
        .filter_map(|name| {
            let place = members.iter().position(|(member, _)| member == name)?;
            Some(members.swap_remove(place).1)
        })
        .filter(|text| !text.is_empty())
        .collect();
    if members.is_empty() { found.try_into().ok() } else { None }
}

struct Members(Vec<(String, Zeroizing<String>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> de::Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((name, text)) = map.next_entry::<String, String>()? {
                    members.push((name, Zeroizing::new(text)));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_the_object_of_its_two_variables_and_nothing_else() {
        let read = |text: &str| {
            parts::<2>(Secret::S3SecretKey, &Material::new(text).unwrap())
                .map(|[a, b]| format!("{} {}", *a, *b))
        };
        let pair = r#"{"S3_SECRET_KEY":"s","S3_ACCESS_KEY":"a"}"#;
        assert_eq!(read(pair).as_deref(), Some("a s"));
        for unfit in [
            "AKIA",
            "[]",
            r#"{"S3_ACCESS_KEY":"a"}"#,
            r#"{"S3_ACCESS_KEY":"a","S3_SECRET_KEY":""}"#,
            r#"{"S3_ACCESS_KEY":"a","S3_SECRET_KEY":1}"#,
            r#"{"S3_ACCESS_KEY":"a","S3_SECRET_KEY":"s","X":"x"}"#,
            r#"{"S3_ACCESS_KEY":"a","S3_SECRET_KEY":"s","S3_SECRET_KEY":"t"}"#,
        ] {
            assert_eq!(read(unfit), None, "{unfit}");
        }
    }
}
