//! Keys and rollovers change whole or not at all, each guarded by what was read.

use std::time::Duration;

use breeze_rollover::{
    catalog::Secret,
    ids::{Epoch, RolloverId},
    keyring::KeyState::{Destroyed, Primary, Retired, Retiring, Staged},
    rollover::{Phase, Rollover},
    store::{Change, Committed, KeyChange, Store, StoreError},
};
use serde_json::json;

use crate::{
    audit::entry,
    backend::{Backend, add, at, at_once, begin, done, id, key, keys, rollover, step, to_phase},
    on_both,
};

on_both! {
    and behind a pooler:
    what_is_committed_reads_back_the_same,
    a_change_is_applied_whole_or_not_at_all,
    the_epoch_rises_once_a_change_of_keys,
    no_secret_has_two_primary_keys_or_loses_its_only_one,
    a_destroyed_key_has_no_material,
    a_key_is_resealed_only_from_what_was_read,
    a_second_rollover_is_told_which_one_is_in_progress,
    a_dry_run_stands_in_nobodys_way,
    a_rollover_moves_only_from_the_revision_that_was_read,
    the_database_and_the_code_agree_on_which_phases_are_in_progress,
    a_row_of_a_newer_version_is_left_to_it,
    of_concurrent_changes_that_read_the_same_exactly_one_is_done,
    of_concurrent_rollovers_of_a_secret_exactly_one_begins,
    seals_add_up_and_lifetimes_never_shrink,
    rollovers_are_paged_newest_first,
}

const JWT: Secret = Secret::JwtSecret;
const APP: Secret = Secret::AppEncryptionKey;

async fn what_is_committed_reads_back_the_same(on: impl Backend) {
    let primary = key(JWT, "k-1", Primary);
    let mut old = key(JWT, "k-0", Retired);
    (old.rank, old.unnamed, old.retired_at) = (0, true, Some(at(5)));
    (old.seals, old.longest_lifetime) = (7, Duration::from_secs(604_800));
    done(on.store(), &keys([add(primary.clone()), add(old.clone())])).await;
    let custody = on.store().custody().await.unwrap();
    assert_eq!(custody.keys, [old, primary]);

    let mut full = rollover(JWT);
    done(on.store(), &begin(&full, false)).await;
    full.paused_at = Some(at(1));
    full.to_key = Some(id("k-2"));
    full.settled_at = Some(at(2));
    full.pass = 3;
    full.max_rows_per_second = Some(500);
    full.blocked_by = Some("1 live replica(s)".to_owned());
    full.accept_quarantined = true;
    full.report = Some(json!({ "rows": 9_007_199_254_740_993_u64, "tables": ["users"] }));
    done(on.store(), &to_phase(&mut full, Phase::Promoted)).await;
    assert_eq!(on.store().rollover(full.id).await.unwrap(), Some(full));
    assert_eq!(on.store().rollover(RolloverId::new()).await.unwrap(), None);
}

async fn a_change_is_applied_whole_or_not_at_all(on: impl Backend) {
    done(on.store(), &keys([add(key(JWT, "old", Primary))])).await;
    // Everything is in order but the last key change: nobody has that key.
    let change = Change {
        keys: vec![add(key(JWT, "new", Staged)), step(JWT, "gone", Staged, Retired)],
        audit: vec![entry("rollover.stage")],
        ..begin(&rollover(JWT), false)
    };
    assert_eq!(on.store().commit(&change).await.unwrap(), Committed::Conflict);
    let custody = on.store().custody().await.unwrap();
    assert_eq!((custody.epoch, custody.keys.len()), (Epoch(1), 1));
    assert!(on.store().rollovers(None, 10).await.unwrap().is_empty());
    assert!(on.store().audit(None, 10).await.unwrap().is_empty());
}

async fn the_epoch_rises_once_a_change_of_keys(on: impl Backend) {
    let two = keys([add(key(JWT, "a", Primary)), add(key(APP, "a", Primary))]);
    assert_eq!(on.store().commit(&two).await.unwrap(), Committed::Done(Epoch(1)));
    assert_eq!(on.store().epoch().await.unwrap(), Epoch(1));
    let none = begin(&rollover(JWT), false);
    assert_eq!(on.store().commit(&none).await.unwrap(), Committed::Done(Epoch(1)));
    let there = keys([add(key(JWT, "a", Staged))]);
    assert_eq!(on.store().commit(&there).await.unwrap(), Committed::Conflict);
    assert_eq!(on.store().custody().await.unwrap().epoch, Epoch(1));
}

async fn no_secret_has_two_primary_keys_or_loses_its_only_one(on: impl Backend) {
    done(on.store(), &keys([add(key(JWT, "old", Primary)), add(key(JWT, "new", Staged))])).await;

    let second = keys([step(JWT, "new", Staged, Primary)]);
    assert_eq!(on.store().commit(&second).await.unwrap(), Committed::Conflict);
    let meddling = "UPDATE rollover.key SET state = 'primary' WHERE id = 'new'";
    assert!(on.execute(meddling).await.unwrap_err().as_database_error().is_some());

    let none = keys([step(JWT, "old", Primary, Retiring)]);
    let refused = on.store().commit(&none).await;
    assert!(matches!(refused, Err(StoreError::NoPrimary(JWT))), "{refused:?}");

    let promotion = keys([step(JWT, "old", Primary, Retiring), step(JWT, "new", Staged, Primary)]);
    done(on.store(), &promotion).await;
    let custody = on.store().custody().await.unwrap();
    let states: Vec<_> = custody.keys.iter().map(|key| (key.id.as_str(), key.state)).collect();
    assert_eq!(states, [("new", Primary), ("old", Retiring)]);
    assert_eq!(custody.keys[0].promoted_at, Some(at(60)));
}

async fn a_destroyed_key_has_no_material(on: impl Backend) {
    done(on.store(), &keys([add(key(JWT, "old", Retiring))])).await;
    done(on.store(), &keys([step(JWT, "old", Retiring, Retired)])).await;
    let retired = on.store().custody().await.unwrap().keys.remove(0);
    assert_eq!((retired.retired_at, retired.sealed.is_some()), (Some(at(60)), true));

    done(on.store(), &keys([step(JWT, "old", Retired, Destroyed)])).await;
    let destroyed = on.store().custody().await.unwrap().keys.remove(0);
    assert_eq!((destroyed.state, destroyed.sealed), (Destroyed, None));
    assert!(on.execute("UPDATE rollover.key SET sealed = 'again'").await.is_err());
    assert!(on.store().commit(&keys([step(JWT, "old", Destroyed, Retired)])).await.is_err());
}

async fn a_key_is_resealed_only_from_what_was_read(on: impl Backend) {
    done(on.store(), &keys([add(key(JWT, "old", Primary))])).await;
    let reseal = |old: &str, new: &str| {
        let (old, new) = (old.to_owned(), new.to_owned());
        keys([KeyChange::Reseal { secret: JWT, key: id("old"), old, new }])
    };
    done(on.store(), &reseal("sealed old", "sealed anew")).await;
    let stale = on.store().commit(&reseal("sealed old", "lost")).await.unwrap();
    assert_eq!(stale, Committed::Conflict);
    let custody = on.store().custody().await.unwrap();
    assert_eq!(custody.keys[0].sealed.as_deref(), Some("sealed anew"));
}

async fn a_second_rollover_is_told_which_one_is_in_progress(on: impl Backend) {
    let store = on.store();
    let mut first = rollover(JWT);
    done(store, &begin(&first, false)).await;
    let busy = Committed::Busy(first.id);
    assert_eq!(store.commit(&begin(&rollover(JWT), false)).await.unwrap(), busy);
    assert_eq!(store.commit(&begin(&rollover(JWT), true)).await.unwrap(), busy, "its own secret");
    assert_eq!(store.commit(&begin(&rollover(APP), false)).await.unwrap(), busy, "one in all");

    let mut beside = rollover(APP);
    done(store, &begin(&beside, true)).await;
    done(store, &to_phase(&mut first, Phase::Abandoned)).await;
    let busy = Committed::Busy(beside.id);
    assert_eq!(
        store.commit(&begin(&rollover(JWT), false)).await.unwrap(),
        busy,
        "the other one chose to run alongside, this one did not"
    );
    done(store, &to_phase(&mut beside, Phase::Abandoned)).await;
    done(store, &begin(&rollover(JWT), false)).await;

    // The table holds it against a writer that does not ask.
    let copy = "INSERT INTO rollover.rollover (id, secret, mode, dry_run, phase, slot, revision,
            reason, requested_by, from_key, created_at, updated_at, target, pass, accept_quarantined)
        SELECT '00000000-0000-7000-8000-000000000000', 'OTHER', mode, dry_run, phase, slot, 0,
            reason, requested_by, from_key, created_at, updated_at, target, pass, accept_quarantined
        FROM rollover.rollover WHERE active";
    let refused = on.execute(copy).await.unwrap_err();
    assert!(refused.as_database_error().unwrap().is_unique_violation(), "{refused}");
}

async fn a_dry_run_stands_in_nobodys_way(on: impl Backend) {
    let rehearsal = Rollover { dry_run: true, ..rollover(JWT) };
    let real = rollover(JWT);
    done(on.store(), &begin(&rehearsal, false)).await;
    done(on.store(), &begin(&real, false)).await;
    done(on.store(), &begin(&Rollover { dry_run: true, ..rollover(JWT) }, false)).await;
    let active = on.store().active_rollovers().await.unwrap();
    assert_eq!(active.len(), 3);
    assert_eq!((active[0].id, active[1].id), (rehearsal.id, real.id), "oldest first");
}

async fn a_rollover_moves_only_from_the_revision_that_was_read(on: impl Backend) {
    let mut first = rollover(JWT);
    done(on.store(), &begin(&first, false)).await;
    let mut stale = first.clone();
    done(on.store(), &to_phase(&mut first, Phase::Staged)).await;
    let late = Change {
        keys: vec![add(key(JWT, "new", Staged))],
        ..to_phase(&mut stale, Phase::Abandoned)
    };
    assert_eq!(on.store().commit(&late).await.unwrap(), Committed::Conflict);
    assert_eq!(on.store().rollover(first.id).await.unwrap(), Some(first));
    assert!(on.store().custody().await.unwrap().keys.is_empty());
}

async fn the_database_and_the_code_agree_on_which_phases_are_in_progress(on: impl Backend) {
    for phase in Phase::ALL {
        let rehearsal = Rollover { dry_run: true, phase, ..rollover(JWT) };
        done(on.store(), &begin(&rehearsal, false)).await;
        let active = on.store().active_rollovers().await.unwrap();
        let is_listed = active.iter().any(|active| active.id == rehearsal.id);
        assert_eq!(is_listed, phase.is_active(), "{phase}");
    }
}

async fn a_row_of_a_newer_version_is_left_to_it(on: impl Backend) {
    let store = on.store();
    let (known, unknown) = (Rollover { dry_run: true, ..rollover(JWT) }, rollover(APP));
    done(store, &begin(&known, false)).await;
    done(store, &begin(&unknown, false)).await;
    on.execute("UPDATE rollover.rollover SET phase = 'levitating' WHERE NOT dry_run")
        .await
        .unwrap();
    assert_eq!(store.active_rollovers().await.unwrap(), std::slice::from_ref(&known));
    assert_eq!(store.rollovers(None, 10).await.unwrap(), [known]);
    assert!(matches!(store.rollover(unknown.id).await, Err(StoreError::Newer(_))));
    let second = store.commit(&begin(&rollover(APP), false)).await.unwrap();
    assert_eq!(second, Committed::Busy(unknown.id), "it is in progress all the same");

    done(store, &keys([add(key(JWT, "a", Primary)), add(key(APP, "a", Primary))])).await;
    on.execute("UPDATE rollover.key SET secret = 'NEWER' WHERE secret = 'JWT_SECRET'")
        .await
        .unwrap();
    assert_eq!(store.custody().await.unwrap().keys, [key(APP, "a", Primary)]);
}

async fn of_concurrent_changes_that_read_the_same_exactly_one_is_done(on: impl Backend) {
    done(on.store(), &keys([add(key(JWT, "old", Primary)), add(key(JWT, "new", Staged))])).await;
    let mut first = rollover(JWT);
    done(on.store(), &begin(&first, false)).await;
    let change = Change {
        keys: vec![step(JWT, "old", Primary, Retiring), step(JWT, "new", Staged, Primary)],
        audit: vec![entry("rollover.promote")],
        ..to_phase(&mut first, Phase::Promoted)
    };
    let mut committed = at_once(&on, 8, |store| {
        let change = change.clone();
        async move { store.commit(&change).await.unwrap() }
    })
    .await;
    committed.sort_by_key(|committed| *committed == Committed::Conflict);
    assert_eq!(committed[0], Committed::Done(Epoch(2)));
    assert!(committed[1..].iter().all(|rest| *rest == Committed::Conflict), "{committed:?}");
    assert_eq!(on.store().audit(None, 10).await.unwrap().len(), 1);
}

async fn of_concurrent_rollovers_of_a_secret_exactly_one_begins(on: impl Backend) {
    let committed = at_once(&on, 8, |store| async move {
        store.commit(&begin(&rollover(JWT), true)).await.unwrap()
    })
    .await;
    let winner = on.store().active_rollovers().await.unwrap();
    assert_eq!(winner.len(), 1);
    let busy = committed.iter().filter(|one| **one == Committed::Busy(winner[0].id)).count();
    assert_eq!(busy, 7, "{committed:?}");
}

async fn seals_add_up_and_lifetimes_never_shrink(on: impl Backend) {
    done(on.store(), &keys([add(key(APP, "a", Primary))])).await;
    at_once(&on, 8, |store| async move {
        for _ in 0..5 {
            store.settle_seals(APP, &id("a"), 3).await.unwrap();
        }
    })
    .await;
    assert_eq!(on.store().settle_seals(APP, &id("a"), 1).await.unwrap(), 8 * 5 * 3 + 1);

    for seconds in [900, 604_800, 60] {
        let lifetime = Duration::from_secs(seconds);
        on.store().raise_lifetime(APP, &id("a"), lifetime).await.unwrap();
    }
    let custody = on.store().custody().await.unwrap();
    assert_eq!(custody.keys[0].longest_lifetime, Duration::from_secs(604_800));
    assert_eq!(custody.epoch, Epoch(1), "counters are not key changes");

    let nobody = on.store().settle_seals(JWT, &id("a"), 1).await;
    assert!(matches!(nobody, Err(StoreError::NoKey { secret: JWT, .. })), "{nobody:?}");
    assert!(on.store().raise_lifetime(JWT, &id("a"), Duration::ZERO).await.is_err());
}

async fn rollovers_are_paged_newest_first(on: impl Backend) {
    let mut ids = Vec::new();
    for _ in 0..5 {
        let rehearsal = Rollover { dry_run: true, ..rollover(JWT) };
        done(on.store(), &begin(&rehearsal, false)).await;
        ids.push(rehearsal.id);
    }
    ids.reverse();
    let first = on.store().rollovers(None, 3).await.unwrap();
    let rest = on.store().rollovers(Some(first[2].id), 3).await.unwrap();
    let paged: Vec<_> = first.iter().chain(&rest).map(|rollover| rollover.id).collect();
    assert_eq!(paged, ids);
}
