//! `breeze-api keys`: every key in custody, by fingerprint.

use breeze_rollover::operator::KeyView;
use clap::Args;
use secrecy::SecretString;
use serde_json::json;

use super::{Exit, connect, print, print_json};

/// List every key in custody, by fingerprint.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// One JSON object on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(url: &SecretString, keys: &Keys) -> anyhow::Result<Exit> {
    let database = connect(url).await?;
    database.check().await?;
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
