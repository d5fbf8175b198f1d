//! What only PostgreSQL has: roles, row-level security, real arrays, `json`, locks.

use breeze_rollover::store::{Rows as _, postgres::PgStore};
use sqlx::{AssertSqlSafe, Executor as _, postgres::PgPoolOptions};

use super::*;

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn an_edit_that_commits_while_the_batch_waits_is_kept() {
    let db = Db::postgres().await;
    let shape = with_webhooks(&db).await;
    for id in [ONE, TWO] {
        db.insert_webhook(id.parse().unwrap(), "enc:v2:old:u", "{}", "[]").await;
    }
    let rows = stale(&db, &shape, &webhook_aims()).await;
    let mut edit = db.pg().begin().await.unwrap();
    let sql = format!("UPDATE webhooks SET url = 'enc:v2:old:edit' WHERE id = '{ONE}'");
    edit.execute(AssertSqlSafe(sql)).await.unwrap();
    let updates: Vec<_> = rows.iter().map(|row| update(row, 0, "enc:v3:new:u")).collect();
    let (rewrapped, ()) = tokio::join!(write(&db, &shape, &updates), async {
        // The batch waits for the row's lock; only then does the edit commit.
        let waiting = "SELECT count(*)::text FROM pg_locks WHERE NOT granted";
        while db.all(waiting).await == ["0"] {}
        edit.commit().await.unwrap();
    });
    assert_eq!(rewrapped, 1);
    let urls = db.all("SELECT url FROM webhooks ORDER BY id").await;
    assert_eq!(urls, ["enc:v2:old:edit", "enc:v3:new:u"]);
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn rows_that_a_policy_hides_are_a_fault_and_an_error() {
    let db = Db::postgres().await;
    let shape = with_webhooks(&db).await;
    db.insert_webhook(ONE.parse().unwrap(), "enc:v2:old:u", "{}", "[]").await;
    let row = stale(&db, &shape, &webhook_aims()).await.remove(0);
    let (role, store) = db.as_role().await;
    db.run(&format!("GRANT SELECT, UPDATE ON webhooks TO {role}")).await;
    db.run("ALTER TABLE webhooks ENABLE ROW LEVEL SECURITY").await;
    db.run("CREATE POLICY none ON webhooks USING (false)").await;

    let survey = store.survey(&webhooks()).await.unwrap();
    assert_eq!(survey.tables, []);
    assert_eq!(survey.faults, [ColumnFault::HiddenRows { table: "webhooks".into() }]);
    let hidden = |error| matches!(error, StoreError::HiddenRows(table) if table == "webhooks");
    let found = store.stale(&shape, &webhook_aims(), Window::default(), 10).await;
    assert!(hidden(found.unwrap_err()));
    assert!(hidden(store.fetch(&shape, &[RowKey::from(ONE)]).await.unwrap_err()));
    assert!(hidden(store.census(&shape).await.unwrap_err()));
    let written = store.write(&shape, &[update(&row, 0, "enc:v3:new:u")], None).await;
    assert!(hidden(written.unwrap_err()));

    // The owner sees every row, unless the table forces policies on it too.
    assert_eq!(db.rows().survey(&webhooks()).await.unwrap().faults, []);
    assert_eq!(stale(&db, &shape, &webhook_aims()).await.len(), 1);
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_missing_privilege_is_a_fault_and_an_error() {
    let db = Db::postgres().await;
    let shape = with_webhooks(&db).await;
    let (role, store) = db.as_role().await;
    let denied = |table: &str, privilege: &str| ColumnFault::NoPrivilege {
        table: table.into(),
        privilege: privilege.into(),
    };
    let read = store.stale(&shape, &webhook_aims(), Window::default(), 10).await.unwrap_err();
    assert!(matches!(read, StoreError::Privilege(table) if table == "webhooks"));

    db.run(&format!("GRANT SELECT ON webhooks TO {role}")).await;
    let survey = store.survey(&webhooks()).await.unwrap();
    assert_eq!(survey.tables, []);
    assert_eq!(survey.faults, [denied("webhooks", "UPDATE")]);

    db.run(&format!("GRANT UPDATE (url, hosts) ON webhooks TO {role}")).await;
    let survey = store.survey(&webhooks()).await.unwrap();
    assert_eq!(survey.faults, [denied("webhooks.headers", "UPDATE")]);
    let shape = &survey.tables[0];
    assert_eq!(shape.columns().len(), 2);
    db.insert_webhook(ONE.parse().unwrap(), "enc:v2:old:u", "{}", "[]").await;
    let aims = [aim("enc:v3:new:"), aim("enc:v3:new:")];
    let row = store.stale(shape, &aims, Window::default(), 10).await.unwrap().remove(0);
    let written = store.write(shape, &[update(&row, 0, "enc:v3:new:u")], None).await.unwrap();
    assert_eq!(written, Written::Done { rewrapped: 1 });
}

/// No SQL array of text reads as one when writing it back would lose its shape.
#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn an_array_of_another_shape_reads_as_none_of_text() {
    let db = Db::postgres().await;
    let shape = with_webhooks(&db).await;
    for (id, literal, nested) in [
        (ONE, "{{enc:v1:a,b},{c,d}}", r#"[["enc:v1:a","b"],["c","d"]]"#),
        (TWO, "[0:1]={enc:v1:a,b}", r#"[["enc:v1:a","b"]]"#),
    ] {
        db.run(&format!("INSERT INTO webhooks VALUES ('{id}', 'enc:v1:u', NULL, '{literal}')"))
            .await;
        let row = db.rows().fetch(&shape, &[RowKey::from(id)]).await.unwrap().remove(0);
        assert_eq!(row.values[2].as_deref(), Some(nested));
        assert_eq!(write(&db, &shape, &[update(&row, 0, "enc:v3:new:u")]).await, 1);
        let kept = db.all(&format!("SELECT hosts::text FROM webhooks WHERE id = '{id}'")).await;
        assert_eq!(kept, [literal], "and another column's rewrap leaves it alone");
    }
    assert_eq!(stale(&db, &shape, &webhook_aims()).await.len(), 2);
}

/// `json` keeps what `jsonb` would lose or refuse; none of it fails a statement.
#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn json_is_read_written_and_counted_whatever_it_holds() {
    let db = Db::postgres().await;
    db.run("CREATE TABLE raw (id integer PRIMARY KEY, doc json)").await;
    let shape = shape(&db, &Registry::empty().with(Column::new("raw", "doc", Kind::Json))).await;
    let documents = [
        r#"{"token": "enc:v3:new:a", "n": 1.10}"#,
        r#"{ "token":"enc:v1:a",  "n":1.10 }"#,
        r#"{"token": "enc:v1:a", "token": "enc:v3:new:a"}"#,
        r#"{"a": "\u0000", "b": "enc:v2:k:x", "c": "no \"enc:v1:x", "enc:v1:key": 1}"#,
        r#"{"a": 1e999999, "b": ["enc:v3:new:x"], "c": "\ud800"}"#,
        r#"{"a": 1e999999, "b": "enc:v3:k 2:x"}"#,
    ];
    for (id, document) in documents.iter().enumerate() {
        db.run(&format!("INSERT INTO raw VALUES ({id}, '{document}')")).await;
    }
    let rows = stale(&db, &shape, &[aim("enc:v3:new:")]).await;
    let keys: Vec<_> = rows.iter().map(|row| row.key.to_string()).collect();
    assert_eq!(keys, ["1", "2", "3", "4", "5"]);
    assert_eq!(rows[0].values[0].as_deref(), Some(documents[1]));
    let census = db.rows().census(&shape).await.unwrap().remove(0);
    let counts = [("enc:v1", 2), ("enc:v2:k", 1), ("enc:v3:new", 3), ("malformed", 1)];
    assert_eq!(census.values, counts.map(|(form, n)| (form.to_owned(), n)).into());
    let sealed = documents[2].replace("enc:v1:a", "enc:v3:new:b");
    assert_eq!(write(&db, &shape, &[update(&rows[1], 0, &sealed)]).await, 1);
    let row = db.rows().fetch(&shape, &[RowKey::from(2)]).await.unwrap().remove(0);
    assert_eq!(row.values[0].as_deref(), Some(sealed.as_str()), "white space and all");
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_collation_that_ignores_case_hides_no_edit() {
    let db = Db::postgres().await;
    db.run("CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
        .await;
    db.run("CREATE TABLE folded (id text COLLATE nocase PRIMARY KEY, secret text COLLATE nocase)")
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

/// A schema before the dot; `char(n)` and `varchar` as text; arrays of `varchar`.
#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn other_schemas_and_types_work() {
    let db = Db::postgres().await;
    db.run("CREATE SCHEMA vault").await;
    db.run(
        "CREATE TABLE vault.things (id varchar(9) PRIMARY KEY, a varchar(99), b char(20), \
         c varchar(30)[], d text GENERATED ALWAYS AS (a) STORED)",
    )
    .await;
    db.run("INSERT INTO vault.things VALUES ('k', 'a', 'b', '{c,NULL}')").await;
    let registry = ["a", "b", "d"]
        .into_iter()
        .fold(Registry::empty(), |r, name| r.with(Column::text("vault.things", name)))
        .with(Column::new("vault.things", "c", Kind::TextArray));
    let survey = db.rows().survey(&registry).await.unwrap();
    assert!(
        matches!(&survey.faults[..], [ColumnFault::WrongType { found, .. }] if found == "generated")
    );
    let shape = &survey.tables[0];
    let row = stale(&db, shape, &webhook_aims()).await.remove(0);
    let new = ["enc:v3:new:a", "enc:v3:new:b", r#"["enc:v3:new:c",null]"#];
    let update =
        Update { new: new.iter().map(|v| Some((*v).to_owned())).collect(), ..update(&row, 0, "") };
    assert_eq!(write(&db, shape, &[update]).await, 1);
    assert_eq!(stale(&db, shape, &webhook_aims()).await, []);
}

/// Whatever the statistics say, no batch scans the table.
#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn batches_go_along_the_index() {
    let db = Db::postgres().await;
    let shape = with_webhooks(&db).await;
    db.fill_webhooks(20_000).await;
    for analyze in [false, true] {
        if analyze {
            db.run("ANALYZE webhooks").await;
        }
        let options = db.pg().connect_options();
        let pool =
            PgPoolOptions::new().max_connections(1).connect_with((*options).clone()).await.unwrap();
        let store = PgStore::new(pool.clone());
        let scans = async || -> i64 {
            pool.execute("SELECT pg_stat_force_next_flush()").await.unwrap();
            let sql = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'webhooks'";
            sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap()
        };
        let before = scans().await;
        let mut after = None;
        for _ in 0..8 {
            let window = Window { after: after.as_ref(), upto: None };
            let rows = store.stale(&shape, &webhook_aims(), window, 1000).await.unwrap();
            after = rows.last().map(|row| row.key.clone());
            let updates: Vec<_> = rows.iter().map(|row| update(row, 0, "enc:v3:new:x")).collect();
            store.write(&shape, &updates, None).await.unwrap();
            let keys: Vec<_> = rows.iter().map(|row| row.key.clone()).collect();
            assert_eq!(store.fetch(&shape, &keys).await.unwrap().len(), 1000);
        }
        assert_eq!(scans().await, before);
    }
}
