//! `breeze-api rollovers`: looks at rollovers and decides about them, as the admin endpoint
//! does, also where no server runs.

use breeze_rollover::{
    ids::RolloverId,
    keyring::sources::Environment,
    operator::{Accept, Operator},
    store::Actor,
};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, operate, print, print_json, rollover::tell};
use crate::settings::Settings;

/// Look at rollovers, and decide about them.
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
    /// The newest ones.
    List,
    /// One, with what it waits for and how far it is.
    Show {
        /// Which.
        id: RolloverId,
    },
    /// Nothing moves until it is resumed.
    Pause(Decision),
    /// It moves on.
    Resume(Decision),
    /// The old key becomes primary again.
    RollBack(Decision),
    /// The old key is retired now, if nothing needs it.
    Retire {
        #[command(flatten)]
        decision: Decision,
        /// Values that no key opens do not keep it.
        #[arg(long)]
        accept_quarantined: bool,
        /// What still needs the old key is given up.
        #[arg(long)]
        accept_loss: bool,
    },
    /// The old credential is revoked at its provider.
    Revoked(Decision),
    /// The retired key's material is erased, for ever, after the backup horizon.
    Destroy(Decision),
    /// The ceiling on rows rewrapped a second changes; without a number there is none.
    Limit {
        /// Which.
        id: RolloverId,
        /// Rows a second, at most.
        max_rows_per_second: Option<u32>,
    },
}

#[derive(Debug, Args)]
struct Decision {
    /// Which.
    id: RolloverId,
    /// Why; the audit trail keeps it.
    #[arg(long)]
    reason: String,
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
    let by = || Actor::System;
    let id = match what {
        What::List => return list(operator, json).await,
        What::Show { id } => id,
        What::Pause(Decision { id, reason }) => operator.pause(id, by(), &reason).await?.id,
        What::Resume(Decision { id, reason }) => operator.resume(id, by(), &reason).await?.id,
        What::RollBack(Decision { id, reason }) => operator.roll_back(id, by(), &reason).await?.id,
        What::Retire { decision, accept_quarantined, accept_loss } => {
            let accept = Accept { quarantined: accept_quarantined, loss: accept_loss };
            operator.retire(decision.id, by(), &decision.reason, accept).await?.id
        }
        What::Revoked(Decision { id, reason }) => operator.revoked(id, by(), &reason).await?.id,
        What::Destroy(Decision { id, reason }) => operator.destroy(id, by(), &reason).await?.id,
        What::Limit { id, max_rows_per_second } => {
            operator.limit(id, by(), max_rows_per_second).await?.id
        }
    };
    let view = operator.inspect(id).await?;
    if json {
        print_json(&view)?;
    } else {
        tell(&view);
    }
    Ok(Exit::Complete)
}

async fn list(operator: &Operator, json: bool) -> anyhow::Result<Exit> {
    const NEWEST: u32 = 50;
    let rollovers = operator.worker().replica().store().rollovers(None, NEWEST).await?;
    if json {
        print_json(&json!({ "rollovers": rollovers }))?;
        return Ok(Exit::Complete);
    }
    for of in &rollovers {
        let phase = if of.paused_at.is_some() { "paused" } else { of.phase.as_str() };
        let blocked = of.blocked_by.as_deref().unwrap_or_default();
        print(&format!(
            "{} {} {:<26} {phase:<12} {blocked}",
            of.id,
            of.created_at,
            of.secret.name()
        ));
    }
    Ok(Exit::Complete)
}
