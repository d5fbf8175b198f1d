//! The root keys of a running replica: read again where they come from a file, and
//! every key brought under the new one when every live replica has it.
//!
//! 1. A root key that was held is held until the process ends: what it sealed opens.
//! 2. A new one counts only when it was read the same twice, a poll apart: half a file
//!    seals nothing.
//! 3. A key is sealed only under a root key that every live replica holds
//!    ([`custody::sealing`]); the store judges it again where the key enters.
//! 4. Of several replicas that reseal at once, one has an effect, whole, with its audit
//!    entry; the others find nothing left to do.
//! 5. Where every key is under the only root key at hand, nothing is asked or read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Replica, ReplicaError, RootStatus, told::Told};
use crate::{
    clock::Timestamp,
    keyring::sources::{Declared, Environment},
    material::Fingerprint,
    store::{
        Actor, AuditEntry, Change, Committed, Custody, Outcome,
        custody::{self, RootBlocker, RootKeys, RootPlan},
    },
};

/// The root keys of one process.
#[derive(Debug)]
pub(super) struct Roots {
    can_change: bool,
    state: Mutex<State>,
    unreadable: Told,
    told: Told,
}

#[derive(Debug)]
struct State {
    keys: RootKeys,
    /// What the keys in the published keychain were sealed under.
    under: BTreeSet<Fingerprint>,
    /// Root keys that were read once, and when.
    seen: Option<(Vec<Fingerprint>, Instant)>,
    /// The root key that was told as settled.
    settled: Option<Fingerprint>,
}

impl Roots {
    pub(super) fn new(keys: RootKeys, environment: &Environment) -> Self {
        let can_change = keys.can_change(environment);
        let state = State { keys, under: BTreeSet::new(), seen: None, settled: None };
        Self {
            can_change,
            state: Mutex::new(state),
            unreadable: Told::default(),
            told: Told::default(),
        }
    }

    pub(super) fn keys(&self) -> RootKeys {
        self.state().keys.clone()
    }

    /// Notes what the keys of an applied epoch are sealed under.
    pub(super) fn applied(&self, custody: &Custody) {
        let sealed = custody.keys.iter().filter_map(|key| key.sealed.as_deref());
        self.state().under = sealed.filter_map(custody::root_of).collect();
    }

    /// Whether something may be left to do, or to tell.
    fn is_unsettled(&self) -> bool {
        let state = self.state();
        let current = state.keys.primary().fingerprint();
        let is_stale = state.under.iter().any(|under| *under != current);
        is_stale || (state.settled != Some(current) && state.keys.fingerprints().nth(1).is_some())
    }

    /// Takes `read` over, if it is news and was read the same a while ago.
    fn is_confirmed(&self, read: &RootKeys, a_while: Duration) -> bool {
        let mut state = self.state();
        let fingerprints: Vec<_> = read.fingerprints().collect();
        if state.keys.fingerprints().eq(fingerprints.iter().copied()) {
            state.seen = None;
            return false;
        }
        match &state.seen {
            Some((seen, at)) if *seen == fingerprints => at.elapsed() >= a_while,
            _ => {
                state.seen = Some((fingerprints, Instant::now()));
                false
            }
        }
    }

    fn take(&self, keys: RootKeys) {
        let mut state = self.state();
        state.keys = keys;
        state.seen = None;
        state.settled = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Replica {
    /// The root keys that open its custody.
    #[must_use]
    pub fn root(&self) -> RootKeys {
        self.roots.keys()
    }

    /// The root keys, of which one that every live replica holds seals.
    ///
    /// # Errors
    /// [`ReplicaError::NoRootKeyInCommon`] when there is none.
    pub(super) async fn sealing_root(&self) -> Result<RootKeys, ReplicaError> {
        let sealed = self.store.sealed_under().await?;
        let live = custody::held(&self.store.replicas().await?, &sealed);
        let mine = self.root();
        custody::sealing(mine.fingerprints(), &live)
            .and_then(|root_key| mine.led_by(root_key))
            .ok_or_else(|| ReplicaError::NoRootKeyInCommon {
                at_hand: mine.fingerprints().collect(),
            })
    }

    /// Notices a new root key, and carries its rollover on.
    pub(super) async fn tend_root(&self) -> Result<(), ReplicaError> {
        if self.roots.can_change {
            self.reread_root().await?;
        }
        if self.roots.is_unsettled() {
            self.roll_root_over().await?;
        }
        Ok(())
    }

    async fn reread_root(&self) -> Result<(), ReplicaError> {
        let read = match self.root().reread(&self.environment) {
            Ok(read) => read,
            Err(error) => {
                if self.roots.unreadable.is_news(&error.to_string()) {
                    tracing::warn!(%error, "the root key cannot be read again; the one in use stays");
                }
                return Ok(());
            }
        };
        self.roots.unreadable.forget();
        // It must be none of the other keys; what is wrong with them is told elsewhere.
        if !self.roots.is_confirmed(&read, self.poll)
            || Declared::read(&self.environment, &[]).is_err()
        {
            return Ok(());
        }
        self.store.record(&self.noticed(&read, self.clock.now())).await?;
        let root_key = read.primary().fingerprint();
        self.roots.take(read);
        tracing::info!(%root_key, "the root key changed where it comes from; the one before still opens");
        // The others wait for this replica to tell.
        self.beat().await.map(drop)
    }

    fn noticed(&self, read: &RootKeys, at: Timestamp) -> AuditEntry {
        let details = serde_json::json!({
            "replica": self.id,
            "rootKeys": read.fingerprints().collect::<Vec<_>>(),
        });
        entry("root_key.notice", self.name.clone(), details, at)
    }

    async fn roll_root_over(&self) -> Result<(), ReplicaError> {
        let status = RootStatus::of(self.store.as_ref()).await?;
        match status.plan {
            RootPlan::Reseal(root_key) if root_key == self.root().primary().fingerprint() => {
                self.reseal(&status.sealed).await
            }
            RootPlan::Reseal(_) => Ok(()),
            RootPlan::Wait(RootBlocker::NotApplied(_)) => Ok(()),
            RootPlan::Wait(blocker) => {
                let told = blocker.to_string();
                if self.roots.told.is_news(&told) {
                    tracing::info!("the rollover of the root key waits: {told}");
                }
                Ok(())
            }
            RootPlan::Settled(root_key) => {
                let taken_away = status.may_be_taken_away();
                self.roots.state().settled = Some(root_key);
                self.roots.told.forget();
                if !taken_away.is_empty() {
                    tracing::info!(
                        %root_key, previous = ?taken_away,
                        "every key is sealed under the root key; the previous ones may be taken away"
                    );
                }
                Ok(())
            }
        }
    }

    /// Brings every key under the current root key, in one change.
    async fn reseal(&self, sealed: &BTreeMap<Fingerprint, u64>) -> Result<(), ReplicaError> {
        let keys = self.root();
        let custody = self.store.custody().await?;
        let resealed = match custody::reseal(&custody, &keys) {
            Ok(resealed) => resealed,
            Err(error) => {
                if self.roots.told.is_news(&error.to_string()) {
                    tracing::warn!(%error, "the keys are not brought under the new root key");
                }
                return Ok(());
            }
        };
        // None: what is left belongs to a newer version, which brings it along.
        if resealed.is_empty() {
            return Ok(());
        }
        let root_key = keys.primary().fingerprint();
        let from: Vec<_> = sealed.keys().filter(|under| **under != root_key).collect();
        let details = serde_json::json!({
            "fromRootKeys": from, "toRootKey": root_key, "keys": resealed.len(),
        });
        let name = root_key.to_string();
        let audit = vec![entry("root_key.reseal", name, details, self.clock.now())];
        let count = resealed.len();
        let change = Change { keys: resealed, audit, ..Change::default() };
        match self.store.commit(&change).await? {
            Committed::Done(_) => {
                tracing::info!(%root_key, keys = count, "every key is brought under the new root key");
                self.refresh().await?;
                self.beat().await.map(drop)
            }
            // Another replica was first, or one joined with other root keys.
            Committed::Conflict | Committed::Busy(_) => Ok(()),
        }
    }
}

fn entry(action: &str, name: String, details: serde_json::Value, at: Timestamp) -> AuditEntry {
    AuditEntry {
        at,
        actor: Actor::System,
        action: action.to_owned(),
        resource_type: "root_key",
        resource_id: None,
        resource_name: Some(name),
        details,
        outcome: Outcome::Success,
    }
}
