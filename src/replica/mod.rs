//! One process that serves with a keychain: it joins, keeps its lease, applies
//! every epoch, and says truly how far it is.
//!
//! 1. A keychain is published only after everything that it needs is durable:
//!    the keys in custody, and the longest lifetime that its primary will sign.
//! 2. An epoch is acknowledged as *applied* once its keychain is published, and as
//!    *settled* once no request holds an older one.
//! 3. It tells which root keys it holds, and seals only under one that all others hold.
//! 4. A change arrives by push where there is one, and by polling always.
//! 5. Without its lease it makes nothing: see [`Replica::check`].

mod changes;
mod declared;
mod error;
mod join;
mod lease;
mod lockout;
mod retired;
mod root;
mod root_status;
mod snapshots;
mod told;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use tokio::sync::Notify;

use declared::DeclaredKeys;
pub use error::ReplicaError;
pub use join::{Joined, Membership};
use lockout::Lockout;
use retired::Retired;
use root::Roots;
pub use root_status::RootStatus;
use snapshots::Snapshots;
#[cfg(feature = "worker")]
pub(crate) use told::Told;

use crate::{
    catalog::{Class, Secret},
    clock::{Clock, Timestamp},
    envelope::Target,
    ids::{Epoch, KeyId, ReplicaId},
    keyring::{
        Fence, KeyState, Keychain, KeychainHandle, Origin,
        sources::{Environment, Managed, canonical, derived_id},
    },
    material::Material,
    rollover::{Mode, Rollover},
    store::{
        Custody, KeyRecord, Store,
        custody::{self, NewKey, Usage},
    },
};

/// One process that serves with a keychain.
#[derive(Debug)]
pub struct Replica {
    id: ReplicaId,
    name: String,
    store: Arc<dyn Store>,
    roots: Roots,
    environment: Environment,
    declared: DeclaredKeys,
    target: Target,
    columns: Arc<[String]>,
    clock: Arc<dyn Clock>,
    signs: Vec<(Secret, Duration)>,
    lease: Duration,
    poll: Duration,
    accepts_while_fenced: bool,
    usage: Usage,
    handle: KeychainHandle,
    snapshots: Mutex<Snapshots>,
    refreshing: tokio::sync::Mutex<()>,
    retired: Retired,
    changed: Notify,
    lockout: Lockout,
    /// Whether it is without its lease, as far as people were told.
    is_fenced: AtomicBool,
    reported: Notify,
}

/// How long a refresh waits for one that is under way.
const MOMENT: Duration = Duration::from_secs(1);

impl Replica {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> ReplicaId {
        self.id
    }

    /// Where it keeps everything durable.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What its secrets manager holds, if it has one.
    #[must_use]
    pub const fn managed(&self) -> Option<&Managed> {
        self.environment.managed()
    }

    /// The handle that the layers load from.
    #[must_use]
    pub fn keychain(&self) -> KeychainHandle {
        self.handle.clone()
    }

    /// The keychain for rewrapping: the published one, with the retired keys that
    /// a rollover in progress must still open, and those of [`Replica::with_retired`].
    #[must_use]
    pub fn opening_keychain(&self) -> Arc<Keychain> {
        self.snapshots().opening()
    }

    /// Tells the loop of [`Replica::run`] that something changed, without waiting.
    pub fn nudge(&self) {
        self.changed.notify_one();
    }

    /// Applies the present epoch, if it is newer than the one in use.
    ///
    /// # Errors
    /// [`ReplicaError`]; the keychain in use stays.
    pub async fn refresh(&self) -> Result<Epoch, ReplicaError> {
        // Who commits a change is also told of it, and once is enough; but another one's
        // connection that hangs holds nobody up.
        let _alone = tokio::time::timeout(MOMENT, self.refreshing.lock()).await;
        if self.store.epoch().await? > self.handle.load().epoch() {
            let custody = self.store.custody().await?;
            self.apply(&custody, None).await?;
        }
        Ok(self.handle.load().epoch())
    }

    /// Keeps the lease and applies every change until `shutdown` is ready; then
    /// reports the last seals and leaves. Nothing is made from then on.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = self.keep(shutdown) => {}
            () = self.watch() => {}
        }
        self.handle.load().fence().shut();
        let goodbye = async {
            self.settle_seals().await?;
            self.tell_presented().await?;
            self.store.deregister(self.id).await.map_err(ReplicaError::from)
        };
        if let Err(error) = self.in_time(goodbye).await {
            tracing::warn!(%error, "the replica left without a goodbye; its lease runs out by itself");
        }
    }

    async fn keep(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut signals = self.store.signals();
        loop {
            // From the beginning of the turn, however long it takes.
            let poll = tokio::time::Instant::now() + self.poll;
            let turn = self.in_time(self.turn()).await;
            self.note_login(&turn);
            if let Err(error) = turn {
                tracing::warn!(%error, "the replica could not refresh; it goes on with the keys it has while its lease runs");
            }
            tokio::select! {
                () = &mut shutdown => break,
                () = self.changed.notified() => {}
                () = self.settles() => {}
                () = self.hears_of_a_change(&mut signals) => self.apply_at_once().await,
                () = tokio::time::sleep_until(poll) => {}
            }
        }
    }

    async fn turn(&self) -> Result<(), ReplicaError> {
        let settled = self.snapshots().settled(self.handle.load().epoch());
        let before = self.handle.load().epoch();
        let present = self.beat().await?;
        if present > before {
            self.refresh().await?;
            self.beat().await?;
        }
        self.settle_seals().await?;
        self.tell_presented().await?;
        self.reread().await?;
        self.tend_root().await?;
        let applied = self.handle.load().epoch();
        if settled < applied && self.snapshots().settled(applied) == applied {
            self.beat().await?;
        }
        Ok(())
    }

    /// Adds the seals of this process to the store's count.
    async fn settle_seals(&self) -> Result<(), ReplicaError> {
        for (secret, key, budget) in self.usage.unsettled() {
            let count = budget.pending();
            let stored = self.store.settle_seals(secret, &key, count).await?;
            budget.settle(count, stored);
        }
        Ok(())
    }

    /// Tells the store which keys others have presented to this process.
    async fn tell_presented(&self) -> Result<(), ReplicaError> {
        for (secret, key, presented) in self.usage.all_presented() {
            let Some((count, last)) = presented.take() else { continue };
            let told = self.store.note_presented(secret, &key, count, last).await;
            told.inspect_err(|_| presented.give_back(count))?;
        }
        Ok(())
    }

    /// Builds, records and publishes the keychain of `custody`, under `fence`, or
    /// under that of the keychain in use.
    async fn apply(&self, custody: &Custody, fence: Option<Fence>) -> Result<(), ReplicaError> {
        self.raise_lifetimes(custody).await?;
        let root = self.root();
        let keychain = custody::keychain(custody, &root, &self.usage, &[])?;
        let reopened = self.reopened(custody).await?;
        let opening = custody::keychain(custody, &root, &self.usage, &reopened)?;
        {
            // One at a time: every keychain that was ever published is watched until
            // its last request ends, and nobody asks in between.
            let mut snapshots = self.snapshots();
            let older = self.handle.load_full();
            let fence = fence.unwrap_or_else(|| older.fence().clone());
            match self.handle.publish(keychain.under(fence.clone())) {
                Ok(()) => {
                    snapshots.replaced(&older, opening.under(fence));
                    self.retired.applied(custody);
                }
                Err(stale) => tracing::debug!(%stale, "another task was first"),
            }
        }
        self.roots.applied(custody);
        if let Ok(ring) = self.handle.load().verbatim(Secret::DatabaseUrl) {
            self.store.log_in_as(ring.primary().prepared().expose());
        }
        tracing::info!(epoch = %custody.epoch, "keychain published");
        Ok(())
    }

    /// A key signs nothing before the store knows how long that will be accepted.
    async fn raise_lifetimes(&self, custody: &Custody) -> Result<(), ReplicaError> {
        for (secret, lifetime) in &self.signs {
            for key in custody.keys.iter().filter(|key| {
                key.secret == *secret
                    && key.state == KeyState::Primary
                    && key.longest_lifetime < *lifetime
            }) {
                self.store.raise_lifetime(*secret, &key.id, *lifetime).await?;
            }
        }
        Ok(())
    }

    /// Retired keys under which a rollover in progress may still find values: the one
    /// that it replaces, those of rollovers before it, and, of a hard one, all that it
    /// retired, or that those did which it took over from.
    async fn reopened(&self, custody: &Custody) -> Result<Vec<(Secret, KeyId)>, ReplicaError> {
        let active = self.store.active_rollovers().await?;
        let retired = |secret, id| {
            custody
                .keys
                .iter()
                .any(|key| key.secret == secret && key.id == id && key.state == KeyState::Retired)
        };
        let rewraps = active.iter().any(|r| r.secret.entry().class == Class::Sealing);
        let mut earlier = if rewraps { custody::retired(custody) } else { vec![] };
        let is_hard =
            |r: &&Rollover| r.mode == Mode::Hard && r.secret.entry().class == Class::Sealing;
        for hard in active.iter().filter(is_hard) {
            let since = self.began(hard).await?;
            let given_up = |key: &&KeyRecord| {
                key.secret == hard.secret
                    && key.state == KeyState::Retired
                    && key.compromised_at.is_some_and(|at| at >= since)
            };
            let given_up = custody.keys.iter().filter(given_up);
            earlier.extend(given_up.map(|key| (key.secret, key.id.clone())));
        }
        Ok(active
            .into_iter()
            .filter(|rollover| retired(rollover.secret, rollover.from_key.clone()))
            .map(|rollover| (rollover.secret, rollover.from_key))
            .chain(earlier)
            .collect())
    }

    /// When a hard rollover began, or the first of those that it took over from: what was
    /// given up since is still to be moved.
    async fn began(&self, hard: &Rollover) -> Result<Timestamp, ReplicaError> {
        const RECENT: u32 = 200;
        let (mut chain, mut began) = (vec![hard.id], hard.created_at);
        // Newest first: whoever was taken over from comes after whoever took over.
        for earlier in self.store.rollovers(None, RECENT).await? {
            if earlier.superseded_by().is_some_and(|by| chain.contains(&by)) {
                chain.push(earlier.id);
                began = began.min(earlier.created_at);
            }
        }
        Ok(began)
    }

    /// `material`, in its canonical form, as a staged key, sealed for custody: not stored yet.
    ///
    /// # Errors
    /// [`ReplicaError`] when it cannot be sealed under a root key that every live
    /// replica holds.
    pub async fn staged_key(
        &self,
        secret: Secret,
        material: &Material,
        origin: Origin,
    ) -> Result<KeyRecord, ReplicaError> {
        let now = self.clock.now();
        let material = &canonical(secret, material);
        let id = derived_id(material.fingerprint());
        // Newer keys are likelier: the newest has the smallest rank.
        let rank = now.as_millis().saturating_neg();
        let state = KeyState::Staged;
        let key = NewKey { secret, id, material, origin, state, unnamed: false, rank };
        Ok(key.into_record(&self.sealing_root().await?, now)?)
    }

    fn snapshots(&self) -> MutexGuard<'_, Snapshots> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
