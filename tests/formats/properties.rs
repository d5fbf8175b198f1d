//! What holds for every text, every envelope and every document.

use breeze_rollover::{
    column::{Column, Kind, Registry, Rewrap, RowKey},
    envelope::{Envelope, OpenError, Target},
};
use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::documents::{chain, chain_before};

fn columns() -> impl Strategy<Value = Column> {
    prop_oneof![
        Just(Column::text("webhooks", "secret")),
        Just(Column::text("tenant_variables", "value").bound_by_row()),
        Just(Column::text("webhooks", "secret").migrated()),
        Just(Registry::breeze().column("users", "mfa_secret").unwrap().clone()),
    ]
}

fn targets() -> impl Strategy<Value = Target> {
    prop_oneof![Just(Target::Bound), Just(Target::Compatible)]
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,200}",
        any::<String>(),
        "(enc:v[1-4]|mfa:v[1-3]):[a-z:. =\n]{0,40}",
        Just(String::new()),
    ]
}

/// Documents of any shape, with secret keys, envelopes and near-envelopes in them.
fn documents() -> impl Strategy<Value = Value> {
    let envelope = Column::json("sites", "settings")
        .seal_document(&chain_before(), &"r".into(), "{\"token\":\"s\"}", Target::Bound)
        .unwrap();
    let envelope = envelope["{\"token\":\"".len()..envelope.len() - 2].to_owned();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        texts().prop_map(|text| json!(text)),
        Just(json!(envelope)),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let keys = prop_oneof![Just("token".to_owned()), Just("password".to_owned()), texts()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|array| json!(array)),
            prop::collection::btree_map(keys, inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}

/// The document with every secret blanked, told from outside the crate.
fn blanked(value: &Value, is_secret: bool) -> Value {
    match value {
        Value::String(text) if is_secret && !text.is_empty() => json!("*"),
        Value::Array(array) => array.iter().map(|value| blanked(value, is_secret)).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                (key.clone(), blanked(value, ["token", "password"].contains(&&**key)))
            })
            .collect(),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn opening_what_was_sealed_gives_it_back(
        column in columns(), target in targets(), text in texts(), row in "[0-9a-f]{1,8}",
    ) {
        let row = RowKey::from(row.as_str());
        let sealed = column.seal(&chain(), &row, &text, target).unwrap();
        let opened = column.open(&chain(), &row, &sealed, target).unwrap();
        prop_assert_eq!(opened.plaintext.expose_secret(), &text);
        prop_assert!(!opened.is_stale);
        prop_assert_eq!(column.rewrap(&chain(), &row, &sealed, target), Ok(Rewrap::Final));
        let again = column.seal(&chain(), &row, &text, target).unwrap();
        prop_assert!(text.is_empty() || again != sealed, "the nonce repeats");
    }

    #[test]
    fn a_changed_byte_never_opens_to_something_else(
        column in columns(), text in "[^\0]{1,40}", at in any::<prop::sample::Index>(), byte in 1..128u8,
    ) {
        let sealed = column.seal(&chain(), &"r".into(), &text, Target::Bound).unwrap();
        let mut bytes = sealed.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let changed = String::from_utf8(bytes).unwrap();
        let prefix = sealed.len() - sealed.trim_start_matches(|c| c != ':').len() + 3;
        match column.open(&chain(), &"r".into(), &changed, Target::Bound) {
            // Another spelling of the same bytes.
            Ok(opened) if opened.plaintext.expose_secret() == text => {
                prop_assert_eq!(opened.is_stale, changed != sealed);
            }
            // No envelope any more, so that it is plaintext.
            Ok(opened) => {
                prop_assert!(at <= prefix && opened.is_stale);
                prop_assert_eq!(opened.plaintext.expose_secret(), &changed);
            }
            Err(_) => prop_assert!(changed != sealed),
        }
    }

    #[test]
    fn another_context_never_opens(text in ".{1,40}", row in "[0-9a-f]{1,8}", other in "[0-9a-f]{1,8}") {
        prop_assume!(row != other);
        let column = Column::text("tenant_variables", "value").bound_by_row();
        let sealed = column.seal(&chain(), &row.as_str().into(), &text, Target::Bound).unwrap();
        let refused = column.open(&chain(), &other.as_str().into(), &sealed, Target::Bound);
        prop_assert_eq!(refused.unwrap_err(), OpenError::Authentication);
    }

    #[test]
    fn nothing_that_is_read_panics(column in columns(), value in texts(), target in targets()) {
        let _ = Envelope::parse(&value).map(|envelope| envelope.map(|e| e.is_canonical()));
        let _ = column.open(&chain(), &"r".into(), &value, target);
        let _ = column.rewrap(&chain(), &"r".into(), &value, target);
        for kind in [Kind::Json, Kind::TextArray] {
            let column = Column::new("sites", "settings", kind);
            let _ = column.rewrap(&chain(), &"r".into(), &value, target);
            let _ = column.seal_document(&chain(), &"r".into(), &value, target);
        }
    }

    #[test]
    fn text_that_is_nearly_json_never_panics(value in "[\\[\\]{}\":,\\\\a-u0-9 enc.v1]{0,60}") {
        let column = Column::json("sites", "settings");
        let _ = column.rewrap(&chain(), &"r".into(), &value, Target::Bound);
        let _ = column.open_document(&chain(), &"r".into(), &value, Target::Bound);
    }

    #[test]
    fn a_document_keeps_all_but_its_secrets(document in documents(), pretty in any::<bool>()) {
        let column = Column::json("sites", "settings").with_secret_keys(["token", "password"]);
        let before =
            if pretty { format!("{document:#}") } else { document.to_string() };
        let Ok(rewrap) = column.rewrap(&chain(), &"r".into(), &before, Target::Bound) else {
            return Ok(()); // a near-envelope under an ordinary key
        };
        let Rewrap::Changed(after) = rewrap else {
            return Ok(());
        };
        let opened = column.open_document(&chain(), &"r".into(), &before, Target::Bound).unwrap();
        let reopened = column.open_document(&chain(), &"r".into(), &after, Target::Bound).unwrap();
        prop_assert_eq!(opened.json.expose_secret(), reopened.json.expose_secret());
        prop_assert!(opened.is_stale && !reopened.is_stale);
        prop_assert_eq!(column.rewrap(&chain(), &"r".into(), &after, Target::Bound), Ok(Rewrap::Final));
    }

    #[test]
    fn a_sealed_document_keeps_all_but_its_secrets(document in documents()) {
        let column = Column::json("sites", "settings").with_secret_keys(["token", "password"]);
        let json = document.to_string();
        let sealed = column.seal_document(&chain(), &"r".into(), &json, Target::Bound).unwrap();
        let sealed: Value = serde_json::from_str(&sealed).unwrap();
        prop_assert_eq!(blanked(&sealed, false), blanked(&document, false));
    }
}
