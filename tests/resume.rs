//! A replica that joins in the middle of a rollover joins at the right epoch. Crashes at
//! every step are in `every_step`, real ones in `killed`.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    rollover::{Blocker, Mode, Phase},
    store::{Actor, StoreError},
    worker::Next,
};
use support::{
    app::{fill, on_both_databases, plaintexts, request},
    by_hand::ByHand,
    double::{Call, Double, Script},
};

const ROWS: u32 = 15;
/// Rows of both tables.
const ALL: u64 = 2 * ROWS as u64;

/// Another replica carries a whole rollover between the moment when a new one reads
/// the keys and the moment when it is known.
#[derive(Debug)]
struct Meanwhile {
    database: Database,
    beats: AtomicUsize,
}

#[async_trait]
impl Script for Meanwhile {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        if matches!(call, Call::Renew(_)) && self.beats.fetch_add(1, Ordering::SeqCst) == 0 {
            let other = ByHand::join(self.database.store()).await.unwrap();
            let ask = request(Secret::AppEncryptionKey, Mode::Graceful);
            let begun = other.operator().begin(ask, Actor::System).await.unwrap();
            other.carry(begun.id).await.unwrap();
        }
        Ok(())
    }
}

async fn a_replica_that_joins_meanwhile_never_serves_with_the_keys_of_before(database: Database) {
    fill(&database, ROWS).await;
    drop(ByHand::join(database.store()).await.unwrap());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let script = Arc::new(Meanwhile { database: database.clone(), beats: AtomicUsize::new(0) });
    let late = ByHand::join_for(Double::on(database.store(), script), Duration::from_secs(60));
    let late = late.await.unwrap();
    let rollover = database.store().rollovers(None, 1).await.unwrap().remove(0);
    assert_eq!(rollover.phase, Phase::Retired);
    let keys = late.worker.replica().keychain().load_full();
    let primary = keys.sealing(Secret::AppEncryptionKey).unwrap().primary();
    assert_eq!(Some(primary.id()), rollover.to_key.as_ref());
}

/// A request keeps its keychain, and may open what another replica seals meanwhile.
async fn a_request_without_the_new_key_holds_up_its_promotion(database: Database) {
    fill(&database, ROWS).await;
    let store = database.store();
    let one = ByHand::join(Arc::clone(&store)).await.unwrap();
    let request_of_before = one.worker.replica().keychain().load_full();
    let ask = request(Secret::AppEncryptionKey, Mode::Graceful);
    let begun = one.begin(ask).await.unwrap();
    one.carry_until(begun.id, |blocker| blocker == Blocker::InFlight(1)).await.unwrap();
    assert_eq!(store.rollover(begun.id).await.unwrap().unwrap().phase, Phase::Staged);
    drop(request_of_before);
    one.carry(begun.id).await.unwrap();
    assert_eq!(store.rollover(begun.id).await.unwrap().unwrap().phase, Phase::Retired);
}

/// A process that was stopped since before the promotion finds every row final, by the
/// keys that it has.
async fn a_worker_with_the_keys_of_before_proves_nothing(database: Database) {
    fill(&database, ROWS).await;
    let store = database.store();
    let ask = || request(Secret::AppEncryptionKey, Mode::Graceful);
    let one = ByHand::join(Arc::clone(&store)).await.unwrap();
    let before = plaintexts(one.worker.replica()).await;
    let begun = one.begin(ask()).await.unwrap();
    one.carry(begun.id).await.unwrap();

    // Others wait for it no longer, and it does not know: as if its clock stood still.
    let stopped = ByHand::join_for(Arc::clone(&store), Duration::from_secs(60)).await.unwrap();
    store.deregister(stopped.worker.replica().id()).await.unwrap();
    let begun = one.begin(ask()).await.unwrap();
    one.carry_until(begun.id, |blocker| blocker == Blocker::Bulk).await.unwrap();
    stopped.worker.rewrap(begun.id, 1).await.unwrap();
    let next = stopped.worker.drive(begun.id).await.unwrap();
    assert!(matches!(next, Next::After(_, Blocker::Bulk)), "{next:?}: a second pass is to be done");

    one.carry(begun.id).await.unwrap();
    let report = store.rollover(begun.id).await.unwrap().unwrap().report.unwrap();
    assert_eq!(report["rowsRewrapped"], ALL, "{report}");
    assert_eq!(plaintexts(one.worker.replica()).await, before);
}

on_both_databases!(
    and behind a pooler:
    a_replica_that_joins_meanwhile_never_serves_with_the_keys_of_before,
    a_request_without_the_new_key_holds_up_its_promotion,
    a_worker_with_the_keys_of_before_proves_nothing,
);
