//! Everything that an operator can ask of a rollover, for the admin router and
//! the commands alike.
//!
//! 1. A request is checked whole before anything changes, and a refusal says what
//!    to do, without a value in it.
//! 2. Every request that changes something is one guarded change, with its audit
//!    entry inside.
//! 3. Destroying is its own request, after the backup horizon, and only when the
//!    census finds nothing under the key.

mod error;
mod guard;
mod health;
mod incidents;
mod inventory;
mod replicas;
mod review;
mod root_key;
mod schedule;
mod value;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use secrecy::SecretString;

pub use error::Refusal;
pub use guard::Guard;
pub use health::{Ailment, Check};
pub use incidents::{Emergencies, Exposure};
pub use inventory::{Census, KeyView, Progress, RolloverView, SecretView};
pub use replicas::{Acknowledgement, Awaited, ReplicaView, Replicas, replicas};
pub use review::{Automatic, Notice, Notify, NotifyError, Review};
pub use root_key::{RootKeyHolder, RootKeyView};

use crate::{
    catalog::{Class, Secret},
    envelope::Target,
    ids::RolloverId,
    keyring::{KeyState, SEAL_LIMIT},
    provider::ProviderError,
    rollover::{Acceptor, Action, Blocker, Mode, Phase, Rollover, World, plan},
    store::{Actor, Change, Committed, step},
    worker::{LazyRewrap, LazyTotals, Next, Worker, primary, tried},
};

/// What an operator asks for.
#[derive(Debug)]
pub struct Request {
    /// Which secret.
    pub secret: Secret,
    /// How.
    pub mode: Mode,
    /// Why.
    pub reason: String,
    /// Whether only to tell what would happen.
    pub dry_run: bool,
    /// The new value; generated when there is none.
    pub value: Option<SecretString>,
    /// What sealed columns are rewrapped to.
    pub target: Target,
    /// The ceiling on rows rewrapped a second.
    pub max_rows_per_second: Option<u32>,
    /// Whether it may run beside another secret's rollover.
    pub alongside: bool,
    /// The rollover of the same secret, in progress, that a hard one takes over from: it
    /// ends, and what it accepts beside the primary key is accepted no more.
    pub supersede: Option<RolloverId>,
    /// Health checks that do not keep it from beginning.
    pub force: BTreeSet<Check>,
}

/// What an operator decides does not keep a key from being retired.
#[derive(Debug, Clone, Copy, Default)]
pub struct Accept {
    /// Values that no key opens.
    pub quarantined: bool,
    /// What still needs the old key, and stops working with it: hashes, what was issued,
    /// and whoever presents it.
    pub loss: bool,
}

/// The longest reason, in characters.
pub const LONGEST_REASON: usize = 500;

/// Carries out what operators ask for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Operator {
    worker: Worker,
    horizon: Duration,
    lazy: Option<LazyRewrap>,
    unaudited: Arc<AtomicU64>,
}

impl Operator {
    /// Through `worker`, with backups kept for `horizon`: a retired key that is
    /// younger may be needed to read one, and is not destroyed.
    #[must_use]
    pub fn new(worker: Worker, horizon: Duration) -> Self {
        Self { worker, horizon, lazy: None, unaudited: Arc::default() }
    }

    /// Tells of the lazy rewrap of this process too.
    #[must_use]
    pub fn watching(mut self, lazy: LazyRewrap) -> Self {
        self.lazy = Some(lazy);
        self
    }

    /// What lazy rewrap did in this process.
    #[must_use]
    pub fn lazy_totals(&self) -> LazyTotals {
        self.lazy.as_ref().map(LazyRewrap::totals).unwrap_or_default()
    }

    /// An entry of the audit trail could not be written: it is counted, for the metrics.
    pub fn note_unaudited(&self) {
        self.unaudited.fetch_add(1, Ordering::Relaxed);
    }

    /// Entries of the audit trail that could not be written by this process.
    #[must_use]
    pub fn unaudited(&self) -> u64 {
        self.unaudited.load(Ordering::Relaxed)
    }

    /// The worker that it works through.
    #[must_use]
    pub const fn worker(&self) -> &Worker {
        &self.worker
    }

    /// The guard on the registered columns.
    #[must_use]
    pub fn guard(&self) -> Guard {
        let replica = self.worker.replica();
        let (store, registry) = (Arc::clone(replica.store()), Arc::clone(self.worker.registry()));
        Guard::new(store, registry, Arc::clone(replica.clock()))
    }

    /// Begins a rollover.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub async fn begin(&self, request: Request, actor: Actor) -> Result<Rollover, Refusal> {
        let is_shared_with_others = !request.secret.entry().elsewhere.is_empty();
        if is_shared_with_others && request.value.is_none() && !request.dry_run {
            return Err(Refusal::NoValue(request.secret));
        }
        self.begin_as(RolloverId::new(), request, actor).await
    }

    /// Begins a rollover by the name of `id`, once.
    async fn begin_as(
        &self,
        id: RolloverId,
        mut request: Request,
        actor: Actor,
    ) -> Result<Rollover, Refusal> {
        let reason = checked_reason(&request.reason)?;
        let overridden = match request.dry_run {
            true => vec![],
            false => self.check_health(&request.force).await?,
        };
        if request.secret.entry().class == Class::Issued && request.value.is_some() {
            return Err(Refusal::Valueless(request.secret));
        }
        let superseded = match request.supersede {
            Some(running) => Some(self.superseded(running, &request).await?),
            None => None,
        };
        let custody = self.worker.replica().store().custody().await?;
        let from = primary(&custody, request.secret).ok_or(Refusal::NoPrimary(request.secret))?;
        let now = self.worker.replica().clock().now();
        let rollover = Rollover {
            id,
            secret: request.secret,
            mode: request.mode,
            dry_run: request.dry_run,
            phase: Phase::Requested,
            revision: 0,
            paused_at: None,
            reason,
            requested_by: actor.to_string(),
            from_key: from.id.clone(),
            to_key: None,
            created_at: now,
            updated_at: now,
            settled_at: None,
            target: request.target,
            pass: 0,
            max_rows_per_second: request.max_rows_per_second,
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
        let supplied = match request.value.take() {
            None => None,
            Some(value) => Some(self.supplied(&request, value, &custody).await?),
        };
        let supplied = supplied.filter(|_| !request.dry_run);
        let ends = match &superseded {
            Some(world) => {
                let because = "a hard rollover takes over";
                let step = step::Step { now, ..step::Step::of(world, actor.clone(), because) };
                Some(step.supersede(id, world.to_state)?)
            }
            None => None,
        };
        let mut change = step::begin(rollover.clone(), supplied, request.alongside, actor)?;
        for entry in &mut change.audit {
            entry.details["alongside"] = request.alongside.into();
            if !overridden.is_empty() {
                entry.details["forced"] = serde_json::json!(overridden);
            }
        }
        if let Some(ends) = ends {
            change = step::take_over(change, ends);
        }
        match self.worker.commit(&change).await? {
            Committed::Done(_) => {}
            Committed::Busy(running) => return Err(Refusal::Busy(running)),
            Committed::Conflict => return Err(Refusal::Conflict),
        }
        self.worker.look_now(rollover.id).await;
        self.rollover(rollover.id).await
    }

    /// The rollover that `request` takes over from, if it may.
    async fn superseded(&self, running: RolloverId, request: &Request) -> Result<World, Refusal> {
        let world = self.world(running).await?;
        let rollover = &world.rollover;
        let why = if request.mode != Mode::Hard || request.dry_run {
            "only a hard rollover takes over from another"
        } else if rollover.secret != request.secret {
            "it is of another secret; run beside it with \"alongside\": true"
        } else if !rollover.phase.is_active() || rollover.dry_run {
            "it is not in progress; begin without \"supersede\""
        } else if rollover.secret.entry().class == Class::Provider {
            "a credential ends at its provider: say that it is revoked there, or roll it back"
        } else {
            return Ok(world);
        };
        Err(Refusal::NotSuperseded(running, why))
    }

    /// One rollover.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] when there is none of this id.
    pub async fn rollover(&self, id: RolloverId) -> Result<Rollover, Refusal> {
        self.worker.replica().store().rollover(id).await?.ok_or(Refusal::NotFound(id))
    }

    /// Nothing moves until it is resumed.
    ///
    /// # Errors
    /// [`Refusal`] when it is at its end.
    pub async fn pause(
        &self,
        id: RolloverId,
        actor: Actor,
        why: &str,
    ) -> Result<Rollover, Refusal> {
        self.change(id, actor, why, |step| active(step).map(|()| step.pause())).await
    }

    /// It moves on.
    ///
    /// # Errors
    /// [`Refusal`] when it is at its end.
    pub async fn resume(
        &self,
        id: RolloverId,
        actor: Actor,
        why: &str,
    ) -> Result<Rollover, Refusal> {
        self.change(id, actor, why, |step| active(step).map(|()| step.resume())).await
    }

    /// Makes the old key primary again, and rewraps back.
    ///
    /// # Errors
    /// [`Refusal::Illegal`] once the old key is retired by a graceful rollover's end,
    /// [`Refusal::Spent`] when the old key has no seals left; [`Refusal::Revoked`],
    /// [`Refusal::Revoking`] and [`Refusal::Dead`] when the old credential is revoked, or
    /// may be.
    pub async fn roll_back(
        &self,
        id: RolloverId,
        actor: Actor,
        why: &str,
    ) -> Result<Rollover, Refusal> {
        let rollover = self.rollover(id).await?;
        let custody = self.worker.replica().store().custody().await?;
        let is_spent = custody.keys.iter().any(|key| {
            (key.secret, &key.id) == (rollover.secret, &rollover.from_key)
                && key.seals >= SEAL_LIMIT
        });
        // Before promotion there is nothing to go back to: the old key never left.
        if is_spent && matches!(rollover.phase, Phase::Promoted | Phase::Drained) {
            return Err(Refusal::Spent(rollover.from_key));
        }
        self.check_old_credential(&rollover).await?;
        self.change(id, actor, why, |step| {
            let Rollover { revoked_at, revoking_at, phase, .. } = step.rollover;
            match (revoked_at, revoking_at) {
                (Some(at), _) if phase.is_active() => Err(Refusal::Revoked(*at)),
                (_, Some(at)) if phase.is_active() => Err(Refusal::Revoking(*at)),
                _ => Ok(step.roll_back()?),
            }
        })
        .await
    }

    /// An old credential that its provider knows no more is not gone back to, whoever has
    /// revoked it. Of a provider that does not answer nothing is known.
    async fn check_old_credential(&self, rollover: &Rollover) -> Result<(), Refusal> {
        let provider = match rollover.phase {
            Phase::Promoted | Phase::Drained if !rollover.may_be_revoked() => {
                self.worker.provider(rollover.secret)
            }
            _ => None,
        };
        let Some(provider) = provider else { return Ok(()) };
        let old = self.worker.material(rollover.secret, &rollover.from_key).await?;
        match tried(provider, &old).await {
            Err(error @ ProviderError::Refused(_)) => Err(Refusal::Dead(error)),
            _ => Ok(()),
        }
    }

    /// Changes the ceiling on rows rewrapped a second.
    ///
    /// # Errors
    /// [`Refusal`] when it is at its end.
    pub async fn limit(
        &self,
        id: RolloverId,
        actor: Actor,
        max_rows_per_second: Option<u32>,
    ) -> Result<Rollover, Refusal> {
        let why = "the operator changed the ceiling";
        self.change(id, actor, why, |step| active(step).map(|()| step.limit(max_rows_per_second)))
            .await
    }

    /// Retires the key that runs dry now, if nothing needs it: the old one, or the
    /// new one on the way back. `accept` decides what does not count.
    ///
    /// # Errors
    /// [`Refusal::StillNeeded`] names what still needs the key.
    pub async fn retire(
        &self,
        id: RolloverId,
        actor: Actor,
        why: &str,
        accept: Accept,
    ) -> Result<Rollover, Refusal> {
        let mut world = self.world(id).await?;
        if world.rollover.draining_key().is_none() {
            return Err(Refusal::NotDraining(world.rollover.phase));
        }
        world.rollover.accept_quarantined |= accept.quarantined;
        world.rollover.accept_loss |= accept.loss;
        // Unless it is being asked, the provider is asked once more, below.
        if world.rollover.asked_by.is_none() {
            world.ask_at = None;
        }
        if let Some(needed) = self.still_needed(&mut world).await? {
            return Err(Refusal::StillNeeded(needed));
        }
        if accept.quarantined {
            self.change(id, actor.clone(), why, |step| Ok(step.accept_quarantined())).await?;
        }
        if accept.loss {
            self.change(id, actor, why, |step| Ok(step.accept_loss())).await?;
        }
        self.ask_again(id).await?;
        match self.worker.drive(id).await? {
            // Retired; whether it is accepted anywhere is not for this call to await.
            Next::After(_, Blocker::Accepted(_) | Blocker::Unfenced(_)) | Next::Never => {
                self.rollover(id).await
            }
            Next::After(_, blocker) => {
                let told = self.rollover(id).await?.blocked_by;
                Err(Refusal::StillNeeded(told.unwrap_or_else(|| blocker.to_string())))
            }
        }
    }

    /// Lets the provider be asked at once that was asked lately.
    async fn ask_again(&self, id: RolloverId) -> Result<(), Refusal> {
        let world = self.world(id).await?;
        if world.rollover.ask_at.is_some() && world.rollover.asked_by.is_none() {
            let because = "an operator wants it retired";
            let step = step::Step::of(&world, Actor::System, because);
            self.worker.commit(&step.ask_again()).await?;
        }
        Ok(())
    }

    /// Notes that an operator has revoked the old credential at its provider.
    ///
    /// # Errors
    /// [`Refusal::NoCredential`] unless a credential waits for it.
    pub async fn revoked(
        &self,
        id: RolloverId,
        actor: Actor,
        why: &str,
    ) -> Result<Rollover, Refusal> {
        self.change(id, actor, why, |step| {
            let rollover = step.rollover;
            let is_credential = rollover.secret.entry().class == Class::Provider;
            if !is_credential || rollover.phase != Phase::Promoted || rollover.settled_at.is_none()
            {
                return Err(Refusal::NoCredential(rollover.phase));
            }
            Ok(step.revoked(why))
        })
        .await
    }

    /// What the key that runs dry is still needed for.
    async fn still_needed(&self, world: &mut World) -> Result<Option<String>, Refusal> {
        let is_counted = matches!(
            plan(world).action,
            Action::Wait(Blocker::Bulk) | Action::BeginPass | Action::TakeCensus
        );
        if !is_counted {
            let listed = self.worker.listed_at(world.rollover.secret);
            return Ok(blocker(plan(world).action).map(|blocker| match (&blocker, listed) {
                (Blocker::Unrevoked, _) => {
                    world.rollover.blocked_by.clone().unwrap_or_else(|| blocker.to_string())
                }
                (Blocker::Needed { .. }, Some(path)) => {
                    format!("{blocker}; GET {path} lists whose they are")
                }
                _ => blocker.to_string(),
            }));
        }
        let (secret, target) = (world.rollover.secret, world.rollover.target);
        let left = self.worker.what_is_left(secret, target, world.now).await?;
        if left.still_stale() > 0 {
            let tables: Vec<_> = left
                .tables
                .iter()
                .filter(|table| table.stale > 0)
                .map(|table| format!("{} in {}", table.stale, table.table))
                .collect();
            return Ok(Some(format!(
                "{} row(s) are sealed under another key than the primary: {}; the bulk rewrap comes by",
                left.still_stale(),
                tables.join(", ")
            )));
        }
        world.bulk = left.as_bulk();
        Ok(blocker(plan(world).action).map(|blocker| left.tell(blocker)))
    }

    /// Erases the old key's material, for ever.
    ///
    /// # Errors
    /// [`Refusal::Horizon`] within the backup horizon, [`Refusal::StillNeeded`]
    /// when a replica may still accept the key, or the census finds something under it.
    pub async fn destroy(
        &self,
        id: RolloverId,
        actor: Actor,
        why: &str,
    ) -> Result<Rollover, Refusal> {
        let world = self.world(id).await?;
        let rollover = &world.rollover;
        if rollover.phase != Phase::Retired {
            return Err(Refusal::NotRetired(rollover.phase));
        }
        let store = self.worker.replica().store();
        let custody = store.custody().await?;
        let key = custody
            .keys
            .iter()
            .find(|key| key.secret == rollover.secret && key.id == rollover.from_key)
            .filter(|key| key.state == KeyState::Retired)
            .ok_or(Refusal::Conflict)?;
        let until = key.retired_at.unwrap_or(world.now).plus(self.horizon);
        if world.now < until {
            return Err(Refusal::Horizon { key: key.id.clone(), until });
        }
        if rollover.awaited_cut_off().is_some() && world.proven_cut_off().is_none() {
            return Err(Refusal::StillNeeded(accepted_by(&world.acceptors)));
        }
        if rollover.secret.entry().class == Class::Sealing {
            let survey = store.survey(self.worker.registry()).await?;
            let elsewhere = self.worker.registered_elsewhere().await?;
            if let Some(fault) = survey.faults.iter().chain(&elsewhere).find(|f| f.blocks()) {
                return Err(Refusal::StillNeeded(fault.to_string()));
            }
            let needs = |form: &str| {
                form.ends_with(&format!(":{}", key.id))
                    || (key.unnamed && matches!(form, "enc:v1" | "mfa:v1"))
            };
            let mut needed = vec![];
            for table in &survey.tables {
                for column in store.census(table).await? {
                    let values = column.values.iter();
                    needed.extend(
                        values.filter(|(form, n)| **n > 0 && needs(form)).map(|(form, n)| {
                            format!("{n} value(s) of {} are {form}", column.column)
                        }),
                    );
                }
            }
            if !needed.is_empty() {
                return Err(Refusal::StillNeeded(needed.join("; ")));
            }
        }
        self.change(id, actor, why, |step| Ok(step.destroy()?)).await
    }

    async fn world(&self, id: RolloverId) -> Result<World, Refusal> {
        self.worker.observe(id).await?.ok_or(Refusal::NotFound(id))
    }

    /// Applies one change to `id`, looking again when another replica was first.
    async fn change(
        &self,
        id: RolloverId,
        actor: Actor,
        why: &str,
        make: impl Fn(&step::Step<'_>) -> Result<Change, Refusal>,
    ) -> Result<Rollover, Refusal> {
        const TRIES: u32 = 20;
        let because = checked_reason(why)?;
        for _ in 0..TRIES {
            let world = self.world(id).await?;
            let change = make(&step::Step::of(&world, actor.clone(), &because))?;
            if let Committed::Done(_) = self.worker.commit(&change).await? {
                self.worker.look_now(id).await;
                return self.rollover(id).await;
            }
        }
        Err(Refusal::Conflict)
    }
}

fn blocker(action: Action) -> Option<Blocker> {
    match action {
        Action::Wait(blocker) => Some(blocker),
        _ => None,
    }
}

/// Who may still accept a retired key, by name.
fn accepted_by(acceptors: &[Acceptor]) -> String {
    let accepting = acceptors.iter().filter(|acceptor| acceptor.acceptance.ended_at().is_none());
    let told: Vec<_> = accepting
        .map(|acceptor| format!("replica {} {}", acceptor.name, acceptor.acceptance))
        .collect();
    format!("it may still be accepted: {}", told.join("; "))
}

fn active(step: &step::Step<'_>) -> Result<(), Refusal> {
    if step.rollover.phase.is_active() {
        Ok(())
    } else {
        Err(Refusal::AtItsEnd(step.rollover.phase))
    }
}

fn checked_reason(reason: &str) -> Result<String, Refusal> {
    let trimmed = reason.trim();
    let fits = (1..=LONGEST_REASON).contains(&trimmed.chars().count());
    if !fits || trimmed.chars().any(char::is_control) {
        return Err(Refusal::Reason);
    }
    Ok(trimmed.to_owned())
}
