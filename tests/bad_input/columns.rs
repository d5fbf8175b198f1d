//! A column that cannot be looked at keeps the old key in use, and is named.

use std::{sync::Arc, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, ManualClock, SystemClock},
    column::{Column, Registry},
    embed::Database,
    keyring::KeyState,
    operator::{Accept, Refusal},
    rollover::{Blocker, Mode, Phase},
    store::{Actor, Store},
};

use crate::{
    assert_says,
    support::{
        self,
        app::{execute, fill, on_both_databases, registry, request},
        by_hand::ByHand,
    },
};

/// A rollover over `registry` is held up by what it cannot see, and says `says`.
/// What is done to the database afterwards lets it go on.
async fn assert_blocks(store: Arc<dyn Store>, registry: Registry, says: &[&str]) -> (ByHand, Id) {
    let process = ByHand::join_with(store, registry, Arc::new(SystemClock)).await.unwrap();
    let id = process.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap().id;
    process.carry_until(id, |by| matches!(by, Blocker::Unseen(_))).await.unwrap();
    let operator = process.operator();
    let blocked = operator.rollover(id).await.unwrap();
    assert_eq!(blocked.phase, Phase::Promoted);
    assert_says(&blocked.blocked_by.unwrap(), says);

    let refused = operator
        .retire(id, Actor::System, "now", Accept { quarantined: true, loss: false })
        .await
        .unwrap_err();
    assert!(matches!(refused, Refusal::StillNeeded(_)), "{refused:?}");
    assert_says(&refused, says);
    let census = operator.census().await.unwrap();
    assert!(census.faults.iter().any(|fault| fault.contains(says[0])), "{:?}", census.faults);
    let custody = process.worker.replica().store().custody().await.unwrap();
    let old = custody.keys.iter().find(|key| key.id == blocked.from_key).unwrap();
    assert_eq!(old.state, KeyState::Retiring);
    (process, id)
}

type Id = breeze_rollover::ids::RolloverId;

async fn assert_goes_on(process: &ByHand, id: Id) {
    process.operator().resume(id, Actor::System, "it was repaired").await.unwrap();
    process.carry_until(id, |by| matches!(by, Blocker::Unseen(_))).await.unwrap();
    let rollover = process.operator().rollover(id).await.unwrap();
    assert_eq!(rollover.phase, Phase::Retired, "{rollover:?}");
    assert_eq!(rollover.blocked_by, None);
}

async fn a_registered_column_that_does_not_exist_blocks_until_it_does(database: Database) {
    fill(&database, 3).await;
    let registry = registry().with(Column::text("integrations", "no_such"));
    let says = ["integrations.no_such does not exist", "correct the registry"];
    let (process, id) = assert_blocks(database.store(), registry, &says).await;
    execute(&database, "ALTER TABLE integrations ADD COLUMN no_such text").await;
    assert_goes_on(&process, id).await;
}

async fn a_column_of_another_type_blocks(database: Database) {
    fill(&database, 3).await;
    let registry = registry().with(Column::text("integrations", "edited"));
    let says = ["integrations.edited is", "and the registry says", "correct the registry"];
    assert_blocks(database.store(), registry, &says).await;
}

async fn a_table_without_a_primary_key_blocks(database: Database) {
    fill(&database, 3).await;
    execute(&database, "CREATE TABLE loose (value text)").await;
    let registry = registry().with(Column::text("loose", "value"));
    let says = ["loose has no primary key", "add one"];
    assert_blocks(database.store(), registry, &says).await;
}

async fn a_table_that_does_not_exist_blocks_nothing_and_is_told(database: Database) {
    fill(&database, 3).await;
    let registry = registry().with(Column::text("not_yet", "value"));
    let process = ByHand::join_with(database.store(), registry, Arc::new(SystemClock)).await;
    let process = process.unwrap();
    let id = process.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap().id;
    process.carry(id).await.unwrap();
    assert_eq!(process.operator().rollover(id).await.unwrap().phase, Phase::Retired);
    let faults = process.operator().census().await.unwrap().faults;
    assert_eq!(faults, ["table not_yet does not exist, so nothing is sealed there"]);
}

/// A constraint of the application that no value under a new key satisfies.
async fn a_row_that_the_database_refuses_stops_no_other_and_is_told(database: Database) {
    fill(&database, 30).await;
    let (forbid, permit) = match database {
        Database::Postgres(_) => (
            "ALTER TABLE variables ADD CONSTRAINT fixed
             CHECK (id NOT IN ('v3', 'v17') OR value NOT LIKE 'enc:v3:%') NOT VALID",
            "ALTER TABLE variables DROP CONSTRAINT fixed",
        ),
        _ => (
            "CREATE TRIGGER fixed BEFORE UPDATE ON variables WHEN new.id IN ('v3', 'v17')
             BEGIN SELECT RAISE(ABORT, 'fixed'); END",
            "DROP TRIGGER fixed",
        ),
    };
    execute(&database, forbid).await;
    let (store, clock) = (database.store(), Arc::new(ManualClock::at(SystemClock.now())));
    let process = ByHand::join_with(store.clone(), registry(), clock.clone()).await.unwrap();
    let id = process.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap().id;
    process.carry_until(id, |by| matches!(by, Blocker::Stale(_))).await.unwrap();

    let blocked = process.operator().rollover(id).await.unwrap();
    assert_says(&blocked.blocked_by.unwrap(), &["2 in variables"]);
    let mut refused = store.quarantined(10).await.unwrap();
    refused.sort_by(|a, b| a.row.cmp(&b.row));
    let places: Vec<_> = refused.iter().map(|bad| (bad.column.as_str(), &bad.row)).collect();
    assert_eq!(places, [("value", &"v17".into()), ("value", &"v3".into())]);
    assert!(refused.iter().all(|bad| bad.error.starts_with("refused")), "{refused:?}");
    let pass = store.pass(id, 1).await.unwrap().unwrap();
    assert_eq!((pass.scanned, pass.rewrapped, pass.superseded), (60, 58, 0), "right to the row");

    execute(&database, permit).await;
    // A pass that changed nothing is not repeated at once.
    clock.advance(Duration::from_secs(60));
    process.operator().resume(id, Actor::System, "it was repaired").await.unwrap();
    process.carry(id).await.unwrap();
    assert_eq!(process.operator().rollover(id).await.unwrap().phase, Phase::Retired);
    assert_eq!(store.quarantined(10).await.unwrap(), []);
}

on_both_databases!(
    a_row_that_the_database_refuses_stops_no_other_and_is_told,
    a_registered_column_that_does_not_exist_blocks_until_it_does,
    a_column_of_another_type_blocks,
    a_table_without_a_primary_key_blocks,
    a_table_that_does_not_exist_blocks_nothing_and_is_told,
);

/// A database whose API has a role of its own, that may do what an API does.
async fn as_role() -> (support::postgres::Database, Database, support::postgres::Role) {
    let own = support::postgres::database().await;
    let database = Database::connect(&own.url(), 2).await.unwrap();
    database.migrate().await.unwrap();
    fill(&database, 3).await;
    let role = own.role().await;
    let name = &role.name;
    own.execute(&format!(
        "GRANT USAGE ON SCHEMA rollover TO {name};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA rollover, public TO {name};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA rollover TO {name};"
    ))
    .await;
    let limited = Database::connect(&role.url, 4).await.unwrap();
    (own, limited, role)
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_table_behind_row_level_security_blocks_until_every_row_is_seen() {
    let (own, limited, role) = as_role().await;
    own.execute(
        "ALTER TABLE variables ENABLE ROW LEVEL SECURITY;
         CREATE POLICY one ON variables USING (id = 'v1')",
    )
    .await;
    let says = ["row-level security on variables hides rows", "use a role with BYPASSRLS"];
    let (process, id) = assert_blocks(limited.store(), registry(), &says).await;
    own.execute(&format!("ALTER ROLE {} BYPASSRLS", role.name)).await;
    assert_goes_on(&process, id).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_table_without_the_privilege_to_update_it_blocks_until_it_is_granted() {
    let (own, limited, role) = as_role().await;
    own.execute(&format!("REVOKE UPDATE ON variables FROM {}", role.name)).await;
    let says = ["the role may not UPDATE variables", "grant it"];
    let (process, id) = assert_blocks(limited.store(), registry(), &says).await;
    own.execute(&format!("GRANT UPDATE ON variables TO {}", role.name)).await;
    assert_goes_on(&process, id).await;
}
