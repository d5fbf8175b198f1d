//! `breeze-api`: a reference Breeze API whose keys roll over under live traffic.

mod auth;
mod data;
mod extract;
mod middleware;
mod routes;
mod serve;
mod settings;
mod state;

use std::{io, process::ExitCode};

use breeze_rollover::{embed::Database, keyring::sources::Environment};
use clap::{Parser, Subcommand};
use secrecy::ExposeSecret;
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
    /// Make or update every table; needs a role that may.
    Migrate,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr();
    match run(arguments.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Option<Command>) -> anyhow::Result<()> {
    let environment = Environment::process();
    match command {
        None => serve::run(environment, serve::Serve::default()).await,
        Some(Command::Serve(serve)) => serve::run(environment, serve).await,
        Some(Command::Migrate) => {
            let url = settings::database_url(&environment)?;
            let database = Database::connect(url.expose_secret(), 2).await?;
            database.migrate().await?;
            data::migrate(&database).await
        }
    }
}

/// `RUST_LOG` says how much; standard output is left to results.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}
