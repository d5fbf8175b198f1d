//! The one next action of a rollover.

use std::time::Duration;

use crate::{catalog::Class, clock::Timestamp, ids::ReplicaId, keyring::KeyState};

use super::{
    phase::Phase,
    record::{Mode, Rollover},
};

/// Everything that the next action depends on.
#[derive(Debug, Clone)]
pub struct World {
    /// The rollover.
    pub rollover: Rollover,
    /// The state of the key that it replaces.
    pub from_state: KeyState,
    /// The state of the key that takes its place, once there is one.
    pub to_state: Option<KeyState>,
    /// Live replicas that have not acknowledged the present epoch.
    pub behind: Vec<ReplicaId>,
    /// The longest lifetime that the draining key signed (signing secrets).
    pub longest_lifetime: Duration,
    /// How far the bulk rewrap of this pass is (sealing secrets).
    pub bulk: Bulk,
    /// The present moment.
    pub now: Timestamp,
}

/// How far the bulk rewrap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bulk {
    /// No pass has begun since the present primary settled.
    NotBegun,
    /// Ranges are left to do.
    Running,
    /// Every range of the pass is done, and no census was taken since.
    PassDone,
    /// The census after the pass.
    Counted {
        /// Values that are not in their target form under the primary key,
        /// quarantined ones aside.
        stale: u64,
        /// Values that no key opens.
        quarantined: u64,
        /// Registered columns that could not be looked at.
        unseen: u64,
    },
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Make the report of a dry run.
    Rehearse,
    /// Put the new key in custody, accepted everywhere.
    Stage,
    /// Make the new key primary; the old one keeps being accepted, unless the
    /// mode is hard.
    Promote,
    /// Note that every live replica uses the present primary.
    Settle,
    /// Begin a bulk pass.
    BeginPass,
    /// Count what is left.
    TakeCensus,
    /// Note that nothing needs the old key.
    Drain,
    /// Stop accepting the old key.
    Retire,
    /// Accept the retired old key again, before it can be primary.
    Restage,
    /// Make the old key primary again.
    Revert,
    /// Retire the new key: the rolling back is complete.
    FinishRollingBack,
    /// Nothing to do before something changes.
    Wait(Blocker),
    /// The rollover is at its end.
    Rest,
}

/// What a rollover waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Blocker {
    /// An operator paused it.
    #[error("paused by an operator; resume it to go on")]
    Paused,
    /// Live replicas that have not acknowledged the present epoch.
    #[error("{0} live replica(s) have not acknowledged the present epoch")]
    Replicas(usize),
    /// What the old key signed is still within its lifetime.
    #[error(
        "tokens of the old key are accepted until {0}, when the longest lifetime that it signed has passed"
    )]
    Lifetime(Timestamp),
    /// The bulk rewrap is at work.
    #[error("the bulk rewrap is at work")]
    Bulk,
    /// Values that no key opens.
    #[error(
        "{0} value(s) that no key opens are quarantined; repair them, or retire with acceptQuarantined"
    )]
    Quarantined(u64),
    /// Registered columns that could not be looked at.
    #[error("{0} registered column(s) could not be looked at; grant the privilege, then resume")]
    Unseen(u64),
}

/// An action and its reason, for the audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// What to do.
    pub action: Action,
    /// Why.
    pub because: &'static str,
}

const fn planned(action: Action, because: &'static str) -> Planned {
    Planned { action, because }
}

const fn wait(blocker: Blocker) -> Planned {
    planned(Action::Wait(blocker), "it is blocked")
}

/// The one next action. Pure: the same world gives the same answer.
#[must_use]
pub fn plan(world: &World) -> Planned {
    let rollover = &world.rollover;
    if !rollover.phase.is_active() {
        return planned(Action::Rest, "the rollover is at its end");
    }
    if rollover.paused_at.is_some() {
        return wait(Blocker::Paused);
    }
    match rollover.phase {
        Phase::Requested if rollover.dry_run => {
            planned(Action::Rehearse, "a dry run changes nothing")
        }
        Phase::Requested => planned(Action::Stage, "a key is read everywhere before it is used"),
        Phase::Staged if world.behind.is_empty() => {
            planned(Action::Promote, "every live replica reads the new key")
        }
        Phase::Promoted | Phase::Drained if rollover.settled_at.is_none() => settle(world),
        Phase::Promoted => drain(world, Action::Drain),
        Phase::Drained => retire(world),
        Phase::RollingBack => roll_back(world),
        _ => wait(Blocker::Replicas(world.behind.len())),
    }
}

fn settle(world: &World) -> Planned {
    if world.behind.is_empty() {
        planned(Action::Settle, "every live replica uses the present primary")
    } else {
        wait(Blocker::Replicas(world.behind.len()))
    }
}

/// Waits until nothing needs the draining key, then does `done`.
fn drain(world: &World, done: Action) -> Planned {
    match world.rollover.secret.entry().class {
        Class::Signing => drain_signing(world, done),
        Class::Sealing => drain_sealing(world, done),
    }
}

fn drain_signing(world: &World, done: Action) -> Planned {
    let settled_at = world.rollover.settled_at.unwrap_or(world.now);
    let until = settled_at.plus(world.longest_lifetime);
    if world.rollover.mode == Mode::Hard && world.rollover.phase == Phase::Promoted {
        planned(done, "a hard rollover ends the old key's tokens at once")
    } else if world.now < until {
        wait(Blocker::Lifetime(until))
    } else {
        planned(done, "the longest lifetime that the old key signed has passed")
    }
}

fn drain_sealing(world: &World, done: Action) -> Planned {
    match world.bulk {
        Bulk::NotBegun => planned(Action::BeginPass, "values under other keys are left to rewrap"),
        Bulk::Running => wait(Blocker::Bulk),
        Bulk::PassDone => planned(Action::TakeCensus, "the pass is done"),
        Bulk::Counted { unseen, .. } if unseen > 0 => wait(Blocker::Unseen(unseen)),
        Bulk::Counted { stale, .. } if stale > 0 => {
            planned(Action::BeginPass, "the census found values that changed meanwhile")
        }
        Bulk::Counted { quarantined, .. }
            if quarantined > 0 && !world.rollover.accept_quarantined =>
        {
            wait(Blocker::Quarantined(quarantined))
        }
        Bulk::Counted { .. } => planned(done, "the census found nothing under another key"),
    }
}

/// In a graceful rollover the proof is taken once more, right before the door closes.
fn retire(world: &World) -> Planned {
    planned(
        Action::Retire,
        match world.rollover.mode {
            Mode::Graceful => "nothing needs the old key",
            Mode::Hard => "a hard rollover retired it when the new key was promoted",
        },
    )
}

/// The old key is accepted everywhere, then primary, then the new one runs dry.
fn roll_back(world: &World) -> Planned {
    match world.from_state {
        KeyState::Retired => planned(Action::Restage, "a key is read everywhere before it is used"),
        KeyState::Staged | KeyState::Retiring if world.behind.is_empty() => {
            planned(Action::Revert, "every live replica reads the old key")
        }
        KeyState::Staged | KeyState::Retiring => wait(Blocker::Replicas(world.behind.len())),
        _ if world.rollover.settled_at.is_none() => settle(world),
        _ => drain(world, Action::FinishRollingBack),
    }
}
