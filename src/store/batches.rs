//! What one batch may do to its range and to the quarantine, on both databases. Beside
//! the code, since only `Rows::write` calls it; everything public is in `tests/store`.

use std::time::Duration;

use sqlx::{PgPool, postgres::PgConnectOptions};

use super::{
    Change, Committed, NewRange, Progress, Quarantined, Range, ReplicaId, Rollover, RolloverChange,
    RolloverId, Store, Timestamp, postgres::PgStore, sqlite::SqliteStore,
};
use crate::{
    catalog::Secret,
    column::RowKey,
    envelope::Target,
    ids::KeyId,
    rollover::{Mode, Phase},
};

const LEASE: Duration = Duration::from_secs(30);

async fn fresh_sqlite() -> (SqliteStore, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("breeze.db").display());
    let store = SqliteStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    (store, directory)
}

async fn fresh_postgres() -> (PgStore, ()) {
    let url = std::env::var("BREEZE_TEST_POSTGRES_URL").expect("tests/run sets it");
    let name = format!("batches_{}", uuid::Uuid::now_v7().simple());
    let server = PgPool::connect(&url).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&server).await.unwrap();
    let options = url.parse::<PgConnectOptions>().unwrap().database(&name);
    let store = PgStore::new(PgPool::connect_with(options).await.unwrap());
    store.migrate().await.unwrap();
    (store, ())
}

/// A rollover with one pass of one range.
async fn one_range(store: &impl Store) -> RolloverId {
    let now = Timestamp::from_seconds(1_790_000_000);
    let rollover = Rollover {
        id: RolloverId::new(),
        secret: Secret::AppEncryptionKey,
        mode: Mode::Graceful,
        dry_run: false,
        phase: Phase::Promoted,
        revision: 0,
        paused_at: None,
        reason: "due".to_owned(),
        requested_by: "admin@example.com".to_owned(),
        from_key: KeyId::new("old").unwrap(),
        to_key: None,
        created_at: now,
        updated_at: now,
        settled_at: None,
        target: Target::Bound,
        pass: 1,
        max_rows_per_second: None,
        blocked_by: None,
        accept_quarantined: false,
        accept_loss: false,
        probed_at: None,
        ask_at: None,
        asked_by: None,
        revoking_at: None,
        revoked_at: None,
        report: None,
        cut_off: None,
    };
    let id = rollover.id;
    let range = NewRange {
        rollover: id,
        pass: 1,
        table: "users".to_owned(),
        number: 0,
        after: None,
        upto: None,
    };
    let change = Change {
        rollover: Some(RolloverChange::Begin { rollover: Box::new(rollover), alongside: false }),
        ranges: vec![range],
        ..Change::default()
    };
    assert!(matches!(store.commit(&change).await.unwrap(), Committed::Done(_)));
    id
}

fn bad_value(error: &str, seconds: i64) -> Quarantined {
    Quarantined {
        table: "users".to_owned(),
        column: "mfa_secret".to_owned(),
        row: RowKey::from(7),
        path: String::new(),
        error: error.to_owned(),
        seen_at: Timestamp::from_seconds(seconds),
    }
}

macro_rules! on {
    ($backend:ident, $fresh:ident, $(#[$gate:meta])*) => {
        mod $backend {
            use super::*;
            use crate::store::$backend::passes::{advance_range, quarantine};

            #[tokio::test]
            $(#[$gate])*
            async fn a_cursor_moves_only_from_where_its_holder_saw_it() {
                let (store, _directory) = $fresh().await;
                let rollover = one_range(&store).await;
                let claim = || store.claim_range(rollover, 1, ReplicaId::new(), Duration::ZERO);
                let first = claim().await.unwrap().unwrap();
                let mut progress = Progress {
                    range: first,
                    cursor: RowKey::from(100),
                    scanned: 10,
                    lease: Duration::ZERO,
                    quarantined: Vec::new(),
                };
                let mut connection = store.pool().acquire().await.unwrap();
                let held_still = advance_range(&mut connection, &progress, 6, 4).await.unwrap();
                assert!(held_still, "its lease is over, and nobody took it");
                let seen_late = advance_range(&mut connection, &progress, 6, 4).await.unwrap();
                assert!(!seen_late, "the cursor is elsewhere");

                let second = claim().await.unwrap().unwrap();
                assert_eq!(second.cursor, Some(RowKey::from(100)), "it goes on where it stood");
                progress.range.cursor = second.cursor.clone();
                let lost = advance_range(&mut connection, &progress, 6, 4).await.unwrap();
                assert!(!lost, "another replica holds it");

                let further = Progress {
                    range: second.clone(),
                    cursor: RowKey::from(200),
                    lease: LEASE,
                    ..progress
                };
                assert!(advance_range(&mut connection, &further, 10, 0).await.unwrap());
                assert_eq!(claim().await.unwrap(), None, "the batch renewed the lease");
                let pass = store.pass(rollover, 1).await.unwrap().unwrap();
                assert_eq!((pass.scanned, pass.rewrapped, pass.superseded), (20, 16, 4));

                store.finish_range(&second).await.unwrap();
                let done = Progress {
                    range: Range { cursor: Some(RowKey::from(200)), ..second },
                    ..further
                };
                assert!(!advance_range(&mut connection, &done, 1, 0).await.unwrap());
            }

            #[tokio::test]
            $(#[$gate])*
            async fn a_bad_value_is_recorded_once_with_when_it_was_last_seen() {
                let (store, _directory) = $fresh().await;
                let mut connection = store.pool().acquire().await.unwrap();
                quarantine(&mut connection, &[]).await.unwrap();
                let leaf = Quarantined { path: "/0".to_owned(), ..bad_value("malformed", 5) };
                let twice = [bad_value("unknown key", 5), bad_value("unknown key", 6), leaf.clone()];
                quarantine(&mut connection, &twice).await.unwrap();
                quarantine(&mut connection, &[bad_value("malformed", 9)]).await.unwrap();
                let recorded = store.quarantined(9).await.unwrap();
                assert_eq!(recorded, [leaf, bad_value("malformed", 9)]);
            }
        }
    };
}

on!(sqlite, fresh_sqlite,);
on!(postgres, fresh_postgres, #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]);
