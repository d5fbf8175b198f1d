//! How the keys of a secret stand in the fields of a manager.
//!
//! | the secret | `NAME` | `NAME_PREVIOUS` | ring and active id |
//! |---|---|---|---|
//! | is no ring, and no key has a name of its own | the primary key | the others | |
//! | is a ring, or a key has a name that nothing else would keep | | those that made what names no key | the primary key, and those with a name |
//!
//! A value that several variables make up stands in each of them, and of a URL only user
//! and password are replaced.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::Fields;
use crate::{
    catalog::{Entry, Secret},
    ids::KeyId,
    keyring::sources::derived_id,
    material::Material,
};

/// A key that is accepted.
pub(super) struct Kept {
    pub(super) id: KeyId,
    /// Whether it may have made values that name no key.
    pub(super) unnamed: bool,
    pub(super) material: Material,
}

impl Kept {
    fn has_own_name(&self) -> bool {
        self.id != derived_id(self.material.fingerprint())
    }
}

/// Sets every variable of the secret: the primary key, and those before it, newest first.
pub(super) fn write(entry: &Entry, fields: &mut Fields, primary: &Kept, previous: &[Kept]) {
    let all = || [primary].into_iter().chain(previous);
    let is_ring = present(fields, entry.keyring).is_some()
        || (!entry.keyring.is_empty() && all().any(Kept::has_own_name));
    if is_ring {
        set_ring(entry, fields, primary, all().filter(|key| !key.unnamed || key.has_own_name()));
        set_previous(entry, fields, all().filter(|key| key.unnamed));
    } else {
        set_own(entry, fields, &primary.material);
        set_previous(entry, fields, previous.iter());
    }
}

fn set_ring<'a>(
    entry: &Entry,
    fields: &mut Fields,
    primary: &'a Kept,
    others: impl Iterator<Item = &'a Kept>,
) {
    let ring: Map<_, _> = [primary]
        .into_iter()
        .chain(others)
        .map(|key| (key.id.to_string(), Value::from(key.material.expose_source())))
        .collect();
    for name in [entry.name].iter().chain(entry.aliases) {
        fields.remove(name);
    }
    if let Some(name) = name(fields, entry.keyring) {
        fields.set(name, &Zeroizing::new(Value::Object(ring).to_string()));
    }
    if let Some(name) = name(fields, entry.active_id) {
        fields.set(name, primary.id.as_str());
    }
}

fn set_previous<'a>(entry: &Entry, fields: &mut Fields, keys: impl Iterator<Item = &'a Kept>) {
    let keys: Vec<_> = keys.map(|key| key.material.expose_source()).collect();
    let name = name(fields, entry.previous).filter(|_| !keys.is_empty());
    for other in entry.previous.iter().filter(|other| Some(**other) != name) {
        fields.remove(other);
    }
    // Each value stands whole in the one that is left.
    for part in entry.parts.iter().filter(|part| **part != entry.name) {
        fields.remove(&format!("{part}_PREVIOUS"));
    }
    if let Some(name) = name {
        fields.set(name, &Zeroizing::new(Value::from(keys).to_string()));
    }
}

fn set_own(entry: &Entry, fields: &mut Fields, key: &Material) {
    let names: Vec<_> = [entry.name].iter().chain(entry.aliases).copied().collect();
    let name = present(fields, &names).unwrap_or(entry.name);
    let source = key.expose_source();
    match entry.secret {
        Secret::DatabaseUrl | Secret::RedisUrl => {
            let url = text(fields, name);
            let url = url.as_ref().map_or("", ExposeSecret::expose_secret);
            if let Some(url) = with_user_info(url, source) {
                fields.set(name, &url);
            }
        }
        _ if entry.parts.is_empty() => fields.set(name, source),
        _ => {
            let Ok(parts) = Fields::parse(source) else { return };
            for part in entry.parts {
                if let Some(text) = text(&parts, part) {
                    fields.set(part, text.expose_secret());
                }
            }
        }
    }
}

/// `url` with another user and password.
fn with_user_info(url: &str, user_info: &str) -> Option<Zeroizing<String>> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (_, host) = authority.rsplit_once('@')?;
    Some(Zeroizing::new(format!("{scheme}://{user_info}@{host}{path}")))
}

fn text(fields: &Fields, name: &str) -> Option<SecretString> {
    fields.text(name).flatten()
}

/// The first of `names` that holds something.
fn present(fields: &Fields, names: &[&'static str]) -> Option<&'static str> {
    let holds = |name: &&&str| {
        text(fields, name).is_some_and(|text| !text.expose_secret().trim().is_empty())
    };
    names.iter().find(holds).copied()
}

/// The first of `names` that holds something, or else the first.
fn name(fields: &Fields, names: &[&'static str]) -> Option<&'static str> {
    present(fields, names).or(names.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: Option<&str>, unnamed: bool, text: &str) -> Kept {
        let material = Material::new(text).unwrap();
        let id = match id {
            Some(id) => KeyId::new(id).unwrap(),
            None => derived_id(material.fingerprint()),
        };
        Kept { id, unnamed, material }
    }

    fn written(secret: Secret, held: &str, primary: &Kept, previous: &[Kept]) -> String {
        let mut fields = Fields::parse(held).unwrap();
        write(secret.entry(), &mut fields, primary, previous);
        fields.to_json().expose_secret().to_owned()
    }

    #[test]
    fn one_value_and_those_before_it() {
        let (new, old) =
            (key(None, false, "new"), [key(None, true, "older"), key(None, true, "o")]);
        let jwt = |held, previous| written(Secret::JwtSecret, held, &new, previous);
        assert_eq!(
            jwt(r#"{"note":7,"JWT_SECRET":"older"}"#, &old),
            r#"{"note":7,"JWT_SECRET":"new","JWT_SECRET_PREVIOUS":"[\"older\",\"o\"]"}"#
        );
        assert_eq!(
            jwt(r#"{"JWT_SECRET":"older","JWT_SECRET_PREVIOUS":["o"]}"#, &[]),
            r#"{"JWT_SECRET":"new"}"#
        );
        let app = written(
            Secret::AppEncryptionKey,
            r#"{"SSO_ENCRYPTION_KEY":"older","OLD_ENCRYPTION_KEY":"o"}"#,
            &new,
            &old,
        );
        assert_eq!(app, r#"{"SSO_ENCRYPTION_KEY":"new","OLD_ENCRYPTION_KEY":"[\"older\",\"o\"]"}"#);
    }

    #[test]
    fn a_ring_stays_one_and_what_named_no_key_is_kept_beside_it() {
        let new = key(None, false, "new");
        let id = &new.id;
        let held =
            r#"{"JWT_SIGNING_KEYRING":{"k1":"older"},"JWT_ACTIVE_KID":"k1","JWT_SECRET":"o"}"#;
        let previous = [key(Some("k1"), false, "older"), key(None, true, "o")];
        assert_eq!(
            written(Secret::JwtSecret, held, &new, &previous),
            format!(
                r#"{{"JWT_SIGNING_KEYRING":"{{\"{id}\":\"new\",\"k1\":\"older\"}}","JWT_ACTIVE_KID":"{id}","JWT_SECRET_PREVIOUS":"[\"o\"]"}}"#
            )
        );
    }

    #[test]
    fn a_key_with_a_name_of_its_own_keeps_it_in_a_ring() {
        let new = key(None, false, "new");
        let id = &new.id;
        let held = r#"{"APP_ENCRYPTION_KEY":"older","APP_ENCRYPTION_KEY_ID":"k1"}"#;
        assert_eq!(
            written(Secret::AppEncryptionKey, held, &new, &[key(Some("k1"), true, "older")]),
            format!(
                r#"{{"APP_ENCRYPTION_KEY_ID":"{id}","APP_ENCRYPTION_KEYRING":"{{\"{id}\":\"new\",\"k1\":\"older\"}}","APP_ENCRYPTION_KEY_PREVIOUS":"[\"older\"]"}}"#
            )
        );
    }

    #[test]
    fn what_several_variables_make_up_stands_in_each_and_of_a_url_the_rest_stays() {
        let pair = r#"{"S3_ACCESS_KEY":"A2","S3_SECRET_KEY":"s2"}"#;
        assert_eq!(
            written(
                Secret::S3SecretKey,
                r#"{"S3_ACCESS_KEY":"A1","S3_SECRET_KEY":"s1","S3_BUCKET":"b"}"#,
                &key(None, false, pair),
                &[]
            ),
            r#"{"S3_ACCESS_KEY":"A2","S3_SECRET_KEY":"s2","S3_BUCKET":"b"}"#
        );
        assert_eq!(
            written(
                Secret::S3SecretKey,
                r#"{"S3_ACCESS_KEY":"A1","S3_SECRET_KEY":"s1","S3_ACCESS_KEY_PREVIOUS":"A0","S3_SECRET_KEY_PREVIOUS":"s0"}"#,
                &key(None, false, pair),
                &[key(None, true, r#"{"S3_ACCESS_KEY":"A1","S3_SECRET_KEY":"s1"}"#)]
            ),
            r#"{"S3_ACCESS_KEY":"A2","S3_SECRET_KEY":"s2","S3_SECRET_KEY_PREVIOUS":"[\"{\\\"S3_ACCESS_KEY\\\":\\\"A1\\\",\\\"S3_SECRET_KEY\\\":\\\"s1\\\"}\"]"}"#
        );
        assert_eq!(
            written(
                Secret::DatabaseUrl,
                r#"{"DATABASE_URL":"postgres://api:p%40@db:5432/breeze?sslmode=require"}"#,
                &key(None, false, "api_b:new"),
                &[key(None, true, "api:p%40")]
            ),
            r#"{"DATABASE_URL":"postgres://api_b:new@db:5432/breeze?sslmode=require","DATABASE_URL_PREVIOUS":"[\"api:p%40\"]"}"#
        );
    }
}
