//! A rolling deployment: this version beside a newer one, on a database that the newer
//! one has migrated and writes to.

#![cfg(all(feature = "postgres", feature = "sqlite", feature = "worker", feature = "admin"))]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, reason = "a test has no reader but its own")]

mod support;

use std::{sync::Arc, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    clock::SystemClock,
    column::Column,
    embed::Database,
    ids::RolloverId,
    keyring::KeyState,
    operator::{Accept, Refusal, Request},
    problem::Problem,
    rollover::{Blocker, Mode, Phase},
    store::{Actor, StoreError},
    worker::{DriveError, Next, Task},
};
use serde_json::json;
use sqlx::AssertSqlSafe;
use support::{
    app::{TestApp, execute, fill, on_both_databases, plaintexts, registry, request},
    by_hand::ByHand,
    double::Double,
};

/// SQL for PostgreSQL's names, run on either database.
async fn sql(database: &Database, sql: &str) {
    match database {
        Database::Postgres(_) => execute(database, sql).await,
        _ => {
            execute(
                database,
                &sql.replace("rollover._", "rollover_").replace("rollover.", "rollover_"),
            )
            .await
        }
    }
}

/// Every row of the two tables that a newer version wrote to, as text.
async fn written(database: &Database) -> Vec<String> {
    let rows = "SELECT id || ' ' || secret || ' ' || state FROM rollover.key
        UNION ALL SELECT id || ' ' || secret || ' ' || mode || ' ' || phase || ' ' || target
            || ' ' || revision || ' ' || coalesce(blocked_by, '') FROM rollover.rollover
        ORDER BY 1";
    match database {
        Database::Postgres(store) => {
            let rows =
                rows.replace("|| id", "|| id::text").replace("SELECT id ||", "SELECT id::text ||");
            sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(store.pool()).await.unwrap()
        }
        Database::Sqlite(store) => {
            let rows = rows.replace("rollover.", "rollover_");
            sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(store.pool()).await.unwrap()
        }
        _ => unreachable!("both databases are named"),
    }
}

/// What only the newer version understands: a rollover of each unknown kind, and keys.
struct Future {
    /// Of an unknown phase, mode, target and secret, and one whose key's state is unknown.
    rollovers: [RolloverId; 5],
}

impl Future {
    /// Writes it as the newer version would. A newer version that has a new state of
    /// keys has lifted the constraint on it.
    async fn write(database: &Database) -> Self {
        let rollovers = [(); 5].map(|()| RolloverId::new());
        let kinds = [
            ("JWT_SECRET", "graceful", "phase_of_the_future", "bound", "k"),
            ("APP_ENCRYPTION_KEY", "mode_of_the_future", "promoted", "bound", "k"),
            ("MFA_ENCRYPTION_KEY", "graceful", "promoted", "target_of_the_future", "k"),
            ("SECRET_OF_THE_FUTURE", "graceful", "staged", "bound", "k"),
            ("APP_ENCRYPTION_KEY", "graceful", "requested", "bound", "future"),
        ];
        for (number, (id, (secret, mode, phase, target, from))) in
            rollovers.iter().zip(kinds).enumerate()
        {
            // The last one stands beside another of its secret, as a dry run may.
            let dry_run = number == 4;
            let insert = format!(
                "INSERT INTO rollover.rollover (id, secret, mode, dry_run, phase, slot, revision,
                    reason, requested_by, from_key, created_at, updated_at, target, pass,
                    accept_quarantined)
                 VALUES ('{id}', '{secret}', '{mode}', {dry_run}, '{phase}', 'slot {number}', 3,
                    'a test', 'future', '{from}', 1, 1, '{target}', 1, FALSE)"
            );
            sql(database, &insert).await;
        }
        let keys =
            "INSERT INTO rollover.key (secret, id, fingerprint, state, unnamed, origin, rank,
                sealed, created_at, seals, longest_lifetime)
             VALUES ('SECRET_OF_THE_FUTURE', 'k', 'of the future', 'primary', FALSE, 'future', 0,
                'sealed', 0, 0, 0),
                ('APP_ENCRYPTION_KEY', 'future', '0123456789abcdef', 'compromised', FALSE,
                 '{\"kind\":\"hsm\",\"name\":{\"slot\":3}}', 0, 'sealed', 0, 0, 0)";
        match database {
            Database::Postgres(_) => {
                let lift = "ALTER TABLE rollover.key DROP CONSTRAINT key_state_check";
                sql(database, &format!("{lift}; {keys}")).await;
            }
            _ => {
                let pragma = "PRAGMA ignore_check_constraints";
                sql(database, &format!("{pragma} = TRUE; {keys}; {pragma} = FALSE")).await;
            }
        }
        Self { rollovers }
    }
}

fn is_newer(refusal: &Refusal, id: RolloverId) -> bool {
    matches!(refusal, Refusal::Drive(DriveError::Store(StoreError::Newer(newer))) if *newer == id)
}

async fn what_only_a_newer_version_knows_is_left_alone(database: Database) {
    fill(&database, 5).await;
    // Keys of this version, with which another replica joins later.
    let one = ByHand::join(database.store()).await.unwrap();
    let future = Future::write(&database).await;
    let before = written(&database).await;

    let two = ByHand::join(database.store()).await.unwrap();
    for by_hand in [&one, &two] {
        let (worker, operator) = (&by_hand.worker, by_hand.operator());
        worker.replica().refresh().await.unwrap();
        worker.replica().beat().await.unwrap();
        for id in future.rollovers {
            assert_eq!(worker.drive(id).await.unwrap(), Next::Never);
            worker.rewrap(id, 1).await.unwrap();
        }
        for id in &future.rollovers[..4] {
            let refused = [
                operator.inspect(*id).await.map(drop),
                operator.pause(*id, Actor::System, "a test").await.map(drop),
                operator.roll_back(*id, Actor::System, "a test").await.map(drop),
                operator.retire(*id, Actor::System, "a test", Accept::default()).await.map(drop),
                operator.destroy(*id, Actor::System, "a test").await.map(drop),
            ];
            for refused in refused {
                let refused = refused.unwrap_err();
                assert!(is_newer(&refused, *id), "{refused}");
                let problem = Problem::from(refused);
                let problem = serde_json::to_value(&problem).unwrap();
                assert_eq!(
                    (&problem["status"], &problem["code"]),
                    (&json!(409), &json!("newer_version"))
                );
            }
        }
        let refused =
            operator.pause(future.rollovers[4], Actor::System, "a test").await.unwrap_err();
        assert!(is_newer(&refused, future.rollovers[4]), "{refused}");
        // One at a time counts what it does not understand.
        for (secret, alongside, in_the_way) in [
            (Secret::JwtSecret, true, 0),
            (Secret::AppEncryptionKey, true, 1),
            (Secret::MfaEncryptionKey, true, 2),
        ] {
            let ask = Request { alongside, ..request(secret, Mode::Graceful) };
            let refused = by_hand.begin(ask).await.unwrap_err();
            let in_the_way = future.rollovers[in_the_way];
            assert!(matches!(refused, Refusal::Busy(id) if id == in_the_way), "{refused}");
        }
        let known = operator.secrets().await.unwrap();
        let app = known.iter().find(|view| view.secret == Secret::AppEncryptionKey).unwrap();
        let key = app.keys.iter().find(|key| key.id.as_str() == "future").unwrap();
        assert_eq!((key.state, key.origin.as_str()), (KeyState::Unknown, "unknown"));
        operator.census().await.unwrap();
        let listed = worker.replica().store().rollovers(None, 50).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|rollover| rollover.id).collect();
        assert_eq!(listed, [future.rollovers[4]]);
        assert!(worker.replica().store().audit(None, 50).await.is_ok());
    }
    assert_eq!(written(&database).await, before);
}

async fn a_running_process_goes_on_while_a_newer_one_migrates(database: Database) {
    fill(&database, 60).await;
    let running = TestApp::start(database.clone()).await;
    let before = running.plaintexts().await;
    let begun = running.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap();
    for added in [
        "INSERT INTO rollover._migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', TRUE, '', 0)",
        "ALTER TABLE rollover.rollover ADD COLUMN future text",
        "ALTER TABLE rollover.key ADD COLUMN future integer NOT NULL DEFAULT 7",
        "ALTER TABLE rollover.replica ADD COLUMN future integer NOT NULL DEFAULT 7",
        "ALTER TABLE rollover.range ADD COLUMN future integer NOT NULL DEFAULT 7",
        "CREATE TABLE rollover.future (id int)",
    ] {
        sql(&database, added).await;
    }
    // And one of this version is started again.
    database.migrate().await.unwrap();
    let started = TestApp::start(database.clone()).await;
    running.reaches(begun.id, Phase::Retired).await;
    assert_eq!(started.plaintexts().await, before);
    let begun = started.begin(request(Secret::JwtSecret, Mode::Graceful)).await.unwrap();
    running.reaches(begun.id, Phase::Retired).await;
    running.rollovers.leave().await;
    started.rollovers.leave().await;
}

/// A newer replica, one of before that does not know the newer one's table, and that
/// table, with a value under the primary key.
async fn beside_a_newer_one(database: &Database) -> (ByHand, ByHand) {
    fill(database, 15).await;
    execute(database, "CREATE TABLE of_the_future (id bigint PRIMARY KEY, secret text)").await;
    let more = registry().with(Column::text("of_the_future", "secret"));
    let clock = Arc::new(SystemClock);
    let newer = ByHand::join_with(database.store(), more.clone(), clock).await.unwrap();
    let older = ByHand::join(Double::on(database.store(), Arc::new(()))).await.unwrap();
    let column = more.column("of_the_future", "secret").unwrap();
    let keys = newer.worker.replica().opening_keychain();
    let sealed = column.seal(&keys, &1.into(), "a value", Default::default()).unwrap();
    execute(database, &format!("INSERT INTO of_the_future VALUES (1, '{sealed}')")).await;
    (newer, older)
}

async fn a_range_of_a_table_that_is_not_registered_here_is_left_to_others(database: Database) {
    let (newer, older) = beside_a_newer_one(&database).await;
    let begun = newer.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap();
    let bulk = async {
        loop {
            older.worker.replica().refresh().await.unwrap();
            older.worker.replica().beat().await.unwrap();
            newer.carry_until(begun.id, |_| true).await.unwrap();
            let rollover = database.store().rollover(begun.id).await.unwrap().unwrap();
            if rollover.pass > 0 {
                break rollover.pass;
            }
        }
    };
    let pass = bulk.await;
    for _ in 0..3 {
        older.worker.rewrap(begun.id, pass).await.unwrap();
        let progress = database.store().pass(begun.id, pass).await.unwrap().unwrap();
        assert_eq!(progress.rewrapped, 30, "{progress:?}");
        assert!(progress.finished < progress.ranges, "{progress:?}");
        assert!(!matches!(
            newer.worker.drive(begun.id).await.unwrap(),
            Next::Never | Next::After(_, Blocker::Quarantined(_))
        ));
    }
    newer.carry(begun.id).await.unwrap();
    let rollover = database.store().rollover(begun.id).await.unwrap().unwrap();
    assert_eq!(rollover.phase, Phase::Retired);
    assert_eq!(rollover.report.unwrap()["rowsRewrapped"], 31);
    assert_eq!(plaintexts(newer.worker.replica()).await.len(), 60);
}

async fn a_census_without_a_column_of_a_live_replica_proves_nothing(database: Database) {
    let (newer, older) = beside_a_newer_one(&database).await;
    let begun = older.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap();
    let alone = older.carry_until(begun.id, |blocker| matches!(blocker, Blocker::Unseen(_)));
    newer.following(alone).await.unwrap();
    let rollover = database.store().rollover(begun.id).await.unwrap().unwrap();
    let why = rollover.blocked_by.unwrap();
    assert!(why.contains("of_the_future.secret is registered by replica by hand"), "{why}");

    newer.carry(begun.id).await.unwrap();
    let rollover = database.store().rollover(begun.id).await.unwrap().unwrap();
    assert_eq!(rollover.phase, Phase::Retired);
    assert_eq!(rollover.report.unwrap()["rowsRewrapped"], 31);
}

/// The queue, the tick and the lease over some seconds: not a word above INFO.
async fn nobody_complains(database: Database) {
    let traces = support::traces::capture();
    let app = TestApp::start(database.clone()).await;
    let future = Future::write(&database).await;
    let before = written(&database).await;
    let queue = database.queue();
    let of_the_future = Task::Unknown(json!({ "task_of_the_future": { "number": 1 } }));
    queue.put(of_the_future, Duration::ZERO, "future".into()).await.unwrap();
    for (number, id) in future.rollovers.into_iter().enumerate() {
        for task in [Task::Drive { rollover: id }, Task::Rewrap { rollover: id, pass: 1 }] {
            let key = format!("future {number} {task:?}");
            queue.put(task, Duration::ZERO, key).await.unwrap();
        }
    }
    tokio::time::sleep(Duration::from_millis(4500)).await;
    app.rollovers.leave().await;
    let text = traces.text();
    // That a busy machine is slow is no complaint of ours.
    let ours = text.lines().filter(|line| !line.contains("sqlx::"));
    let complaints: Vec<_> =
        ours.filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert!(text.contains("breeze_rollover"), "something was traced");
    assert_eq!(written(&database).await, before);
}

#[tokio::test]
async fn nobody_complains_on_sqlite() {
    let file = support::sqlite::file();
    let database = Database::connect(&file.url(), 8).await.unwrap();
    database.migrate().await.unwrap();
    nobody_complains(database).await;
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn nobody_complains_on_postgres() {
    let own = support::postgres::database().await;
    let database = Database::connect(&own.url(), 8).await.unwrap();
    database.migrate().await.unwrap();
    nobody_complains(database).await;
}

on_both_databases!(
    what_only_a_newer_version_knows_is_left_alone,
    a_running_process_goes_on_while_a_newer_one_migrates,
    a_range_of_a_table_that_is_not_registered_here_is_left_to_others,
    a_census_without_a_column_of_a_live_replica_proves_nothing,
);
