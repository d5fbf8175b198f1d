//! `breeze-api migrate`: all DDL there is.

use clap::Args;
use serde_json::json;

use super::{Exit, connect, print, print_json};
use crate::settings::DatabaseUrl;

/// Make or update every table; needs a role that may.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// One JSON object on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(url: &DatabaseUrl, migrate: &Migrate) -> anyhow::Result<Exit> {
    let database = connect(url).await?;
    database.migrate().await?;
    crate::data::migrate(&database).await?;
    if migrate.json {
        print_json(&json!({ "migrated": true }))?;
    } else {
        print("the database is up to date");
    }
    Ok(Exit::Complete)
}
