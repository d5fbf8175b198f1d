//! Rings and lists of keys, as JSON. No error tells a part of the text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::fault::RingFault;
use crate::{ids::KeyId, material::Material};

/// The keys of a ring, in its order. Ids are trimmed; of ids that are equal then,
/// the last wins (FORMATS section 2.2).
pub(super) fn ring(text: &str) -> Result<Vec<(KeyId, Material)>, RingFault> {
    let entries = entries(text)?;
    let mut keys: Vec<(KeyId, Material)> = Vec::with_capacity(entries.len());
    for (id, raw) in entries {
        let id = KeyId::new(trim(&id)).map_err(|_| RingFault::BadId)?;
        let material = text_of(raw).ok_or(RingFault::BadValue)?;
        match keys.iter_mut().find(|(known, _)| *known == id) {
            Some((_, replaced)) => *replaced = material,
            None => keys.push((id, material)),
        }
    }
    Ok(keys)
}

/// The members of a JSON object in its own order, their values not yet parsed.
pub(super) fn entries(text: &str) -> Result<Vec<(Zeroizing<String>, &RawValue)>, RingFault> {
    let entries: Entries<'_> = serde_json::from_str(text).map_err(|error| {
        if error.is_data() { RingFault::NotAnObject } else { RingFault::NotJson }
    })?;
    Ok(entries.0)
}

/// The keys of a list: a JSON array of texts, or one text as it is.
pub(super) fn list(text: &str) -> Option<Vec<Material>> {
    if !trim(text).starts_with('[') {
        return Some(vec![Material::new(text).ok()?]);
    }
    let raw: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    raw.into_iter().map(text_of).collect()
}

/// `String.prototype.trim`, which Breeze trims with.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}'))
}

/// The JSON object of `texts`, in their order.
pub(super) fn object<'a>(texts: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut object = String::from("{");
    for (index, (name, text)) in texts.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let text = Zeroizing::new(serde_json::Value::from(text).to_string());
        object += &format!("{comma}\"{name}\":{}", *text);
    }
    object + "}"
}

fn text_of(raw: &RawValue) -> Option<Material> {
    let text: Zeroizing<String> = serde_json::from_str(raw.get()).ok().map(Zeroizing::new)?;
    Material::new(text.as_str()).ok()
}

/// A JSON object in its own order, its values not yet parsed.
struct Entries<'a>(Vec<(Zeroizing<String>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some((id, raw)) = map.next_entry::<String, &'de RawValue>()? {
                    entries.push((Zeroizing::new(id), raw));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_an_object_of_ids_and_texts() {
        let read = |text| {
            ring(text).map(|keys| {
                keys.iter()
                    .map(|(id, key)| format!("{id}={}", key.expose_source()))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(read(r#"{"b":"1","a":" 2 "}"#), Ok(vec!["b=1".into(), "a= 2 ".into()]));
        assert_eq!(read(r#"{" a ":"1","b":"2","a":"3"}"#), Ok(vec!["a=3".into(), "b=2".into()]));
        assert_eq!(read(" {} "), Ok(vec![]));
        for (text, fault) in [
            ("{bad", RingFault::NotJson),
            ("", RingFault::NotJson),
            (r#"{"a":"1"} x"#, RingFault::NotJson),
            (r#"{"a":}"#, RingFault::NotJson),
            ("null", RingFault::NotAnObject),
            (r#"["a"]"#, RingFault::NotAnObject),
            (r#""a""#, RingFault::NotAnObject),
            ("7", RingFault::NotAnObject),
            (r#"{"":"1"}"#, RingFault::BadId),
            (r#"{"k 2025":"x"}"#, RingFault::BadId),
            (r#"{"a":""}"#, RingFault::BadValue),
            (r#"{"a":null}"#, RingFault::BadValue),
            (r#"{"a":{"b":"c"}}"#, RingFault::BadValue),
        ] {
            assert_eq!(read(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn previous_values_are_one_text_or_an_array() {
        let read = |text| {
            list(text).map(|keys| {
                keys.iter().map(|key| key.expose_source().to_owned()).collect::<Vec<_>>()
            })
        };
        assert_eq!(read(" one "), Some(vec![" one ".to_owned()]));
        assert_eq!(read(r#" ["b","a\n"]"#), Some(vec!["b".to_owned(), "a\n".to_owned()]));
        assert_eq!(read("[]"), Some(vec![]));
        assert_eq!(read(r#"{"a":1}"#), Some(vec![r#"{"a":1}"#.to_owned()]), "an odd key is a key");
        for bad in ["[", r#"["a"#, r#"["a",1]"#, r#"[""]"#, "[null]"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn trimming_is_that_of_javascript() {
        assert_eq!(trim("\u{feff} \u{a0}k\u{2029}\t"), "k");
        assert_eq!(trim("\u{85}k"), "\u{85}k");
    }
}
