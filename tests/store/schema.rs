//! The schema is this version's, and writable, or the store says what is wrong.

use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    ids::{Epoch, ReplicaId},
    incident::{Incident, State},
    keyring::KeyState::Primary,
    store::{
        Beat, Change, Claim, Committed, Operations, Store, StoreError, postgres::PgStore,
        sqlite::SqliteStore,
    },
};
use futures_util::future::join_all;
use sqlx::postgres::PgListener;
use std::time::Duration;

use crate::{
    audit::entry,
    backend::{Backend, Postgres, Sqlite, add, at_once, begin, done, key, keys, rollover},
    on_both,
};

on_both! {
    migrating_again_changes_nothing,
    what_a_newer_version_added_is_no_reason_to_refuse,
    a_newer_schema_that_needs_a_newer_program_is_refused,
    an_older_schema_is_refused,
}

async fn migrating_again_changes_nothing(on: impl Backend) {
    done(on.store(), &keys([add(key(Secret::JwtSecret, "a", Primary))])).await;
    on.migrate().await.unwrap();
    on.check().await.unwrap();
    assert_eq!(on.store().epoch().await.unwrap(), Epoch(1));
}

/// What a newer version's migration would do, `needs` what it says of itself.
async fn newer(on: &impl Backend, needs: i64) {
    for statement in [
        "INSERT INTO rollover._migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', TRUE, '', 0)",
        "ALTER TABLE rollover.rollover ADD COLUMN future text",
        "ALTER TABLE rollover.key ADD COLUMN future integer NOT NULL DEFAULT 7",
        &format!("UPDATE rollover.meta SET needs = {needs}"),
    ] {
        on.execute(statement).await.unwrap();
    }
}

async fn what_a_newer_version_added_is_no_reason_to_refuse(on: impl Backend) {
    newer(&on, 0).await;
    on.check().await.unwrap();
    on.migrate().await.unwrap();
    done(on.store(), &keys([add(key(Secret::JwtSecret, "a", Primary))])).await;
    done(on.store(), &begin(&rollover(Secret::JwtSecret), false)).await;
    assert_eq!(on.store().custody().await.unwrap().keys.len(), 1);
    assert_eq!(on.store().active_rollovers().await.unwrap().len(), 1);
}

async fn a_newer_schema_that_needs_a_newer_program_is_refused(on: impl Backend) {
    newer(&on, 9999).await;
    for refused in [on.check().await, on.migrate().await] {
        let Err(StoreError::NewerSchema { needs: 9999, known }) = refused else {
            panic!("{refused:?}")
        };
        assert!(known < 9999);
    }
}

async fn an_older_schema_is_refused(on: impl Backend) {
    on.execute("DELETE FROM rollover._migrations WHERE version > 1").await.unwrap();
    assert!(matches!(on.check().await, Err(StoreError::NotMigrated)));
}

/// What only SQLite has.
mod only_sqlite {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_without_the_tables_is_not_migrated() {
        let on = Sqlite::unmigrated().await;
        assert!(matches!(on.check().await, Err(StoreError::NotMigrated)));
        assert!(matches!(on.store().epoch().await, Err(StoreError::NotMigrated)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn several_processes_migrate_at_once() {
        let on = Sqlite::unmigrated().await;
        at_once(&on, 6, |store| async move { store.migrate().await.unwrap() }).await;
        on.check().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_read_only_database_says_so() {
        let on = Sqlite::fresh().await;
        let store = SqliteStore::connect(&format!("{}?mode=ro", on.url())).await.unwrap();
        assert!(matches!(store.check().await, Err(StoreError::ReadOnly)));
        let refused = store.commit(&begin(&rollover(Secret::JwtSecret), false)).await;
        assert!(matches!(refused, Err(StoreError::ReadOnly)), "{refused:?}");
        assert_eq!(store.epoch().await.unwrap(), Epoch(0), "reading goes on");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_audit_entry_cannot_be_replaced() {
        let on = Sqlite::fresh().await;
        on.store().record(&entry("one")).await.unwrap();
        let replaced = on
            .execute("INSERT OR REPLACE INTO audit_logs SELECT * FROM audit_logs")
            .await
            .unwrap_err();
        assert!(replaced.to_string().contains("is append-only"), "{replaced}");
    }
}

/// SQLite waits for no lock while it changes the journal of a new file.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_several_make_at_once_opens_for_each_of_them() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("new.db").display());
        let opening = (0..6).map(|_| {
            let url = url.clone();
            tokio::spawn(async move { SqliteStore::connect(&url).await.map(drop) })
        });
        for opened in join_all(opening).await {
            opened.unwrap().unwrap();
        }
    }
}

/// What only PostgreSQL has.
mod only_postgres {
    use super::*;

    /// What the README says that the API's own role needs; `{role}` stands for it.
    const GRANTS: [&str; 5] = [
        "GRANT USAGE ON SCHEMA rollover TO {role}",
        "GRANT SELECT ON rollover._migrations TO {role}",
        "GRANT SELECT, INSERT, UPDATE ON rollover.meta, rollover.key, rollover.rollover,
            rollover.range, rollover.daily, rollover.incident TO {role}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON rollover.replica, rollover.acceptor,
            rollover.quarantine, rollover.schedule TO {role}",
        "GRANT SELECT, INSERT ON public.audit_logs TO {role}",
    ];

    #[tokio::test(flavor = "multi_thread")]
    #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
    async fn a_database_without_the_tables_is_not_migrated() {
        let on = Postgres::unmigrated().await;
        assert!(matches!(on.check().await, Err(StoreError::NotMigrated)));
        assert!(matches!(on.store().epoch().await, Err(StoreError::NotMigrated)));
    }

    #[tokio::test(flavor = "multi_thread")]
    #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
    async fn several_processes_migrate_at_once() {
        let on = Postgres::unmigrated().await;
        at_once(&on, 6, |store| async move { store.migrate().await.unwrap() }).await;
        on.check().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
    async fn a_failed_migration_lets_the_next_one_in() {
        let on = Postgres::unmigrated().await;
        on.execute("CREATE SCHEMA rollover").await.unwrap();
        on.execute("CREATE TABLE rollover.meta (in_the_way integer)").await.unwrap();
        assert!(matches!(on.migrate().await, Err(StoreError::Migrate(_))));
        on.execute("DROP TABLE rollover.meta").await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), on.another().await.migrate())
            .await
            .expect("the advisory lock is free")
            .unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
    async fn a_read_only_database_says_so() {
        let on = Postgres::fresh().await;
        on.execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on',
                current_database()); END $$",
        )
        .await
        .unwrap();
        let store = on.another().await;
        assert!(matches!(store.check().await, Err(StoreError::ReadOnly)));
        let refused = store.commit(&begin(&rollover(Secret::JwtSecret), false)).await;
        assert!(matches!(refused, Err(StoreError::ReadOnly)), "{refused:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
    async fn a_begin_that_is_given_up_leaves_no_transaction_behind() {
        use futures_util::FutureExt;
        use sqlx::{Connection as _, Row as _};
        let on = Postgres::fresh().await;
        let store = PgStore::connect(on.url(), "store", 1).await.unwrap();
        for _ in 0..50 {
            // Sent, and seldom answered yet.
            let mut connection = store.pool().acquire().await.unwrap();
            drop(connection.begin().now_or_never());
            drop(connection);
            let sql = "SELECT now() = statement_timestamp()";
            let row = sqlx::raw_sql(sql).fetch_one(store.pool()).await.unwrap();
            assert!(row.get::<bool, _>(0), "the next one would write into a transaction of nobody");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
    async fn a_missing_privilege_is_named_and_the_stated_ones_are_enough() {
        let on = Postgres::fresh().await;
        let role = format!("api_{}", uuid::Uuid::now_v7().simple());
        on.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{role}'")).await.unwrap();
        let store = PgStore::connect(&on.url_as(&role), "store", 2).await.unwrap();
        let lacks = |named: &'static str| {
            let store = store.clone();
            async move {
                let Err(StoreError::Privilege(lacking)) = store.check().await else {
                    panic!("{named} is lacking, and nobody says so")
                };
                assert!(lacking.contains(named), "{lacking} names {named}");
            }
        };
        let named = [
            "schema rollover",
            "_migrations",
            "rollover.key (INSERT)",
            "rollover.replica (DELETE)",
            "public.audit_logs (INSERT)",
        ];
        for (grant, named) in GRANTS.iter().zip(named) {
            lacks(named).await;
            on.execute(&grant.replace("{role}", &role)).await.unwrap();
        }
        store.check().await.unwrap();

        let change = Change {
            keys: vec![add(key(Secret::JwtSecret, "a", Primary))],
            audit: vec![entry("rollover.begin")],
            ..begin(&rollover(Secret::JwtSecret), false)
        };
        assert_eq!(store.commit(&change).await.unwrap(), Committed::Done(Epoch(1)));
        let beat = Beat {
            replica: ReplicaId::new(),
            name: String::new(),
            version: String::new(),
            applied: Epoch(1),
            settled: Epoch(1),
            root_keys: vec![],
            lease: Duration::from_secs(9),
            accepts_while_fenced: false,
            columns: [].into(),
        };
        store.renew(&beat).await.unwrap();
        store.set_interval(Secret::JwtSecret, Some(30), &entry("schedule.set")).await.unwrap();
        store.set_interval(Secret::JwtSecret, None, &entry("schedule.set")).await.unwrap();
        assert_eq!(store.claim("job", 1, Duration::ZERO).await.unwrap(), Claim::Taken);
        assert_eq!(store.claim("job", 1, Duration::ZERO).await.unwrap(), Claim::Taken);
        let at = SystemClock.now();
        assert!(store.finish("job", 1, at, &entry("job")).await.unwrap());
        let planned = incident(State::Planned);
        assert!(store.put_incident(&planned, &[entry("incident.open")]).await.unwrap());
        let cancelled = Incident { revision: 1, state: State::Cancelled, ..planned };
        assert!(store.put_incident(&cancelled, &[entry("incident.cancel")]).await.unwrap());
        assert!(matches!(store.migrate().await, Err(StoreError::Privilege(_))));
    }

    fn incident(state: State) -> Incident {
        let now = SystemClock.now();
        Incident {
            id: uuid::Uuid::now_v7(),
            revision: 0,
            state,
            secrets: vec![],
            exposed_since: now,
            reason: String::new(),
            opened_by: String::new(),
            opened_at: now,
            confirmed_by: None,
            confirmed_at: None,
            ended_at: None,
            steps: vec![],
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
    async fn every_control_table_is_checked_before_it_is_served_from() {
        let on = Postgres::fresh().await;
        let role = format!("api_{}", uuid::Uuid::now_v7().simple());
        on.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{role}'")).await.unwrap();
        on.execute(&format!("GRANT USAGE ON SCHEMA rollover TO {role}")).await.unwrap();
        on.execute(&format!("GRANT SELECT, INSERT ON public.audit_logs TO {role}")).await.unwrap();
        let store = PgStore::connect(&on.url_as(&role), "store", 2).await.unwrap();
        let tables = on
            .texts("SELECT tablename::text FROM pg_tables WHERE schemaname = 'rollover' AND tablename <> '_migrations'")
            .await;
        assert!(tables.len() >= 10, "{tables:?}");
        let all = format!("GRANT ALL ON ALL TABLES IN SCHEMA rollover TO {role}");
        for table in tables.into_iter().flatten() {
            on.execute(&all).await.unwrap();
            store.check().await.unwrap();
            on.execute(&format!("REVOKE ALL ON rollover.{table} FROM {role}")).await.unwrap();
            let refused = store.check().await;
            let named =
                matches!(&refused, Err(StoreError::Privilege(lacking)) if lacking.contains(&table));
            assert!(named, "{table}: {refused:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
    async fn a_change_of_keys_wakes_every_listener() {
        let on = Postgres::fresh().await;
        let mut listener = PgListener::connect(on.url()).await.unwrap();
        listener.listen("breeze_rollover").await.unwrap();
        let refused = keys([
            add(key(Secret::JwtSecret, "a", Primary)),
            add(key(Secret::JwtSecret, "b", Primary)),
        ]);
        assert_eq!(on.store().commit(&refused).await.unwrap(), Committed::Conflict);
        done(on.store(), &begin(&rollover(Secret::JwtSecret), false)).await;
        done(on.store(), &keys([add(key(Secret::JwtSecret, "a", Primary))])).await;
        let woken = tokio::time::timeout(Duration::from_secs(20), listener.recv()).await;
        assert_eq!(woken.unwrap().unwrap().payload(), "1", "the first wake is the first epoch");
    }

    #[tokio::test(flavor = "multi_thread")]
    #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
    async fn the_audit_trail_of_a_breeze_database_is_left_alone_and_written_to() {
        let on = Postgres::unmigrated().await;
        for statement in [
            "CREATE TYPE actor_type AS ENUM ('user', 'api_key', 'agent', 'system')",
            "CREATE TYPE audit_result AS ENUM ('success', 'failure', 'denied')",
            "CREATE TYPE initiated_by_type AS ENUM ('manual', 'ai', 'automation')",
            r#"CREATE TABLE public.audit_logs (
                id uuid PRIMARY KEY DEFAULT gen_random_uuid(), org_id uuid,
                "timestamp" timestamp NOT NULL DEFAULT now(), actor_type actor_type NOT NULL,
                actor_id uuid NOT NULL, actor_email varchar(255), action varchar(100) NOT NULL,
                resource_type varchar(50) NOT NULL, resource_id uuid, resource_name varchar(255),
                details jsonb, ip_address varchar(45), user_agent text,
                result audit_result NOT NULL, error_message text, checksum varchar(128),
                prev_checksum varchar(128), initiated_by initiated_by_type)"#,
        ] {
            on.execute(statement).await.unwrap();
        }
        on.migrate().await.unwrap();
        on.check().await.unwrap();
        on.store().record(&entry("one")).await.unwrap();
        let entries = on.store().audit(None, 9).await.unwrap();
        assert_eq!((entries[0].action.as_str(), entries[0].result.as_str()), ("one", "success"));
        let triggers = on.texts("SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal").await;
        assert!(triggers.is_empty(), "{triggers:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
    async fn the_audit_trail_cannot_be_truncated() {
        let on = Postgres::fresh().await;
        on.store().record(&entry("one")).await.unwrap();
        let refused = on.execute("TRUNCATE public.audit_logs CASCADE").await.unwrap_err();
        assert!(refused.to_string().contains("is append-only"), "{refused}");
    }
}
