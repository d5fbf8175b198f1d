//! Refusals as HTTP problems: the one place where they get a status.

use std::time::Duration;

use axum::http::{Method, StatusCode};

use crate::{
    envelope::SealError, operator::Refusal, problem::Problem, replica::ReplicaError,
    store::StoreError, worker::DriveError,
};

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::NotFound(_) => Self::not_found(detail).coded("no_such_rollover"),
            Refusal::NoPrimary(_) => Self::conflict(detail).coded("no_primary_key"),
            Refusal::Reason => Self::unprocessable(detail).coded("reason_required"),
            Refusal::Value(_) | Refusal::Form(_) | Refusal::Valueless(_) => {
                Self::unprocessable(detail).coded("unfit_value")
            }
            Refusal::NoValue(_) => Self::unprocessable(detail).coded("value_required"),
            Refusal::Probe(_) => Self::unprocessable(detail).coded("probe_failed"),
            Refusal::Busy(id) => Self::conflict(detail)
                .coded("rollover_in_progress")
                .with("rollover", id.to_string()),
            Refusal::NotSuperseded(..) => Self::conflict(detail).coded("not_superseded"),
            Refusal::Unhealthy(_) => Self::conflict(detail).coded("unhealthy"),
            Refusal::Interval => Self::unprocessable(detail).coded("unfit_interval"),
            Refusal::Exposure => Self::unprocessable(detail).coded("unfit_exposure"),
            Refusal::NoIncident(_) => Self::not_found(detail).coded("no_such_incident"),
            Refusal::IncidentOpen(id) => {
                Self::conflict(detail).coded("incident_open").with("incident", id.to_string())
            }
            Refusal::NotPlanned(_) => Self::conflict(detail).coded("not_planned"),
            Refusal::Conflict => Self::conflict(detail).coded("changed_meanwhile"),
            Refusal::Illegal(_)
            | Refusal::Spent(_)
            | Refusal::AtItsEnd(_)
            | Refusal::NotDraining(_)
            | Refusal::NotRetired(_)
            | Refusal::NoCredential(_)
            | Refusal::Revoked(_)
            | Refusal::Revoking(_)
            | Refusal::Dead(_) => Self::conflict(detail).coded("wrong_phase"),
            Refusal::StillNeeded(_) => Self::conflict(detail).coded("key_still_needed"),
            Refusal::Horizon { until, .. } => Self::conflict(detail)
                .coded("within_backup_horizon")
                .with("until", until.to_string()),
            Refusal::Drive(DriveError::Store(StoreError::Newer(_))) => {
                Self::conflict(detail).coded("newer_version")
            }
            Refusal::NoReplica(_) => Self::not_found(detail).coded("no_such_replica"),
            Refusal::ReplicaLives { .. } => Self::conflict(detail).coded("replica_lives"),
            Refusal::Drive(error) => unavailable(&error),
        }
    }
}

/// The cause goes to the log; the caller is told to come back.
fn unavailable(error: &DriveError) -> Problem {
    tracing::error!(%error, "an admin call failed");
    match error {
        DriveError::Store(StoreError::ReadOnly) => {
            Problem::unavailable(error.to_string(), Duration::from_secs(30)).coded("read_only")
        }
        DriveError::Seal(SealError::Fenced(fenced)) => (*fenced).into(),
        DriveError::Store(_)
        | DriveError::Queue(_)
        | DriveError::Replica(ReplicaError::Store(_) | ReplicaError::Late) => Problem::unavailable(
            "the database did not do it; see the log, and try again",
            Duration::from_secs(5),
        ),
        _ => Problem::internal(),
    }
}

pub(super) async fn method_not_allowed(method: Method) -> Problem {
    let detail = format!("{method} does nothing here; the README lists the endpoints");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", detail)
}
