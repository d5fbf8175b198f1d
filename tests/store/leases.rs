//! Replicas and ranges belong to whoever holds the lease, by the database's clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use breeze_rollover::{
    catalog::Secret,
    column::RowKey,
    ids::{Epoch, ReplicaId, RolloverId},
    keyring::KeyState::{Primary, Staged},
    rollover::{Acceptance, CutOff, Phase, Rollover},
    store::{Acceptors, Beat, Change, Committed, NewRange, Store},
};

use crate::{
    backend::{Backend, Server, add, at, at_once, begin, done, key, keys, rollover, to_phase},
    on_both, on_postgres,
};

on_both! {
    and behind a pooler:
    a_replica_is_live_until_its_lease_ends_by_the_databases_clock,
    a_replica_that_leaves_is_not_live_and_is_forgotten_in_time,
    who_may_accept_a_retired_key_is_noted_and_not_forgotten_before_it_is_cut_off,
    a_range_is_held_by_one_replica_and_taken_over_when_its_lease_ends,
    concurrent_claims_never_share_a_range,
    a_pass_begins_once_and_sums_up_its_ranges,
    a_quarantined_value_is_shown_until_a_later_pass_of_its_table_opens_it,
    who_takes_a_lease_up_reads_what_a_change_that_is_being_made_makes,
}

on_postgres! {
    a_lease_that_is_renewed_while_it_is_judged_is_not_taken_for_over,
    a_renewal_that_comes_late_does_not_shorten_the_lease,
    who_is_about_to_be_forgotten_as_an_acceptor_renews_its_lease,
}

const LEASE: Duration = Duration::from_secs(30);

fn beat(replica: ReplicaId, applied: u64) -> Beat {
    Beat {
        replica,
        name: "api-1".to_owned(),
        version: "0.1.0".to_owned(),
        applied: Epoch(applied),
        settled: Epoch(applied.saturating_sub(1)),
        root_keys: vec![],
        lease: LEASE,
        accepts_while_fenced: false,
        columns: [].into(),
    }
}

async fn a_replica_is_live_until_its_lease_ends_by_the_databases_clock(on: impl Backend) {
    let replica = ReplicaId::new();
    assert_eq!(on.store().renew(&beat(replica, 0)).await.unwrap().epoch, Epoch(0));
    done(on.store(), &keys([add(key(Secret::JwtSecret, "a", Primary))])).await;
    assert_eq!(on.store().renew(&beat(replica, 1)).await.unwrap().epoch, Epoch(1));

    let seen = on.store().replicas().await.unwrap();
    let now: i64 = on.texts(now_of(&on)).await[0].as_ref().unwrap().parse().unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].id, seen[0].applied, seen[0].settled), (replica, Epoch(1), Epoch(0)));
    assert!(seen[0].live);
    let left = seen[0].lease_until.as_millis() - now;
    assert!((20_000..=30_000).contains(&left), "{left}");

    on.advance_clock(31_000).await;
    let seen = on.store().replicas().await.unwrap();
    assert_eq!((seen.len(), seen[0].live), (1, false));
    on.store().renew(&beat(replica, 1)).await.unwrap();
    assert!(on.store().replicas().await.unwrap()[0].live);
}

async fn a_replica_that_leaves_is_not_live_and_is_forgotten_in_time(on: impl Backend) {
    let (gone, stays) = (ReplicaId::new(), ReplicaId::new());
    on.store().renew(&beat(gone, 0)).await.unwrap();
    on.store().deregister(gone).await.unwrap();
    assert!(!on.store().replicas().await.unwrap()[0].live);
    on.store().deregister(stays).await.unwrap();

    on.advance_clock(3_700_000).await;
    assert!(on.store().replicas().await.unwrap().is_empty());
    on.store().renew(&beat(stays, 0)).await.unwrap();
    let left = on.texts("SELECT name FROM rollover.replica").await;
    assert_eq!(left.len(), 1);
}

/// The commit by which `rollover` retires a key.
fn retiring(rollover: &mut Rollover) -> Change {
    rollover.cut_off = Some(CutOff::awaited(rollover.from_key.clone(), at(60)));
    let keys = vec![add(key(Secret::JwtSecret, "new", Staged))];
    Change { keys, acceptors: Some(Acceptors::Note), ..to_phase(rollover, Phase::Retired) }
}

async fn who_may_accept_a_retired_key_is_noted_and_not_forgotten_before_it_is_cut_off(
    on: impl Backend,
) {
    let store = on.store();
    let [fast, silent, gone, unfenced, late] = [(); 5].map(|()| ReplicaId::new());
    let mut rollover = rollover(Secret::JwtSecret);
    done(store, &begin(&rollover, false)).await;
    store.renew(&beat(gone, 0)).await.unwrap();
    store.renew(&Beat { accepts_while_fenced: true, ..beat(unfenced, 0) }).await.unwrap();
    on.advance_clock(31_000).await;
    store.renew(&beat(fast, 0)).await.unwrap();
    store.renew(&beat(silent, 0)).await.unwrap();
    done(store, &retiring(&mut rollover)).await;
    store.renew(&beat(late, 1)).await.unwrap();
    assert_eq!(store.awaiting_cut_off().await.unwrap(), [rollover.clone()]);

    let seen = async || {
        let acceptors = store.acceptors(rollover.id).await.unwrap();
        assert!(acceptors.iter().all(|acceptor| acceptor.epoch == Epoch(1)));
        acceptors.into_iter().map(|a| (a.replica, a.acceptance)).collect::<BTreeMap<_, _>>()
    };
    let at_first = seen().await;
    assert_eq!(at_first.len(), 3, "neither whose lease was over, nor who came later");
    assert!(matches!(at_first[&fast], Acceptance::LeaseRuns { .. }));
    let Acceptance::LeaseRuns { until } = at_first[&silent] else { panic!("{at_first:?}") };
    assert!(matches!(at_first[&unfenced], Acceptance::AcceptsWhileFenced { .. }));

    store.renew(&beat(fast, 1)).await.unwrap();
    assert!(matches!(seen().await[&fast], Acceptance::LeaseRuns { .. }), "applied, not settled");
    store.renew(&Beat { settled: Epoch(1), ..beat(fast, 1) }).await.unwrap();
    let Acceptance::Acknowledged { at: first } = seen().await[&fast] else { panic!("settled") };

    // Two hours later nobody is forgotten who matters, and the moments are the same.
    on.advance_clock(7_231_000).await;
    store.renew(&Beat { settled: Epoch(2), ..beat(fast, 2) }).await.unwrap();
    let later = seen().await;
    assert_eq!(later[&fast], Acceptance::Acknowledged { at: first });
    assert_eq!(later[&silent], Acceptance::LeaseRanOut { at: until });
    let known: Vec<_> = store.replicas().await.unwrap().iter().map(|r| r.id).collect();
    assert!([fast, silent, unfenced].iter().all(|id| known.contains(id)), "{known:?}");
    assert_eq!(known.len(), 3);

    let stop = |replica| Change { stopped: Some(replica), ..Change::default() };
    assert_eq!(store.commit(&stop(fast)).await.unwrap(), Committed::Conflict, "it lives");
    done(store, &stop(unfenced)).await;
    assert!(matches!(seen().await[&unfenced], Acceptance::Left { .. }));
    rollover.cut_off =
        rollover.cut_off.unwrap().proven(&store.acceptors(rollover.id).await.unwrap());
    let cut = to_phase(&mut rollover, Phase::Retired);
    done(store, &Change { acceptors: Some(Acceptors::Forget), ..cut }).await;
    assert_eq!(store.acceptors(rollover.id).await.unwrap(), []);
    assert_eq!(store.awaiting_cut_off().await.unwrap(), []);
    assert_eq!(store.rollover(rollover.id).await.unwrap().unwrap().cut_off, rollover.cut_off);
}

/// A change is half made when a replica registers. It waits for the change, and no renewal
/// does.
async fn who_takes_a_lease_up_reads_what_a_change_that_is_being_made_makes(on: impl Backend) {
    let replica = ReplicaId::new();
    on.store().renew(&beat(replica, 0)).await.unwrap();
    let change = on.change().await;
    let store = on.another().await;
    let reading = tokio::spawn(async move {
        store.await_changes().await.unwrap();
        store.custody().await.unwrap().epoch
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!reading.is_finished(), "it waits for the change");
    change.commit().await.unwrap();
    assert_eq!(reading.await.unwrap(), Epoch(1));
}

/// The server's clock takes two seconds for those who are `another`: to tell it, or from
/// then on until they have heard.
async fn is_slow(on: &impl Server, [before, after]: [u32; 2]) {
    on.execute(&format!(
        "CREATE OR REPLACE FUNCTION rollover.now_ms() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
         DECLARE
             slow CONSTANT int := (current_setting('application_name') = 'another')::int;
             ms bigint;
         BEGIN
             PERFORM pg_sleep(slow * {before});
             ms := floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
             PERFORM pg_sleep(slow * {after});
             RETURN ms;
         END $$"
    ))
    .await
    .unwrap();
}

/// Waits until a statement of `another` has begun.
async fn has_begun(on: &impl Server) {
    let sleeps = "SELECT query FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'PgSleep'";
    while on.texts(sleeps).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn a_lease_that_is_renewed_while_it_is_judged_is_not_taken_for_over(on: impl Server) {
    let (judged, noted) = (ReplicaId::new(), ReplicaId::new());
    let brief = |replica| Beat { lease: Duration::from_secs(1), ..beat(replica, 0) };
    is_slow(&on, [2, 0]).await;
    let slow = on.another().await;
    on.store().renew(&brief(judged)).await.unwrap();
    let look = tokio::spawn(async move { slow.replicas().await.unwrap() });
    has_begun(&on).await;
    on.store().renew(&beat(judged, 0)).await.unwrap();
    assert!(look.await.unwrap()[0].live);

    let mut rollover = rollover(Secret::JwtSecret);
    done(on.store(), &begin(&rollover, false)).await;
    on.store().renew(&brief(noted)).await.unwrap();
    let (slow, change) = (on.another().await, retiring(&mut rollover));
    let retires = tokio::spawn(async move { done(&slow, &change).await });
    has_begun(&on).await;
    on.store().renew(&beat(noted, 0)).await.unwrap();
    retires.await.unwrap();
    let acceptors = on.store().acceptors(rollover.id).await.unwrap();
    let acceptors: BTreeSet<_> = acceptors.into_iter().map(|acceptor| acceptor.replica).collect();
    assert_eq!(acceptors, BTreeSet::from([judged, noted]));
}

async fn a_renewal_that_comes_late_does_not_shorten_the_lease(on: impl Server) {
    let replica = ReplicaId::new();
    is_slow(&on, [0, 2]).await;
    let slow = on.another().await;
    let late = tokio::spawn(async move { slow.renew(&beat(replica, 0)).await.unwrap() });
    has_begun(&on).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    on.store().renew(&beat(replica, 0)).await.unwrap();
    let lease_until = on.store().replicas().await.unwrap()[0].lease_until;
    late.await.unwrap();
    assert_eq!(on.store().replicas().await.unwrap()[0].lease_until, lease_until);
}

/// The row of an acceptor that is about to be forgotten is locked: the renewal passes it by.
async fn who_is_about_to_be_forgotten_as_an_acceptor_renews_its_lease(on: impl Server) {
    let replica = ReplicaId::new();
    let mut rollover = rollover(Secret::JwtSecret);
    done(on.store(), &begin(&rollover, false)).await;
    on.store().renew(&beat(replica, 0)).await.unwrap();
    done(on.store(), &retiring(&mut rollover)).await;
    let mut change = on.pool().begin().await.unwrap();
    sqlx::query("DELETE FROM rollover.acceptor").execute(&mut *change).await.unwrap();
    let settled = Beat { settled: Epoch(1), ..beat(replica, 1) };
    let renewal = tokio::time::timeout(Duration::from_secs(2), on.store().renew(&settled)).await;
    renewal.expect("it waits for nobody").unwrap();
    change.rollback().await.unwrap();
    on.store().renew(&settled).await.unwrap();
    let acceptors = on.store().acceptors(rollover.id).await.unwrap();
    assert!(matches!(acceptors[0].acceptance, Acceptance::Acknowledged { .. }), "{acceptors:?}");
}

/// A rollover with one pass of the ranges `users` 0 to `count` - 1.
async fn pass_of(on: &impl Backend, count: u32) -> RolloverId {
    let mut rollover = rollover(Secret::AppEncryptionKey);
    done(on.store(), &begin(&rollover, false)).await;
    rollover.pass = 1;
    rollover.updated_at = at(9);
    let ranges = (0..count)
        .map(|number| NewRange {
            rollover: rollover.id,
            pass: 1,
            table: "users".to_owned(),
            number,
            after: (number > 0).then(|| RowKey::from(i64::from(number) * 100)),
            upto: (number + 1 < count).then(|| RowKey::from(i64::from(number + 1) * 100)),
        })
        .collect();
    done(on.store(), &Change { ranges, ..to_phase(&mut rollover, Phase::Promoted) }).await;
    rollover.id
}

async fn a_range_is_held_by_one_replica_and_taken_over_when_its_lease_ends(on: impl Backend) {
    let store = on.store();
    let rollover = pass_of(&on, 2).await;
    let (one, two, three) = (ReplicaId::new(), ReplicaId::new(), ReplicaId::new());
    let first = store.claim_range(rollover, 1, one, LEASE).await.unwrap().unwrap();
    assert_eq!((first.number, first.holder), (0, one));
    assert_eq!((first.cursor.as_ref(), first.upto.clone()), (None, Some(RowKey::from(100))));
    let second = store.claim_range(rollover, 1, two, LEASE).await.unwrap().unwrap();
    assert_eq!((second.number, second.cursor), (1, Some(RowKey::from(100))));
    assert_eq!(store.claim_range(rollover, 1, three, LEASE).await.unwrap(), None);
    assert_eq!(store.claim_range(rollover, 2, three, LEASE).await.unwrap(), None);

    on.advance_clock(31_000).await;
    let taken = store.claim_range(rollover, 1, three, LEASE).await.unwrap().unwrap();
    assert_eq!((taken.number, taken.holder), (0, three));
    // The first holder is late: the range is not its any more.
    store.finish_range(&first).await.unwrap();
    assert_eq!(store.pass(rollover, 1).await.unwrap().unwrap().finished, 0);
    store.finish_range(&taken).await.unwrap();
    assert_eq!(store.pass(rollover, 1).await.unwrap().unwrap().finished, 1);
    let left = store.claim_range(rollover, 1, one, LEASE).await.unwrap().unwrap();
    assert_eq!(left.number, 1, "a finished range is not claimed again");
}

async fn concurrent_claims_never_share_a_range(on: impl Backend) {
    let rollover = pass_of(&on, 6).await;
    let claimed = at_once(&on, 10, |store| async move {
        store.claim_range(rollover, 1, ReplicaId::new(), LEASE).await.unwrap()
    })
    .await;
    let numbers: Vec<u32> = claimed.into_iter().flatten().map(|range| range.number).collect();
    assert_eq!(numbers.len(), 6, "{numbers:?}");
    assert_eq!(numbers.into_iter().collect::<BTreeSet<_>>().len(), 6);
}

async fn a_pass_begins_once_and_sums_up_its_ranges(on: impl Backend) {
    let rollover = pass_of(&on, 3).await;
    let progress = on.store().pass(rollover, 1).await.unwrap().unwrap();
    assert_eq!((progress.ranges, progress.finished, progress.scanned), (3, 0, 0));
    assert_eq!(progress.began_at, at(9), "when its rollover was moved to begin it");
    assert_eq!(on.store().pass(rollover, 2).await.unwrap(), None);

    let range = |rollover, pass| NewRange {
        rollover,
        pass,
        table: "users".to_owned(),
        number: 0,
        after: None,
        upto: None,
    };
    for again in [range(rollover, 1), range(RolloverId::new(), 1)] {
        let change = Change { ranges: vec![range(rollover, 2), again], ..Change::default() };
        assert_eq!(on.store().commit(&change).await.unwrap(), Committed::Conflict);
        assert_eq!(on.store().pass(rollover, 2).await.unwrap(), None);
    }
}

async fn a_quarantined_value_is_shown_until_a_later_pass_of_its_table_opens_it(on: impl Backend) {
    for (table, row, seen) in [("users", 2, 5), ("users", 1, 9), ("webhooks", 3, 5)] {
        on.execute(&format!(
            "INSERT INTO rollover.quarantine
                (table_name, column_name, row_key, path, error, seen_at)
             VALUES ('{table}', 'c', '[\"{row}\"]', '/0', 'unknown key', {})",
            at(seen).as_millis()
        ))
        .await
        .unwrap();
    }
    let shown = on.store().quarantined(10).await.unwrap();
    let rows: Vec<_> = shown.iter().map(|value| value.row.to_string()).collect();
    assert_eq!(rows, ["2", "3", "1"], "oldest first");
    assert_eq!((shown[0].path.as_str(), shown[0].seen_at), ("/0", at(5)));
    assert_eq!(on.store().quarantined(1).await.unwrap().len(), 1);

    assert_eq!(on.store().release_quarantine("users", at(9)).await.unwrap(), 1);
    let left = on.store().quarantined(10).await.unwrap();
    let tables: Vec<_> = left.iter().map(|value| value.table.as_str()).collect();
    assert_eq!(tables, ["webhooks", "users"], "another table was not looked at");
}

const fn now_of<B: Backend>(_: &B) -> &'static str {
    B::NOW
}
