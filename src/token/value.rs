//! A member of a header or payload whose type nobody has checked yet.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// One member: what a member of ours can be, borrowed where possible, or anything else.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Value<'a> {
    /// The object has no such member.
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Number(f64),
    Flag(bool),
    List(Vec<Self>),
    /// `null` or an object.
    Other,
}

impl<'a> Value<'a> {
    pub(super) const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(super) fn is_text(&self, text: &str) -> bool {
        matches!(self, Self::Text(own) if own == text)
    }

    /// Whether this is `text`, or a list that holds it.
    pub(super) fn includes(&self, text: &str) -> bool {
        match self {
            Self::List(list) => list.iter().any(|own| own.is_text(text)),
            own => own.is_text(text),
        }
    }

    pub(super) const fn is_true(&self) -> bool {
        matches!(self, Self::Flag(true))
    }

    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) const fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A number without a fraction, as far as a double tells integers apart.
    pub(super) fn integer(&self) -> Option<i64> {
        const LIMIT: f64 = 9_007_199_254_740_992.0; // 2^53
        self.number().filter(|n| n.fract() == 0.0 && n.abs() <= LIMIT).map(|n| n as i64)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.into())))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value<'de>, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_unit<E: Error>(self) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value<'de>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_json_value_is_read() {
        for (json, value) in [
            (r#""a""#, Value::Text("a".into())),
            (r#""\u0061""#, Value::Text("a".into())),
            ("5", Value::Number(5.0)),
            ("-5", Value::Number(-5.0)),
            ("0.5", Value::Number(0.5)),
            ("99999999999999999999", Value::Number(1e20)),
            ("true", Value::Flag(true)),
            ("null", Value::Other),
            (r#"[1,{"a":[]}]"#, Value::List(vec![Value::Number(1.0), Value::Other])),
            (r#"{"a":{"b":[1]}}"#, Value::Other),
        ] {
            assert_eq!(serde_json::from_str::<Value<'_>>(json).unwrap(), value, "{json}");
        }
    }

    #[test]
    fn only_a_number_without_a_fraction_is_an_integer() {
        assert_eq!(Value::Number(3.0).integer(), Some(3));
        for value in [Value::Number(3.5), Value::Number(1e300), Value::Flag(true), Value::Absent] {
            assert_eq!(value.integer(), None);
        }
    }
}
