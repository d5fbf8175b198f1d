//! What was sealed before its key was retired, and is written after: read, rewrapped, in
//! the way of destroying the key, and refused when the key is compromised.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::{sync::Arc, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    envelope::OpenError,
    ids::{KeyId, RolloverId},
    keyring::KeyState,
    layer::sealed::{Sealed, SealedError, SealedLayer},
    operator::{Operator, Refusal},
    rollover::{Blocker, Mode},
    store::Actor,
    worker::Stragglers,
};
use secrecy::ExposeSecret;
use support::{
    app::{execute, fill, on_both_databases, registry, request},
    by_hand::ByHand,
};

/// One process, after a rollover, and a value that it had sealed before.
struct After {
    database: Database,
    process: ByHand,
    id: RolloverId,
    old: KeyId,
    sealed: String,
}

impl After {
    async fn rollover(database: Database, mode: Mode) -> Self {
        fill(&database, 3).await;
        let process = ByHand::join(database.store()).await.unwrap();
        let sealed = access(&process).seal("variables", "value", "late", "a value").unwrap();
        let rollover = process.begin(request(Secret::AppEncryptionKey, mode)).await.unwrap();
        process.carry(rollover.id).await.unwrap();
        Self { database, process, id: rollover.id, old: rollover.from_key, sealed }
    }

    /// It is written now.
    async fn written(&self) {
        let insert = format!("INSERT INTO variables VALUES ('late', '{}')", self.sealed);
        execute(&self.database, &insert).await;
    }

    async fn read(&self) -> Result<String, SealedError> {
        let read = access(&self.process).read("variables", "value", "late", &self.sealed).await;
        read.map(|value| value.expose_secret().to_owned())
    }

    fn refused(&self) -> SealedError {
        SealedError::Open {
            column: "variables.value".to_owned(),
            error: OpenError::UnknownKey(self.old.clone()),
        }
    }

    async fn destroyed(&self) -> Result<(), Refusal> {
        let operator = Operator::new(self.process.worker.clone(), Duration::ZERO);
        operator.destroy(self.id, Actor::System, "a test").await.map(drop)
    }

    async fn told(&self) -> usize {
        let entries = self.database.store().audit(None, 200).await.unwrap();
        entries.iter().filter(|entry| entry.action == "key.straggler").count()
    }
}

/// The sealed columns of `process`, as a request gets them.
fn access(process: &ByHand) -> Sealed {
    let replica = process.worker.replica();
    SealedLayer::new(replica.keychain(), registry())
        .fetching_from(Stragglers::new(Arc::clone(replica)))
        .sealed()
}

async fn a_straggler_is_read_in_its_own_row_and_keeps_its_key_from_being_destroyed(
    database: Database,
) {
    let after = After::rollover(database, Mode::Graceful).await;
    after.written().await;
    assert_eq!(after.read().await.unwrap(), "a value");
    assert_eq!(after.told().await, 1);
    let sync = access(&after.process).open("variables", "value", "late", &after.sealed);
    assert_eq!(sync.unwrap_err(), after.refused(), "only who may wait is let in");

    let elsewhere = access(&after.process).read("variables", "value", "v1", &after.sealed).await;
    let authentication = SealedError::Open {
        column: "variables.value".to_owned(),
        error: OpenError::Authentication,
    };
    assert_eq!(elsewhere.unwrap_err(), authentication, "it is bound to its row all the same");
    assert_eq!(after.told().await, 1);

    let Err(Refusal::StillNeeded(why)) = after.destroyed().await else { panic!("it is needed") };
    assert_eq!(why, format!("1 value(s) of variables.value are enc:v3:{}", after.old));
    execute(&after.database, "DELETE FROM variables WHERE id = 'late'").await;
    after.destroyed().await.unwrap();
    assert_eq!(after.read().await.unwrap_err(), after.refused(), "it is gone for ever");
}

async fn the_next_rollover_rewraps_a_straggler_of_the_one_before(database: Database) {
    let after = After::rollover(database, Mode::Graceful).await;
    after.written().await;
    let next = request(Secret::AppEncryptionKey, Mode::Graceful);
    let next = after.process.begin(next).await.unwrap();
    after.process.carry(next.id).await.unwrap();
    let keys = after.process.worker.replica().opening_keychain();
    let primary = keys.sealing(Secret::AppEncryptionKey).unwrap().primary().id().clone();
    let census = after.process.operator().census().await.unwrap();
    let variables = census.columns.iter().find(|c| c.column == "variables.value").unwrap();
    assert_eq!(variables.values, [(format!("enc:v3:{primary}"), 4)].into());
    after.destroyed().await.unwrap();
}

async fn nothing_is_opened_with_a_compromised_key(database: Database) {
    let after = After::rollover(database, Mode::Hard).await;
    after.written().await;
    let keys = after.database.store().custody().await.unwrap().keys;
    let old = keys.iter().find(|key| key.id == after.old).unwrap();
    assert!(old.state == KeyState::Retired && old.compromised_at.is_some(), "{old:?}");
    assert_eq!(after.read().await.unwrap_err(), after.refused());
    assert_eq!(after.told().await, 0);
    assert!(matches!(after.destroyed().await, Err(Refusal::StillNeeded(_))));

    // Nor is it rewrapped: whoever has the key may have written it.
    let next = request(Secret::AppEncryptionKey, Mode::Graceful);
    let next = after.process.begin(next).await.unwrap();
    let is_bad = |blocker| matches!(blocker, Blocker::Quarantined(1));
    after.process.carry_until(next.id, is_bad).await.unwrap();
    let bad = after.database.store().quarantined(10).await.unwrap();
    assert!(bad[0].error.starts_with("unknown_key"), "{bad:?}");
}

async fn a_key_that_is_taken_back_is_not_compromised_any_more(database: Database) {
    fill(&database, 20).await;
    let process = ByHand::join(database.store()).await.unwrap();
    let hard = process.begin(request(Secret::AppEncryptionKey, Mode::Hard)).await.unwrap();
    process.carry_until(hard.id, |blocker| blocker == Blocker::Bulk).await.unwrap();
    process.operator().roll_back(hard.id, Actor::System, "a test").await.unwrap();
    process.carry(hard.id).await.unwrap();
    let keys = database.store().custody().await.unwrap().keys;
    let back = keys.iter().find(|key| key.id == hard.from_key).unwrap();
    assert!(back.compromised_at.is_none(), "{back:?}");
}

async fn ids_that_nobody_knows_cost_the_database_nothing(database: Database) {
    let after = After::rollover(database, Mode::Graceful).await;
    let replica = after.process.worker.replica();
    let unknown = KeyId::new("made-up").unwrap();
    close(&after.database).await;
    assert!(replica.with_retired(std::slice::from_ref(&unknown)).await.unwrap().is_none());
    let both = [after.old.clone(), unknown];
    assert!(replica.with_retired(&both).await.unwrap().is_none());
    // A key that is known is asked for, and not again within the second.
    assert!(replica.with_retired(&both[..1]).await.is_err());
    assert!(replica.with_retired(&both[..1]).await.unwrap().is_none());
}

async fn what_was_fetched_is_at_hand_until_the_next_epoch(database: Database) {
    let after = After::rollover(database, Mode::Graceful).await;
    let replica = after.process.worker.replica();
    let old = [after.old.clone()];
    let opens = || {
        let keychain = replica.opening_keychain();
        keychain.sealing(Secret::AppEncryptionKey).unwrap().get(old[0].as_str()).is_some()
    };
    assert!(!opens());
    assert!(replica.with_retired(&old).await.unwrap().is_some());
    assert!(opens(), "it is rewrapped with it");
    let next = request(Secret::JwtSecret, Mode::Hard);
    let next = after.process.begin(next).await.unwrap();
    after.process.carry(next.id).await.unwrap();
    assert!(!opens(), "it is let go");

    assert!(replica.with_retired(&old).await.unwrap().is_some());
    close(&after.database).await;
    assert!(replica.with_retired(&old).await.unwrap().is_some(), "custody is not asked again");
}

/// Nothing is read from it any more.
async fn close(database: &Database) {
    match database {
        Database::Postgres(store) => store.pool().close().await,
        Database::Sqlite(store) => store.pool().close().await,
        _ => unreachable!("both databases are named"),
    }
}

on_both_databases!(
    a_straggler_is_read_in_its_own_row_and_keeps_its_key_from_being_destroyed,
    the_next_rollover_rewraps_a_straggler_of_the_one_before,
    nothing_is_opened_with_a_compromised_key,
    a_key_that_is_taken_back_is_not_compromised_any_more,
    ids_that_nobody_knows_cost_the_database_nothing,
    what_was_fetched_is_at_hand_until_the_next_epoch,
);
