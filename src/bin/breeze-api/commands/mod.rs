//! The commands beside `serve`: each prints for people, or one JSON object with
//! `--json`, and tells by its exit code how complete it was.

pub(crate) mod audit;
pub(crate) mod census;
mod copy;
pub(crate) mod demo;
pub(crate) mod guard;
pub(crate) mod incident;
pub(crate) mod keys;
pub(crate) mod migrate;
mod rehearse;
pub(crate) mod replicas;
mod reveal;
pub(crate) mod rewrap;
pub(crate) mod rollover;
pub(crate) mod rollovers;
pub(crate) mod root_key;
pub(crate) mod secrets;
mod value;

use std::{io::IsTerminal, ops::AsyncFnOnce, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use breeze_rollover::{
    catalog::Class,
    clock::{Clock, SystemClock},
    embed::{Database, Setup},
    ids::Epoch,
    keyring::{
        KeyState, Keychain,
        sources::{Declared, Environment},
    },
    operator::Operator,
    store::{KeyRecord, StoreError},
    token::Lifetimes,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::{
    data,
    part::part,
    settings::{DatabaseUrl, Settings},
};

/// How complete a command was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All of it.
    Complete,
    /// All but rows that no key opens, or that are still stale; or a trail that is broken.
    Incomplete,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Complete => Self::SUCCESS,
            Exit::Incomplete => Self::from(2),
        }
    }
}

/// The one place that writes to standard output.
#[expect(clippy::print_stdout, reason = "what a command prints is its result")]
pub(crate) fn print(text: &str) {
    println!("{text}");
}

/// Prints `result` as one JSON object.
pub(crate) fn print_json(result: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string(result).context("the result is not JSON")?);
    Ok(())
}

/// A bar on a terminal; nothing with `--json`, or where nobody watches.
pub(crate) fn bar(json: bool, length: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if json || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template(
        "{msg:<28} {wide_bar:.cyan/blue} {human_pos:>9}/{human_len:<9} {per_sec:>12} {elapsed:>4}",
    );
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar.set_message(what.to_owned());
    bar
}

/// The database of `url`.
pub(crate) async fn connect(url: &DatabaseUrl) -> anyhow::Result<Database> {
    Ok(url.connect(8).await?)
}

/// The keychain of the environment alone, to rewrap with. Where a key store exists too, both
/// must seal with the same keys, or a rewrap would undo a rollover.
pub(crate) async fn environment_keychain(
    database: &Database,
    environment: &Environment,
) -> anyhow::Result<Keychain> {
    let declared = Declared::read(environment, &[])?;
    match database.check().await {
        Ok(()) => {
            let custody = database.store().custody().await?;
            let seals = |key: &&KeyRecord| key.secret.entry().class == Class::Sealing;
            for key in custody.keys.iter().filter(seals) {
                let Some(ours) = declared.primary(key.secret) else { continue };
                let is_primary = key.state == KeyState::Primary;
                anyhow::ensure!(
                    !is_primary || ours.material.fingerprint() == key.fingerprint,
                    "the key store says that {} (fingerprint {}) is the primary key of {}, and the \
                     environment has another one (fingerprint {}); put the store's key into the \
                     environment, or use `breeze-api rollover {}`",
                    key.id,
                    key.fingerprint,
                    key.secret,
                    ours.material.fingerprint(),
                    key.secret,
                );
            }
        }
        // Breeze's own database, without a key store: the environment decides alone.
        Err(StoreError::NotMigrated) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(declared.keychain(Epoch(0))?)
}

/// This process as a replica for the time of one command. It signs nothing, so that
/// nothing need be accepted any longer because of it.
pub(crate) fn setup(
    database: Database,
    settings: &Settings,
    environment: &Environment,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Setup> {
    let none =
        Lifetimes { access: Duration::ZERO, refresh: Duration::ZERO, viewer: Duration::ZERO };
    let data = data::of(&database)?;
    Ok(part(database, &data, settings, clock)
        .environment(environment.clone())
        .name(format!("command {}", std::process::id()))
        .lifetimes(none))
}

/// Has an operator do something, in a process that is a replica for as long.
pub(crate) async fn operate(
    settings: &Settings,
    environment: &Environment,
    act: impl AsyncFnOnce(&Operator) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let database = connect(&settings.database).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let rollovers = setup(database, settings, environment, &clock)?.start().await?;
    let done = act(rollovers.operator()).await;
    rollovers.leave().await;
    done
}

/// Whether what a rollover waits for goes away only when people act.
pub(crate) fn needs_people(blocked: &str) -> bool {
    ["quarantined", "could not be looked at", "deregister", "/revoked"]
        .iter()
        .any(|what| blocked.contains(what))
}
