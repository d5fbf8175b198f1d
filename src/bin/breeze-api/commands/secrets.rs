//! `breeze-api secrets`, `schedule` and `health`: what is due when, and what ails.

use breeze_rollover::{
    catalog::Secret, keyring::sources::Environment, operator::Operator, schedule::Due, store::Actor,
};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, operate, print, print_json};
use crate::settings::Settings;

/// List every secret with its age, when it is due, and the rollover in progress.
#[derive(Debug, Args)]
pub(crate) struct Secrets {
    /// One JSON object on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// Set how long one key of a secret should serve.
#[derive(Debug, Args)]
pub(crate) struct Schedule {
    #[command(subcommand)]
    what: Set,
}

#[derive(Debug, Subcommand)]
enum Set {
    /// How many days one key should serve; without a number, as long as the catalog says.
    Set {
        /// Which secret.
        secret: Secret,
        /// How many days.
        days: Option<u32>,
        /// Why; the audit trail keeps it.
        #[arg(long)]
        reason: String,
    },
}

/// Tell what would keep a rollover from beginning.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// One JSON object on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(
    settings: &Settings,
    environment: &Environment,
    command: &Secrets,
) -> anyhow::Result<Exit> {
    operate(settings, environment, async |operator| list(operator, command.json).await).await
}

async fn list(operator: &Operator, json: bool) -> anyhow::Result<Exit> {
    let secrets = operator.secrets().await?;
    if json {
        print_json(&json!({ "secrets": secrets }))?;
        return Ok(Exit::Complete);
    }
    for of in &secrets {
        let (Some(age), Some(due_at), Some(due)) = (of.age_days, &of.due_at, of.due) else {
            print(&format!("{:<26} off", of.secret.name()));
            continue;
        };
        let due = match due {
            Due::Later => String::new(),
            due => format!(", {}", json!(due).as_str().unwrap_or_default()),
        };
        let rollover = of.rollover.map(|id| format!("; rollover {id}")).unwrap_or_default();
        let name = of.secret.name();
        print(&format!("{name:<26} {age:>6.1} days old, due {due_at}{due}{rollover}"));
    }
    Ok(Exit::Complete)
}

pub(crate) async fn schedule(
    settings: &Settings,
    environment: &Environment,
    command: &Schedule,
) -> anyhow::Result<Exit> {
    let Set::Set { secret, days, reason } = &command.what;
    operate(settings, environment, async |operator| {
        operator.set_interval(*secret, *days, Actor::System, reason).await?;
        let days = operator.schedule().await?.interval(*secret).as_secs() / 86_400;
        print(&format!("one key of {secret} serves for {days} days"));
        Ok(Exit::Complete)
    })
    .await
}

pub(crate) async fn health(
    settings: &Settings,
    environment: &Environment,
    command: &Health,
) -> anyhow::Result<Exit> {
    operate(settings, environment, async |operator| {
        let ailments = operator.ailments().await?;
        if command.json {
            print_json(&json!({ "healthy": ailments.is_empty(), "ailments": ailments }))?;
        } else if ailments.is_empty() {
            print("nothing keeps a rollover from beginning");
        } else {
            ailments.iter().for_each(|ailment| print(&ailment.to_string()));
        }
        Ok(if ailments.is_empty() { Exit::Complete } else { Exit::Incomplete })
    })
    .await
}
