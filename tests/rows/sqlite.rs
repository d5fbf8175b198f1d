//! What only SQLite has: text that should be JSON, columns of any type, null keys.

use breeze_rollover::store::{Rows as _, sqlite::SqliteStore};

use super::*;

#[tokio::test]
async fn text_that_is_no_json_is_found_and_aborts_nothing() {
    let db = Db::sqlite().await;
    let shape = with_webhooks(&db).await;
    for (id, headers, hosts) in [
        (NIL, "{\"token\": \"enc:v1:a\"}", "[\"enc:v1:a\"]"),
        (ONE, "{broken", "[]"),
        (TWO, "{}", "enc:v1:bare"),
    ] {
        db.insert_webhook(id.parse().unwrap(), "", headers, hosts).await;
    }
    db.insert_webhook(uuid::Uuid::new_v4(), "", "{token: 'json5'}", "{\"a\": 1}").await;
    assert_eq!(stale(&db, &shape, &webhook_aims()).await.len(), 4);
    let census = db.rows().census(&shape).await.unwrap();
    let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
    assert_eq!(census[1].values, counts(&[("enc:v1", 1), ("malformed", 2)]));
    assert_eq!(census[2].values, counts(&[("enc:v1", 1), ("malformed", 1)]));
}

#[tokio::test]
async fn a_collation_that_ignores_case_hides_no_edit() {
    let db = Db::sqlite().await;
    db.run("CREATE TABLE folded (id text COLLATE NOCASE PRIMARY KEY, secret text COLLATE NOCASE)")
        .await;
    db.run("INSERT INTO folded VALUES ('a', 'enc:v1:abc'), ('B', 'ENC:V3:NEW:'), ('c', 'enc:v3:new:x')").await;
    let shape = shape(&db, &Registry::empty().with(Column::text("folded", "secret"))).await;
    let keys = paged(&db, &shape, None, None).await;
    assert_eq!(keys, [RowKey::from("a"), RowKey::from("B")]);
    let row = stale(&db, &shape, &[aim("enc:v3:new:")]).await.remove(0);
    db.run("UPDATE folded SET secret = 'enc:v1:ABC' WHERE id = 'a'").await;
    assert_eq!(write(&db, &shape, &[update(&row, 0, "enc:v3:new:x")]).await, 0);
    assert_eq!(db.rows().census(&shape).await.unwrap()[0].values.len(), 3);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_found_and_left_alone() {
    let db = Db::sqlite().await;
    let shape = with_webhooks(&db).await;
    db.run(&format!("INSERT INTO webhooks VALUES ('{ONE}', x'ff00', NULL, NULL, NULL)")).await;
    let nul = "CAST(x'656e633a76333a6e65773a6100' AS text)";
    db.run(&format!("INSERT INTO webhooks VALUES ('{TWO}', {nul}, NULL, NULL, NULL)")).await;
    let rows = stale(&db, &shape, &webhook_aims()).await;
    assert_eq!(rows.len(), 2, "a NUL after the prefix hides nothing");
    let updates: Vec<_> = rows.iter().map(|row| update(row, 0, "enc:v3:new:u")).collect();
    assert_eq!(write(&db, &shape, &updates).await, 1);
    let kept = db.all("SELECT hex(url) FROM webhooks ORDER BY id").await;
    assert_eq!(kept[0], "FF00");
}

#[tokio::test]
async fn a_null_in_the_key_is_a_fault() {
    let db = Db::sqlite().await;
    db.run("CREATE TABLE unkeyed (id text PRIMARY KEY, secret text)").await;
    let registry = Registry::empty().with(Column::text("unkeyed", "secret"));
    shape(&db, &registry).await;
    db.run("INSERT INTO unkeyed VALUES (NULL, 'enc:v1:a')").await;
    let survey = db.rows().survey(&registry).await.unwrap();
    assert_eq!(survey.tables, []);
    assert!(
        matches!(&survey.faults[..], [ColumnFault::KeyType { column, .. }] if column == "unkeyed.id")
    );
}

#[tokio::test]
async fn a_database_that_takes_no_writes_says_so() {
    let db = Db::sqlite().await;
    let shape = with_webhooks(&db).await;
    db.insert_webhook(ONE.parse().unwrap(), "plain", "{}", "[]").await;
    let row = stale(&db, &shape, &webhook_aims()).await.remove(0);
    let options = (*db.lite().connect_options()).clone().read_only(true).create_if_missing(false);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let store = SqliteStore::new(pool);
    let written = store.write(&shape, &[update(&row, 0, "enc:v3:new:u")], None).await;
    assert!(matches!(written, Err(StoreError::ReadOnly)));
}

#[tokio::test]
async fn names_have_no_case() {
    let db = Db::sqlite().await;
    db.run("CREATE TABLE Mixed (ID INTEGER PRIMARY KEY, Secret text)").await;
    db.run("INSERT INTO mixed VALUES (1, 'plain')").await;
    let shape = shape(&db, &Registry::empty().with(Column::text("mixed", "secret"))).await;
    assert_eq!(write_all(&db, &shape).await, 1);
}
