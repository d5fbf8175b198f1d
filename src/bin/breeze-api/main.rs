//! `breeze-api`: a reference Breeze API whose keys roll over under live traffic.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod auth;
mod commands;
mod counting;
mod data;
mod extract;
mod impact;
mod limits;
mod middleware;
mod outside;
mod part;
mod routes;
mod serve;
mod settings;
mod state;
mod stopping;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use breeze_rollover::{keyring::sources::Environment, manager::Sources};
use clap::{Parser, Subcommand};
use commands::Exit;
use settings::Settings;
use tracing_subscriber::EnvFilter;

/// A reference Breeze API whose keys roll over under live traffic.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Migrate(commands::migrate::Migrate),
    Rewrap(commands::rewrap::Rewrap),
    Census(commands::census::Census),
    Keys(commands::keys::Keys),
    Replicas(commands::replicas::Replicas),
    Secrets(commands::secrets::Secrets),
    Rollover(commands::rollover::Rollover),
    Rollovers(commands::rollovers::Command),
    Incident(commands::incident::Command),
    Schedule(commands::secrets::Schedule),
    Health(commands::secrets::Health),
    Guard(commands::guard::Command),
    RootKey(commands::root_key::RootKey),
    Demo(commands::demo::Demo),
    Audit(commands::audit::Audit),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(told) => return tell(&told),
    };
    log_to_stderr(arguments.command.as_ref());
    match run(arguments.command).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            tracing::error!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Help and the version are what was asked for. Anything else is an error, and exits
/// as one: the 2 of clap's own would mean that all is done but some rows.
fn tell(told: &clap::Error) -> ExitCode {
    // Who closed the output has seen enough of it.
    drop(told.print());
    if told.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// An error with its causes, without repeating those that it tells of itself.
fn chain(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |told, cause| {
        let cause = cause.to_string();
        if told.ends_with(&cause) { told } else { format!("{told}: {cause}") }
    })
}

async fn run(command: Option<Command>) -> anyhow::Result<Exit> {
    let sources = Sources::open(Environment::process()).await?;
    let environment = sources.environment();
    let url = || settings::database_url(environment);
    match command.unwrap_or_else(|| Command::Serve(serve::Serve::default())) {
        Command::Serve(serve) => {
            serve::run(sources, serve).await?;
            Ok(Exit::Complete)
        }
        Command::Migrate(migrate) => commands::migrate::run(&url()?, &migrate).await,
        Command::Rewrap(rewrap) => commands::rewrap::run(&url()?, environment, &rewrap).await,
        Command::Census(census) => commands::census::run(&url()?, &census).await,
        Command::Keys(keys) => commands::keys::run(&url()?, environment, &keys).await,
        Command::Replicas(replicas) => commands::replicas::run(&url()?, &replicas).await,
        Command::Rollover(rollover) => {
            commands::rollover::run(&Settings::read(environment)?, environment, &rollover).await
        }
        Command::Rollovers(rollovers) => {
            commands::rollovers::run(&Settings::read(environment)?, environment, rollovers).await
        }
        Command::Incident(incident) => {
            commands::incident::run(&Settings::read(environment)?, environment, incident).await
        }
        Command::Secrets(secrets) => {
            commands::secrets::run(&Settings::read(environment)?, environment, &secrets).await
        }
        Command::Schedule(schedule) => {
            commands::secrets::schedule(&Settings::read(environment)?, environment, &schedule).await
        }
        Command::Health(health) => {
            commands::secrets::health(&Settings::read(environment)?, environment, &health).await
        }
        Command::Guard(guard) => commands::guard::run(&url()?, &guard).await,
        Command::RootKey(root_key) => {
            commands::root_key::run(&url()?, environment, &root_key).await
        }
        Command::Demo(demo) => commands::demo::run(&demo).await,
        Command::Audit(audit) => commands::audit::run(&url()?, &audit).await,
    }
}

/// `RUST_LOG` says how much; standard output is left to results. A server tells what
/// it does, a command only what went wrong.
fn log_to_stderr(command: Option<&Command>) {
    let level = match command {
        None | Some(Command::Serve(_)) => "info",
        Some(_) => "warn",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        // A look into the queue that is given up at the end rolls back what never began,
        // and the server remarks on it.
        EnvFilter::new(format!("{level},sqlx::postgres::notice=error"))
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}
