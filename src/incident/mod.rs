//! An emergency: secrets that were exposed, and the hard rollovers that cut them off.
//!
//! ```text
//! planned ──confirm──► running ──every step at its end──► done
//!    └──cancel──► cancelled
//! ```
//!
//! 1. The plan covers the exposed secrets and all that the catalog relates to them, in
//!    the order of [`order`]. It is shown, and nothing is done before it is confirmed.
//! 2. Steps begin one after the other, each once the old key of the one before it is
//!    retired; each is a hard rollover like any other, with its guards, its audit entries
//!    and its cut-off.
//! 3. What only a person can do (a credential that its provider must issue anew) is a
//!    step too: it holds nothing up, and stays in the report until it is done.
//! 4. A secret that others present is cut off by a value that is made here, which nobody
//!    can read: plan and report say that a person must hand in one of their own then.

mod plan;
mod report;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use plan::{order, plan_of};
pub use report::{Affected, CutOffOf, Report, Told};

use crate::{catalog::Secret, clock::Timestamp, ids::RolloverId};

/// The longest reason of a rollover, in characters.
const LONGEST: usize = 500;

/// One incident, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// Its id; ids rise with time.
    pub id: Uuid,
    /// How often it has changed: the guard of every move.
    pub revision: u64,
    /// Where it stands.
    pub state: State,
    /// What was exposed, as reported.
    pub secrets: Vec<Secret>,
    /// Since when it may have been known to others.
    pub exposed_since: Timestamp,
    /// What happened.
    pub reason: String,
    /// Who reported it.
    pub opened_by: String,
    /// When it was reported.
    pub opened_at: Timestamp,
    /// Who confirmed the plan.
    pub confirmed_by: Option<String>,
    /// When the plan was confirmed.
    pub confirmed_at: Option<Timestamp>,
    /// When every step was at its end, or it was cancelled.
    pub ended_at: Option<Timestamp>,
    /// The plan, in order.
    pub steps: Vec<Step>,
}

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The plan is shown, and waits to be confirmed.
    Planned,
    /// The plan was confirmed.
    Running,
    /// Every step is at its end.
    Done,
    /// Nobody confirmed the plan, and somebody called it off.
    Cancelled,
}

/// One secret of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Which secret.
    pub secret: Secret,
    /// Whether it was reported as exposed, or is related to one that was.
    pub is_exposed: bool,
    /// What is done.
    pub action: Action,
    /// What it breaks.
    pub disruption: String,
    /// What a person must do once it is done, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub afterwards: Option<String>,
    /// How far it is.
    pub progress: Progress,
    /// Sessions, codes and keys that it makes invalid, counted for the plan, and anew
    /// right before it begins; `None` when they could not be counted.
    #[serde(default)]
    pub invalidates: Option<BTreeMap<String, u64>>,
    /// Values that were sealed by it when this was planned, by column: whoever has the key
    /// and a copy of the database has them, too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sealed: BTreeMap<String, u64>,
    /// Other secrets that accept the very value, since it once did their work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Secret>,
}

/// What is done about a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A hard rollover to a value that is made here.
    RollOver,
    /// The provider must issue a new credential; a person rolls it over by value.
    Reissue,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Progress {
    /// It has not begun.
    Waiting {
        /// Why it could not begin yet, if that was tried.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<String>,
    },
    /// Its rollover has begun.
    Running {
        /// Which rollover.
        rollover: RolloverId,
    },
    /// The old key is cut off everywhere, and nothing is left under it.
    Done {
        /// Which rollover.
        rollover: RolloverId,
        /// Since when the rollover is at its end.
        at: Timestamp,
    },
    /// Its rollover ended otherwise, or could not begin: a person must look.
    Failed {
        /// Which rollover, if there was one.
        rollover: Option<RolloverId>,
        /// What happened.
        why: String,
    },
    /// A person must do it.
    ByHand,
    /// The secret has no key here: what it is for is switched off.
    Off,
}

impl State {
    /// Its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Step {
    /// Whether nothing more happens to it by itself.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        !matches!(self.progress, Progress::Waiting { .. } | Progress::Running { .. })
    }

    /// Its rollover, once it has one.
    #[must_use]
    pub const fn rollover(&self) -> Option<RolloverId> {
        match &self.progress {
            Progress::Running { rollover } | Progress::Done { rollover, .. } => Some(*rollover),
            Progress::Failed { rollover, .. } => *rollover,
            Progress::Waiting { .. } | Progress::ByHand | Progress::Off => None,
        }
    }
}

impl Incident {
    /// Whether it is planned or under way.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Planned | State::Running)
    }

    /// Whether nothing more happens to any step by itself.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.steps.iter().all(Step::is_over)
    }

    /// The reason that its rollovers are given; it begins with [`Incident::mark`].
    #[must_use]
    pub fn because(&self) -> String {
        let mark = self.mark();
        let reason = self.reason.chars().take(LONGEST - mark.len());
        mark.chars().chain(reason).collect()
    }

    /// What the reason of each of its rollovers begins with: by it, one that was begun
    /// right before a crash is found again.
    #[must_use]
    pub fn mark(&self) -> String {
        format!("incident {}: ", self.id)
    }
}
