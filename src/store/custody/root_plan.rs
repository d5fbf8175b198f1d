//! How the root key rolls over: which one seals meanwhile, and when every key is
//! brought under the new one. Pure.
//!
//! ```text
//!             a replica        every live replica has it        one change,
//!             has the new one  as its current root key          audited
//! settled ──────────────────► waiting ──────────────► resealing ──────────► settled
//! ```
//! Every replica looks, and whoever is first acts; the database keeps the second from it.
//!
//! 1. A key is sealed only under a root key that every live replica holds, and under
//!    the current one of all as soon as they agree on one.
//! 2. Keys are brought under another root key only when it is the current one of every
//!    live replica. A replica that does not tell (of an older version) stops it.
//! 3. Until nothing is sealed under a root key, nobody is told that it may be taken away.

use std::collections::BTreeMap;

use super::sealed::root_of;
use crate::{
    ids::Epoch,
    material::Fingerprint,
    store::record::{KeyChange, ReplicaRecord},
};

/// What is to be done about the root key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootPlan {
    /// Nothing: every key is sealed under this one, and every live replica knows.
    Settled(Fingerprint),
    /// Bring every key under this one.
    Reseal(Fingerprint),
    /// Nothing yet.
    Wait(RootBlocker),
}

/// What a rollover of the root key waits for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootBlocker {
    /// Nobody is there to do it.
    #[error(
        "no process is live; start one with the new root key, and the old one as BREEZE_ROOT_KEY_PREVIOUS"
    )]
    NobodyLive,
    /// An older version.
    #[error("replica {0} is of a version that does not tell its root keys; deploy this one there")]
    Silent(String),
    /// Two replicas have different current root keys.
    #[error(
        "the root key of replica {one} is {root_key}, and that of replica {other} is {other_root_key}; give both the same BREEZE_ROOT_KEY"
    )]
    Disagree {
        /// The one.
        one: String,
        /// Its current root key.
        root_key: Fingerprint,
        /// The other.
        other: String,
        /// Its current root key.
        other_root_key: Fingerprint,
    },
    /// A replica has not read the keys as they are sealed now.
    #[error("replica {0} has not applied the present epoch yet; that takes moments")]
    NotApplied(String),
}

/// What is to be done, where `sealed` counts the keys under each root key at `epoch`.
#[must_use]
pub fn plan(
    sealed: &BTreeMap<Fingerprint, u64>,
    epoch: Epoch,
    replicas: &[ReplicaRecord],
) -> RootPlan {
    let live = || replicas.iter().filter(|replica| replica.live);
    let root_key = match agreed(live()) {
        Ok(root_key) => root_key,
        Err(blocker) => return RootPlan::Wait(blocker),
    };
    if sealed.keys().any(|under| *under != root_key) {
        return RootPlan::Reseal(root_key);
    }
    match live().find(|replica| replica.applied < epoch) {
        Some(behind) => RootPlan::Wait(RootBlocker::NotApplied(behind.name.clone())),
        None => RootPlan::Settled(root_key),
    }
}

/// The current root key of all.
fn agreed<'a>(
    mut live: impl Iterator<Item = &'a ReplicaRecord>,
) -> Result<Fingerprint, RootBlocker> {
    let current = |replica: &ReplicaRecord| {
        replica.root_keys.first().copied().ok_or_else(|| RootBlocker::Silent(replica.name.clone()))
    };
    let one = live.next().ok_or(RootBlocker::NobodyLive)?;
    let root_key = current(one)?;
    for other in live {
        let other_root_key = current(other)?;
        if other_root_key != root_key {
            let (one, other) = (one.name.clone(), other.name.clone());
            return Err(RootBlocker::Disagree { one, root_key, other, other_root_key });
        }
    }
    Ok(root_key)
}

/// What each live replica holds. One that does not tell holds at least what it has
/// opened: the root keys that `sealed` counts keys under.
#[must_use]
pub fn held(
    replicas: &[ReplicaRecord],
    sealed: &BTreeMap<Fingerprint, u64>,
) -> Vec<Vec<Fingerprint>> {
    let live = replicas.iter().filter(|replica| replica.live);
    live.map(|replica| match replica.root_keys.as_slice() {
        [] => sealed.keys().copied().collect(),
        told => told.to_vec(),
    })
    .collect()
}

/// Which of `mine` seals now, where `live` is what each live replica [`held`].
#[must_use]
pub fn sealing(
    mine: impl IntoIterator<Item = Fingerprint>,
    live: &[Vec<Fingerprint>],
) -> Option<Fingerprint> {
    mine.into_iter().find(|root_key| may_seal(*root_key, live))
}

/// A new key may be sealed under what every live replica holds, and, once all have one
/// current root key, under no other. Who does not tell has no say in it.
fn may_seal(root_key: Fingerprint, live: &[Vec<Fingerprint>]) -> bool {
    let told = || live.iter().filter(|held| !held.is_empty());
    let Some(current) = told().next().map(|held| held.first()) else { return true };
    let all_agree = told().all(|held| held.first() == current);
    told().all(|held| held.contains(&root_key)) && (!all_agree || current == Some(&root_key))
}

/// Every key may be brought under what every live replica has as its current root key.
fn may_reseal(root_key: Fingerprint, live: &[Vec<Fingerprint>]) -> bool {
    live.iter().all(|held| held.first() == Some(&root_key))
}

/// Whether `changes` seal a key, so that [`permits`] must judge them.
#[must_use]
pub fn seals_anew(changes: &[KeyChange]) -> bool {
    changes.iter().any(|change| matches!(change, KeyChange::Add(_) | KeyChange::Reseal { .. }))
}

/// Whether `changes` seal keys only under what they may, where `live` is what each live
/// replica holds. Asked in the transaction that makes them.
#[must_use]
pub fn permits(changes: &[KeyChange], live: &[Vec<Fingerprint>]) -> bool {
    changes.iter().all(|change| match change {
        KeyChange::Add(key) => {
            let under = key.sealed.as_deref().and_then(root_of);
            under.is_none_or(|root_key| may_seal(root_key, live))
        }
        KeyChange::Reseal { new, .. } => {
            root_of(new).is_none_or(|root_key| may_reseal(root_key, live))
        }
        KeyChange::Move { .. } | KeyChange::Compromise { .. } => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, ids::ReplicaId};

    const OLD: &str = "0000000000000001";
    const NEW: &str = "0000000000000002";
    const OTHER: &str = "0000000000000003";

    #[test]
    fn who_does_not_tell_its_root_keys_holds_what_the_keys_are_sealed_under() {
        let sealed = BTreeMap::from([(print(OLD), 3)]);
        let mut both = [replica("one", &[]), replica("two", &[NEW, OLD])];
        assert_eq!(held(&both, &sealed), [prints(&[OLD]), prints(&[NEW, OLD])]);
        let seals = sealing(prints(&[NEW, OLD]), &held(&both, &sealed));
        assert_eq!(seals, Some(print(OLD)), "what both open");
        both[0].live = false;
        assert_eq!(held(&both, &sealed), [prints(&[NEW, OLD])]);
    }

    fn print(text: &str) -> Fingerprint {
        text.parse().unwrap()
    }

    fn prints(texts: &[&str]) -> Vec<Fingerprint> {
        texts.iter().map(|text| print(text)).collect()
    }

    fn replica(name: &str, root_keys: &[&str]) -> ReplicaRecord {
        ReplicaRecord {
            id: ReplicaId::new(),
            name: name.to_owned(),
            version: String::new(),
            applied: Epoch(5),
            settled: Epoch(5),
            root_keys: prints(root_keys),
            live: true,
            lease_until: Timestamp::from_seconds(0),
            registered_at: None,
            renewed_at: None,
            applied_at: None,
            settled_at: None,
            accepts_while_fenced: false,
            left_at: None,
            columns: vec![],
            as_of: Timestamp::from_seconds(0),
        }
    }

    fn planned(sealed: &[&str], replicas: &[ReplicaRecord]) -> RootPlan {
        let sealed = sealed.iter().map(|root_key| (print(root_key), 3)).collect();
        plan(&sealed, Epoch(5), replicas)
    }

    #[test]
    fn every_key_is_brought_under_what_all_live_replicas_have_as_their_current_one() {
        let both = |one: &[&str], two: &[&str]| [replica("one", one), replica("two", two)];
        let reseal = RootPlan::Reseal(print(NEW));
        assert_eq!(planned(&[OLD], &both(&[NEW, OLD], &[NEW, OLD])), reseal);
        assert_eq!(planned(&[NEW, OLD], &both(&[NEW, OLD], &[NEW])), reseal, "half done");
        assert_eq!(planned(&[OTHER], &both(&[NEW, OLD, OTHER], &[NEW])), reseal, "rolled twice");
        for (one, two) in [
            (&[NEW, OLD][..], &[OLD][..]),
            (&[NEW, OLD], &[OLD, NEW]),
            (&[NEW, OLD], &[OTHER, NEW, OLD]),
        ] {
            let plan = planned(&[OLD], &both(one, two));
            assert!(matches!(plan, RootPlan::Wait(RootBlocker::Disagree { .. })), "{plan:?}");
        }
        let silent = planned(&[OLD], &both(&[NEW, OLD], &[]));
        assert_eq!(silent, RootPlan::Wait(RootBlocker::Silent("two".to_owned())));
        assert_eq!(planned(&[OLD], &[]), RootPlan::Wait(RootBlocker::NobodyLive));
        let mut gone = both(&[NEW, OLD], &[OLD]);
        gone[1].live = false;
        assert_eq!(planned(&[OLD], &gone), reseal, "whoever is gone is not waited for");
    }

    #[test]
    fn it_is_settled_when_nothing_is_left_and_every_live_replica_knows() {
        let mut both = [replica("one", &[NEW, OLD]), replica("two", &[NEW])];
        assert_eq!(planned(&[NEW], &both), RootPlan::Settled(print(NEW)));
        both[1].applied = Epoch(4);
        let behind = RootPlan::Wait(RootBlocker::NotApplied("two".to_owned()));
        assert_eq!(planned(&[NEW], &both), behind);
        both[1].live = false;
        assert_eq!(planned(&[NEW], &both), RootPlan::Settled(print(NEW)));
        both[0].root_keys = prints(&[OLD, NEW]);
        assert_eq!(planned(&[NEW], &both), RootPlan::Reseal(print(OLD)), "the way back");
    }

    #[test]
    fn a_new_key_is_sealed_under_what_every_live_replica_holds() {
        let seals = |mine: &[&str], live: &[&[&str]]| {
            let live: Vec<_> = live.iter().map(|texts| prints(texts)).collect();
            sealing(prints(mine), &live).map(|root_key| root_key.to_string())
        };
        let (old, new) = (Some(OLD.to_owned()), Some(NEW.to_owned()));
        assert_eq!(seals(&[NEW, OLD], &[]), new, "nobody else is there");
        assert_eq!(seals(&[NEW, OLD], &[&[OLD], &[OLD]]), old, "others lack the new one");
        assert_eq!(seals(&[NEW, OLD], &[&[NEW, OLD], &[OLD]]), old);
        assert_eq!(seals(&[NEW, OLD], &[&[NEW, OLD], &[OLD, NEW]]), new, "all hold it");
        assert_eq!(seals(&[OLD, NEW], &[&[NEW, OLD], &[NEW, OLD]]), new, "all agree on it");
        assert_eq!(seals(&[OLD], &[&[NEW, OLD], &[NEW, OLD]]), None, "late, and alone");
        assert_eq!(seals(&[NEW], &[&[OLD]]), None, "nothing in common");
    }

    #[test]
    fn what_a_change_seals_is_judged_again_where_it_is_made() {
        let sealed =
            |under: &str| format!("root:v1:{under}:AAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA.AAAA");
        let reseal = |under| {
            [KeyChange::Reseal {
                secret: crate::catalog::Secret::JwtSecret,
                key: crate::ids::KeyId::new("k").unwrap(),
                old: sealed(OLD),
                new: sealed(under),
            }]
        };
        assert!(seals_anew(&reseal(NEW)));
        assert!(permits(&reseal(NEW), &[prints(&[NEW, OLD]), prints(&[NEW])]));
        for joined in [&[OLD][..], &[OLD, NEW], &[]] {
            assert!(!permits(&reseal(NEW), &[prints(&[NEW, OLD]), prints(joined)]), "{joined:?}");
        }
    }
}
