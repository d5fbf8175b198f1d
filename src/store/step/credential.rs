//! What a rollover of a credential changes: its provider is asked, and has answered.
//!
//! 1. Whom to ask, and when again, is durable, so that of all replicas one asks at a time,
//!    and none more often than it should.
//! 2. Before a provider is asked to revoke the old credential that is noted, and it holds
//!    until the provider has said that it did not: nothing goes back to a credential that
//!    may be dead.
//! 3. What the provider has told is in the report: what the trial has shown, what was
//!    revoked, when and by whom; and of a new credential that was not kept, that it has its
//!    power still, and how to take it away.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Step, answered, untold};
use crate::{
    clock::Timestamp,
    ids::ReplicaId,
    keyring::KeyState,
    rollover::{Event, IllegalTransition, Rollover},
    store::{Change, Outcome},
};

impl Step<'_> {
    /// `replica` asks the provider now, and nobody else does before `until`. What the
    /// provider said before holds until it answers; no audit entry.
    #[must_use]
    pub fn ask(&self, replica: ReplicaId, until: Timestamp) -> Change {
        let mut next = self.unmoved();
        next.asked_by = Some(replica);
        next.ask_at = Some(until);
        untold(next)
    }

    /// The provider is about to be asked to revoke the old credential: from now on it may
    /// be revoked, whatever becomes of the answer. No audit entry.
    #[must_use]
    pub fn revoking(&self) -> Change {
        let mut next = self.unmoved();
        next.revoking_at = next.revoking_at.or(Some(self.now));
        untold(next)
    }

    /// The old credential is not revoked, `why` tells why not, and the provider is asked
    /// again `after` a while. Where it `may_be` revoked all the same, that holds on. No
    /// audit entry.
    #[must_use]
    pub fn unrevoked(&self, why: String, after: Duration, may_be: bool) -> Change {
        let mut next = self.unmoved();
        next.blocked_by = Some(why);
        next.asked_by = None;
        next.ask_at = Some(self.now.plus(after));
        next.revoking_at = next.revoking_at.filter(|_| may_be);
        untold(next)
    }

    /// The provider may be asked again at once; no audit entry.
    #[must_use]
    pub fn ask_again(&self) -> Change {
        let mut next = self.unmoved();
        next.ask_at = None;
        untold(next)
    }

    /// The new credential was tried at its provider, and `shown` is what came of it.
    #[must_use]
    pub fn probed(&self, shown: &str) -> Change {
        let mut next = answered(self.again());
        next.probed_at = Some(self.now);
        next.report = Some(self.told_with(json!({ "trial": { "at": self.now, "shown": shown } })));
        self.telling("probe", next, shown)
    }

    /// The new credential was tried at its provider in vain: the rollover is given up.
    ///
    /// # Errors
    /// As [`Step::rehearse`].
    pub fn probe_failed(&self, why: &str) -> Result<Change, IllegalTransition> {
        let mut next = self.after(Event::RollBack)?;
        next.blocked_by = Some(why.to_owned());
        leave_behind(&mut next);
        let mut change = self.telling("probe", next, why);
        change.keys.push(self.moves_new(KeyState::Staged, KeyState::Retired));
        change.audit.iter_mut().for_each(|entry| entry.outcome = Outcome::Failure);
        Ok(change)
    }

    /// The old credential is revoked at its provider, as `shown` says.
    #[must_use]
    pub fn revoked(&self, shown: &str) -> Change {
        let mut next = answered(self.again());
        next.revoked_at = Some(self.now);
        next.revoking_at = None;
        let by = self.actor.to_string();
        let told = json!({ "revocation": { "at": self.now, "by": by, "shown": shown } });
        next.report = Some(self.told_with(told));
        self.telling("revoke", next, shown)
    }

    /// The rollover after one more change that is no step.
    fn unmoved(&self) -> Rollover {
        Rollover { blocked_by: self.rollover.blocked_by.clone(), ..self.again() }
    }

    /// `report`, beside what the provider has told on the way.
    pub(super) fn told_with(&self, report: Value) -> Value {
        match (self.rollover.report.clone(), report) {
            (Some(Value::Object(mut told)), Value::Object(report)) => {
                told.extend(report);
                Value::Object(told)
            }
            (_, report) => report,
        }
    }
}

/// Tells in the report of a rollover that has ended without its new credential that it has
/// its power still, and how to take it away.
pub(super) fn leave_behind(ended: &mut Rollover) {
    let by_hand = ended.secret.entry().revoked_by_hand;
    let Some(key) = ended.to_key.as_ref().filter(|_| !by_hand.is_empty()) else { return };
    let told = format!(
        "the new credential is not in use, and has its power at the provider still, unless that never took it: {by_hand}"
    );
    let left = json!({ "key": key, "told": told });
    if let Value::Object(report) = ended.report.get_or_insert_with(|| json!({})) {
        report.insert("leftBehind".to_owned(), left);
    }
}
