//! What each step changes: a planned action becomes one [`Change`], without
//! input or output.
//!
//! 1. The phase moves by [`Phase::next`](crate::rollover::Phase::next) alone.
//! 2. Every change raises the rollover's revision, so that of two replicas that
//!    carry out the same step one has an effect.
//! 3. Every change tells the audit trail who, what, why, and from which key to which.

mod credential;

use credential::leave_behind;
use serde_json::{Value, json};

use crate::{
    clock::Timestamp,
    ids::{KeyId, RolloverId},
    keyring::KeyState,
    rollover::{CutOff, Event, IllegalTransition, Mode, Phase, Rollover, World},
};

use super::{
    Acceptors, Actor, AuditEntry, Change, KeyChange, KeyRecord, NewRange, Outcome, RolloverChange,
};

/// A step of a rollover that is about to become a change.
#[derive(Debug, Clone)]
pub struct Step<'a> {
    /// The rollover as it was read.
    pub rollover: &'a Rollover,
    /// The state of the key that it replaces.
    pub from_state: KeyState,
    /// Who does it.
    pub actor: Actor,
    /// Why.
    pub because: &'a str,
    /// When.
    pub now: Timestamp,
}

impl<'a> Step<'a> {
    /// A step of the rollover of `world`, as that was looked at.
    #[must_use]
    pub const fn of(world: &'a World, actor: Actor, because: &'a str) -> Self {
        let (rollover, from_state, now) = (&world.rollover, world.from_state, world.now);
        Self { rollover, from_state, actor, because, now }
    }
}

impl Step<'_> {
    /// A dry run ends with its report.
    ///
    /// # Errors
    /// [`IllegalTransition`], as every step, when the phase does not allow it.
    pub fn rehearse(&self, report: Value) -> Result<Change, IllegalTransition> {
        let mut next = self.after(Event::Rehearsed)?;
        next.report = Some(report);
        Ok(self.change("rehearse", next, vec![]))
    }

    /// It cannot be done, and says why.
    ///
    /// # Errors
    /// As [`Step::rehearse`].
    pub fn refuse(&self, why: String) -> Result<Change, IllegalTransition> {
        let mut next = self.after(Event::Refused)?;
        next.blocked_by = Some(why);
        Ok(self.change("refuse", next, vec![]))
    }

    /// The new key enters custody, accepted everywhere, used nowhere.
    ///
    /// # Errors
    /// As [`Step::rehearse`].
    pub fn stage(&self, key: KeyRecord) -> Result<Change, IllegalTransition> {
        let mut next = self.after(Event::Staged)?;
        next.to_key = Some(key.id.clone());
        Ok(self.change("stage", next, vec![KeyChange::Add(Box::new(key))]))
    }

    /// The new key becomes primary. The old one, and the `older` ones, are accepted on, or,
    /// in a hard rollover, retired at once, as compromised: why else would it be hard.
    ///
    /// # Errors
    /// As [`Step::rehearse`].
    pub fn promote(&self, older: &[KeyId]) -> Result<Change, IllegalTransition> {
        let mut next = self.after(Event::AllReplicasRead)?;
        next.settled_at = None;
        let old = |state| self.moves(&next.from_key, KeyState::Primary, state);
        let new = self.moves_new(KeyState::Staged, KeyState::Primary);
        Ok(match next.mode {
            Mode::Graceful => {
                let keys = vec![old(KeyState::Retiring), new];
                self.change("promote", next, keys)
            }
            Mode::Hard => {
                let mut keys = vec![old(KeyState::Retired), self.compromise(&next.from_key), new];
                keys.extend(older.iter().flat_map(|key| self.gives_up(key, KeyState::Retiring)));
                self.change_retiring("promote", next, keys)
            }
        })
    }

    /// Every live replica uses the present primary, and nothing else.
    #[must_use]
    pub fn settle(&self) -> Change {
        let mut next = self.again();
        next.settled_at = Some(self.now);
        self.change("settle", next, vec![])
    }

    /// A bulk pass begins with `ranges` of it.
    #[must_use]
    pub fn begin_pass(&self, ranges: impl FnOnce(u32) -> Vec<NewRange>) -> Change {
        let mut next = self.again();
        next.pass += 1;
        let ranges = ranges(next.pass);
        let mut change = self.change("begin_pass", next, vec![]);
        change.ranges = ranges;
        change
    }

    /// Nothing needs the old key any more.
    ///
    /// # Errors
    /// As [`Step::rehearse`].
    pub fn drain(&self) -> Result<Change, IllegalTransition> {
        Ok(self.change("drain", self.after(Event::NothingLeft)?, vec![]))
    }

    /// The proof before retiring found something after all.
    ///
    /// # Errors
    /// As [`Step::rehearse`].
    pub fn reopen(&self) -> Result<Change, IllegalTransition> {
        Ok(self.change("reopen", self.after(Event::SomethingLeft)?, vec![]))
    }

    /// The old key is not accepted any more, nor are the `older` ones that were
    /// still accepted beside it; all stay in custody.
    ///
    /// # Errors
    /// As [`Step::rehearse`].
    pub fn retire(&self, older: &[KeyId], report: Value) -> Result<Change, IllegalTransition> {
        let mut next = self.after(Event::Retired)?;
        next.report = Some(self.told_with(report));
        let retires = |key| self.moves(key, KeyState::Retiring, KeyState::Retired);
        let mut keys: Vec<_> = older.iter().map(retires).collect();
        if self.from_state == KeyState::Retired {
            return Ok(self.change("retire", next, keys));
        }
        keys.push(self.moves(&next.from_key, self.from_state, KeyState::Retired));
        Ok(self.change_retiring("retire", next, keys))
    }

    /// The retired old key is accepted again, before it can be primary.
    #[must_use]
    pub fn restage(&self) -> Change {
        let next = self.again();
        let keys = vec![self.moves(&next.from_key, KeyState::Retired, KeyState::Staged)];
        self.change("restage", next, keys)
    }

    /// The old key is primary again; the new one is accepted on.
    #[must_use]
    pub fn revert(&self) -> Change {
        let mut next = self.again();
        next.settled_at = None;
        let keys = vec![
            self.moves_new(KeyState::Primary, KeyState::Retiring),
            self.moves(&next.from_key, self.from_state, KeyState::Primary),
        ];
        self.change("revert", next, keys)
    }

    /// Nothing needs the new key: the rolling back is complete.
    ///
    /// # Errors
    /// As [`Step::rehearse`].
    pub fn finish_rolling_back(&self, report: Value) -> Result<Change, IllegalTransition> {
        let mut next = self.after(Event::NothingLeft)?;
        next.report = Some(self.told_with(report));
        leave_behind(&mut next);
        let keys = vec![self.moves_new(KeyState::Retiring, KeyState::Retired)];
        Ok(self.change_retiring("finish_rolling_back", next, keys))
    }

    /// No replica accepts the retired key any more, as `cut_off` proves. The rollover
    /// has not moved by it.
    #[must_use]
    pub fn cut_off(&self, cut_off: CutOff) -> Change {
        let mut next = self.again();
        next.updated_at = self.rollover.updated_at;
        next.cut_off = Some(cut_off);
        let told = json!(next.cut_off);
        let mut change = self.change("cut_off", next, vec![]);
        change.acceptors = Some(Acceptors::Forget);
        for entry in &mut change.audit {
            entry.details["cutOff"] = told.clone();
        }
        change
    }

    /// The operator wants the old key back. Before promotion the rollover is
    /// given up; after it, the way back begins, and a bulk pass that runs ends.
    ///
    /// # Errors
    /// As [`Step::rehearse`].
    pub fn roll_back(&self) -> Result<Change, IllegalTransition> {
        let mut next = self.after(Event::RollBack)?;
        let mut keys = vec![];
        if next.phase.is_active() {
            next.settled_at = None;
            next.pass += 1;
            next.accept_quarantined = false;
            next.accept_loss = false;
            next.cut_off = None;
        } else if next.to_key.is_some() {
            keys.push(self.moves_new(KeyState::Staged, KeyState::Retired));
            leave_behind(&mut next);
        }
        let mut change = self.change("roll_back", next, keys);
        change.acceptors = Some(Acceptors::Forget);
        Ok(change)
    }

    /// A hard rollover of the same secret, `by`, takes over: what this one accepts beside the
    /// primary key is accepted no more, as compromised. `to_state` is that of the new key.
    ///
    /// # Errors
    /// As [`Step::rehearse`].
    pub fn supersede(
        &self,
        by: RolloverId,
        to_state: Option<KeyState>,
    ) -> Result<Change, IllegalTransition> {
        let mut next = self.after(Event::Superseded)?;
        next.paused_at = None;
        next.report = Some(json!({ "supersededBy": by }));
        let given_up = match (to_state, &next.to_key) {
            (Some(KeyState::Primary) | None, _) | (_, None) => {
                Some((next.from_key.clone(), self.from_state))
            }
            (Some(state), Some(to)) => Some((to.clone(), state)),
        };
        let given_up =
            given_up.filter(|(_, state)| matches!(state, KeyState::Staged | KeyState::Retiring));
        let Some((key, state)) = given_up else {
            return Ok(self.change("supersede", next, vec![]));
        };
        if next.phase == Phase::Abandoned {
            // It made nothing, and nobody has seen it.
            let keys = vec![self.moves(&key, state, KeyState::Retired)];
            return Ok(self.change("supersede", next, keys));
        }
        next.cut_off = Some(CutOff::awaited(key.clone(), self.now));
        let keys = self.gives_up(&key, state).into();
        Ok(Change { acceptors: Some(Acceptors::Note), ..self.change("supersede", next, keys) })
    }

    /// Nothing moves until it is resumed.
    #[must_use]
    pub fn pause(&self) -> Change {
        let mut next = self.again();
        next.paused_at = Some(self.now);
        self.change("pause", next, vec![])
    }

    /// It moves on.
    #[must_use]
    pub fn resume(&self) -> Change {
        let mut next = self.again();
        next.paused_at = None;
        // Whoever asks its provider at this moment has its answer soon.
        if next.asked_by.is_none() {
            next.ask_at = None;
        }
        self.change("resume", next, vec![])
    }

    /// The operator decided that quarantined rows do not block retiring.
    #[must_use]
    pub fn accept_quarantined(&self) -> Change {
        let mut next = self.again();
        next.accept_quarantined = true;
        self.change("accept_quarantined", next, vec![])
    }

    /// The operator decided that what still needs the old key is given up.
    #[must_use]
    pub fn accept_loss(&self) -> Change {
        let mut next = self.again();
        next.accept_loss = true;
        self.change("accept_loss", next, vec![])
    }

    /// A change whose audit entry also tells what a provider or an operator said.
    fn telling(&self, verb: &str, next: Rollover, shown: &str) -> Change {
        let mut change = self.change(verb, next, vec![]);
        for entry in &mut change.audit {
            entry.details["shown"] = shown.into();
        }
        change
    }

    /// The ceiling on rows rewrapped a second changes.
    #[must_use]
    pub fn limit(&self, max_rows_per_second: Option<u32>) -> Change {
        let mut next = self.again();
        next.max_rows_per_second = max_rows_per_second;
        self.change("limit", next, vec![])
    }

    /// The old key's material is erased, for ever.
    ///
    /// # Errors
    /// As [`Step::rehearse`].
    pub fn destroy(&self) -> Result<Change, IllegalTransition> {
        let next = self.after(Event::Destroyed)?;
        let keys = vec![self.moves(&next.from_key, KeyState::Retired, KeyState::Destroyed)];
        Ok(self.change("destroy", next, keys))
    }

    /// What holds it up, for people to read; no audit entry.
    #[must_use]
    pub fn blocked(&self, by: Option<String>) -> Change {
        let mut next = self.again();
        next.blocked_by = by;
        untold(next)
    }

    /// The rollover after one more change of the same phase.
    fn again(&self) -> Rollover {
        let mut next = self.rollover.clone();
        next.revision += 1;
        next.blocked_by = None;
        if next.phase.is_active() {
            next.updated_at = self.now;
        }
        next
    }

    fn after(&self, event: Event) -> Result<Rollover, IllegalTransition> {
        let mut next = answered(self.again());
        next.phase = next.phase.next(event)?;
        next.updated_at = self.now;
        Ok(next)
    }

    fn moves(&self, key: &KeyId, from: KeyState, to: KeyState) -> KeyChange {
        let (secret, key) = (self.rollover.secret, key.clone());
        KeyChange::Move { secret, key, from, to, at: self.now }
    }

    fn compromise(&self, key: &KeyId) -> KeyChange {
        let (secret, key) = (self.rollover.secret, key.clone());
        KeyChange::Compromise { secret, key, at: self.now }
    }

    /// `key` is retired, and counts as compromised.
    fn gives_up(&self, key: &KeyId, from: KeyState) -> [KeyChange; 2] {
        [self.moves(key, from, KeyState::Retired), self.compromise(key)]
    }

    fn moves_new(&self, from: KeyState, to: KeyState) -> KeyChange {
        // Every phase that moves the new key has one: `stage` sets it. Were it
        // missing, this names no key in custody, and the store answers Conflict.
        let key = self.rollover.to_key.as_ref().unwrap_or(&self.rollover.from_key);
        self.moves(key, from, to)
    }

    fn change(&self, verb: &str, next: Rollover, keys: Vec<KeyChange>) -> Change {
        let audit = vec![entry(verb, &next, self.actor.clone(), self.because, self.now)];
        let rollover = Some(RolloverChange::Move(Box::new(next)));
        Change { rollover, keys, audit, ..Change::default() }
    }

    /// A change by which the key that runs dry, or ran dry, is accepted no more: whoever
    /// accepts it at that moment is waited for.
    fn change_retiring(&self, verb: &str, mut next: Rollover, keys: Vec<KeyChange>) -> Change {
        let key = match next.phase {
            Phase::RolledBack => next.to_key.as_ref().unwrap_or(&next.from_key),
            _ => &next.from_key,
        };
        next.cut_off = Some(CutOff::awaited(key.clone(), self.now));
        Change { acceptors: Some(Acceptors::Note), ..self.change(verb, next, keys) }
    }
}

/// The change that begins `rollover`; with a key that the operator supplied,
/// staged at once, so that it is in custody from the first moment. One that is retired
/// comes back from there.
///
/// # Errors
/// As [`Step::rehearse`].
pub fn begin(
    mut rollover: Rollover,
    supplied: Option<KeyRecord>,
    alongside: bool,
    actor: Actor,
) -> Result<Change, IllegalTransition> {
    let mut keys = vec![];
    if let Some(key) = supplied {
        rollover.phase = rollover.phase.next(Event::Staged)?;
        rollover.to_key = Some(key.id.clone());
        keys.push(match key.state {
            KeyState::Retired => KeyChange::Move {
                secret: key.secret,
                key: key.id,
                from: KeyState::Retired,
                to: KeyState::Staged,
                at: rollover.created_at,
            },
            _ => KeyChange::Add(Box::new(key)),
        });
    }
    let audit = vec![entry("request", &rollover, actor, &rollover.reason, rollover.created_at)];
    let rollover = RolloverChange::Begin { rollover: Box::new(rollover), alongside };
    Ok(Change { rollover: Some(rollover), keys, audit, ..Change::default() })
}

/// The change by which the rollover of `begins` takes over from one of the same secret that
/// `ends` by it: both, or neither.
#[must_use]
pub fn take_over(begins: Change, ends: Change) -> Change {
    let superseded = match ends.rollover {
        Some(RolloverChange::Move(rollover)) => Some(rollover),
        _ => None,
    };
    Change {
        superseded,
        keys: [ends.keys, begins.keys].concat(),
        audit: [ends.audit, begins.audit].concat(),
        acceptors: ends.acceptors,
        ..begins
    }
}

/// A change that the audit trail does not tell of.
fn untold(next: Rollover) -> Change {
    Change { rollover: Some(RolloverChange::Move(Box::new(next))), ..Change::default() }
}

/// `next`, once its provider has answered.
fn answered(next: Rollover) -> Rollover {
    Rollover { ask_at: None, asked_by: None, ..next }
}

fn entry(verb: &str, after: &Rollover, actor: Actor, because: &str, at: Timestamp) -> AuditEntry {
    AuditEntry {
        at,
        actor,
        action: format!("rollover.{verb}"),
        resource_type: "rollover",
        resource_id: Some(after.id.0),
        resource_name: Some(after.secret.name().to_owned()),
        details: json!({
            "because": because,
            "reason": after.reason,
            "mode": after.mode,
            "dryRun": after.dry_run,
            "phase": after.phase,
            "fromKey": after.from_key,
            "toKey": after.to_key,
            "pass": after.pass,
        }),
        outcome: Outcome::Success,
    }
}
