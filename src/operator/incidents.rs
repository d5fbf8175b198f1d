//! Emergencies: opened, confirmed, carried out step by step, and reported.
//!
//! 1. One incident is open at a time: the database sees to it.
//! 2. A step's rollover has an id that follows from the incident and the step, so that a
//!    crash, or another replica at the same work, begins none twice.
//! 3. Any replica carries on; what it does is noted before the next step.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use serde_json::json;
use uuid::Uuid;

use super::{Check, Operator, Refusal, Request, checked_reason};
use crate::{
    catalog::Secret,
    clock::Timestamp,
    envelope::Target,
    ids::RolloverId,
    incident::{CutOffOf, Incident, Progress, Report, State, Told, plan_of},
    rollover::{Mode, Phase, Rollover},
    store::{Actor, AuditEntry, AuditRecord, Outcome},
    worker::{Chore, DriveError, Worker, primary},
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

/// Entries of the audit trail that a report reads and shows, at most.
const WINDOW: usize = 2000;

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
        for step in steps.iter_mut().filter(|step| !step.is_over()) {
            step.invalidates = self.worker.invalidates(step.secret).await?;
        }
        let incident = Incident {
            id: Uuid::now_v7(),
            revision: 0,
            state: State::Planned,
            steps,
            secrets,
            exposed_since: exposure.since,
            reason,
            opened_by: name(&actor),
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
            confirmed_by: Some(name(&actor)),
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

    /// Carries the open incident as far as it goes now.
    ///
    /// # Errors
    /// [`Refusal`] when the store does not answer; the next look goes on from there.
    pub async fn drive_incident(&self) -> Result<(), Refusal> {
        let store = self.worker.replica().store();
        while let Some(incident) = store.open_incident().await? {
            if incident.state != State::Running {
                return Ok(());
            }
            let now = self.worker.replica().clock().now();
            let Some(index) = incident.next_step() else {
                let done = Incident { state: State::Done, ended_at: Some(now), ..incident };
                return match self.put(done, Actor::System, "incident.done", json!({})).await {
                    Err(Refusal::Conflict) => Ok(()),
                    other => other.map(drop),
                };
            };
            let mut next = incident.clone();
            self.advance(&mut next, index).await?;
            if next == incident {
                return Ok(());
            }
            let step = &next.steps[index];
            let details = json!({ "secret": step.secret, "progress": step.progress });
            match self.put(next, Actor::System, "incident.step", details).await {
                // Another replica was first: look again.
                Ok(_) | Err(Refusal::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves one step on, if it can be.
    async fn advance(&self, incident: &mut Incident, index: usize) -> Result<(), Refusal> {
        let id = rollover_of(incident.id, index);
        let because = incident.because();
        let step = &mut incident.steps[index];
        let begun = self.worker.replica().store().rollover(id).await?;
        step.progress = match (&step.progress, begun) {
            (Progress::Waiting { .. }, Some(_)) => Progress::Running { rollover: id },
            (Progress::Waiting { .. }, None) => {
                step.invalidates = self.worker.invalidates(step.secret).await?;
                match self.begin_as(id, hard(step.secret, because), Actor::System).await {
                    Ok(_) => Progress::Running { rollover: id },
                    Err(Refusal::NoPrimary(_)) => Progress::Off,
                    Err(Refusal::Busy(running)) => Progress::Waiting {
                        because: Some(format!(
                            "rollover {running} of it is in progress; roll it back, or retire its old key"
                        )),
                    },
                    Err(Refusal::Drive(error)) => return Err(error.into()),
                    Err(refusal) => Progress::Failed { rollover: None, why: refusal.to_string() },
                }
            }
            (Progress::Running { .. }, Some(rollover)) => run(&rollover, self.now()),
            (Progress::Running { .. }, None) => {
                Progress::Failed { rollover: Some(id), why: "its rollover is not there".to_owned() }
            }
            (over, _) => over.clone(),
        };
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.worker.replica().clock().now()
    }

    /// Everything that is known of an incident.
    ///
    /// # Errors
    /// [`Refusal::NoIncident`].
    pub async fn incident_report(&self, id: Uuid) -> Result<Report, Refusal> {
        let incident = self.incident(id).await?;
        let (mut cut_offs, mut to_do, mut affected) = (vec![], vec![], BTreeSet::new());
        let mut about = BTreeSet::from([id]);
        for step in &incident.steps {
            let rollover = match step.rollover() {
                Some(id) => Some(self.inspect(id).await?),
                None => None,
            };
            about.extend(step.rollover().map(|id| id.0));
            to_do.extend(Report::to_do(step, rollover.as_ref().map(|view| &view.rollover)));
            if let Some(view) = &rollover
                && let Some(cut_off) = view.rollover.cut_off.clone()
            {
                let rows_rewrapped =
                    view.progress.as_ref().map_or(0, |progress| progress.pass.rewrapped);
                cut_offs.push(CutOffOf { secret: step.secret, rows_rewrapped, cut_off });
            }
            if step.progress != Progress::Off
                && let Some(impact) = self.worker.impact()
            {
                affected.extend(impact.affected(step.secret).await);
            }
        }
        let (window, window_goes_on) = self.entries_since(incident.exposed_since).await?;
        let timeline = window
            .iter()
            .filter(|entry| entry.resource_id.is_some_and(|id| about.contains(&id)))
            .map(told)
            .collect();
        Ok(Report {
            as_of: self.now(),
            timeline,
            cut_offs,
            affected: affected.into_iter().collect(),
            window: window.iter().map(told).collect(),
            window_goes_on,
            to_do,
            incident,
        })
    }

    /// Entries of the audit trail since `since`, oldest first, and whether there are more
    /// than are shown: then the newest are.
    async fn entries_since(&self, since: Timestamp) -> Result<(Vec<AuditRecord>, bool), Refusal> {
        const PAGE: u32 = 500;
        let store = self.worker.replica().store();
        let mut entries: Vec<AuditRecord> = vec![];
        loop {
            let page = store.audit(entries.last().map(|entry| entry.id), PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            let before = entries.len();
            entries.extend(page.into_iter().take_while(|entry| entry.timestamp >= since));
            let goes_on = entries.len() - before == PAGE as usize && !is_last;
            if !goes_on || entries.len() >= WINDOW {
                entries.reverse();
                return Ok((entries, goes_on));
            }
        }
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

/// How far a step is whose rollover is there.
fn run(rollover: &Rollover, now: Timestamp) -> Progress {
    let id = rollover.id;
    match rollover.phase {
        phase if phase.is_active() => Progress::Running { rollover: id },
        Phase::Retired | Phase::Destroyed if rollover.awaited_cut_off().is_some() => {
            Progress::Running { rollover: id }
        }
        Phase::Retired | Phase::Destroyed => Progress::Done { rollover: id, at: now },
        phase => Progress::Failed { rollover: Some(id), why: format!("its rollover is {phase}") },
    }
}

/// The id of a step's rollover: of the incident's time, so that it is listed there.
fn rollover_of(incident: Uuid, step: usize) -> RolloverId {
    let mut bytes = incident.into_bytes();
    bytes[15] = u8::try_from(step).unwrap_or(u8::MAX);
    RolloverId(Uuid::from_bytes(bytes))
}

/// An emergency waits for no other rollover, and for nothing that ails.
fn hard(secret: Secret, reason: String) -> Request {
    Request {
        secret,
        mode: Mode::Hard,
        reason,
        dry_run: false,
        value: None,
        target: Target::default(),
        max_rows_per_second: None,
        alongside: true,
        force: Check::ALL.into(),
    }
}

fn name(actor: &Actor) -> String {
    match actor {
        Actor::System => "system".to_owned(),
        Actor::User { id, email } => email.clone().unwrap_or_else(|| id.to_string()),
    }
}

fn told(entry: &AuditRecord) -> Told {
    let who = match entry.actor_type.as_str() {
        "system" => "system".to_owned(),
        _ => entry.actor_email.clone().unwrap_or_else(|| entry.actor_id.to_string()),
    };
    let resource = entry.resource_name.clone();
    let resource = resource.or_else(|| entry.resource_id.map(|id| id.to_string()));
    Told {
        at: entry.timestamp,
        who,
        action: entry.action.clone(),
        what: format!("{} {}", entry.resource_type, resource.unwrap_or_default()),
        result: entry.result.clone(),
    }
}

/// Carries out incidents that are confirmed.
#[derive(Debug, Clone, Copy)]
pub struct Emergencies;

#[async_trait]
impl Chore for Emergencies {
    fn name(&self) -> &'static str {
        "emergencies"
    }

    fn every(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn is_due(&self, worker: &Worker) -> Result<bool, DriveError> {
        let open = worker.replica().store().open_incident().await?;
        Ok(open.is_some_and(|incident| incident.state == State::Running))
    }

    async fn run(&self, worker: &Worker) -> Result<(), DriveError> {
        let operator = Operator::new(worker.clone(), Duration::ZERO);
        operator.drive_incident().await.map_err(super::review::driving)
    }
}
