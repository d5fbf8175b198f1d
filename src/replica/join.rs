//! How a process becomes a replica: the environment and the store agree, then the
//! keychain is published, then the lease begins.

use std::{
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use tokio::sync::Notify;

use super::{Replica, ReplicaError, snapshots::Snapshots};
use crate::{
    catalog::Secret,
    clock::{Clock, Timestamp, Uptime},
    envelope::Target,
    ids::{Epoch, KeyId, ReplicaId, RolloverId},
    keyring::{
        Fence, KeyState, Keychain, KeychainHandle, Origin,
        reconcile::{Action, Note, Stored, reconcile},
        sources::{Declared, DeclaredKey, Environment, derived_id},
    },
    material::Material,
    rollover::{Mode, Phase, Rollover},
    store::{
        Actor, AuditEntry, Change, Committed, KeyChange, KeyRecord, Outcome, Store,
        custody::{NewKey, RootKeys, SealBudgets},
        step,
    },
};

/// What a process brings to become a replica.
#[derive(Debug)]
pub struct Membership {
    /// Where everything durable is.
    pub store: Arc<dyn Store>,
    /// What opens custody.
    pub root: RootKeys,
    /// Where keys may be declared.
    pub environment: Environment,
    /// Its name, for people.
    pub name: String,
    /// Secrets that it signs with, and the longest lifetime that it signs.
    pub signs: Vec<(Secret, Duration)>,
    /// What a rollover that the environment asks for rewraps to.
    pub target: Target,
    /// How long its lease lasts without a renewal.
    pub lease: Duration,
    /// How often it polls, and renews.
    pub poll: Duration,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
}

/// A process that has become a replica.
#[derive(Debug)]
pub struct Joined {
    /// The replica.
    pub replica: Arc<Replica>,
    /// What an operator may not expect, though nothing is wrong.
    pub notes: Vec<Note>,
}

/// How often joining is tried again while other replicas change the keys.
const TRIES: u32 = 20;

impl Membership {
    /// Agrees with the store, publishes the keychain and takes up the lease.
    ///
    /// # Errors
    /// [`ReplicaError`] says what to do; nothing is served then.
    pub async fn join(self) -> Result<Joined, ReplicaError> {
        let declared = Declared::read(&self.environment, &[])?;
        // No lease yet: nothing is made before the first beat.
        let nothing = || Keychain::new(Epoch(0)).under(Fence::at(Uptime::ZERO));
        let replica = Replica {
            id: ReplicaId::new(),
            name: self.name,
            store: self.store,
            root: self.root,
            environment: self.environment,
            declared: Mutex::new(declared.digest()),
            clock: self.clock,
            signs: self.signs,
            target: self.target,
            lease: self.lease,
            poll: self.poll,
            budgets: SealBudgets::default(),
            handle: KeychainHandle::new(nothing()),
            snapshots: Mutex::new(Snapshots::new(nothing())),
            changed: Notify::new(),
            is_fenced: AtomicBool::new(true),
        };
        let notes = replica.agree(&declared).await?;
        let custody = replica.store.custody().await?;
        replica.apply(&custody, None).await?;
        // From the beat on, others wait for this replica. What they changed before
        // it, they changed without waiting: the beat applies that, and the next one
        // reports it.
        if replica.beat().await? > custody.epoch {
            replica.beat().await?;
        }
        Ok(Joined { replica: Arc::new(replica), notes })
    }
}

impl Replica {
    /// Makes the store agree with `declared`, trying again when another replica
    /// was first.
    pub(super) async fn agree(&self, declared: &Declared) -> Result<Vec<Note>, ReplicaError> {
        for _ in 0..TRIES {
            let custody = self.store.custody().await?;
            let stored: Vec<_> = custody.keys.iter().map(Stored::from).collect();
            let agreement = reconcile(declared, &stored)?;
            let now = self.clock.now();
            let mut adopted = Change::default();
            let mut rollovers = vec![];
            for action in &agreement.actions {
                match action {
                    Action::Adopt { secret, key, state, rank } => {
                        let key = declared_key(*secret, key, *state, *rank);
                        adopt(&mut adopted, key.into_record(&self.root, now)?, now);
                    }
                    Action::Generate { secret, rank } => {
                        let material = Material::generate()?;
                        let key = NewKey {
                            secret: *secret,
                            id: derived_id(material.fingerprint()),
                            material: &material,
                            origin: Origin::Generated,
                            state: KeyState::Primary,
                            unnamed: false,
                            rank: *rank,
                        };
                        adopt(&mut adopted, key.into_record(&self.root, now)?, now);
                    }
                    Action::RollOver { secret, from, to } => {
                        rollovers.push((*secret, from.clone(), *to));
                    }
                }
            }
            if adopted.keys.is_empty()
                || matches!(self.store.commit(&adopted).await?, Committed::Done(_))
            {
                for (secret, from, to) in rollovers {
                    self.ask_for_rollover(secret, from, to).await?;
                }
                return Ok(agreement.notes);
            }
        }
        Err(ReplicaError::Contended)
    }

    /// The guide's own procedure: a new value, with the one in use as the previous one.
    async fn ask_for_rollover(
        &self,
        secret: Secret,
        from: KeyId,
        to: &DeclaredKey,
    ) -> Result<(), ReplicaError> {
        let now = self.clock.now();
        let rank = now.as_millis().saturating_neg();
        let key = declared_key(secret, to, KeyState::Staged, rank).into_record(&self.root, now)?;
        let rollover = Rollover {
            id: RolloverId::new(),
            secret,
            mode: Mode::Graceful,
            dry_run: false,
            phase: Phase::Requested,
            revision: 0,
            paused_at: None,
            reason: format!("{} holds a new value, with the one in use beside it", to.variable()),
            requested_by: "environment".to_owned(),
            from_key: from,
            to_key: None,
            created_at: now,
            updated_at: now,
            settled_at: None,
            target: self.target,
            pass: 0,
            max_rows_per_second: None,
            blocked_by: None,
            accept_quarantined: false,
            report: None,
        };
        let id = rollover.id;
        let change = step::begin(rollover, Some(key), true, Actor::System)
            .expect("a requested rollover can be staged");
        match self.store.commit(&change).await? {
            Committed::Done(_) => {
                tracing::info!(%secret, rollover = %id, "the environment asks for a rollover");
            }
            // Another replica with the same environment was first, or a rollover
            // of this secret runs: the next start asks again.
            Committed::Conflict | Committed::Busy(_) => {
                tracing::info!(%secret, "a rollover that the environment asks for is under way");
            }
        }
        Ok(())
    }
}

/// A declared key on its way into custody.
fn declared_key(secret: Secret, key: &DeclaredKey, state: KeyState, rank: i64) -> NewKey<'_> {
    let (id, origin) = (key.id.clone(), key.origin.clone());
    NewKey { secret, id, material: &key.material, origin, state, unnamed: key.unnamed, rank }
}

fn adopt(change: &mut Change, key: KeyRecord, now: Timestamp) {
    change.audit.push(AuditEntry {
        at: now,
        actor: Actor::System,
        action: "key.adopt".to_owned(),
        resource_type: "key",
        resource_id: None,
        resource_name: Some(format!("{}/{}", key.secret, key.id)),
        details: serde_json::json!({
            "fingerprint": key.fingerprint,
            "state": key.state,
            "origin": key.origin.to_string(),
        }),
        outcome: Outcome::Success,
    });
    change.keys.push(KeyChange::Add(Box::new(key)));
}
