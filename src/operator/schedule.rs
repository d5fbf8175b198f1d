//! Intervals that operators set.

use serde_json::json;

use super::{Operator, Refusal, checked_reason};
use crate::{
    catalog::Secret,
    schedule::{Schedule, interval_of},
    store::{Actor, AuditEntry, Outcome},
};

impl Operator {
    /// How long one key of each secret should serve.
    ///
    /// # Errors
    /// [`Refusal`] when the store does not answer.
    pub async fn schedule(&self) -> Result<Schedule, Refusal> {
        Ok(Schedule::with(self.worker.replica().store().intervals().await?))
    }

    /// Sets how many days one key of `secret` should serve; `None`: what the catalog says.
    ///
    /// # Errors
    /// [`Refusal::Interval`] for a number out of bounds, [`Refusal::Reason`].
    pub async fn set_interval(
        &self,
        secret: Secret,
        days: Option<u32>,
        actor: Actor,
        why: &str,
    ) -> Result<(), Refusal> {
        let reason = checked_reason(why)?;
        if days.is_some_and(|days| interval_of(days).is_none()) {
            return Err(Refusal::Interval);
        }
        let replica = self.worker.replica();
        let entry = AuditEntry {
            at: replica.clock().now(),
            actor,
            action: "schedule.set".to_owned(),
            resource_type: "schedule",
            resource_id: None,
            resource_name: Some(secret.name().to_owned()),
            details: json!({ "reason": reason, "intervalDays": days }),
            outcome: Outcome::Success,
        };
        Ok(replica.store().set_interval(secret, days, &entry).await?)
    }
}
