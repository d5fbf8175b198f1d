//! A credential that several variables make up: the JSON object of them.

use zeroize::Zeroizing;

use crate::{catalog::Secret, keyring::sources, material::Material};

/// The parts of `credential`, in the catalog's order; `None` unless it is the JSON object
/// of exactly those, each a text that is not empty.
pub(super) fn parts<const N: usize>(
    secret: Secret,
    credential: &Material,
) -> Option<[Zeroizing<String>; N]> {
    sources::parts(secret, credential.expose_source())?.try_into().ok()
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
