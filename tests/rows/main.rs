//! The application's rows, on both databases: what is stale is found, what was edited
//! meanwhile keeps the edit, and what cannot be seen is told.

#![cfg(all(feature = "postgres", feature = "sqlite"))]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod database;
mod speed;
#[path = "postgres.rs"]
mod only_postgres;
#[path = "sqlite.rs"]
mod only_sqlite;

use std::collections::{BTreeMap, BTreeSet};

use breeze_rollover::{
    catalog::Secret,
    column::{Aim, Column, Kind, Registry, RowKey, SECRET_KEYS},
    store::{ColumnFault, Row, StoreError, TableShape, Update, Window, Written},
};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::TestRunner,
};
use serde_json::{Value, json};

use database::Db;

/// Each test runs once a database.
macro_rules! on_both {
    ($($(#[$doc:meta])* async fn $name:ident($db:ident: &Db) $body:block)*) => {
        $($(#[$doc])* async fn $name($db: &Db) $body)*

        mod postgres {
            $(#[tokio::test]
            #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
            async fn $name() {
                super::$name(&super::Db::postgres().await).await;
            })*
        }

        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Db::sqlite().await).await;
            })*
        }
    };
}

const NIL: &str = "00000000-0000-0000-0000-000000000000";
const ONE: &str = "11111111-1111-1111-1111-111111111111";
const TWO: &str = "22222222-2222-2222-2222-222222222222";

fn aim(prefix: &str) -> Aim {
    Aim { prefixes: vec![prefix.to_owned()] }
}

/// The registry of one table, and the shape that the survey finds.
async fn shape(db: &Db, registry: &Registry) -> TableShape {
    let survey = db.rows().survey(registry).await.unwrap();
    assert_eq!(survey.faults, []);
    survey.tables.into_iter().next().unwrap()
}

async fn stale(db: &Db, shape: &TableShape, aims: &[Aim]) -> Vec<Row> {
    db.rows().stale(shape, aims, Window::default(), 10_000).await.unwrap()
}

/// What a rewrap would write: `old` becomes `new` in the column `index`.
fn update(row: &Row, index: usize, new: &str) -> Update {
    let mut values = row.values.clone();
    values[index] = Some(new.to_owned());
    Update { key: row.key.clone(), old: row.values.clone(), new: values }
}

async fn write(db: &Db, shape: &TableShape, updates: &[Update]) -> u64 {
    match db.rows().write(shape, updates, None).await.unwrap() {
        Written::Done { rewrapped } => rewrapped,
        Written::LeaseLost => panic!("there was no lease"),
    }
}

fn webhooks() -> Registry {
    Registry::empty()
        .with(Column::text("webhooks", "url"))
        .with(Column::new("webhooks", "headers", Kind::Json))
        .with(Column::new("webhooks", "hosts", Kind::TextArray))
}

async fn with_webhooks(db: &Db) -> TableShape {
    db.run(
        "CREATE TABLE webhooks (id uuid PRIMARY KEY, url text, headers jsonb, hosts text[], \
         updated_at text)",
    )
    .await;
    shape(db, &webhooks()).await
}

fn webhook_aims() -> [Aim; 3] {
    [aim("enc:v3:new:"), aim("enc:v3:new:"), aim("enc:v3:new:")]
}

on_both! {
    async fn a_row_edited_meanwhile_keeps_the_edit(db: &Db) {
        let shape = with_webhooks(db).await;
        let hosts = db.array(r#"["enc:v2:old:a","enc:v2:old:b"]"#);
        for id in [NIL, ONE, TWO] {
            db.run(&format!(
                "INSERT INTO webhooks VALUES ('{id}', 'enc:v2:old:u', '{{\"token\": 1.10}}', {hosts}, 'then')"
            )).await;
        }
        let rows = stale(db, &shape, &webhook_aims()).await;
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0].key, RowKey::from(NIL), "the row with the nil UUID is visited");

        db.run(&format!("UPDATE webhooks SET url = 'enc:v3:new:edit' WHERE id = '{ONE}'")).await;
        let updates: Vec<_> = rows.iter().map(|row| update(row, 0, "enc:v3:new:u")).collect();
        assert_eq!(write(db, &shape, &updates).await, 2);
        let urls = db.all("SELECT url FROM webhooks ORDER BY id").await;
        assert_eq!(urls, ["enc:v3:new:u", "enc:v3:new:edit", "enc:v3:new:u"]);
        let touched = db.all("SELECT DISTINCT updated_at FROM webhooks").await;
        assert_eq!(touched, ["then"], "only sealed columns are set");
        assert_eq!(write(db, &shape, &updates).await, 0, "a batch that was written is spent");
    }

    async fn a_number_that_changed_its_digits_is_an_edit(db: &Db) {
        let shape = with_webhooks(db).await;
        let document = r#"{"n": 1.10, "big": 123456789012345678901234567890, "token": "t"}"#;
        db.run(&format!("INSERT INTO webhooks VALUES ('{ONE}', NULL, '{document}', NULL, NULL)")).await;
        let row = stale(db, &shape, &webhook_aims()).await.remove(0);
        let read = row.values[1].clone().unwrap();
        assert!(read.contains("1.10") && read.contains("123456789012345678901234567890"), "{read}");

        db.run(&format!("UPDATE webhooks SET headers = '{}'", document.replace("1.10", "1.1"))).await;
        let sealed = read.replace("\"t\"", "\"enc:v3:new:t\"");
        assert_eq!(write(db, &shape, &[update(&row, 1, &sealed)]).await, 0);

        let row = stale(db, &shape, &webhook_aims()).await.remove(0);
        let sealed = row.values[1].clone().unwrap().replace("\"t\"", "\"enc:v3:new:t\"");
        assert_eq!(write(db, &shape, &[update(&row, 1, &sealed)]).await, 1);
        let kept = db.all("SELECT CAST(headers AS text) FROM webhooks").await.remove(0);
        assert_eq!(kept, sealed, "digits are kept");
    }

    async fn a_column_that_does_not_change_is_left_alone(db: &Db) {
        let shape = with_webhooks(db).await;
        db.run(&format!(
            "INSERT INTO webhooks VALUES ('{ONE}', 'enc:v1:u', '{{}}', {}, NULL)",
            db.array(r#"["enc:v3:new:a"]"#)
        )).await;
        let row = stale(db, &shape, &webhook_aims()).await.remove(0);
        db.run(&format!("UPDATE webhooks SET hosts = {}", db.array(r#"["enc:v3:new:edit"]"#))).await;
        assert_eq!(write(db, &shape, &[update(&row, 0, "enc:v3:new:u")]).await, 1);
        let now = db.rows().fetch(&shape, &[RowKey::from(ONE)]).await.unwrap().remove(0);
        assert_eq!(now.values[0].as_deref(), Some("enc:v3:new:u"));
        assert_eq!(now.values[2].as_deref(), Some(r#"["enc:v3:new:edit"]"#));
    }

    async fn an_array_keeps_its_nulls_and_its_emptiness(db: &Db) {
        let shape = with_webhooks(db).await;
        let (before, after) = (r#"["enc:v1:a",null,"","é\"\\"]"#, r#"["enc:v3:new:a",null,"","é\"\\"]"#);
        db.run(&format!("INSERT INTO webhooks VALUES ('{ONE}', NULL, NULL, {}, NULL)", db.array(before))).await;
        let row = stale(db, &shape, &webhook_aims()).await.remove(0);
        assert_eq!(row.values[2].as_deref(), Some(before));
        assert_eq!(write(db, &shape, &[update(&row, 2, after)]).await, 1);
        let row = db.rows().fetch(&shape, &[RowKey::from(ONE)]).await.unwrap().remove(0);
        assert_eq!(row.values[2].as_deref(), Some(after));
        assert_eq!(write(db, &shape, &[update(&row, 2, "[]")]).await, 1);
        let row = db.rows().fetch(&shape, &[RowKey::from(ONE)]).await.unwrap().remove(0);
        assert_eq!(row.values[2].as_deref(), Some("[]"));
        assert_eq!(stale(db, &shape, &webhook_aims()).await, []);
    }

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

    async fn integer_keys_page_in_their_own_order(db: &Db) {
        db.run("CREATE TABLE numbered (id bigint PRIMARY KEY, secret text)").await;
        for id in [-5_i64, 0, 9, 10, 100, i64::MAX] {
            db.run(&format!("INSERT INTO numbered VALUES ({id}, 'plain')")).await;
        }
        let shape = shape(db, &Registry::empty().with(Column::text("numbered", "secret"))).await;
        let keys = paged(db, &shape, None, None).await;
        assert_eq!(keys, [-5, 0, 9, 10, 100, i64::MAX].map(RowKey::from));
        let keys = paged(db, &shape, Some(RowKey::from(0)), Some(RowKey::from(10))).await;
        assert_eq!(keys, [9, 10].map(RowKey::from), "after is exclusive, upto inclusive");
        assert_eq!(write_all(db, &shape).await, 6);
    }

    async fn text_keys_page_in_the_order_of_their_index(db: &Db) {
        db.run("CREATE TABLE named (id text PRIMARY KEY, secret text)").await;
        let names = ["", "A", "B", "Zebra", "a", "a b", "a'b\"c", "z", "É", "é", "_", "日本"];
        for name in names {
            db.run(&format!("INSERT INTO named VALUES ('{}', 'plain')", name.replace('\'', "''"))).await;
        }
        let shape = shape(db, &Registry::empty().with(Column::text("named", "secret"))).await;
        let keys = paged(db, &shape, None, None).await;
        let wanted = db.all("SELECT id FROM named ORDER BY id").await;
        assert_eq!(keys, wanted.iter().map(|id| RowKey::from(id.as_str())).collect::<Vec<_>>());
        assert_eq!(write_all(db, &shape).await, names.len() as u64);
    }

    async fn composite_keys_page_part_by_part(db: &Db) {
        db.run(
            "CREATE TABLE parted (secret text, name text, org uuid NOT NULL, n integer NOT NULL, \
             PRIMARY KEY (org, n))"
        ).await;
        for (org, n) in [(ONE, 10), (ONE, 9), (TWO, -1), (NIL, 7), (TWO, 3)] {
            db.run(&format!("INSERT INTO parted VALUES ('plain', 'x', '{org}', {n})")).await;
        }
        let shape = shape(db, &Registry::empty().with(Column::text("parted", "secret"))).await;
        let wanted = [(NIL, "7"), (ONE, "9"), (ONE, "10"), (TWO, "-1"), (TWO, "3")]
            .map(|(org, n)| RowKey::composite(vec![org.into(), n.into()]));
        assert_eq!(paged(db, &shape, None, None).await, wanted);
        assert_eq!(paged(db, &shape, Some(wanted[1].clone()), Some(wanted[3].clone())).await, wanted[2..4]);
        let fetched = db.rows().fetch(&shape, &wanted[2..3]).await.unwrap();
        assert_eq!(fetched.into_iter().map(|row| row.key).collect::<Vec<_>>(), wanted[2..3]);
        assert_eq!(write_all(db, &shape).await, 5);
    }

    async fn identifiers_are_quoted(db: &Db) {
        db.run(
            "CREATE TABLE \"Weird \"\"Table\" (\"select\" text PRIMARY KEY, \"trigger\" jsonb, \"it's\" text)"
        ).await;
        db.run("INSERT INTO \"Weird \"\"Table\" VALUES ('k', '{\"token\": \"t\"}', 'plain')").await;
        let table = "Weird \"Table";
        let registry = Registry::empty()
            .with(Column::new(table, "trigger", Kind::Json))
            .with(Column::text(table, "it's"));
        let shape = shape(db, &registry).await;
        let aims = [aim("enc:v3:new:"), aim("enc:v3:new:")];
        let row = stale(db, &shape, &aims).await.remove(0);
        let row = Update { new: vec![Some("{\"token\": \"enc:v3:new:t\"}".into()), Some("enc:v3:new:p".into())],
            ..update(&row, 1, "") };
        assert_eq!(write(db, &shape, &[row]).await, 1);
        assert_eq!(stale(db, &shape, &aims).await, []);
        assert_eq!(db.rows().census(&shape).await.unwrap().len(), 2);
        assert_eq!(db.rows().approximate_rows(&shape).await.unwrap(), 1);
    }

    async fn a_key_that_no_row_can_have_is_passed_over(db: &Db) {
        let shape = with_webhooks(db).await;
        db.run(&format!("INSERT INTO webhooks VALUES ('{ONE}', 'plain', NULL, NULL, NULL)")).await;
        let foreign = RowKey::composite(vec![ONE.into(), "2".into()]);
        let keys = [RowKey::from("no uuid"), foreign.clone(), RowKey::from(ONE)];
        assert_eq!(db.rows().fetch(&shape, &keys).await.unwrap().len(), 1);
        let row = stale(db, &shape, &webhook_aims()).await.remove(0);
        let good = update(&row, 0, "enc:v3:new:p");
        let bad = Update { key: foreign, ..good.clone() };
        assert_eq!(write(db, &shape, &[bad, good]).await, 1);
    }

    async fn a_batch_of_a_thousand_is_written_at_once_and_split_evenly(db: &Db) {
        let shape = with_webhooks(db).await;
        db.fill_webhooks(5000).await;
        let rows = db.rows().stale(&shape, &webhook_aims(), Window::default(), 1000).await.unwrap();
        assert_eq!(rows.len(), 1000);
        let updates: Vec<_> = rows.iter().map(|row| update(row, 0, "enc:v3:new:x")).collect();
        assert_eq!(write(db, &shape, &updates).await, 1000);
        let bounds = db.rows().split(&shape, 4).await.unwrap();
        assert_eq!(bounds.len(), 3);
        let mut after = None;
        let mut sizes = Vec::new();
        for upto in bounds.iter().map(Some).chain([None]) {
            let window = Window { after, upto };
            let aims = [aim("enc:v3:none:"), aim("enc:v3:none:"), aim("enc:v3:none:")];
            sizes.push(db.rows().stale(&shape, &aims, window, 10_000).await.unwrap().len());
            after = upto;
        }
        assert_eq!(sizes.iter().sum::<usize>(), 5000, "no row is in no range, none in two");
        assert!(sizes.iter().all(|size| (1100..1400).contains(size)), "{sizes:?}");
        assert_eq!(db.rows().split(&shape, 1).await.unwrap(), []);
    }

    async fn a_small_table_is_not_split(db: &Db) {
        let shape = with_webhooks(db).await;
        db.fill_webhooks(100).await;
        assert_eq!(db.rows().split(&shape, 8).await.unwrap(), []);
    }

    async fn what_is_wrong_with_the_schema_is_told(db: &Db) {
        db.run("CREATE TABLE keyless (secret text)").await;
        db.run("CREATE TABLE odd_key (id numeric PRIMARY KEY, secret text)").await;
        db.run("CREATE TABLE mixed (id uuid PRIMARY KEY, secret text, n integer)").await;
        let registry = Registry::empty()
            .with(Column::text("absent", "secret"))
            .with(Column::text("keyless", "secret"))
            .with(Column::text("odd_key", "secret"))
            .with(Column::text("mixed", "n"))
            .with(Column::text("mixed", "secret"))
            .with(Column::text("mixed", "gone"));
        let survey = db.rows().survey(&registry).await.unwrap();
        let names: Vec<_> = survey.tables.iter().map(|shape| shape.table.name()).collect();
        assert_eq!(names, ["mixed"]);
        assert_eq!(survey.tables[0].columns(), [Column::text("mixed", "secret")]);
        let told: Vec<_> = survey.faults.iter().map(|fault| match fault {
            ColumnFault::NoTable { table } | ColumnFault::NoPrimaryKey { table } => table.as_str(),
            ColumnFault::KeyType { column, .. } | ColumnFault::WrongType { column, .. }
            | ColumnFault::NoColumn { column } => column,
            other => panic!("{other}"),
        }).collect();
        assert_eq!(told, ["absent", "keyless", "odd_key.id", "mixed.n", "mixed.gone"]);
        assert_eq!(survey.faults.iter().filter(|fault| fault.blocks()).count(), 4);
    }

    async fn envelopes_outside_the_registry_are_reported(db: &Db) {
        with_webhooks(db).await;
        db.run("CREATE TABLE stray (id integer, a text, b jsonb, c text[], d text, e jsonb)").await;
        db.run(&format!(
            "INSERT INTO stray VALUES (1, 'enc:v2:k:x', '{{\"x\": [\"enc:v3:k:y\"]}}', {}, 'about enc:v1:', '{{}}')",
            db.array(r#"["mfa:v1:z"]"#)
        )).await;
        db.run(&format!("INSERT INTO webhooks VALUES ('{ONE}', 'enc:v2:k:x', NULL, NULL, NULL)")).await;
        let survey = db.rows().survey(&webhooks()).await.unwrap();
        assert_eq!(survey.unregistered, ["stray.a", "stray.b", "stray.c"]);
    }
}

/// Walks `window` two rows at a time, as a worker would.
async fn paged(
    db: &Db,
    shape: &TableShape,
    mut after: Option<RowKey>,
    upto: Option<RowKey>,
) -> Vec<RowKey> {
    let mut keys = Vec::new();
    loop {
        let window = Window { after: after.as_ref(), upto: upto.as_ref() };
        let rows = db.rows().stale(shape, &[aim("enc:v3:new:")], window, 2).await.unwrap();
        let Some(last) = rows.last() else { return keys };
        after = Some(last.key.clone());
        keys.extend(rows.into_iter().map(|row| row.key));
    }
}

/// Writes every row of a table whose first column is stale, and answers how many.
async fn write_all(db: &Db, shape: &TableShape) -> u64 {
    let rows = stale(db, shape, &[aim("enc:v3:new:")]).await;
    let updates: Vec<_> = rows.iter().map(|row| update(row, 0, "enc:v3:new:x")).collect();
    write(db, shape, &updates).await
}

/// The strings of `value` that a rewrap looks at (FORMATS section 3.2).
fn secrets<'a>(key: Option<&str>, value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) if form(text) != "plaintext" => found.push(text),
        Value::String(text) if key.is_some_and(|key| SECRET_KEYS.contains(&key)) => found.push(text),
        Value::Array(elements) => elements.iter().for_each(|value| secrets(key, value, found)),
        Value::Object(members) => members.iter().for_each(|(k, value)| secrets(Some(k), value, found)),
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
        "", "plain", "enc:v1:a.b.c", "enc:v2:k_.1:a.b.c", "enc:v3:k_.1", "enc:v3:kX.1:a.b.c",
        "enc:v3:k_x1:a.b.c", "enc:v3:K_.1:a.b.c", "enc:v4:k:a", "ENC:v1:a", " enc:v1:a.b.c", "enc:v3:",
        "enc:v2::a", "enc:v3:k 1:a", "enc:v3:k_.1:a.b.c=", "enc:v3:k_.1:a+b", "enc:v3:k_.1:a/b",
        "enc:v3:k_.1:a.b.c\n", "enc:v3:k_.1:a b", "enc:v3:k_.1:é", "mfa:v1:a.b.c", "a\"enc:v1:x",
        "\\\"enc:v1:x", "enc:v1:\\u0041", "日本", "\u{1}", "\n",
    ]);
    prop_oneof![
        3 => "enc:v3:k_\\.1:[A-Za-z0-9_-]{1,8}\\.[A-Za-z0-9_-]{1,8}",
        1 => odd.prop_map(str::to_owned),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        1 => prop::sample::select(SECRET_KEYS.to_vec()).prop_map(str::to_owned),
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
