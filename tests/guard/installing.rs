//! Installing, removing, and telling how things are.

use std::time::Duration;

use breeze_rollover::{operator::Refusal, store::sqlite::SqliteStore};

use super::*;

/// A write that the guard refuses.
const OLD: &str = "INSERT INTO people VALUES (1, 'mfa:v2:seeds:payload')";

/// All that the guard has in the database.
const LEFT: &str = "
    SELECT tgrelid::regclass || ' ' || tgname FROM pg_trigger WHERE tgname LIKE '%guard%'
    UNION ALL SELECT proname FROM pg_proc WHERE proname ~ 'retired_key' ORDER BY 1";

async fn left(guarded: &Guarded) -> Vec<String> {
    sqlx::query_scalar(LEFT).fetch_all(guarded.store.pool()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn it_is_off_until_it_is_installed_and_leaves_nothing_behind() {
    let guarded = Guarded::not().await;
    let before = left(&guarded).await;
    assert!(before.is_empty(), "{before:?}");
    guarded.passes(OLD).await;
    guarded.passes("DELETE FROM people").await;
    assert_eq!(guarded.remove().await, [""; 0], "it was not there");

    let installed = guarded.install().await;
    assert_eq!(columns(&installed, Guarding::Absent), ["nowhere.secret"]);
    assert_eq!(columns(&installed, Guarding::Unguarded), [""; 0]);
    assert_eq!(columns(&installed, Guarding::Guarded).len(), 5);
    assert_eq!(left(&guarded).await.len(), 6, "two triggers a table, and two functions");
    guarded.refuses(OLD, "people.seed", "seeds").await;
    assert_eq!(guarded.told("guard.install").await, ["people", "things"]);

    assert_eq!(guarded.remove().await, ["things", "people"]);
    assert_eq!(left(&guarded).await, before);
    guarded.passes(OLD).await;
    assert_eq!(guarded.told("guard.remove").await, ["people", "things"]);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn installing_again_touches_only_what_is_not_as_it_should_be() {
    let guarded = Guarded::not().await;
    let triggers = async || -> Vec<String> {
        let sql = "SELECT tgrelid::regclass || ' ' || tgname || ' ' || oid FROM pg_trigger
            WHERE tgname LIKE 'rollover_guard%' ORDER BY 1";
        sqlx::query_scalar(sql).fetch_all(guarded.store.pool()).await.unwrap()
    };
    guarded.install().await;
    let first = triggers().await;
    guarded.install().await;
    assert_eq!(triggers().await, first);
    assert_eq!(guarded.told("guard.install").await.len(), 2);

    // A column that is registered later, one that is disabled, and one of another secret.
    let later = registry().with(Column::text("people", "later"));
    guarded.passes("ALTER TABLE people ADD COLUMN later text").await;
    let grown = guard(&guarded.store, later.clone());
    assert_eq!(columns(&grown.status().await.unwrap(), Guarding::Unguarded), ["people.later"]);
    guarded.passes("UPDATE people SET later = 'enc:v3:gone:payload'").await;
    grown.install(Actor::System, "a test").await.unwrap();
    guarded.passes("INSERT INTO people VALUES (9)").await;
    let update = "UPDATE people SET later = 'enc:v3:gone:payload'";
    guarded.refuses(update, "people.later", "gone").await;
    assert_eq!(triggers().await[2..], first[2..], "the other table is left alone");

    let status = guarded.guard().status().await.unwrap();
    assert_eq!(columns(&status, Guarding::Unregistered), ["people.later"]);
    guarded.install().await;
    guarded.passes(update).await;

    guarded.passes("ALTER TABLE things DISABLE TRIGGER rollover_guard_update").await;
    let status = guarded.guard().status().await.unwrap();
    assert_eq!(columns(&status, Guarding::Unguarded).len(), 4, "{status:?}");
    guarded.install().await;
    guarded
        .refuses("INSERT INTO things VALUES (1, 'enc:v3:gone:payload')", "things.name", "gone")
        .await;

    let moved = registry().with(Column::text("things", "name").under(Secret::MfaEncryptionKey));
    let status = guard(&guarded.store, moved).status().await.unwrap();
    assert_eq!(columns(&status, Guarding::Unguarded), ["things.name"]);

    // A table that is registered no more is told of, and cleaned up.
    let smaller = guard(&guarded.store, Registry::empty());
    let status = smaller.status().await.unwrap();
    assert_eq!(columns(&status, Guarding::Unregistered).len(), 5, "{status:?}");
    smaller.remove(Actor::System, "a test").await.unwrap();
    assert!(left(&guarded).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_partitioned_table_is_guarded_as_one() {
    let guarded = Guarded::not().await;
    guarded
        .passes(
            "DROP TABLE people;
             CREATE TABLE people (id int PRIMARY KEY, seed text) PARTITION BY RANGE (id);
             CREATE TABLE some_people PARTITION OF people FOR VALUES FROM (0) TO (10);",
        )
        .await;
    let installed = guarded.install().await;
    assert_eq!(columns(&installed, Guarding::Unregistered), [""; 0]);
    guarded.passes("CREATE TABLE more_people PARTITION OF people DEFAULT").await;
    guarded.refuses(OLD, "some_people.seed", "seeds").await;
    guarded.refuses(&OLD.replace('1', "11"), "more_people.seed", "seeds").await;
    guarded.remove().await;
    assert!(left(&guarded).await.is_empty());
    guarded.passes(OLD).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_role_that_may_only_write_its_table_is_guarded_and_may_not_change_that() {
    let guarded = Guarded::fresh().await;
    let role = guarded.own.role().await;
    guarded
        .passes(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON people TO {}", role.name))
        .await;
    let theirs = PgStore::connect(&role.url, "test", 1).await.unwrap();
    try_on(&theirs, "INSERT INTO people VALUES (1, 'mfa:v2:new:payload')").await.unwrap();
    let refused = try_on(&theirs, &OLD.replace('1', "2")).await.unwrap_err();
    let refused = refused.as_database_error().unwrap();
    assert_eq!(refused.constraint(), Some(GUARD_CONSTRAINT), "{refused}");

    // The rights of the README's `breeze_api`.
    guarded
        .passes(&format!(
            "GRANT USAGE ON SCHEMA rollover TO {0};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA rollover, public TO {0}",
            role.name
        ))
        .await;
    let status = guard(&theirs, registry()).status().await.unwrap();
    assert_eq!(columns(&status, Guarding::Guarded).len(), 5, "everybody may look");
    let refused = guard(&theirs, registry()).remove(Actor::System, "a test").await.unwrap_err();
    says(&refused, "may not change the guard on things");
    says(&refused, "use the role that ran `breeze-api migrate`");
    guarded.remove().await;
    let refused = guard(&theirs, registry()).install(Actor::System, "a test").await.unwrap_err();
    says(&refused, "may not change the guard on things");
    says(&refused, "schema rollover");
    assert_eq!(guarded.told("guard.install").await.len(), 2, "what is refused is not told as done");
    assert!(left(&guarded).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_table_in_use_is_not_waited_for_and_the_next_try_goes_on() {
    let guarded = Guarded::not().await;
    let mut theirs = guarded.store.pool().begin().await.unwrap();
    sqlx::query("INSERT INTO people VALUES (1)").execute(&mut *theirs).await.unwrap();
    let guard = guarded.guard();
    let installing = guard.install(Actor::System, "a test");
    let refused = tokio::time::timeout(Duration::from_secs(20), installing).await.unwrap();
    says(&refused.unwrap_err(), "a transaction holds people for longer than 3 s");
    let status = guard.status().await.unwrap();
    assert_eq!(columns(&status, Guarding::Unguarded), ["people.seed"]);
    theirs.rollback().await.unwrap();
    guarded.install().await;
    guarded.refuses(OLD, "people.seed", "seeds").await;
    assert_eq!(guarded.told("guard.install").await, ["people", "things"]);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn names_are_quoted_and_a_reason_is_asked_for() {
    let guarded = Guarded::not().await;
    guarded
        .passes(
            r#"CREATE SCHEMA "S"; CREATE TABLE "S"."T '" ("a""b'\" text, ordinary text);
               INSERT INTO "S"."T '" VALUES ('enc:v3:gone:payload')"#,
        )
        .await;
    let odd = Registry::empty().with(Column::text("S.T '", r#"a"b'\"#));
    let guard = guard(&guarded.store, odd);
    let installed = guard.install(Actor::System, "a test").await.unwrap();
    assert_eq!(columns(&installed, Guarding::Guarded), [r#"S.T '.a"b'\"#]);
    guarded
        .refuses(r#"UPDATE "S"."T '" SET "a""b'\" = 'enc:v2:gone:payload'"#, r#"T '.a"b'\"#, "gone")
        .await;
    assert!(matches!(guard.remove(Actor::System, " ").await, Err(Refusal::Reason)));
    guard.remove(Actor::System, "a test").await.unwrap();
    assert!(left(&guarded).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_has_no_guard_and_says_so() {
    let file = support::sqlite::file();
    let store = SqliteStore::connect(&file.url()).await.unwrap();
    store.migrate().await.unwrap();
    let guard = Guard::new(Arc::new(store), Arc::new(registry()), Arc::new(SystemClock));
    for refused in [
        guard.status().await.map(drop),
        guard.install(Actor::System, "a test").await.map(drop),
        guard.remove(Actor::System, "a test").await.map(drop),
    ] {
        says(&refused.unwrap_err(), "the guard is made of triggers on PostgreSQL");
    }
}

fn says(refusal: &Refusal, what: &str) {
    assert!(refusal.to_string().contains(what), "{refusal}");
}
