//! What workers and operators decide on, with the product's own planner and steps.

use std::{collections::BTreeSet, sync::LazyLock, time::Duration};

use breeze_rollover::{
    catalog::{Class, Secret},
    ids::{Epoch, ReplicaId},
    keyring::{KeyState, Origin},
    material::Material,
    rollover::{Action, Bulk, Event, IllegalTransition, Mode, Phase, Reliance, World, plan},
    store::{
        Actor, Change, KeyRecord,
        step::{self, Step},
    },
};
use uuid::Uuid;

use super::{
    course::{Course, NOW, id_of},
    database::{Database, KEYS, Key},
    protocol::Protocol,
    rules::{Bounds, Rule},
    state::{Lease, Process, State},
};

/// One change that was decided on what was read, and is not committed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Decision {
    /// A rollover begins from this key, which was primary.
    Begin(Key),
    /// A rollover that was read at `revision` goes on.
    Step { course: usize, revision: u8, verb: Verb },
}

/// A step of `store::step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    GiveUp,
    Stage,
    Promote,
    Settle,
    BeginPass,
    Drain,
    Reopen,
    Retire,
    Restage,
    Revert,
    FinishRollingBack,
    RollBack,
    Destroy,
}

impl Protocol {
    /// What may be decided now, by whoever looks.
    pub fn decisions(&self, state: &State) -> Vec<Decision> {
        let courses = 0..state.database.courses.len();
        let asked = if state.asks < self.bounds.asks { self.asks(state) } else { vec![] };
        let planned = courses.flat_map(|course| self.steps(state, course));
        asked.into_iter().chain(planned).filter(|it| !state.decisions.contains(it)).collect()
    }

    /// What is left to rewrap, as `process` counts it: with keys that are no older than
    /// the rollover that was read.
    fn census(&self, state: &State, process: &Process) -> Option<Bulk> {
        let (keys, cell) = (process.present, state.database.cell);
        if keys.epoch < state.database.epoch && self.keeps(Rule::CountWithPresentKeys) {
            return None;
        }
        let opens = keys.accepts(cell.key) || self.is_reopened(state, cell.key);
        let is_stale = opens && keys.primary() != Some(cell.key) && self.keeps(Rule::RetireAtZero);
        Some(Bulk::Counted { stale: is_stale.into(), quarantined: (!opens).into(), unseen: 0 })
    }

    /// The steps of a rollover that `Worker::drive` may come to, on one replica or another.
    fn steps(&self, state: &State, number: usize) -> Vec<Decision> {
        let course = &state.database.courses[number];
        let up = state.processes.iter().filter(|it| it.is_up);
        if !course.phase.is_active() || up.clone().next().is_none() {
            return vec![];
        }
        let mut world = state.database.world(number, &self.bounds, &state.leases());
        self.overlook(course, &mut world);
        let planned = plan(&world).action;
        let is_proven = self.class() == Class::Sealing && self.bounds.mode == Mode::Graceful;
        let mut verbs = BTreeSet::new();
        match planned {
            Action::TakeCensus => verbs.extend(up.filter_map(|process| {
                world.bulk = self.census(state, process)?;
                verb(plan(&world).action)
            })),
            Action::Retire if is_proven => {
                verbs.extend(up.filter_map(|process| match self.census(state, process)? {
                    Bulk::Counted { stale: 0, .. } => Some(Verb::Retire),
                    _ => Some(Verb::Reopen),
                }))
            }
            _ => verbs.extend(verb(planned)),
        }
        let way_back = if course.phase == Phase::RollingBack { 2 } else { 0 };
        if course.pass >= self.bounds.passes + way_back {
            verbs.remove(&Verb::BeginPass);
        }
        let step = |verb| Decision::Step { course: number, revision: course.revision, verb };
        verbs.into_iter().map(step).collect()
    }

    /// Leaves out of the world what a broken rule does not look at.
    fn overlook(&self, course: &Course, world: &mut World) {
        let is_staged = course.phase == Phase::Staged;
        if is_staged && !self.keeps(Rule::PromoteWhatAllRead) {
            world.behind.clear();
            world.unsettled.clear();
        }
        if is_staged && !self.keeps(Rule::PromoteWhatRequestsRead) {
            world.unsettled.clear();
        }
        if !self.keeps(Rule::RetireAfterLifetime) {
            world.now = world.now.plus(world.longest_lifetime);
        }
    }

    /// What an operator may ask for, having looked.
    fn asks(&self, state: &State) -> Vec<Decision> {
        let database = &state.database;
        let mut asks = vec![];
        let may_begin = database.courses.len() < self.bounds.rollovers;
        if let Some(key) = database.snapshot().primary().filter(|_| may_begin) {
            asks.push(Decision::Begin(key));
        }
        for (number, course) in database.courses.iter().enumerate() {
            let step = |verb| Decision::Step { course: number, revision: course.revision, verb };
            if course.phase.next(Event::RollBack).is_ok() {
                asks.push(step(Verb::RollBack));
            }
            if self.may_be_destroyed(state, course) {
                asks.push(step(Verb::Destroy));
            }
        }
        asks
    }

    /// The backup horizon is over, and the census by key id finds nothing.
    fn may_be_destroyed(&self, state: &State, course: &Course) -> bool {
        let is_needed = || {
            let written = state.processes.iter().filter_map(|it| it.writing.map(|it| it.key));
            written.chain([state.database.cell.key]).any(|key| key == course.from)
        };
        course.phase == Phase::Retired
            && state.database.state(course.from) == Some(KeyState::Retired)
            && (self.class() == Class::Signing || !is_needed())
    }
}

impl Decision {
    /// Whether an operator asks for it, and no worker comes to it.
    pub const fn is_asked(&self) -> bool {
        matches!(self, Self::Begin(_) | Self::Step { verb: Verb::RollBack | Verb::Destroy, .. })
    }
}

/// The step that carries out what was planned, if it is one.
const fn verb(planned: Action) -> Option<Verb> {
    Some(match planned {
        Action::GiveUp => Verb::GiveUp,
        Action::Stage => Verb::Stage,
        Action::Promote => Verb::Promote,
        Action::Settle => Verb::Settle,
        Action::BeginPass => Verb::BeginPass,
        Action::Drain => Verb::Drain,
        Action::Retire => Verb::Retire,
        Action::Restage => Verb::Restage,
        Action::Revert => Verb::Revert,
        Action::FinishRollingBack => Verb::FinishRollingBack,
        Action::Rehearse
        | Action::TakeCensus
        | Action::Probe
        | Action::Revoke
        | Action::CutOff
        | Action::Wait(_)
        | Action::Rest => {
            return None;
        }
    })
}

const LIFETIME: Duration = Duration::from_secs(900);

impl Database {
    /// Where `course` stands, as the product's planner sees it; the census aside.
    pub fn world(&self, course: usize, bounds: &Bounds, leases: &[Lease]) -> World {
        let it = &self.courses[course];
        let those = |is_late: &dyn Fn(&Lease) -> bool| {
            let late = leases.iter().filter(|lease| is_late(lease));
            late.map(|_| ReplicaId(Uuid::nil())).collect()
        };
        World {
            rollover: it.rollover(course, bounds),
            from_state: self.state(it.from).unwrap(),
            to_state: it.to.and_then(|to| self.state(to)),
            older: (0..KEYS as Key)
                .filter(|&key| self.state(key) == Some(KeyState::Retiring))
                .filter(|&key| key != it.from && Some(key) != it.to)
                .map(id_of)
                .collect(),
            epoch: Epoch(self.epoch.into()),
            behind: those(&|lease| lease.applied < self.epoch),
            unsettled: those(&|lease| lease.settled < self.epoch),
            // The cut-off is the model's own: see `CutOff`.
            acceptors: vec![],
            longest_lifetime: match bounds.secret {
                Secret::JwtSecret => LIFETIME,
                _ => Duration::ZERO,
            },
            grace: Duration::ZERO,
            presented_at: None,
            reliance: Reliance::Uncounted,
            ask_at: None,
            bulk: if it.pass_begun { Bulk::PassDone } else { Bulk::NotBegun },
            retry_at: None,
            now: if it.lifetime_over { NOW.plus(LIFETIME) } else { NOW },
        }
    }

    /// The product's change for `decision`, if it may still be made.
    pub fn change(&self, decision: Decision, bounds: &Bounds) -> Option<Change> {
        let change = match decision {
            Decision::Begin(_) if self.courses.len() == bounds.rollovers => return None,
            Decision::Begin(from) => {
                let rollover = Course::requested(from).rollover(self.courses.len(), bounds);
                step::begin(rollover, None, false, Actor::System)
            }
            Decision::Step { course, revision, verb } => {
                (self.courses[course].revision == revision).then_some(())?;
                self.step(verb, &self.world(course, bounds, &[]))
            }
        };
        change.ok()
    }

    fn step(&self, verb: Verb, world: &World) -> Result<Change, IllegalTransition> {
        let step = Step {
            rollover: &world.rollover,
            from_state: world.from_state,
            actor: Actor::System,
            because: "of a model",
            now: NOW,
        };
        Ok(match verb {
            Verb::GiveUp if world.rollover.phase == Phase::Requested => {
                step.refuse(String::new())?
            }
            Verb::GiveUp | Verb::RollBack => step.roll_back()?,
            Verb::Stage => step.stage(self.new_key(world.rollover.secret))?,
            Verb::Promote => step.promote(&world.older)?,
            Verb::Settle => step.settle(),
            Verb::BeginPass => step.begin_pass(|_| vec![]),
            Verb::Drain => step.drain()?,
            Verb::Reopen => step.reopen()?,
            Verb::Retire => step.retire(&world.older, serde_json::Value::Null)?,
            Verb::Restage => step.restage(),
            Verb::Revert => step.revert(),
            Verb::FinishRollingBack => step.finish_rolling_back(serde_json::Value::Null)?,
            Verb::Destroy => step.destroy()?,
        })
    }

    fn new_key(&self, secret: Secret) -> KeyRecord {
        let key = self.keys.iter().position(Option::is_none).unwrap() as Key;
        KeyRecord {
            secret,
            id: id_of(key),
            fingerprint: MATERIAL.fingerprint(),
            state: KeyState::Staged,
            unnamed: false,
            origin: Origin::Generated,
            rank: 0,
            sealed: None,
            created_at: NOW,
            promoted_at: None,
            retired_at: None,
            compromised_at: None,
            seals: 0,
            longest_lifetime: LIFETIME,
            presented: 0,
            presented_at: None,
        }
    }
}

static MATERIAL: LazyLock<Material> = LazyLock::new(|| Material::new("of a model").unwrap());
