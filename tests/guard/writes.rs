//! What is refused, and what passes, of each kind of column.

use super::*;

/// How a column of each kind holds `envelope`, beside something else.
fn holding(envelope: &str) -> [(&'static str, String); 5] {
    [
        ("name", format!("'{envelope}'")),
        ("list", format!("ARRAY[NULL, 'plain, \"text\"', '{envelope}']")),
        ("list", format!("ARRAY[ARRAY['{envelope}']]")),
        ("binary", format!(r#"'{{"deep": [1, {{"token": "{envelope}"}}]}}'"#)),
        ("verbatim", format!(r#"'{{ "a":"\"", "a" : "{envelope}" , "n": 1.10}}'"#)),
    ]
}

/// Keys of the general secret that are not, or not only, retired.
const PASSES: [&str; 11] = [
    "enc:v3:new:payload",
    "enc:v2:new:payload",
    "enc:v3:older:payload",
    "enc:v3:staged:payload",
    "enc:v3:nobody.knows:payload",
    // Retired, of another secret.
    "enc:v3:seeds:payload",
    "enc:v3:shared:payload",
    // Here plaintext, like the rest.
    "mfa:v2:seeds:payload",
    "enc:v1:k.old-1_:payload",
    "see enc:v3:k.old-1_:payload",
    "enc:v3:k.old-1_",
];

const REFUSED: [(&str, &str); 5] = [
    ("enc:v3:k.old-1_:payload", "k.old-1_"),
    ("enc:v2:k.old-1_:payload", "k.old-1_"),
    ("enc:v3:gone:payload", "gone"),
    (" enc:v3:gone:payload", "gone"),
    ("enc:v3:gone:payload and more payload", "gone"),
];

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn every_kind_refuses_a_retired_key_and_takes_any_other() {
    let guarded = Guarded::fresh().await;
    guarded.passes("INSERT INTO things (id) VALUES (0)").await;
    let mut id = 0;
    for envelope in PASSES {
        for (column, value) in holding(envelope) {
            id += 1;
            let insert = format!(r#"INSERT INTO things (id, "{column}") VALUES ({id}, {value})"#);
            guarded.passes(&insert).await;
            let update = format!(r#"UPDATE things SET "{column}" = {value} WHERE id = 0"#);
            guarded.passes(&update).await;
        }
    }
    for (envelope, key) in REFUSED {
        for (column, value) in holding(envelope) {
            let insert = format!(r#"INSERT INTO things (id, "{column}") VALUES (-1, {value})"#);
            guarded.refuses(&insert, &format!("things.{column}"), key).await;
            for id in 0..3 {
                let update = format!(r#"UPDATE things SET "{column}" = {value} WHERE id = {id}"#);
                guarded.refuses(&update, &format!("things.{column}"), key).await;
            }
        }
    }
    // Text in a document is no document.
    let within = r#"{"a": "{\"token\":\"enc:v3:gone:payload\"}"}"#;
    guarded
        .passes(&format!(r#"UPDATE things SET "binary" = '{within}', verbatim = '{within}'"#))
        .await;
    // One row of many refuses the statement.
    let many = "INSERT INTO things (id, name) VALUES (-1, 'a'), (-2, 'enc:v3:gone:payload')";
    guarded.refuses(many, "things.name", "gone").await;
    guarded.passes("INSERT INTO things (id) VALUES (-1), (-2)").await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_seed_is_under_its_own_secret_and_once_was_under_the_general_one() {
    let guarded = Guarded::fresh().await;
    for (id, seed) in ["mfa:v2:new:payload", "mfa:v1:payload", "enc:v3:seeds:payload"]
        .into_iter()
        .chain(["mfa:v2:gone:payload", "enc:v3:shared:payload"])
        .enumerate()
    {
        guarded.passes(&format!("INSERT INTO people VALUES ({id}, '{seed}')")).await;
    }
    for (seed, key) in [
        ("mfa:v2:seeds:payload", "seeds"),
        ("mfa:v2:shared:payload", "shared"),
        ("enc:v3:gone:payload", "gone"),
    ] {
        let insert = format!("INSERT INTO people VALUES (-1, '{seed}')");
        guarded.refuses(&insert, "people.seed", key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn what_was_there_before_may_stay_where_it_is() {
    let guarded = Guarded::not().await;
    guarded
        .passes(
            r#"INSERT INTO things VALUES (1, 'enc:v3:gone:payload', '{enc:v3:gone:payload,x}',
                '{"token": "enc:v3:gone:payload"}', '{"token" : "enc:v3:gone:payload"}')"#,
        )
        .await;
    guarded.install().await;
    for edit in [
        "UPDATE things SET edited = edited + 1",
        r#"UPDATE things SET name = name, list = list, "binary" = "binary", verbatim = verbatim"#,
        "UPDATE things SET list = list || '{y}'",
        r#"UPDATE things SET "binary" = jsonb_set("binary", '{more}', '1')"#,
        r#"UPDATE things SET verbatim = '{"token":"enc:v3:gone:payload" }'"#,
        "INSERT INTO things (id, name) VALUES (1, 'enc:v3:gone:payload')
            ON CONFLICT (id) DO UPDATE SET edited = 1, name = excluded.name",
        "UPDATE things SET id = 2",
    ] {
        guarded.passes(edit).await;
    }
    for (edit, column) in [
        ("UPDATE things SET name = 'enc:v3:gone:payload2'", "things.name"),
        ("UPDATE things SET list = list || '{enc:v3:gone:payload2}'", "things.list"),
        (
            r#"UPDATE things SET "binary" = '{"a": "enc:v3:gone:payload", "b": "enc:v2:gone:payload"}'"#,
            "things.binary",
        ),
        // Another row holds it, or another column.
        ("INSERT INTO things (id, name) SELECT 3, name FROM things", "things.name"),
        ("UPDATE things SET name = NULL; UPDATE things SET name = list[1]", "things.name"),
    ] {
        guarded.refuses(edit, column, "gone").await;
    }
    guarded.passes("UPDATE things SET name = 'enc:v3:new:payload'").await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn it_judges_by_the_keys_of_the_moment() {
    let guarded = Guarded::fresh().await;
    let insert = |id| format!("INSERT INTO people VALUES ({id}, 'enc:v3:older:payload')");
    guarded.passes(&insert(1)).await;
    let state = |state| format!("UPDATE rollover.key SET state = '{state}' WHERE id = 'older'");
    guarded.passes(&state("retired")).await;
    guarded.refuses(&insert(2), "people.seed", "older").await;
    guarded.passes(&state("staged")).await;
    guarded.passes(&insert(2)).await;
    // Also those of a moment ago, in the middle of a transaction that began before.
    let mut transaction = guarded.store.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM people").fetch_all(&mut *transaction).await.unwrap();
    guarded.passes(&state("retired")).await;
    let refused = sqlx::raw_sql(AssertSqlSafe(insert(3))).execute(&mut *transaction).await;
    assert!(refused.is_err());
}
