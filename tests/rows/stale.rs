//! What is stale is found, and what is final is not, judged by a slow walk in Rust.

use std::collections::{BTreeMap, BTreeSet};

use breeze_rollover::{catalog::Secret, column::SECRET_KEYS};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::{Value, json};

use super::*;

on_both! {
    async fn final_values_are_not_selected(db: &Db) {
        let shape = with_webhooks(db).await;
        let document = r#"{"token": "enc:v3:new:a.b_c-9", "password": "", "secret": 5, "apiKey": null,
            "privateKey": {"note": "plain"}, "community": ["enc:v3:new:a", ["enc:v3:new:b", [""]]],
            "name": "plain", "encrypted": [1, true, {"name": "x"}]}"#;
        db.run(&format!(
            "INSERT INTO webhooks VALUES ('{ONE}', 'enc:v3:new:a.b.c', '{document}', {}, NULL)",
            db.array(r#"["enc:v3:new:a","",null]"#)
        )).await;
        db.run(&format!("INSERT INTO webhooks VALUES ('{TWO}', '', '\"plain\"', {}, NULL)", db.array("[]"))).await;
        db.run(&format!("INSERT INTO webhooks VALUES ('{NIL}', NULL, NULL, NULL, NULL)")).await;
        assert_eq!(stale(db, &shape, &webhook_aims()).await, []);
    }

    /// Random values against a slow walk in Rust: the very rows, no more and no fewer,
    /// and the very counts.
    async fn stale_and_census_agree_with_a_walk(db: &Db) {
        // `_` and `.` are wild in LIKE and in patterns: here they are letters.
        let aims = [aim("enc:v3:k_.1:"), aim("enc:v3:k_.1:"), aim("enc:v3:k_.1:")];
        let shape = with_webhooks(db).await;
        let mut runner = TestRunner::deterministic();
        let strategy = (text(), document(), prop::collection::vec(prop::option::of(text()), 0..4));
        let (mut expected, mut counts) = (BTreeSet::new(), vec![BTreeMap::new(); 3]);
        for _ in 0..800 {
            let (text, document, array) = strategy.new_tree(&mut runner).unwrap().current();
            let id = uuid::Uuid::new_v4();
            let array: Vec<Value> = array.into_iter().map(|element| json!(element)).collect();
            db.insert_webhook(id, &text, &document.to_string(), &Value::from(array.clone()).to_string()).await;
            let mut leaves = [vec![], vec![], vec![]];
            leaves[0].push(text.as_str());
            secrets(None, &document, &mut leaves[1]);
            leaves[2].extend(array.iter().filter_map(Value::as_str));
            for (index, leaf) in leaves.iter().enumerate().flat_map(|(i, l)| l.iter().map(move |l| (i, *l))) {
                if leaf.is_empty() { continue; }
                *counts[index].entry(form(leaf)).or_insert(0_u64) += 1;
                if !is_final(leaf, "enc:v3:k_.1:") {
                    expected.insert(RowKey::from(id));
                }
            }
        }
        let found: BTreeSet<_> = stale(db, &shape, &aims).await.into_iter().map(|row| row.key).collect();
        assert!(expected.len() > 100 && expected.len() < 700, "{}", expected.len());
        assert_eq!(found, expected);
        let census = db.rows().census(&shape).await.unwrap();
        for (index, column) in census.iter().enumerate() {
            assert_eq!(column.values, counts[index], "{}", column.column);
        }
    }

    async fn mfa_is_a_grammar_only_under_its_own_secret(db: &Db) {
        db.run("CREATE TABLE users (id uuid PRIMARY KEY, mfa_secret text, note text)").await;
        let registry = Registry::empty()
            .with(Column::text("users", "mfa_secret").under(Secret::MfaEncryptionKey))
            .with(Column::text("users", "note"));
        let shape = shape(db, &registry).await;
        for value in ["mfa:v1:a.b.c", "mfa:v2:k1:a.b.c", "mfa:v2:k 1:a", "enc:v2:k:a", "seed"] {
            db.run(&format!("INSERT INTO users VALUES ('{}', '{value}', '{value}')", uuid::Uuid::new_v4())).await;
        }
        let census = db.rows().census(&shape).await.unwrap();
        let count = |pairs: &[(&str, u64)]| pairs.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
        assert_eq!(census[0].values, count(&[
            ("enc:v2:k", 1), ("malformed", 1), ("mfa:v1", 1), ("mfa:v2:k1", 1), ("plaintext", 1),
        ]));
        assert_eq!(census[1].values, count(&[("enc:v2:k", 1), ("plaintext", 4)]));
        assert_eq!(stale(db, &shape, &[aim("mfa:v2:k1:"), aim("mfa:v2:k1:")]).await.len(), 4);
    }
}

/// The strings of `value` that a rewrap looks at (FORMATS section 3.2).
fn secrets<'a>(key: Option<&str>, value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) if form(text) != "plaintext" => found.push(text),
        Value::String(text)
            if key.is_some_and(|key| SECRET_KEYS.iter().any(|secret| secret == key)) =>
        {
            found.push(text)
        }
        Value::Array(elements) => elements.iter().for_each(|value| secrets(key, value, found)),
        Value::Object(members) => {
            members.iter().for_each(|(k, value)| secrets(Some(k), value, found))
        }
        _ => {}
    }
}

fn is_final(value: &str, prefix: &str) -> bool {
    value.starts_with(prefix)
        && value.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c))
}

fn form(value: &str) -> String {
    if value.starts_with("enc:v1:") {
        return "enc:v1".into();
    }
    for version in ["enc:v2:", "enc:v3:"] {
        if let Some(rest) = value.strip_prefix(version) {
            let id = rest.split_once(':').map_or("", |(id, _)| id);
            let valid = !id.is_empty()
                && id.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            return if valid { format!("{version}{id}") } else { "malformed".into() };
        }
    }
    "plaintext".into()
}

fn text() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        "",
        "plain",
        "enc:v1:a.b.c",
        "enc:v2:k_.1:a.b.c",
        "enc:v3:k_.1",
        "enc:v3:kX.1:a.b.c",
        "enc:v3:k_x1:a.b.c",
        "enc:v3:K_.1:a.b.c",
        "enc:v4:k:a",
        "ENC:v1:a",
        " enc:v1:a.b.c",
        "enc:v3:",
        "enc:v2::a",
        "enc:v3:k 1:a",
        "enc:v3:k_.1:a.b.c=",
        "enc:v3:k_.1:a+b",
        "enc:v3:k_.1:a/b",
        "enc:v3:k_.1:a.b.c\n",
        "enc:v3:k_.1:a b",
        "enc:v3:k_.1:é",
        "mfa:v1:a.b.c",
        "a\"enc:v1:x",
        "\\\"enc:v1:x",
        "enc:v1:\\u0041",
        "日本",
        "\u{1}",
        "\n",
    ]);
    prop_oneof![
        3 => "enc:v3:k_\\.1:[A-Za-z0-9_-]{1,8}\\.[A-Za-z0-9_-]{1,8}",
        1 => odd.prop_map(str::to_owned),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        1 => prop::sample::select(SECRET_KEYS.to_vec()).prop_map(String::from),
        1 => prop::sample::select(vec!["name", "Secret", "secrets", "enc:v1:k", "a\"[0]", "", "$.token"])
            .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        4 => text().prop_map(Value::from),
        1 => prop::sample::select(vec![json!(null), json!(true), json!(7), json!(-1.5)]),
    ];
    leaf.prop_recursive(4, 12, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
