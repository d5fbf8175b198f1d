//! Whether a rollover may begin: while something ails, it would stand still half-way.
//!
//! 1. What passes by itself within moments is waited for.
//! 2. A check that fails is named, with what it found; an operator may force it, by name.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Operator, Refusal};
use crate::{catalog::Class, worker::DriveError};

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// The database answers at once.
    Database,
    /// Every live replica keeps up, and none accepts keys without its lease.
    Replicas,
    /// No pass that is under way finds values that no key opens.
    Quarantine,
    /// The queue answers, and its tasks are taken.
    Queue,
}

impl Check {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Database, Self::Replicas, Self::Quarantine, Self::Queue];

    /// Its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Replicas => "replicas",
            Self::Quarantine => "quarantine",
            Self::Queue => "queue",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Check {
    type Err = UnknownCheck;
    fn from_str(text: &str) -> Result<Self, UnknownCheck> {
        Self::ALL.into_iter().find(|check| check.as_str() == text).ok_or(UnknownCheck)
    }
}

/// Text that names no check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a check is `database`, `replicas`, `quarantine` or `queue`")]
pub struct UnknownCheck;

/// A check that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ailment {
    /// Which.
    pub check: Check,
    /// What it found.
    pub found: String,
}

impl fmt::Display for Ailment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.check, self.found)
    }
}

/// How long is waited for what passes by itself.
const PATIENCE: Duration = Duration::from_secs(3);

/// How soon it is looked at again.
const GLANCE: Duration = Duration::from_millis(100);

/// How long the database may take to answer the smallest question.
const SLOW: Duration = Duration::from_secs(2);

impl Operator {
    /// What ails, now.
    ///
    /// # Errors
    /// [`Refusal`] when the store does not answer.
    pub async fn ailments(&self) -> Result<Vec<Ailment>, Refusal> {
        self.look(&BTreeSet::new()).await
    }

    async fn look(&self, forced: &BTreeSet<Check>) -> Result<Vec<Ailment>, Refusal> {
        let mut found = vec![];
        if let Some(slow) = self.slow_database().await? {
            found.push(Ailment { check: Check::Database, found: slow });
            if !forced.contains(&Check::Database) {
                // Nor does it answer in time what the others would ask.
                return Ok(found);
            }
        }
        let mut add = |check, ailment: Option<String>| {
            found.extend(ailment.map(|found| Ailment { check, found }));
        };
        add(Check::Replicas, self.ailing_replicas().await?);
        add(Check::Quarantine, self.growing_quarantine().await?);
        add(Check::Queue, self.idle_queue().await);
        Ok(found)
    }

    /// What ails all the same, by the names that `forced` has.
    ///
    /// # Errors
    /// [`Refusal::Unhealthy`] while something ails that `forced` does not name.
    pub(super) async fn check_health(
        &self,
        forced: &BTreeSet<Check>,
    ) -> Result<Vec<Ailment>, Refusal> {
        let began = tokio::time::Instant::now();
        loop {
            let found = self.look(forced).await?;
            let is_forced = |ailment: &Ailment| forced.contains(&ailment.check);
            let (overridden, ailments): (Vec<_>, Vec<_>) = found.into_iter().partition(is_forced);
            if ailments.is_empty() {
                return Ok(overridden);
            }
            if began.elapsed() > PATIENCE {
                return Err(Refusal::Unhealthy(ailments));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn slow_database(&self) -> Result<Option<String>, Refusal> {
        let asked = tokio::time::timeout(SLOW, self.worker.replica().store().epoch()).await;
        Ok(match asked {
            Ok(answered) => answered.map(|_| None)?,
            Err(_) => Some(format!("it takes longer than {} s to answer", SLOW.as_secs())),
        })
    }

    async fn ailing_replicas(&self) -> Result<Option<String>, Refusal> {
        let store = self.worker.replica().store();
        let (epoch, replicas) = (store.epoch().await?, store.replicas().await?);
        let ails = |replica: &&crate::store::ReplicaRecord| {
            let is_fenced = !replica.live && replica.left_at.is_none();
            (replica.live && replica.applied < epoch) || (is_fenced && replica.accepts_while_fenced)
        };
        let names: Vec<_> = replicas
            .iter()
            .filter(ails)
            .map(|replica| {
                let how =
                    if replica.live { "lags behind" } else { "is without its lease, and accepts" };
                format!("{} {how}", replica.name)
            })
            .collect();
        Ok((!names.is_empty()).then(|| names.join(", ")))
    }

    async fn growing_quarantine(&self) -> Result<Option<String>, Refusal> {
        let store = self.worker.replica().store();
        let sealing = |r: &crate::rollover::Rollover| r.secret.entry().class == Class::Sealing;
        let active = store.active_rollovers().await?;
        let Some(since) = active.iter().filter(|r| sealing(r)).map(|r| r.created_at).min() else {
            return Ok(None);
        };
        let fresh = store.quarantined(1000).await?.iter().filter(|q| q.seen_at >= since).count();
        Ok((fresh > 0).then(|| format!("{fresh} value(s) that no key opens were found lately")))
    }

    async fn idle_queue(&self) -> Option<String> {
        let overdue = match self.worker.queue()?.overdue().await {
            Ok(overdue) => overdue,
            Err(error) => return Some(DriveError::from(error).to_string()),
        };
        (overdue > 0).then(|| format!("{overdue} task(s) wait for more than half a minute"))
    }
}
