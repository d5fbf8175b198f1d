//! `breeze-api rollover`: begins a rollover, and with `--wait` stays with it to the
//! end. Where no server runs, the command itself carries it out.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::bail;
use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    envelope::Target,
    ids::RolloverId,
    keyring::sources::Environment,
    operator::{Check, Operator, Request, RolloverView},
    rollover::{Mode, Phase},
    store::Actor,
};
use clap::Args;

use super::{Exit, bar, connect, needs_people, print, print_json, rehearse, setup, value};
use crate::settings::Settings;

/// Begin a rollover of a secret.
#[derive(Debug, Args)]
pub(crate) struct Rollover {
    /// Which secret, by its variable: JWT_SECRET, APP_ENCRYPTION_KEY, REDIS_URL, …
    secret: Secret,
    /// graceful: the old key is accepted until nothing needs it; hard: it is
    /// retired as the new one is promoted.
    #[arg(long)]
    mode: Mode,
    /// Why; the audit trail keeps it.
    #[arg(long)]
    reason: String,
    /// Only tell what would happen.
    #[arg(long)]
    dry_run: bool,
    /// Carry the whole of it out on a copy of the database, which is removed afterwards.
    #[arg(long, conflicts_with_all = ["dry_run", "wait"])]
    rehearse: bool,
    /// Stay until it is at its end.
    #[arg(long)]
    wait: bool,
    /// The new value, as this file holds it but for a trailing newline; `-` is standard
    /// input. One is made without it, unless others must know it.
    #[arg(long, value_name = "FILE")]
    value_file: Option<PathBuf>,
    /// Rows rewrapped a second, at most.
    #[arg(long)]
    max_rows_per_second: Option<u32>,
    /// Run beside another secret's rollover.
    #[arg(long)]
    alongside: bool,
    /// Take over from this rollover of the same secret, which is in progress: it ends, and
    /// the keys of before both count as compromised. A hard one may.
    #[arg(long, value_name = "ID")]
    supersede: Option<RolloverId>,
    /// Begin although this health check fails: database, replicas, quarantine, queue.
    #[arg(long, value_name = "CHECK")]
    force: Vec<Check>,
    /// One JSON object on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(
    settings: &Settings,
    environment: &Environment,
    command: &Rollover,
) -> anyhow::Result<Exit> {
    let request = command.request()?;
    if command.rehearse {
        return rehearse::run(settings, environment, request, command.json).await;
    }
    let database = connect(&settings.database).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let rollovers = setup(database, settings, environment, &clock)?.start().await?;
    let done = carry_out(rollovers.operator(), request, command).await;
    rollovers.leave().await;
    let view = done?;
    if command.json {
        print_json(&view)?;
    } else {
        tell(&view);
    }
    Ok(exit(&view))
}

async fn carry_out(
    operator: &Operator,
    request: Request,
    command: &Rollover,
) -> anyhow::Result<RolloverView> {
    let id = operator.begin(request, Actor::System).await?.id;
    // A dry run takes moments, and its report is what was asked for.
    if command.wait || command.dry_run {
        wait(operator, id, command.json).await?;
    }
    Ok(operator.inspect(id).await?)
}

impl Rollover {
    /// What it asks for.
    fn request(&self) -> anyhow::Result<Request> {
        Ok(Request {
            secret: self.secret,
            mode: self.mode,
            reason: self.reason.clone(),
            dry_run: self.dry_run,
            value: self.value_file.as_deref().map(value::read).transpose()?,
            target: Target::default(),
            max_rows_per_second: self.max_rows_per_second,
            alongside: self.alongside,
            supersede: self.supersede,
            force: self.force.iter().copied().collect(),
        })
    }
}

/// Until it is at its end and the retired key is cut off, or until it stands still
/// because of what only people can mend.
async fn wait(operator: &Operator, id: RolloverId, json: bool) -> anyhow::Result<()> {
    let bar = bar(json, 0, "waiting");
    loop {
        let view = operator.inspect(id).await?;
        let rollover = &view.rollover;
        let blocked = rollover.blocked_by.clone().unwrap_or_default();
        bar.set_message(format!("{} {blocked}", rollover.phase));
        if let Some(progress) = &view.progress {
            bar.set_length(progress.pass.ranges);
            bar.set_position(progress.pass.finished);
        }
        let is_over = !rollover.phase.is_active() && rollover.awaited_cut_off().is_none();
        if is_over || needs_people(&blocked) {
            bar.finish_and_clear();
            return Ok(());
        }
        if rollover.paused_at.is_some() {
            bail!("rollover {id} was paused: breeze-api rollovers resume {id}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn exit(view: &RolloverView) -> Exit {
    match view.rollover.phase {
        Phase::Refused | Phase::Abandoned | Phase::RolledBack => Exit::Incomplete,
        _ if view.rollover.blocked_by.as_deref().is_some_and(needs_people) => Exit::Incomplete,
        _ => Exit::Complete,
    }
}

pub(crate) fn tell(view: &RolloverView) {
    let rollover = &view.rollover;
    print(&format!("rollover {} of {}: {}", rollover.id, rollover.secret, rollover.phase));
    if let Some(blocked) = &rollover.blocked_by {
        print(&format!("it waits: {blocked}"));
    }
    if let Some(cut_off) = &rollover.cut_off {
        print(&match cut_off.at {
            Some(at) => format!("key {} is cut off since {at}", cut_off.key),
            None => format!("key {} is retired, and may still be accepted", cut_off.key),
        });
        for acceptor in &cut_off.replicas {
            print(&format!("    replica {}: {}", acceptor.name, acceptor.acceptance));
        }
    }
    if let Some(report) = &rollover.report
        && let Ok(text) = serde_json::to_string_pretty(report)
    {
        print(&text);
    }
}
