//! A change of the keys, and a report of a replica, are told to who listens.

use std::time::Duration;

use breeze_rollover::{
    catalog::Secret,
    ids::{Epoch, ReplicaId},
    keyring::KeyState::{Primary, Staged},
    store::{Beat, Signal, Signals, Store},
};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::{
    backend::{Backend, add, begin, done, key, keys, rollover},
    on_both,
};

on_both! {
    and behind a pooler:
    a_change_of_keys_and_a_new_report_are_signalled_and_nothing_else,
}

/// The next signal that tells of something; the first ones may have been missed.
async fn next(signals: &mut Signals) -> Signal {
    let told = async {
        loop {
            match signals.next().await.unwrap() {
                Signal::Missed => {}
                signal => return signal,
            }
        }
    };
    timeout(Duration::from_secs(60), told).await.unwrap()
}

async fn a_change_of_keys_and_a_new_report_are_signalled_and_nothing_else(on: impl Backend) {
    let store = on.store();
    let mut signals = store.signals();
    // It listens when it is first asked, on PostgreSQL, and says so.
    let _ = timeout(Duration::from_secs(1), signals.next()).await;
    done(store, &keys([add(key(Secret::JwtSecret, "a", Primary))])).await;
    assert_eq!(next(&mut signals).await, Signal::Epoch(Epoch(1)));

    let beat = |applied: u64, settled: u64| Beat {
        replica: ReplicaId(uuid::Uuid::from_u128(7)),
        name: "api-1".to_owned(),
        version: "0.1.0".to_owned(),
        applied: Epoch(applied),
        root_keys: vec![],
        settled: Epoch(settled),
        accepts_while_fenced: false,
        columns: [].into(),
        lease: Duration::from_secs(30),
    };
    for report in [beat(1, 0), beat(1, 1)] {
        store.renew(&report).await.unwrap();
        assert_eq!(next(&mut signals).await, Signal::Report);
    }
    // No report, and no change of keys: the next signal is of what comes after.
    store.renew(&beat(1, 1)).await.unwrap();
    done(store, &begin(&rollover(Secret::JwtSecret), false)).await;
    done(store, &keys([add(key(Secret::JwtSecret, "b", Staged))])).await;
    assert_eq!(next(&mut signals).await, Signal::Epoch(Epoch(2)));
}
