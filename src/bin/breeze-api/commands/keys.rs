//! `breeze-api keys`: every key in custody, by fingerprint; and a credential itself, for who
//! has to put it into an environment.

use std::path::PathBuf;

use breeze_rollover::{catalog::Secret, keyring::sources::Environment, operator::KeyView};
use clap::Args;
use serde_json::json;

use super::{Exit, connect, print, print_json, reveal::reveal};
use crate::settings::DatabaseUrl;

/// List every key in custody, by fingerprint.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// Write the credential in use of this secret into a new file, which its owner alone
    /// reads: DATABASE_URL, REDIS_URL, … Wants the root key of the server.
    #[arg(long, value_name = "SECRET", requires_all = ["into", "reason"])]
    reveal: Option<Secret>,
    /// The file, which must not be there yet.
    #[arg(long, value_name = "FILE", requires = "reveal")]
    into: Option<PathBuf>,
    /// Why; the audit trail keeps it.
    #[arg(long, requires = "reveal")]
    reason: Option<String>,
    /// One JSON object on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(
    url: &DatabaseUrl,
    environment: &Environment,
    keys: &Keys,
) -> anyhow::Result<Exit> {
    let database = connect(url).await?;
    database.check().await?;
    if let (Some(secret), Some(file), Some(reason)) = (keys.reveal, &keys.into, &keys.reason) {
        let key = reveal(&database, environment, secret, file, reason).await?;
        let (id, file) = (&key.id, file.display());
        if keys.json {
            print_json(&json!({ "secret": secret, "key": KeyView::from(&key) }))?;
        } else {
            print(&format!("{secret} {id} is in {file}; put it where it belongs, and remove it"));
        }
        return Ok(Exit::Complete);
    }
    let custody = database.store().custody().await?;
    if keys.json {
        let list: Vec<_> = custody
            .keys
            .iter()
            .map(|key| json!({ "secret": key.secret, "key": KeyView::from(key) }))
            .collect();
        print_json(&json!({ "epoch": custody.epoch, "keys": list }))?;
    } else {
        print(&format!("epoch {}", custody.epoch));
        for key in &custody.keys {
            print(&format!(
                "{:<20} {:<24} {}  {:<9} {:<28} {} seals",
                key.secret.name(),
                key.id.to_string(),
                key.fingerprint,
                key.state.as_str(),
                key.origin.to_string(),
                key.seals
            ));
        }
    }
    Ok(Exit::Complete)
}
