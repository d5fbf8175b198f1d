//! Carries a confirmed plan out.
//!
//! 1. A step's rollover has an id that follows from the incident and the step, so that a
//!    crash, or another replica at the same work, begins none twice.
//! 2. A step holds the next one up until its old key is retired, and no longer: not while
//!    what lies under it is moved, and not where it waits for people.
//! 3. What is done is noted before the next step.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use uuid::Uuid;

use super::super::{Check, Operator, Refusal, Request};
use crate::{
    catalog::Secret,
    clock::Timestamp,
    envelope::Target,
    ids::RolloverId,
    incident::{Incident, Progress, State},
    rollover::{Mode, Phase, Rollover},
    store::Actor,
    worker::{Chore, DriveError, Worker},
};

impl Operator {
    /// Carries the open incident as far as it goes now.
    ///
    /// # Errors
    /// [`Refusal`] when the store does not answer; the next look goes on from there.
    pub async fn drive_incident(&self) -> Result<(), Refusal> {
        let store = self.worker.replica().store();
        while let Some(incident) = store.open_incident().await? {
            let (next, action, details) = match incident.state {
                State::Running if incident.is_over() => {
                    let ended_at = Some(self.now());
                    let done = Incident { state: State::Done, ended_at, ..incident };
                    (done, "incident.done", json!({}))
                }
                State::Running => match self.step_on(&incident).await? {
                    Some((next, index)) => {
                        let step = &next.steps[index];
                        let details = json!({ "secret": step.secret, "progress": step.progress });
                        (next, "incident.step", details)
                    }
                    None => return Ok(()),
                },
                State::Planned | State::Done | State::Cancelled => return Ok(()),
            };
            match self.put(next, Actor::System, action, details).await {
                // Another replica was first: look again.
                Ok(_) | Err(Refusal::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The incident after the first step that can be moved on, and which that is.
    async fn step_on(&self, incident: &Incident) -> Result<Option<(Incident, usize)>, Refusal> {
        for (index, step) in incident.steps.iter().enumerate().filter(|(_, step)| !step.is_over()) {
            let id = rollover_of(incident.id, index);
            let mut next = incident.clone();
            let begun = self.worker.replica().store().rollover(id).await?;
            self.advance(&mut next, index, begun.as_ref()).await?;
            if next != *incident {
                return Ok(Some((next, index)));
            }
            if matches!(step.progress, Progress::Running { .. })
                && begun.as_ref().is_some_and(holds_up)
            {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Begins the rollover of a step; one of the same secret that is in progress is taken
    /// over from.
    async fn begin_hard(&self, id: RolloverId, of: Secret, why: &str) -> Result<(), Refusal> {
        let begin = |over| self.begin_as(id, hard(of, why.to_owned(), over), Actor::System);
        match begin(None).await {
            Err(Refusal::Busy(running)) => begin(Some(running)).await.map(drop),
            begun => begun.map(drop),
        }
    }

    /// Moves one step on, if it can be.
    async fn advance(
        &self,
        incident: &mut Incident,
        index: usize,
        begun: Option<&Rollover>,
    ) -> Result<(), Refusal> {
        let id = rollover_of(incident.id, index);
        let because = incident.because();
        let step = &mut incident.steps[index];
        step.progress = match (&step.progress, begun) {
            (Progress::Waiting { .. }, Some(_)) => Progress::Running { rollover: id },
            (Progress::Waiting { .. }, None) => {
                step.invalidates = self.worker.invalidates(step.secret).await?;
                match self.begin_hard(id, step.secret, &because).await {
                    Ok(()) => Progress::Running { rollover: id },
                    Err(Refusal::NoPrimary(_)) => Progress::Off,
                    // It moved meanwhile, or a newer version drives it: look again.
                    Err(
                        refusal @ (Refusal::Busy(_)
                        | Refusal::Conflict
                        | Refusal::NotSuperseded(..)),
                    ) => Progress::Waiting { because: Some(refusal.to_string()) },
                    Err(Refusal::Drive(error)) => return Err(error.into()),
                    Err(refusal) => Progress::Failed { rollover: None, why: refusal.to_string() },
                }
            }
            (Progress::Running { .. }, Some(rollover)) => run(rollover, self.now()),
            (Progress::Running { .. }, None) => {
                Progress::Failed { rollover: Some(id), why: "its rollover is not there".to_owned() }
            }
            (over, _) => over.clone(),
        };
        Ok(())
    }
}

/// Whether the next step has to wait for this one: until its old key is retired, unless
/// that is for an operator to allow.
fn holds_up(rollover: &Rollover) -> bool {
    matches!(rollover.phase, Phase::Requested | Phase::Staged) && rollover.paused_at.is_none()
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
fn hard(secret: Secret, reason: String, supersede: Option<RolloverId>) -> Request {
    Request {
        secret,
        mode: Mode::Hard,
        reason,
        dry_run: false,
        value: None,
        target: Target::default(),
        max_rows_per_second: None,
        alongside: true,
        supersede,
        force: Check::ALL.into(),
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
        operator.drive_incident().await.map_err(super::super::review::driving)
    }
}
