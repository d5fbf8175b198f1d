//! The one next action of a rollover.

use std::time::Duration;

use crate::{
    catalog::Class,
    clock::Timestamp,
    ids::{Epoch, KeyId, ReplicaId},
    keyring::KeyState,
};

use super::{
    cut_off::{Acceptance, Acceptor, CutOff},
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
    /// Other keys of the secret that are accepted and make nothing more: older ones,
    /// which nothing needs once nothing needs the key that drains.
    pub older: Vec<KeyId>,
    /// The present epoch.
    pub epoch: Epoch,
    /// Live replicas that have not acknowledged the present epoch.
    pub behind: Vec<ReplicaId>,
    /// Live replicas on which a request still holds an older keychain.
    pub unsettled: Vec<ReplicaId>,
    /// Every replica that was live when the rollover retired a key; none once that
    /// key is cut off.
    pub acceptors: Vec<Acceptor>,
    /// The longest lifetime that the draining key signed (signing and shared secrets).
    pub longest_lifetime: Duration,
    /// How long at least the draining key is accepted (shared secrets).
    pub grace: Duration,
    /// When the draining key, or an older one, was last presented (shared secrets).
    pub presented_at: Option<Timestamp>,
    /// What still needs the draining key, or an older one (peppers, issued secrets).
    pub reliance: Reliance,
    /// Not before this moment is the provider asked again (providers): whoever asks it is
    /// at work, or it has answered lately.
    pub ask_at: Option<Timestamp>,
    /// How far the bulk rewrap of this pass is (sealing secrets).
    pub bulk: Bulk,
    /// From when on another pass may begin, after one that changed nothing.
    pub retry_at: Option<Timestamp>,
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

/// What still needs a key, as the application counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reliance {
    /// Nobody counts it here.
    Uncounted,
    /// So much.
    Counted {
        /// Rows that need a key that is not primary.
        rows: u64,
        /// Rows that do not tell which key they need.
        unknown: u64,
    },
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Make the report of a dry run.
    Rehearse,
    /// Give up: the key that it was to replace is not primary any more.
    GiveUp,
    /// Put the new key in custody, accepted everywhere.
    Stage,
    /// Try the new credential at its provider.
    Probe,
    /// Have the old credential revoked at its provider.
    Revoke,
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
    /// Prove once more that nothing needs the old key, and stop accepting it.
    Retire,
    /// Accept the retired old key again, before it can be primary.
    Restage,
    /// Make the old key primary again.
    Revert,
    /// Retire the new key: the rolling back is complete.
    FinishRollingBack,
    /// Note that no replica accepts the retired key.
    CutOff,
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
    /// Requests that began under an older keychain.
    #[error("requests that began under an older keychain are in flight on {0} replica(s)")]
    InFlight(usize),
    /// Live replicas that may still accept the retired key.
    #[error("{0} live replica(s) have not acknowledged that the retired key is not accepted")]
    Accepted(usize),
    /// Replicas without a lease that may still accept the retired key.
    #[error(
        "{0} replica(s) without a lease are configured to accept even so; bring them back, or stop them and deregister them"
    )]
    Unfenced(usize),
    /// What the old key signed is still within its lifetime.
    #[error(
        "tokens of the old key are accepted until {0}, when the longest lifetime that it signed has passed"
    )]
    Lifetime(Timestamp),
    /// The bulk rewrap is at work.
    #[error("the bulk rewrap is at work")]
    Bulk,
    /// Rows that a whole pass did not change.
    #[error(
        "{0} row(s) stay stale although a pass went over them; see whether a trigger or another writer puts them back; a pass begins every minute"
    )]
    Stale(u64),
    /// Values that no key opens.
    #[error(
        "{0} value(s) that no key opens are quarantined; repair them, or retire with acceptQuarantined"
    )]
    Quarantined(u64),
    /// The grace period of a secret that others share.
    #[error("the old value is accepted until {0}, when its grace period is over")]
    Grace(Timestamp),
    /// A secret that others still present.
    #[error(
        "the old value was presented at {0}, within its grace period; give the new one to whoever presents it, or retire with acceptLoss"
    )]
    Presented(Timestamp),
    /// Rows that need the old key.
    #[error(
        "{rows} row(s) need the old key, and {unknown} do not tell; wait until they are used or end, have them issued anew, or retire with acceptLoss"
    )]
    Needed {
        /// Rows that need it.
        rows: u64,
        /// Rows that do not tell.
        unknown: u64,
    },
    /// Nobody counts what needs the old key.
    #[error("nothing here counts what needs the old key; retire with acceptLoss once nothing does")]
    Uncounted,
    /// Its provider makes the new credential, or tries it.
    #[error("its provider is asked")]
    Asking,
    /// The process that looked is not set up with the provider.
    #[error(
        "a process that looked at it is not set up with the provider, and leaves it to those that are; if none is, set one up, or roll it back"
    )]
    NotSetUp,
    /// The old credential is not revoked yet: its provider is asked, or has said why not.
    #[error("the old credential is not revoked at its provider yet")]
    Unrevoked,
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
    // Told whatever else stands still: it is a fact, and no step.
    if world.proven_cut_off().is_some() {
        return planned(Action::CutOff, "no replica accepts the retired key any more");
    }
    if !rollover.phase.is_active() {
        return match rollover.awaited_cut_off() {
            Some(_) => wait(still_accepted(&world.acceptors)),
            None => planned(Action::Rest, "the rollover is at its end"),
        };
    }
    if rollover.paused_at.is_some() {
        return wait(Blocker::Paused);
    }
    match rollover.phase {
        Phase::Requested if rollover.dry_run => {
            planned(Action::Rehearse, "a dry run changes nothing")
        }
        Phase::Requested | Phase::Staged if world.from_state != KeyState::Primary => {
            planned(Action::GiveUp, "the key that it was to replace is not primary any more")
        }
        Phase::Requested => {
            asking(world, Action::Stage, "a key is read everywhere before it is used")
        }
        Phase::Staged if is_unproven(world) => {
            asking(world, Action::Probe, "a credential is tried before anything depends on it")
        }
        Phase::Staged => promote(world),
        Phase::Promoted | Phase::Drained if rollover.settled_at.is_none() => settle(world),
        Phase::Promoted => drain(world, Action::Drain),
        Phase::Drained => retire(world),
        Phase::RollingBack => roll_back(world),
        _ => planned(Action::Rest, "the rollover is at its end"),
    }
}

/// A request keeps its keychain to the end, and opens what other replicas seal
/// meanwhile: the new key makes nothing before the last one without it has ended. A
/// hard rollover fails requests anyway, and waits for none.
fn promote(world: &World) -> Planned {
    match in_use(world) {
        Some(Blocker::InFlight(_)) if world.rollover.mode == Mode::Hard => {
            planned(Action::Promote, "every live replica reads the new key")
        }
        Some(older) => wait(older),
        None => planned(Action::Promote, "every request on every live replica reads the new key"),
    }
}

fn is_unproven(world: &World) -> bool {
    world.rollover.is_credential() && world.rollover.probed_at.is_none()
}

/// What an outside provider does, unless it is being asked, or was lately.
fn asking(world: &World, action: Action, because: &'static str) -> Planned {
    match (world.ask_at, world.rollover.phase) {
        (Some(at), Phase::Promoted) if world.now < at => wait(Blocker::Unrevoked),
        (Some(at), _) if world.now < at => wait(Blocker::Asking),
        _ => planned(action, because),
    }
}

impl World {
    /// The cut-off that the rollover waits for, if nobody accepts the key any more.
    #[must_use]
    pub fn proven_cut_off(&self) -> Option<CutOff> {
        self.rollover.awaited_cut_off()?.proven(&self.acceptors)
    }
}

/// Who keeps the retired key from being cut off: live replicas first, since they go by.
fn still_accepted(acceptors: &[Acceptor]) -> Blocker {
    let count = |is: fn(Acceptance) -> bool| acceptors.iter().filter(|a| is(a.acceptance)).count();
    match count(|acceptance| matches!(acceptance, Acceptance::LeaseRuns { .. })) {
        0 => Blocker::Unfenced(count(|acceptance| acceptance.ended_at().is_none())),
        live => Blocker::Accepted(live),
    }
}

/// The new primary is in use everywhere once every replica has published it and
/// no request is left that could sign or seal with the key before it.
fn settle(world: &World) -> Planned {
    match in_use(world) {
        Some(older) => wait(older),
        None => planned(Action::Settle, "every live replica uses the present primary"),
    }
}

/// Where a keychain before the present one is in use, if one is.
fn in_use(world: &World) -> Option<Blocker> {
    match (world.behind.len(), world.unsettled.len()) {
        (0, 0) => None,
        (0, unsettled) => Some(Blocker::InFlight(unsettled)),
        (behind, _) => Some(Blocker::Replicas(behind)),
    }
}

/// Waits until nothing needs the draining key, then does `done`.
fn drain(world: &World, done: Action) -> Planned {
    match world.rollover.secret.entry().class {
        Class::Signing => drain_signing(world, done),
        Class::Sealing => drain_sealing(world, done),
        Class::Provider => drain_credential(world, done),
        Class::Pepper | Class::Shared | Class::Issued if is_given_up(world) => {
            planned(done, "what still needs the old key is given up")
        }
        Class::Shared => drain_shared(world, done),
        Class::Pepper | Class::Issued => drain_counted(world, done),
    }
}

/// Whether the key that runs dry has run dry by now, as far as this world tells.
#[must_use]
pub fn is_dry(world: &World) -> bool {
    !matches!(drain(world, Action::Drain).action, Action::Wait(_))
}

/// Whether what needs the old key counts no more: in a hard rollover, which ends it at
/// once, and where an operator has decided so.
fn is_given_up(world: &World) -> bool {
    let rollover = &world.rollover;
    rollover.accept_loss || (rollover.mode == Mode::Hard && rollover.phase == Phase::Promoted)
}

/// What it signed lives on for a while, and so does the habit of presenting it.
fn drain_shared(world: &World, done: Action) -> Planned {
    let settled_at = world.rollover.settled_at.unwrap_or(world.now);
    let until = settled_at.plus(world.grace.max(world.longest_lifetime));
    match world.presented_at {
        _ if world.now < until => wait(Blocker::Grace(until)),
        Some(last) if world.now < last.plus(world.grace) => wait(Blocker::Presented(last)),
        _ => planned(done, "the grace period is over, and nobody presents the old value"),
    }
}

fn drain_counted(world: &World, done: Action) -> Planned {
    match world.reliance {
        Reliance::Uncounted => wait(Blocker::Uncounted),
        Reliance::Counted { rows: 0, unknown: 0 } => planned(done, "nothing needs the old key"),
        Reliance::Counted { rows, unknown } => wait(Blocker::Needed { rows, unknown }),
    }
}

/// The old credential has power outside until it is revoked there, also in a hard
/// rollover. On the way back the old one is in use again, and the new one was never
/// anybody else's.
fn drain_credential(world: &World, done: Action) -> Planned {
    if world.rollover.phase == Phase::RollingBack {
        planned(done, "no request uses the new credential any more")
    } else if world.rollover.revoked_at.is_some() {
        planned(done, "the old credential is revoked")
    } else {
        asking(world, Action::Revoke, "no request uses the old credential")
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

/// What it signed besides, the state of a sign-on elsewhere, is in no column.
fn drain_sealing(world: &World, done: Action) -> Planned {
    let until = world.rollover.settled_at.unwrap_or(world.now).plus(world.longest_lifetime);
    match world.bulk {
        Bulk::NotBegun => planned(Action::BeginPass, "values under other keys are left to rewrap"),
        Bulk::Running => wait(Blocker::Bulk),
        Bulk::PassDone => planned(Action::TakeCensus, "the pass is done"),
        Bulk::Counted { unseen, .. } if unseen > 0 => wait(Blocker::Unseen(unseen)),
        Bulk::Counted { stale, .. } if stale > 0 && world.retry_at > Some(world.now) => {
            wait(Blocker::Stale(stale))
        }
        Bulk::Counted { stale, .. } if stale > 0 => {
            planned(Action::BeginPass, "the census found values that changed meanwhile")
        }
        Bulk::Counted { quarantined, .. }
            if quarantined > 0 && !world.rollover.accept_quarantined =>
        {
            wait(Blocker::Quarantined(quarantined))
        }
        Bulk::Counted { .. } if !is_given_up(world) && world.now < until => {
            wait(Blocker::Lifetime(until))
        }
        Bulk::Counted { .. } => planned(done, "the census found nothing under another key"),
    }
}

/// Who carries this out proves once more, right before the door closes, that a
/// sealing key is not needed; a hard rollover has closed it already.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalog::Secret, envelope::Target, ids::RolloverId};

    fn world(secret: Secret, mode: Mode, phase: Phase) -> World {
        let id = |text| KeyId::new(text).unwrap();
        let (from_state, to_state) = match phase {
            Phase::Requested => (KeyState::Primary, None),
            Phase::Staged => (KeyState::Primary, Some(KeyState::Staged)),
            _ if mode == Mode::Hard => (KeyState::Retired, Some(KeyState::Primary)),
            _ => (KeyState::Retiring, Some(KeyState::Primary)),
        };
        World {
            rollover: Rollover {
                id: RolloverId::new(),
                secret,
                mode,
                dry_run: false,
                phase,
                revision: 3,
                paused_at: None,
                reason: "a test".into(),
                requested_by: "test".into(),
                from_key: id("old"),
                to_key: to_state.map(|_| id("new")),
                created_at: Timestamp::from_seconds(0),
                updated_at: Timestamp::from_seconds(0),
                settled_at: Some(Timestamp::from_seconds(100)),
                target: Target::Bound,
                pass: 1,
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
            },
            from_state,
            to_state,
            older: vec![],
            epoch: Epoch(7),
            behind: vec![],
            unsettled: vec![],
            acceptors: vec![],
            longest_lifetime: Duration::from_secs(900),
            grace: Duration::from_secs(600),
            presented_at: None,
            reliance: Reliance::Counted { rows: 0, unknown: 0 },
            ask_at: None,
            bulk: Bulk::NotBegun,
            retry_at: None,
            now: Timestamp::from_seconds(200),
        }
    }

    fn action(world: &World) -> Action {
        let planned = plan(world);
        assert_eq!(plan(world), planned, "planning twice equals planning once");
        planned.action
    }

    #[test]
    fn no_key_is_promoted_before_every_live_replica_reads_it() {
        let mut world = world(Secret::JwtSecret, Mode::Graceful, Phase::Staged);
        world.behind = vec![ReplicaId::new()];
        assert_eq!(action(&world), Action::Wait(Blocker::Replicas(1)));
        world.behind.clear();
        assert_eq!(action(&world), Action::Promote);
    }

    #[test]
    fn no_key_is_promoted_while_a_request_holds_a_keychain_without_it() {
        let mut world = world(Secret::AppEncryptionKey, Mode::Graceful, Phase::Staged);
        world.unsettled = vec![ReplicaId::new()];
        assert_eq!(action(&world), Action::Wait(Blocker::InFlight(1)));
        world.rollover.mode = Mode::Hard;
        assert_eq!(action(&world), Action::Promote, "a hard rollover fails requests anyway");
        world.behind = vec![ReplicaId::new()];
        assert_eq!(action(&world), Action::Wait(Blocker::Replicas(1)));
    }

    #[test]
    fn a_rollover_from_a_key_that_is_not_primary_any_more_is_given_up() {
        for phase in [Phase::Requested, Phase::Staged] {
            let mut world = world(Secret::JwtSecret, Mode::Graceful, phase);
            world.from_state = KeyState::Retired;
            assert_eq!(action(&world), Action::GiveUp);
        }
    }

    #[test]
    fn a_pass_that_changed_nothing_is_not_followed_by_another_at_once() {
        let mut world = world(Secret::AppEncryptionKey, Mode::Graceful, Phase::Promoted);
        world.bulk = Bulk::Counted { stale: 2, quarantined: 0, unseen: 0 };
        world.retry_at = Some(Timestamp::from_millis(200_001));
        assert_eq!(action(&world), Action::Wait(Blocker::Stale(2)));
        world.now = Timestamp::from_millis(200_001);
        assert_eq!(action(&world), Action::BeginPass);
    }

    #[test]
    fn nothing_drains_while_a_request_may_still_use_the_old_key() {
        let mut world = world(Secret::AppEncryptionKey, Mode::Graceful, Phase::Promoted);
        world.rollover.settled_at = None;
        world.unsettled = vec![ReplicaId::new()];
        assert_eq!(action(&world), Action::Wait(Blocker::InFlight(1)));
        world.unsettled.clear();
        assert_eq!(action(&world), Action::Settle);
    }

    #[test]
    fn a_signing_key_drains_for_the_longest_lifetime_that_it_signed() {
        let mut world = world(Secret::JwtSecret, Mode::Graceful, Phase::Promoted);
        let until = Timestamp::from_seconds(1000);
        world.now = Timestamp::from_millis(999_999);
        assert_eq!(action(&world), Action::Wait(Blocker::Lifetime(until)));
        world.now = until;
        assert_eq!(action(&world), Action::Drain);
        world.now = Timestamp::from_seconds(100);
        world.rollover.mode = Mode::Hard;
        assert_eq!(action(&world), Action::Drain);
    }

    #[test]
    fn a_sealing_key_drains_until_the_census_is_zero_on_every_column() {
        let mut world = world(Secret::AppEncryptionKey, Mode::Graceful, Phase::Promoted);
        world.longest_lifetime = Duration::ZERO;
        let counted = |stale, quarantined, unseen| Bulk::Counted { stale, quarantined, unseen };
        for (bulk, accept, expected) in [
            (Bulk::NotBegun, false, Action::BeginPass),
            (Bulk::Running, false, Action::Wait(Blocker::Bulk)),
            (Bulk::PassDone, false, Action::TakeCensus),
            (counted(1, 0, 0), false, Action::BeginPass),
            (counted(0, 2, 0), false, Action::Wait(Blocker::Quarantined(2))),
            (counted(0, 2, 0), true, Action::Drain),
            (counted(0, 0, 1), true, Action::Wait(Blocker::Unseen(1))),
            (counted(0, 0, 0), false, Action::Drain),
        ] {
            world.bulk = bulk;
            world.rollover.accept_quarantined = accept;
            assert_eq!(action(&world), expected, "{bulk:?}");
        }
    }

    #[test]
    fn a_sealing_key_that_signed_something_drains_for_its_lifetime_as_well() {
        let mut world = world(Secret::AppEncryptionKey, Mode::Graceful, Phase::Promoted);
        let until = Timestamp::from_seconds(1000);
        world.bulk = Bulk::Counted { stale: 0, quarantined: 0, unseen: 0 };
        assert_eq!(action(&world), Action::Wait(Blocker::Lifetime(until)));
        world.bulk = Bulk::NotBegun;
        assert_eq!(action(&world), Action::BeginPass, "the rewrap does not wait for it");
        world.bulk = Bulk::Counted { stale: 0, quarantined: 0, unseen: 0 };
        world.now = until;
        assert_eq!(action(&world), Action::Drain);
        world.now = Timestamp::from_seconds(100);
        world.rollover.mode = Mode::Hard;
        assert_eq!(action(&world), Action::Drain);
    }

    #[test]
    fn rolling_back_reads_everywhere_before_it_seals_anywhere() {
        let mut world = world(Secret::AppEncryptionKey, Mode::Hard, Phase::RollingBack);
        world.rollover.settled_at = None;
        world.longest_lifetime = Duration::ZERO;
        assert_eq!(action(&world), Action::Restage);
        world.from_state = KeyState::Staged;
        world.behind = vec![ReplicaId::new()];
        assert_eq!(action(&world), Action::Wait(Blocker::Replicas(1)));
        world.behind.clear();
        assert_eq!(action(&world), Action::Revert);
        world.from_state = KeyState::Primary;
        assert_eq!(action(&world), Action::Settle);
        world.rollover.settled_at = Some(world.now);
        assert_eq!(action(&world), Action::BeginPass);
        world.bulk = Bulk::Counted { stale: 0, quarantined: 0, unseen: 0 };
        assert_eq!(action(&world), Action::FinishRollingBack);
    }

    #[test]
    fn a_retired_key_is_cut_off_once_nobody_accepts_it_and_holds_up_nothing_else() {
        let acceptor = |acceptance| Acceptor {
            replica: ReplicaId::new(),
            name: "api".to_owned(),
            epoch: Epoch(7),
            acceptance,
        };
        let at = Timestamp::from_seconds;
        let acknowledged = acceptor(Acceptance::Acknowledged { at: at(201) });
        let runs = acceptor(Acceptance::LeaseRuns { until: at(215) });
        let unfenced = acceptor(Acceptance::AcceptsWhileFenced { since: at(199) });

        let mut world = world(Secret::JwtSecret, Mode::Hard, Phase::Retired);
        assert_eq!(action(&world), Action::Rest, "an older version retired it");
        world.rollover.cut_off = Some(CutOff::awaited(world.rollover.from_key.clone(), at(200)));
        world.acceptors = vec![acknowledged.clone(), runs, unfenced.clone()];
        assert_eq!(action(&world), Action::Wait(Blocker::Accepted(1)));
        world.acceptors.remove(1);
        assert_eq!(action(&world), Action::Wait(Blocker::Unfenced(1)));
        world.rollover.phase = Phase::Promoted;
        assert_eq!(action(&world), Action::Drain, "it goes on meanwhile");

        world.acceptors = vec![acknowledged];
        world.rollover.paused_at = Some(world.now);
        assert_eq!(action(&world), Action::CutOff, "also while it is paused");
        world.rollover.cut_off = world.proven_cut_off();
        assert_eq!(action(&world), Action::Wait(Blocker::Paused), "and once");
    }

    #[test]
    fn a_shared_secret_waits_for_its_grace_and_for_whoever_presents_it() {
        let at = Timestamp::from_seconds;
        let mut world = world(Secret::MetricsScrapeToken, Mode::Graceful, Phase::Promoted);
        world.longest_lifetime = Duration::ZERO;
        assert_eq!(action(&world), Action::Wait(Blocker::Grace(at(700))), "it settled at 100");
        world.longest_lifetime = Duration::from_secs(900);
        assert_eq!(action(&world), Action::Wait(Blocker::Grace(at(1000))), "what it made lives on");
        world.now = at(1000);
        assert_eq!(action(&world), Action::Drain);
        world.presented_at = Some(at(401));
        assert_eq!(action(&world), Action::Wait(Blocker::Presented(at(401))));
        world.now = at(1001);
        assert_eq!(action(&world), Action::Drain);
    }

    #[test]
    fn a_pepper_and_what_is_issued_wait_for_what_needs_them() {
        for secret in [Secret::EnrollmentKeyPepper, Secret::AgentTokens] {
            let mut world = world(secret, Mode::Graceful, Phase::Promoted);
            assert_eq!(action(&world), Action::Drain);
            world.reliance = Reliance::Counted { rows: 0, unknown: 2 };
            assert_eq!(action(&world), Action::Wait(Blocker::Needed { rows: 0, unknown: 2 }));
            assert!(!is_dry(&world));
            world.reliance = Reliance::Uncounted;
            assert_eq!(action(&world), Action::Wait(Blocker::Uncounted));
            world.rollover.accept_loss = true;
            assert_eq!(action(&world), Action::Drain);
            world.rollover.accept_loss = false;
            world.rollover.mode = Mode::Hard;
            assert_eq!(action(&world), Action::Drain);
            world.rollover.phase = Phase::RollingBack;
            world.from_state = KeyState::Primary;
            assert_eq!(
                action(&world),
                Action::Wait(Blocker::Uncounted),
                "the way back is graceful"
            );
        }
    }

    #[test]
    fn a_credential_is_probed_first_and_revoked_last() {
        let mut world = world(Secret::CloudflareApiToken, Mode::Graceful, Phase::Staged);
        world.behind = vec![ReplicaId::new()];
        assert_eq!(action(&world), Action::Probe, "whoever is behind");
        world.ask_at = Some(world.now.plus(Duration::from_millis(1)));
        assert_eq!(action(&world), Action::Wait(Blocker::Asking));
        world.ask_at = None;
        world.rollover.probed_at = Some(world.now);
        assert_eq!(action(&world), Action::Wait(Blocker::Replicas(1)));
        world.behind.clear();
        assert_eq!(action(&world), Action::Promote);

        for mode in [Mode::Graceful, Mode::Hard] {
            world.rollover.phase = Phase::Promoted;
            world.rollover.mode = mode;
            world.rollover.settled_at = None;
            world.unsettled = vec![ReplicaId::new()];
            assert_eq!(action(&world), Action::Wait(Blocker::InFlight(1)));
            world.unsettled.clear();
            assert_eq!(action(&world), Action::Settle);
            world.rollover.settled_at = Some(world.now);
            assert_eq!(action(&world), Action::Revoke);
            world.ask_at = Some(world.now.plus(Duration::from_millis(1)));
            assert_eq!(action(&world), Action::Wait(Blocker::Unrevoked), "it is asked already");
            world.ask_at = Some(world.now);
            assert_eq!(action(&world), Action::Revoke, "it may be asked again");
            world.rollover.revoked_at = Some(world.now);
            assert_eq!(action(&world), Action::Drain);
            world.rollover.revoked_at = None;
        }
    }

    #[test]
    fn a_paused_rollover_does_nothing_and_a_finished_one_rests() {
        for phase in Phase::ALL {
            let mut world = world(Secret::JwtSecret, Mode::Graceful, phase);
            world.rollover.paused_at = Some(world.now);
            let expected =
                if phase.is_active() { Action::Wait(Blocker::Paused) } else { Action::Rest };
            assert_eq!(action(&world), expected);
        }
    }
}
