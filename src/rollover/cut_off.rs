//! When a key that was retired is accepted nowhere any more.
//!
//! 1. Every replica that was live when the key was retired is waited for, by name. One
//!    that joins later begins without the key.
//! 2. A replica accepts it no more once it has acknowledged the epoch that lacks it,
//!    with no request left that holds an older keychain; or once its lease has run out,
//!    since it fences itself then; or once it has left.
//! 3. The cut-off is the last of these moments: [`CutOff::proven`] tells none before.
//!
//! A value that was sealed before and is written after may still be read, with a key
//! from custody that is not compromised: one at a time, and each is told.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    ids::{Epoch, KeyId, ReplicaId},
};

/// The cut-off of the key that a rollover has retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CutOff {
    /// Which key.
    pub key: KeyId,
    /// When it was retired: replicas learn of it from then on.
    pub retired_at: Timestamp,
    /// Since when no replica accepts it, by the database's clock. Absent while one may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Every replica that was live when it was retired, and what ended its acceptance.
    pub replicas: Vec<Acceptor>,
}

/// A replica that accepted the key when it was retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acceptor {
    /// Which replica.
    pub replica: ReplicaId,
    /// Its name, for people.
    pub name: String,
    /// The epoch that lacks the key.
    pub epoch: Epoch,
    /// Whether it accepts the key.
    #[serde(flatten)]
    pub acceptance: Acceptance,
}

/// Whether one replica accepts the key, by the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum Acceptance {
    /// Not since it acknowledged the epoch.
    Acknowledged {
        /// When.
        at: Timestamp,
    },
    /// Not since its lease ran out.
    LeaseRanOut {
        /// When.
        at: Timestamp,
    },
    /// Not since it left.
    Left {
        /// When.
        at: Timestamp,
    },
    /// It may: its lease runs, and it has not acknowledged.
    LeaseRuns {
        /// Until when, unless it is renewed.
        until: Timestamp,
    },
    /// It may: its lease is over, and it is configured to accept even so.
    AcceptsWhileFenced {
        /// When its lease ran out.
        since: Timestamp,
    },
}

impl Acceptance {
    /// Since when the replica does not accept the key; `None` while it may.
    #[must_use]
    pub const fn ended_at(self) -> Option<Timestamp> {
        match self {
            Self::Acknowledged { at } | Self::LeaseRanOut { at } | Self::Left { at } => Some(at),
            Self::LeaseRuns { .. } | Self::AcceptsWhileFenced { .. } => None,
        }
    }
}

impl fmt::Display for Acceptance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acknowledged { at } => write!(f, "acknowledged at {at}"),
            Self::LeaseRanOut { at } => write!(f, "its lease ran out at {at}"),
            Self::Left { at } => write!(f, "left at {at}"),
            Self::LeaseRuns { until } => {
                write!(f, "has not acknowledged, and its lease runs until {until}")
            }
            Self::AcceptsWhileFenced { since } => write!(
                f,
                "is configured to accept without a lease, and its lease ran out at {since}"
            ),
        }
    }
}

impl CutOff {
    /// Of `key`, which is retired now: who accepts it is not known yet.
    #[must_use]
    pub const fn awaited(key: KeyId, retired_at: Timestamp) -> Self {
        Self { key, retired_at, at: None, replicas: Vec::new() }
    }

    /// The cut-off, if none of `acceptors`, all that there were, accepts the key any
    /// more: at the last of the moments at which they ceased to.
    #[must_use]
    pub fn proven(&self, acceptors: &[Acceptor]) -> Option<Self> {
        let ended = acceptors.iter().map(|acceptor| acceptor.acceptance.ended_at());
        let last = ended.collect::<Option<Vec<_>>>()?.into_iter().max();
        // Without any live replica, nobody accepted it at that moment.
        let at = Some(last.unwrap_or(self.retired_at));
        Some(Self { at, replicas: acceptors.to_vec(), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acceptors(states: &[Acceptance]) -> Vec<Acceptor> {
        let acceptor = |&acceptance| Acceptor {
            replica: ReplicaId::new(),
            name: "api".to_owned(),
            epoch: Epoch(7),
            acceptance,
        };
        states.iter().map(acceptor).collect()
    }

    #[test]
    fn a_cut_off_is_the_last_moment_at_which_anybody_accepted_and_none_before() {
        use Acceptance::{AcceptsWhileFenced, Acknowledged, LeaseRanOut, LeaseRuns, Left};
        let at = Timestamp::from_seconds;
        let awaited = CutOff::awaited(KeyId::new("old").unwrap(), at(100));
        let cut = |states: &[Acceptance]| awaited.proven(&acceptors(states)).map(|cut| cut.at);
        let (soon, late) = (Acknowledged { at: at(101) }, LeaseRanOut { at: at(115) });

        assert_eq!(cut(&[soon]), Some(Some(at(101))));
        assert_eq!(cut(&[late, soon, Left { at: at(103) }]), Some(Some(at(115))));
        assert_eq!(cut(&[soon, LeaseRuns { until: at(115) }]), None);
        assert_eq!(cut(&[AcceptsWhileFenced { since: at(99) }, late]), None);
        assert_eq!(cut(&[]), Some(Some(at(100))), "nobody was live when it was retired");
    }

    #[test]
    fn what_is_proven_reads_back_the_same() {
        let states = [
            Acceptance::Acknowledged { at: Timestamp::from_seconds(1) },
            Acceptance::LeaseRanOut { at: Timestamp::from_seconds(2) },
        ];
        let cut_off = CutOff::awaited(KeyId::new("old").unwrap(), Timestamp::from_seconds(0));
        for cut_off in [cut_off.proven(&acceptors(&states)).unwrap(), cut_off] {
            let json = serde_json::to_value(&cut_off).unwrap();
            assert_eq!(serde_json::from_value::<CutOff>(json).unwrap(), cut_off);
        }
    }
}
