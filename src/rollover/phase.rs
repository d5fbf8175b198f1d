//! Phases, events, and the one function that leads from phase to phase.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where a rollover stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Asked for; nothing has changed yet.
    Requested,
    /// The new key is accepted, and used to make nothing.
    Staged,
    /// The new key is primary; the old one runs dry.
    Promoted,
    /// Nothing needs the old key any more.
    Drained,
    /// The old key is not accepted; its material stays in custody.
    Retired,
    /// The old key's material is erased.
    Destroyed,
    /// The old key is primary again; the new one runs dry.
    RollingBack,
    /// Nothing needs the new key any more, and it is retired.
    RolledBack,
    /// Given up before the new key made anything.
    Abandoned,
    /// Not begun, because it cannot be done.
    Refused,
    /// A dry run that has told what a real one would do.
    Rehearsed,
}

/// What moves a rollover on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The dry run has its report.
    Rehearsed,
    /// The rollover cannot be done.
    Refused,
    /// The new key is in custody, and accepted.
    Staged,
    /// Every live replica reads the new key.
    AllReplicasRead,
    /// The key that runs dry has nothing left.
    NothingLeft,
    /// The proof before retiring found something after all.
    SomethingLeft,
    /// The old key is retired.
    Retired,
    /// The operator erases the old key.
    Destroyed,
    /// The operator wants the old key back.
    RollBack,
    /// A hard rollover of the same secret takes over.
    Superseded,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 10] = [
        Self::Rehearsed,
        Self::Refused,
        Self::Staged,
        Self::AllReplicasRead,
        Self::NothingLeft,
        Self::SomethingLeft,
        Self::Retired,
        Self::Destroyed,
        Self::RollBack,
        Self::Superseded,
    ];
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 11] = [
        Self::Requested,
        Self::Staged,
        Self::Promoted,
        Self::Drained,
        Self::Retired,
        Self::Destroyed,
        Self::RollingBack,
        Self::RolledBack,
        Self::Abandoned,
        Self::Refused,
        Self::Rehearsed,
    ];

    /// The phase that `event` leads to.
    ///
    /// # Errors
    /// [`IllegalTransition`] when the event means nothing in this phase.
    pub fn next(self, event: Event) -> Result<Self, IllegalTransition> {
        Ok(match (self, event) {
            (Self::Requested, Event::Rehearsed) => Self::Rehearsed,
            (Self::Requested, Event::Refused) => Self::Refused,
            (Self::Requested, Event::Staged) => Self::Staged,
            (Self::Requested | Self::Staged, Event::RollBack | Event::Superseded) => {
                Self::Abandoned
            }
            (Self::Staged, Event::AllReplicasRead) => Self::Promoted,
            (Self::Promoted, Event::NothingLeft) => Self::Drained,
            (Self::Drained, Event::SomethingLeft) => Self::Promoted,
            (Self::Drained, Event::Retired) => Self::Retired,
            (Self::Promoted | Self::Drained, Event::RollBack) => Self::RollingBack,
            (Self::Promoted | Self::Drained, Event::Superseded) => Self::Retired,
            (Self::RollingBack, Event::NothingLeft | Event::Superseded) => Self::RolledBack,
            (Self::Retired, Event::Destroyed) => Self::Destroyed,
            (from, event) => return Err(IllegalTransition { from, event }),
        })
    }

    /// Whether a rollover of this phase is in progress: no other one of its
    /// secret may begin.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(
            self,
            Self::Requested | Self::Staged | Self::Promoted | Self::Drained | Self::RollingBack
        )
    }

    /// Its name in the store and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Staged => "staged",
            Self::Promoted => "promoted",
            Self::Drained => "drained",
            Self::Retired => "retired",
            Self::Destroyed => "destroyed",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::Abandoned => "abandoned",
            Self::Refused => "refused",
            Self::Rehearsed => "rehearsed",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Phase {
    type Err = UnknownPhase;
    fn from_str(text: &str) -> Result<Self, UnknownPhase> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text).ok_or(UnknownPhase)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rehearsed => "rehearsed",
            Self::Refused => "refused",
            Self::Staged => "staged",
            Self::AllReplicasRead => "all replicas read",
            Self::NothingLeft => "nothing left",
            Self::SomethingLeft => "something left",
            Self::Retired => "retired",
            Self::Destroyed => "destroyed",
            Self::RollBack => "roll back",
            Self::Superseded => "superseded",
        })
    }
}

/// A phase that this version does not know: a newer one wrote it, and drives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store holds a phase that this version does not know; leave it to the newer version")]
pub struct UnknownPhase;

/// An event that means nothing in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rollover that is {from} cannot be moved by `{event}`")]
pub struct IllegalTransition {
    /// Where the rollover stands.
    pub from: Phase,
    /// What was tried.
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_and_event_is_legal_or_refused_and_a_finished_rollover_stays_finished() {
        let mut legal = 0;
        for phase in Phase::ALL {
            for event in Event::ALL {
                match phase.next(event) {
                    Ok(next) => {
                        legal += 1;
                        assert_ne!(next, phase, "a transition leads somewhere");
                        assert!(
                            phase.is_active()
                                || (phase, next) == (Phase::Retired, Phase::Destroyed)
                        );
                    }
                    Err(refused) => assert_eq!(refused, IllegalTransition { from: phase, event }),
                }
            }
        }
        assert_eq!(legal, 18);
    }

    #[test]
    fn destroying_has_one_way_in_and_none_out() {
        for phase in Phase::ALL {
            let way_in =
                Event::ALL.into_iter().any(|event| phase.next(event) == Ok(Phase::Destroyed));
            assert_eq!(way_in, phase == Phase::Retired);
        }
        assert!(Event::ALL.into_iter().all(|event| Phase::Destroyed.next(event).is_err()));
    }

    #[test]
    fn the_name_of_a_phase_leads_back_to_it() {
        for phase in Phase::ALL {
            assert_eq!(phase.as_str().parse(), Ok(phase));
        }
        assert_eq!("from_the_future".parse::<Phase>(), Err(UnknownPhase));
    }
}
