//! How far a rollover is on its course, and what may happen to it next.

use std::collections::BTreeSet;

use breeze_rollover::store::{Change, RolloverChange};
use serde_json::{Value, json};

use super::*;
use support::double::Call;

/// How far the rollover is, and what the application does meanwhile.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) course: Course,
    /// How many of its events have happened.
    happened: usize,
    /// The rollover's last change, and how it left it.
    revision: u64,
    last: Value,
    /// What was done last since it came into its phase.
    done: Option<String>,
    /// Every step that the audit trail tells.
    told: BTreeSet<String>,
    /// Rows that need the old key, as the application counts them.
    pub(crate) needing: u64,
    /// An edit of one row, between the reading and the writing of its batch.
    pub(crate) edit: Option<Edit>,
    /// Another one, when nothing was left.
    pub(crate) late: Option<Edit>,
    /// What that row holds.
    pub(crate) note: String,
}

/// An edit that was sealed under the old key, and is written after the new one is in use.
#[derive(Debug)]
pub(crate) struct Edit {
    pub(crate) text: String,
    pub(crate) sealed: String,
}

/// Where something can go wrong: how the rollover came into its phase, what was done
/// there last, and the call that is made now. What was before makes no difference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    from: Option<Phase>,
    phase: Phase,
    done: Option<String>,
    pub(crate) call: String,
}

const RENEW: &str = "renew";
const NOTE: &str = "note";

impl Play {
    pub(crate) fn of(course: &Course, note: String) -> Self {
        Self {
            course: course.clone(),
            happened: 0,
            revision: 0,
            last: Value::Null,
            done: None,
            told: BTreeSet::new(),
            needing: 1,
            edit: None,
            late: None,
            note,
        }
    }

    fn phase(&self, happened: usize) -> Phase {
        self.course.phases().nth(happened).unwrap()
    }

    /// The phase that the rollover is in.
    pub(crate) fn here(&self) -> Phase {
        self.phase(self.happened)
    }

    /// What is to happen to it next.
    pub(crate) fn due(&self) -> Option<Event> {
        self.course.events.get(self.happened).copied()
    }

    /// Whether the audit trail tells of this step.
    pub(crate) fn is_told(&self, step: &str) -> bool {
        self.told.contains(&format!("rollover.{step}"))
    }

    /// Whether an operator stops by: once the new key is in use, whatever the course.
    pub(crate) fn is_to_be_paused(&self) -> bool {
        self.here() == Phase::Promoted && !self.is_told("pause")
    }

    /// Whether `call` would lead off the course, or comes before the operator.
    pub(crate) fn holds(&self, call: Call<'_>) -> bool {
        let Call::Commit(Change { rollover: Some(RolloverChange::Move(next)), .. }) = call else {
            return false;
        };
        let due = self.due().map(|_| self.phase(self.happened + 1));
        let is_off = next.phase != self.here() && Some(next.phase) != due;
        let is_early = self.is_to_be_paused() && next.paused_at.is_none();
        // One that comes too late is refused by the store.
        next.revision > self.revision && (is_off || is_early)
    }

    /// Where `call` is made.
    pub(crate) fn place(&self, call: Call<'_>) -> Place {
        let call = self.named(call);
        // What comes again and again is struck once a phase.
        let is_recurrent = call == RENEW || call.starts_with(NOTE);
        Place {
            from: self.happened.checked_sub(1).map(|before| self.phase(before)),
            phase: self.here(),
            done: self.done.clone().filter(|_| !is_recurrent),
            call,
        }
    }

    /// The call's name: of a change, the step that it is, or what it notes.
    fn named(&self, call: Call<'_>) -> String {
        match call {
            Call::Commit(Change { audit, rollover, .. }) => match (audit.first(), rollover) {
                (Some(step), _) => step.action.clone(),
                (None, Some(RolloverChange::Move(next))) => self.noted(next),
                (None, _) => "change".to_owned(),
            },
            Call::Write(_, rows) => format!("write {}", rows.len()),
            Call::Renew(_) => RENEW.to_owned(),
            other => format!("{other:?}"),
        }
    }

    /// The fields of a change that the audit trail does not tell of.
    fn noted(&self, next: &Rollover) -> String {
        let next = json!(next);
        let differs = |(name, value): &(&String, &Value)| self.last.get(name) != Some(value);
        let fields = next.as_object().unwrap().iter().filter(differs).map(|(name, _)| name);
        let fields = fields.filter(|name| !["revision", "updatedAt"].contains(&name.as_str()));
        format!("{NOTE} {}", fields.cloned().collect::<Vec<_>>().join(", "))
    }

    /// A call was made, other than those that are made again and again while something is
    /// waited for.
    pub(crate) fn made(&mut self, call: Call<'_>) {
        if !matches!(call, Call::Commit(_) | Call::Renew(_)) {
            self.done = Some(self.named(call));
        }
    }

    /// A change took effect.
    pub(crate) fn committed(&mut self, change: &Change) {
        let Some(RolloverChange::Begin { rollover: next, .. } | RolloverChange::Move(next)) =
            &change.rollover
        else {
            return;
        };
        (self.revision, self.last) = (next.revision, json!(next));
        if next.phase != self.here() {
            self.happened += 1;
            self.done = None;
        }
        for entry in &change.audit {
            self.told.insert(entry.action.clone());
            self.done = Some(entry.action.clone());
        }
    }
}
