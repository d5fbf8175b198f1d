//! Carries a rollover as far as it goes: look, plan, do one step, look again.
//!
//! 1. What to do follows from the store alone, so that any replica may do it, and
//!    one that died is replaced by the next that looks.
//! 2. A step is one guarded change. Done by another replica meanwhile, it is not
//!    done again: this one looks again.
//! 3. A key is retired only after a proof taken right before.
//! 4. A look costs a few reads, whatever holds a rollover up: what is dear, a census or what
//!    a provider is asked, is remembered until it is due again.

use std::{
    collections::HashMap,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{DriveError, Worker, credential::Ask, sweep::Swept};
use crate::{
    catalog::{Class, Secret},
    column::Table,
    ids::RolloverId,
    keyring::Origin,
    material::Material,
    rollover::{Action, Blocker, Mode, Phase, Planned, Rollover, World, is_dry, plan},
    store::{Actor, Change, Committed, KeyRecord, NewRange, PassProgress, StoreError, step::Step},
};

/// When to look at a rollover again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It waits for something; look again after a while.
    After(Duration, Blocker),
    /// It is at its end, or gone, or a newer version's to drive.
    Never,
}

/// How far a rollover goes by itself.
#[derive(Debug)]
pub(super) enum Halt {
    /// It waits, or is at its end.
    Rests(Next),
    /// Its provider is to be asked, which may take its time.
    Asks(Box<Ask>),
}

/// The census that each rollover waits for, and at which revision.
pub(super) type Counts = HashMap<RolloverId, (u64, Counted)>;

/// A census, and when it was taken.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    at: Instant,
    left: Arc<Swept>,
}

impl From<Swept> for Counted {
    fn from(left: Swept) -> Self {
        Self { at: Instant::now(), left: Arc::new(left) }
    }
}

impl Worker {
    /// Carries `id` as far as it goes now, and waits for its provider on the way.
    ///
    /// # Errors
    /// [`DriveError`]; what was committed stays, and the next look goes on from there.
    pub async fn drive(&self, id: RolloverId) -> Result<Next, DriveError> {
        loop {
            match self.advance(id).await? {
                Halt::Rests(next) => return Ok(next),
                Halt::Asks(ask) => self.ask(*ask).await?,
            }
        }
    }

    /// Carries `id` as far as it goes without its provider.
    ///
    /// # Errors
    /// As [`Worker::drive`].
    pub(super) async fn advance(&self, id: RolloverId) -> Result<Halt, DriveError> {
        loop {
            let mut world = match self.observe(id).await {
                Ok(Some(world)) => world,
                Ok(None) | Err(DriveError::Store(StoreError::Newer(_))) => {
                    return Ok(Halt::Rests(Next::Never));
                }
                Err(error) => return Err(error),
            };
            let mut planned = plan(&world);
            let mut why = None;
            if self.is_time_to_count(&world, planned.action).await? {
                let counted = match self.counted_lately(&world) {
                    Some(counted) => counted,
                    None => self.take_census(&world).await?.into(),
                };
                world.bulk = counted.left.as_bulk();
                planned = plan(&world);
                if let Action::Wait(blocker) = planned.action {
                    why = Some(counted.left.tell(blocker));
                    self.counted().insert(id, (world.rollover.revision, counted));
                }
            }
            match planned.action {
                Action::Rest => return Ok(Halt::Rests(Next::Never)),
                Action::Wait(blocker) => {
                    self.note(&world, blocker, why).await?;
                    if blocker == Blocker::Bulk {
                        self.ask_for_work(&world.rollover).await?;
                    }
                    return Ok(waits(patience(&world, blocker), blocker));
                }
                Action::Stage | Action::Probe | Action::Revoke
                    if world.rollover.is_credential() =>
                {
                    let Some(provider) = self.provider(world.rollover.secret) else {
                        self.note(&world, Blocker::NotSetUp, None).await?;
                        return Ok(waits(MOMENT, Blocker::NotSetUp));
                    };
                    // This process is at it: a pause and its end came in between.
                    let Some(turn) = self.asking.take(id) else {
                        return Ok(waits(MOMENT, Blocker::Asking));
                    };
                    if let Some(ask) = self.claim(&world, planned, provider, turn).await? {
                        return Ok(Halt::Asks(Box::new(ask)));
                    }
                }
                _ => self.perform(&world, planned).await?,
            }
        }
    }

    /// Whether a pass is done, or would have no table to go over.
    async fn is_time_to_count(&self, world: &World, action: Action) -> Result<bool, DriveError> {
        Ok(match action {
            Action::TakeCensus => true,
            Action::BeginPass => {
                let concerned = self.concerned(world.rollover.secret);
                self.replica.store().survey(&concerned).await?.tables.is_empty()
            }
            _ => false,
        })
    }

    /// The census that made this very rollover wait, if it is not long ago. Looks come
    /// more often than a large database should be counted; whoever resumes the
    /// rollover changes it, and has it counted anew.
    fn counted_lately(&self, world: &World) -> Option<Counted> {
        let counted = self.counted();
        let (revision, counted) = counted.get(&world.rollover.id)?;
        let holds = *revision == world.rollover.revision && counted.at.elapsed() < LONGEST;
        holds.then(|| counted.clone())
    }

    fn counted(&self) -> MutexGuard<'_, Counts> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one step. When another replica was first, nothing happens.
    async fn perform(&self, world: &World, planned: Planned) -> Result<(), DriveError> {
        let rollover = &world.rollover;
        let step = step(world, planned.because);
        let change = match planned.action {
            Action::Rehearse => step.rehearse(self.rehearse(rollover).await?)?,
            Action::GiveUp if rollover.phase == Phase::Requested => {
                step.refuse(planned.because.to_owned())?
            }
            Action::GiveUp => step.roll_back()?,
            Action::Stage => step.stage(self.new_key(rollover.secret).await?)?,
            Action::Promote => step.promote(&world.older)?,
            Action::Settle => step.settle(),
            Action::BeginPass => {
                let ranges = self.ranges(world).await?;
                step.begin_pass(|pass| {
                    ranges.into_iter().map(|range| NewRange { pass, ..range }).collect()
                })
            }
            Action::Drain => step.drain()?,
            Action::Retire if self.is_needed_after_all(world).await? => step.reopen()?,
            Action::Retire => step.retire(&world.older, self.report(world).await?)?,
            Action::Restage => step.restage(),
            Action::Revert => step.revert(),
            Action::FinishRollingBack => step.finish_rolling_back(self.report(world).await?)?,
            Action::CutOff => match world.proven_cut_off() {
                Some(cut_off) => step.cut_off(cut_off),
                None => return Ok(()),
            },
            Action::Probe
            | Action::Revoke
            | Action::TakeCensus
            | Action::Wait(_)
            | Action::Rest => return Ok(()),
        };
        let committed = self.commit(&change).await?;
        tracing::info!(
            rollover = %rollover.id, secret = %rollover.secret, action = ?planned.action,
            because = planned.because, done = ?committed, "rollover step"
        );
        Ok(())
    }

    /// Applies a change, and at once what it changes here.
    ///
    /// # Errors
    /// [`DriveError`] when the store does not answer.
    pub async fn commit(&self, change: &Change) -> Result<Committed, DriveError> {
        let committed = self.replica.store().commit(change).await?;
        if !change.keys.is_empty() {
            self.replica.refresh().await?;
            self.replica.beat().await?;
            self.replica.nudge();
        }
        Ok(committed)
    }

    /// The key that a rollover of `secret` stages: made here, and sealed before anyone
    /// sees it.
    async fn new_key(&self, secret: Secret) -> Result<KeyRecord, DriveError> {
        let material = Material::generate()?;
        Ok(self.replica.staged_key(secret, &material, Origin::Generated).await?)
    }

    async fn take_census(&self, world: &World) -> Result<Swept, DriveError> {
        let store = self.replica.store();
        let rollover = &world.rollover;
        let left = self.what_is_left(rollover.secret, rollover.target, world.now).await?;
        if let Some(pass) = store.pass(rollover.id, rollover.pass).await? {
            // What the pass did not meet again was repaired, deleted, or can be opened. Where
            // it looks at old seeds alone, it does not meet the others.
            let own =
                |table: &&Table| table.columns().iter().any(|c| c.secret() == rollover.secret);
            for table in self.registry.tables().iter().filter(own) {
                store.release_quarantine(table.name(), pass.began_at).await?;
            }
        }
        Ok(left)
    }

    /// The proof right before the door closes. A hard rollover has closed it already.
    async fn is_needed_after_all(&self, world: &World) -> Result<bool, DriveError> {
        let rollover = &world.rollover;
        if rollover.mode == Mode::Hard {
            return Ok(false);
        }
        match rollover.secret.entry().class {
            Class::Sealing => {}
            // The world was looked at a moment ago.
            Class::Pepper | Class::Issued | Class::Shared => return Ok(!is_dry(world)),
            Class::Signing | Class::Provider => return Ok(false),
        }
        let left = self.take_census(world).await?;
        let blocked_by_bad = left.unopenable_rows() > 0 && !rollover.accept_quarantined;
        Ok(left.still_stale() > 0 || !left.unseen.is_empty() || blocked_by_bad)
    }

    /// The ranges of a new pass: every table that it concerns, large ones in parts.
    async fn ranges(&self, world: &World) -> Result<Vec<NewRange>, DriveError> {
        let store = self.replica.store();
        let live = store.replicas().await?.iter().filter(|replica| replica.live).count();
        // A share for every task of every replica, unless the table is too small for it.
        let hands = self.parts.saturating_mul(u32::try_from(live).unwrap_or(u32::MAX).max(1));
        let mut ranges = vec![];
        let concerned = self.concerned(world.rollover.secret);
        for table in &store.survey(&concerned).await?.tables {
            let rows = store.approximate_rows(table).await?;
            let parts = u32::try_from(rows / RANGE_ROWS).unwrap_or(u32::MAX);
            let bounds = store.split(table, parts.max(hands).min(MOST_PARTS)).await?;
            let mut after = None;
            for (number, upto) in bounds.into_iter().map(Some).chain([None]).enumerate() {
                ranges.push(NewRange {
                    rollover: world.rollover.id,
                    pass: world.rollover.pass,
                    table: table.table.name().to_owned(),
                    number: number as u32,
                    after: after.take(),
                    upto: upto.clone(),
                });
                after = upto;
            }
        }
        Ok(ranges)
    }

    /// Tells people what the rollover waits for, and `why` in particular. What its
    /// provider said is not talked over by who can tell less.
    async fn note(
        &self,
        world: &World,
        blocker: Blocker,
        why: Option<String>,
    ) -> Result<(), DriveError> {
        let told = &world.rollover.blocked_by;
        let tells_less =
            matches!(blocker, Blocker::Asking | Blocker::Unrevoked | Blocker::NotSetUp);
        let by = Some(why.unwrap_or_else(|| blocker.to_string()));
        if *told != by && !(tells_less && told.is_some()) {
            self.commit(&step(world, "it is blocked").blocked(by)).await?;
        }
        Ok(())
    }

    /// How far each of its passes came.
    pub(crate) async fn passes(
        &self,
        rollover: &Rollover,
    ) -> Result<Vec<PassProgress>, DriveError> {
        let mut passes = vec![];
        for pass in 1..=rollover.pass {
            passes.extend(self.replica.store().pass(rollover.id, pass).await?);
        }
        Ok(passes)
    }

    /// What the rollover did, once it is at its end.
    async fn report(&self, world: &World) -> Result<serde_json::Value, DriveError> {
        let rollover = &world.rollover;
        let passes = self.passes(rollover).await?;
        let sum = |of: fn(&PassProgress) -> u64| passes.iter().map(of).sum::<u64>();
        let quarantined = self.replica.store().quarantined(u32::MAX).await?.len();
        Ok(json!({
            "seconds": world.now.since(rollover.created_at).as_secs_f64(),
            "passes": rollover.pass,
            "rowsScanned": sum(|pass| pass.scanned),
            "rowsRewrapped": sum(|pass| pass.rewrapped),
            "rowsThatKeptAnEdit": sum(|pass| pass.superseded),
            "valuesQuarantined": quarantined,
            "elsewhere": rollover.secret.entry().elsewhere,
        }))
    }
}

pub(super) fn step<'a>(world: &'a World, because: &'a str) -> Step<'a> {
    Step::of(world, Actor::System, because)
}

const fn waits(after: Duration, blocker: Blocker) -> Halt {
    Halt::Rests(Next::After(after, blocker))
}

/// About how many rows a range has: few enough that reading past them, final as they
/// may be, takes less than the lease of a range.
const RANGE_ROWS: u64 = 50_000;

/// How many ranges one table is split into at most.
const MOST_PARTS: u32 = 4096;

/// How long to leave a rollover alone that another replica has in hand.
const MOMENT: Duration = Duration::from_secs(1);

/// The longest that a rollover is left alone.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// How long to leave a blocked rollover alone. What unblocks it also wakes it;
/// this is for what nobody reports.
fn patience(world: &World, blocker: Blocker) -> Duration {
    match blocker {
        Blocker::Replicas(_) | Blocker::InFlight(_) | Blocker::Accepted(_) | Blocker::Bulk => {
            Duration::from_secs(1)
        }
        Blocker::Lifetime(until) | Blocker::Grace(until) => until.since(world.now).min(LONGEST),
        Blocker::Asking | Blocker::Unrevoked => {
            world.ask_at.map_or(MOMENT, |at| at.since(world.now).min(LONGEST))
        }
        Blocker::Needed { .. } => Duration::from_secs(15),
        Blocker::Presented(_)
        | Blocker::Uncounted
        | Blocker::NotSetUp
        | Blocker::Paused
        | Blocker::Unfenced(_)
        | Blocker::Stale(_)
        | Blocker::Quarantined(_)
        | Blocker::Unseen(_) => LONGEST,
    }
}
