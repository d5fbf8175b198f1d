//! How a process becomes a replica: the environment and the store agree, then the
//! keychain is published, then the lease begins.

use std::{
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    Replica, ReplicaError,
    declared::{Agreed, DeclaredKeys, Waiting},
    lockout::Lockout,
    retired::Retired,
    root::Roots,
    snapshots::Snapshots,
};
use crate::{
    catalog::Secret,
    clock::{Clock, Timestamp, Uptime},
    envelope::Target,
    ids::{Epoch, KeyId, ReplicaId, RolloverId},
    keyring::{
        Fence, KeyState, Keychain, KeychainHandle, Origin,
        reconcile::{Action, Note, reconcile},
        sources::{Declared, DeclaredKey, Environment, derived_id},
    },
    material::Material,
    rollover::{Mode, Phase, Rollover},
    store::{
        Actor, AuditEntry, Change, Committed, KeyChange, KeyRecord, Outcome, Store,
        custody::{self, NewKey, RootKeys, Usage},
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
    /// The sealed columns that it writes to, each `<table>.<column>`: no census is
    /// complete without them while it lives.
    pub columns: Vec<String>,
    /// How long its lease lasts without a renewal.
    pub lease: Duration,
    /// How often it polls, and renews.
    pub poll: Duration,
    /// Whether its layers go on accepting once its lease has run out: then others wait
    /// for it even so.
    pub accepts_while_fenced: bool,
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
        let handle = KeychainHandle::new(nothing());
        let replica = Replica {
            id: ReplicaId::new(),
            name: self.name,
            store: self.store,
            roots: Roots::new(self.root, &self.environment),
            declared: DeclaredKeys::new(&self.environment),
            environment: self.environment,
            clock: self.clock,
            signs: self.signs,
            target: self.target,
            columns: self.columns.into(),
            lease: self.lease,
            poll: self.poll,
            accepts_while_fenced: self.accepts_while_fenced,
            usage: Usage::default(),
            retired: Retired::default(),
            snapshots: Mutex::new(Snapshots::new(handle.clone(), nothing())),
            handle,
            refreshing: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            lockout: Lockout::default(),
            is_fenced: AtomicBool::new(true),
            reported: Notify::new(),
        };
        let agreed = replica.agree(&declared).await?;
        replica.declared.note(declared.digest(), &agreed);
        let custody = replica.store.custody().await?;
        replica.apply(&custody, None).await?;
        // From the beat on, others wait for this replica. What they changed before
        // it, they changed without waiting: the beat applies that, and the next one
        // reports it.
        if replica.beat().await? > custody.epoch {
            replica.beat().await?;
        }
        Ok(Joined { replica: Arc::new(replica), notes: agreed.notes })
    }
}

impl Replica {
    /// Makes the store agree with `declared`, trying again when another replica
    /// was first.
    pub(super) async fn agree(&self, declared: &Declared) -> Result<Agreed, ReplicaError> {
        'again: for _ in 0..TRIES {
            let custody = self.store.custody().await?;
            let stored = custody::stored(&custody, &self.root());
            let agreement = reconcile(declared, &stored)?;
            let now = self.clock.now();
            if agreement.actions.is_empty() {
                return Ok(Agreed { notes: agreement.notes, waiting: vec![] });
            }
            // Who cannot open what is there adds nothing that others could not open.
            custody::keychain(&custody, &self.root(), &self.usage, &[])?;
            let root = self.sealing_root().await?;
            let mut adopted = Change::default();
            let mut rollovers = vec![];
            for action in &agreement.actions {
                match action {
                    Action::Adopt { secret, key, state, rank } => {
                        let key = declared_key(*secret, key, *state, *rank);
                        adopt(&mut adopted, key.into_record(&root, now)?, now);
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
                        adopt(&mut adopted, key.into_record(&root, now)?, now);
                    }
                    Action::RollOver { secret, from, to } => {
                        rollovers.push((*secret, from.clone(), *to));
                    }
                }
            }
            if adopted.keys.is_empty()
                || matches!(self.store.commit(&adopted).await?, Committed::Done(_))
            {
                let mut waiting = vec![];
                for (secret, from, to) in rollovers {
                    match self.ask_for_rollover(secret, from, to, &root).await? {
                        Asked::Granted => {}
                        Asked::Waits(rollover) => {
                            waiting.push(Waiting { secret, rollover, to: to.id.clone() });
                        }
                        Asked::Overtaken => continue 'again,
                    }
                }
                return Ok(Agreed { notes: agreement.notes, waiting });
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
        root: &RootKeys,
    ) -> Result<Asked, ReplicaError> {
        let active = self.store.active_rollovers().await?;
        if let Some(running) = active.iter().find(|r| r.secret == secret && !r.dry_run) {
            return Ok(Asked::beside(running.id, Some(running), to));
        }
        let now = self.clock.now();
        let rank = now.as_millis().saturating_neg();
        let key = declared_key(secret, to, KeyState::Staged, rank).into_record(root, now)?;
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
            accept_loss: false,
            probed_at: None,
            ask_at: None,
            asked_by: None,
            revoking_at: None,
            revoked_at: None,
            report: None,
            cut_off: None,
        };
        let id = rollover.id;
        let change = step::begin(rollover, Some(key), true, Actor::System)
            .expect("a requested rollover can be staged");
        Ok(match self.store.commit(&change).await? {
            Committed::Done(_) => {
                tracing::info!(%secret, rollover = %id, "the environment asks for a rollover");
                Asked::Granted
            }
            Committed::Conflict => Asked::Overtaken,
            Committed::Busy(running) => {
                Asked::beside(running, self.store.rollover(running).await?.as_ref(), to)
            }
        })
    }
}

/// What became of a rollover that the environment asks for.
enum Asked {
    /// It has begun.
    Granted,
    /// This one of the same secret is in progress.
    Waits(RolloverId),
    /// Something changed meanwhile: read again.
    Overtaken,
}

impl Asked {
    /// Beside the one in progress, which is the very same where another replica with the
    /// same environment was first. One that cannot be read is of a newer version.
    fn beside(id: RolloverId, running: Option<&Rollover>, to: &DeclaredKey) -> Self {
        match running {
            Some(running) if !running.phase.is_active() => Self::Overtaken,
            Some(running) if running.to_key.as_ref() == Some(&to.id) => Self::Granted,
            _ => Self::Waits(id),
        }
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
