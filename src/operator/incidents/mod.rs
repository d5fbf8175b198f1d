//! Emergencies: opened, confirmed or dropped here, carried out by [`Emergencies`], and
//! reported.
//!
//! 1. One incident is open at a time: the database sees to it.
//! 2. Any replica carries on.

mod drive;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use uuid::Uuid;

pub use drive::Emergencies;

use super::{Operator, Refusal, checked_reason};
use crate::{
    catalog::{Class, Secret},
    clock::Timestamp,
    incident::{Incident, State, Step, plan_of},
    store::{Actor, AuditEntry, ColumnCensus, Custody, KeyRecord, Outcome},
    worker::primary,
};

/// What was exposed.
#[derive(Debug, Clone)]
pub struct Exposure {
    /// Which secrets.
    pub secrets: Vec<Secret>,
    /// Since when they may have been known to others.
    pub since: Timestamp,
    /// What happened.
    pub reason: String,
}

impl Operator {
    /// Notes what was exposed, and plans what to do. Nothing else is done yet.
    ///
    /// # Errors
    /// [`Refusal::Exposure`], [`Refusal::Reason`], or [`Refusal::IncidentOpen`].
    pub async fn open_incident(
        &self,
        exposure: Exposure,
        actor: Actor,
    ) -> Result<Incident, Refusal> {
        let reason = checked_reason(&exposure.reason)?;
        let replica = self.worker.replica();
        let (store, now) = (replica.store(), replica.clock().now());
        if exposure.secrets.is_empty() || exposure.since > now {
            return Err(Refusal::Exposure);
        }
        let custody = store.custody().await?;
        let secrets: BTreeSet<_> = exposure.secrets.into_iter().collect();
        let secrets: Vec<_> = secrets.into_iter().collect();
        let mut steps = plan_of(&secrets, |secret| primary(&custody, secret).is_some());
        let seals = |step: &Step| !step.is_over() && step.secret.entry().class == Class::Sealing;
        let columns = match steps.iter().any(seals) {
            true => self.census().await?.columns,
            false => vec![],
        };
        for step in steps.iter_mut().filter(|step| !step.is_over()) {
            step.invalidates = self.worker.invalidates(step.secret).await?;
            step.sealed = sealed_by(step.secret, &columns);
            step.also = also_accepted(&custody, step.secret);
        }
        let incident = Incident {
            id: Uuid::now_v7(),
            revision: 0,
            state: State::Planned,
            steps,
            secrets,
            exposed_since: exposure.since,
            reason,
            opened_by: actor.to_string(),
            opened_at: now,
            confirmed_by: None,
            confirmed_at: None,
            ended_at: None,
        };
        let entry = self.told(
            &incident,
            actor,
            "incident.open",
            json!({
                "secrets": incident.secrets,
                "exposedSince": incident.exposed_since,
                "reason": incident.reason,
            }),
        );
        if store.put_incident(&incident, &[entry]).await? {
            return Ok(incident);
        }
        let open = store.open_incident().await?;
        Err(open.map_or(Refusal::Conflict, |open| Refusal::IncidentOpen(open.id)))
    }

    /// One incident.
    ///
    /// # Errors
    /// [`Refusal::NoIncident`].
    pub async fn incident(&self, id: Uuid) -> Result<Incident, Refusal> {
        self.worker.replica().store().incident(id).await?.ok_or(Refusal::NoIncident(id))
    }

    /// Has the plan carried out. Asking again changes nothing.
    ///
    /// # Errors
    /// [`Refusal::NotPlanned`] once it is cancelled or done.
    pub async fn confirm_incident(&self, id: Uuid, actor: Actor) -> Result<Incident, Refusal> {
        let incident = self.incident(id).await?;
        match incident.state {
            State::Planned => {}
            State::Running => return Ok(incident),
            State::Done => return Err(Refusal::NotPlanned("done")),
            State::Cancelled => return Err(Refusal::NotPlanned("cancelled")),
        }
        let now = self.worker.replica().clock().now();
        let confirmed = Incident {
            state: State::Running,
            confirmed_by: Some(actor.to_string()),
            confirmed_at: Some(now),
            ..incident
        };
        self.put(confirmed, actor, "incident.confirm", json!({})).await
    }

    /// Drops the plan.
    ///
    /// # Errors
    /// [`Refusal::NotPlanned`] once it was confirmed.
    pub async fn cancel_incident(
        &self,
        id: Uuid,
        actor: Actor,
        why: &str,
    ) -> Result<Incident, Refusal> {
        let reason = checked_reason(why)?;
        let incident = self.incident(id).await?;
        match incident.state {
            State::Planned => {}
            State::Running => return Err(Refusal::NotPlanned("running")),
            State::Done => return Err(Refusal::NotPlanned("done")),
            State::Cancelled => return Ok(incident),
        }
        let now = self.worker.replica().clock().now();
        let cancelled = Incident { state: State::Cancelled, ended_at: Some(now), ..incident };
        self.put(cancelled, actor, "incident.cancel", json!({ "reason": reason })).await
    }

    fn now(&self) -> Timestamp {
        self.worker.replica().clock().now()
    }

    /// Stores the next revision.
    async fn put(
        &self,
        incident: Incident,
        actor: Actor,
        action: &str,
        details: serde_json::Value,
    ) -> Result<Incident, Refusal> {
        let incident = Incident { revision: incident.revision + 1, ..incident };
        let entry = self.told(&incident, actor, action, details);
        let store = self.worker.replica().store();
        if store.put_incident(&incident, &[entry]).await? {
            Ok(incident)
        } else {
            Err(Refusal::Conflict)
        }
    }

    fn told(
        &self,
        incident: &Incident,
        actor: Actor,
        action: &str,
        details: serde_json::Value,
    ) -> AuditEntry {
        AuditEntry {
            at: self.now(),
            actor,
            action: action.to_owned(),
            resource_type: "incident",
            resource_id: Some(incident.id),
            resource_name: None,
            details,
            outcome: Outcome::Success,
        }
    }
}

/// How many values of `columns` are sealed by `secret`, by column.
fn sealed_by(secret: Secret, columns: &[ColumnCensus]) -> BTreeMap<String, u64> {
    let form = match (secret, secret.entry().class) {
        (Secret::MfaEncryptionKey, _) => "mfa:",
        (_, Class::Sealing) => "enc:",
        _ => return BTreeMap::new(),
    };
    let count = |column: &ColumnCensus| {
        let of_it = column.values.iter().filter(|(of, _)| of.starts_with(form));
        (column.column.clone(), of_it.map(|(_, count)| count).sum())
    };
    columns.iter().map(count).filter(|(_, count)| *count > 0).collect()
}

/// Other secrets that accept a value under which `secret` is, or was until now, accepted:
/// what one of them did once, another does today.
fn also_accepted(custody: &Custody, secret: Secret) -> Vec<Secret> {
    let of = |secret: Secret| {
        let accepted = move |key: &&KeyRecord| key.secret == secret && key.state.accepts();
        custody.keys.iter().filter(accepted).map(|key| key.fingerprint)
    };
    let exposed: BTreeSet<_> = of(secret).collect();
    let others = Secret::all().filter(|other| *other != secret);
    others.filter(|other| of(*other).any(|value| exposed.contains(&value))).collect()
}
