//! `breeze-api incident`: an emergency, as the admin endpoint has it; also where no server
//! runs, or every administrator was logged out by its first step.

use anyhow::{Context, bail};
use breeze_rollover::{
    catalog::Secret,
    clock::Timestamp,
    incident::{Incident, Progress, State},
    keyring::sources::Environment,
    operator::{Exposure, Operator},
    store::Actor,
};
use clap::{Args, Subcommand};
use serde_json::json;
use sqlx::types::Uuid;

use super::{Exit, operate, print, print_json};
use crate::settings::Settings;

/// Plan an emergency, carry it out, and report it.
#[derive(Debug, Args)]
pub(crate) struct Command {
    #[command(subcommand)]
    what: What,
    /// One JSON object on standard output, and nothing else there.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Plan what to do about secrets that were exposed. Nothing is done yet.
    Open {
        /// Which secrets, by their variables.
        #[arg(required = true)]
        secrets: Vec<Secret>,
        /// Since when, such as 2026-11-24T17:00:00Z.
        #[arg(long, value_parser = moment)]
        exposed_since: Timestamp,
        /// What happened; the audit trail keeps it.
        #[arg(long)]
        reason: String,
    },
    /// The newest ones.
    List,
    /// One, with its plan and how far each step is.
    Show {
        /// Which.
        id: Uuid,
    },
    /// Have the plan carried out.
    Confirm {
        /// Which.
        id: Uuid,
        /// Stay until every step is at its end, or waits for people.
        #[arg(long)]
        wait: bool,
    },
    /// Drop the plan.
    Cancel {
        /// Which.
        id: Uuid,
        /// Why; the audit trail keeps it.
        #[arg(long)]
        reason: String,
    },
    /// What happened, and what is left to do: Markdown, or JSON.
    Report {
        /// Which.
        id: Uuid,
    },
}

/// A moment as RFC 3339 writes it.
fn moment(text: &str) -> anyhow::Result<Timestamp> {
    let parsed: jiff::Timestamp =
        text.parse().context("a moment is written like 2026-11-24T17:00:00Z")?;
    Ok(Timestamp::from_millis(parsed.as_millisecond()))
}

pub(crate) async fn run(
    settings: &Settings,
    environment: &Environment,
    command: Command,
) -> anyhow::Result<Exit> {
    let json = command.json;
    operate(settings, environment, async |operator| carry_out(operator, command.what, json).await)
        .await
}

async fn carry_out(operator: &Operator, what: What, json: bool) -> anyhow::Result<Exit> {
    let by = Actor::System;
    let incident = match what {
        What::Open { secrets, exposed_since, reason } => {
            operator.open_incident(Exposure { secrets, since: exposed_since, reason }, by).await?
        }
        What::List => return list(operator, json).await,
        What::Show { id } => operator.incident(id).await?,
        What::Confirm { id, wait } => {
            let confirmed = operator.confirm_incident(id, by).await?;
            if wait { follow(operator, confirmed).await? } else { confirmed }
        }
        What::Cancel { id, reason } => operator.cancel_incident(id, by, &reason).await?,
        What::Report { id } => {
            let report = operator.incident_report(id).await?;
            if json {
                print_json(&report)?;
            } else {
                print(&report.markdown());
            }
            return Ok(Exit::Complete);
        }
    };
    if json {
        print_json(&incident)?;
    } else {
        tell(&incident);
    }
    Ok(Exit::Complete)
}

/// Carries it out from here as well, until it is over.
async fn follow(operator: &Operator, mut incident: Incident) -> anyhow::Result<Incident> {
    while incident.state == State::Running {
        operator.drive_incident().await?;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        incident = operator.incident(incident.id).await?;
        let waits_for_people = async |step: &breeze_rollover::incident::Step| {
            let Some(id) = step.rollover() else { return Ok(step.is_over()) };
            let blocked = operator.rollover(id).await?.blocked_by.unwrap_or_default();
            anyhow::Ok(step.is_over() || super::needs_people(&blocked))
        };
        let mut all_wait = true;
        for step in &incident.steps {
            all_wait &= waits_for_people(step).await?;
        }
        if all_wait && incident.state == State::Running && !incident.is_over() {
            return Ok(incident);
        }
    }
    if incident.state == State::Cancelled {
        bail!("incident {} was cancelled", incident.id);
    }
    Ok(incident)
}

async fn list(operator: &Operator, json: bool) -> anyhow::Result<Exit> {
    const NEWEST: u32 = 50;
    let incidents = operator.worker().replica().store().incidents(NEWEST).await?;
    if json {
        print_json(&json!({ "incidents": incidents }))?;
        return Ok(Exit::Complete);
    }
    for incident in &incidents {
        let names: Vec<_> = incident.secrets.iter().map(|secret| secret.name()).collect();
        let (id, at, state) = (incident.id, incident.opened_at, incident.state.as_str());
        print(&format!("{id} {at} {state:<10} {}", names.join(", ")));
    }
    Ok(Exit::Complete)
}

fn tell(incident: &Incident) {
    print(&format!("incident {}: {}", incident.id, incident.state.as_str()));
    for step in &incident.steps {
        let progress = match &step.progress {
            Progress::Waiting { because: None } => "waits".to_owned(),
            Progress::Waiting { because: Some(why) } => format!("waits: {why}"),
            Progress::Running { rollover } => format!("runs: rollover {rollover}"),
            Progress::Done { at, .. } => format!("done {at}"),
            Progress::Failed { why, .. } => format!("failed: {why}"),
            Progress::ByHand => "by hand: see the report".to_owned(),
            Progress::Off => "off".to_owned(),
        };
        print(&format!("{:<26} {progress}; it breaks: {}", step.secret.name(), step.disruption));
    }
    if incident.state == State::Planned {
        print(&format!("nothing is done yet: breeze-api incident confirm {}", incident.id));
    }
}
