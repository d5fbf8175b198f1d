//! `breeze-api root-key`: how far a rollover of the root key is. It needs no root key.

use std::time::Duration;

use breeze_rollover::{operator::RootKeyView, store::Store};
use clap::Args;
use secrecy::SecretString;

use super::{Exit, connect, print, print_json};

/// Tell which root keys the keys are sealed under, and which may be taken away.
#[derive(Debug, Args)]
pub(crate) struct RootKey {
    /// Stay until every key is sealed under the new one, and every live replica knows.
    #[arg(long)]
    wait: bool,
    /// One JSON object on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(url: &SecretString, command: &RootKey) -> anyhow::Result<Exit> {
    let database = connect(url).await?;
    database.check().await?;
    let view = look(database.store().as_ref(), command.wait).await?;
    if command.json {
        print_json(&view)?;
    } else {
        tell(&view);
    }
    Ok(if view.is_settled { Exit::Complete } else { Exit::Incomplete })
}

async fn look(store: &dyn Store, wait: bool) -> anyhow::Result<RootKeyView> {
    loop {
        let view = RootKeyView::of(store).await?;
        // Where nobody serves, nobody will do anything about it.
        if view.is_settled || !wait || view.replicas.is_empty() {
            return Ok(view);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn tell(view: &RootKeyView) {
    for (root_key, keys) in &view.sealed {
        print(&format!("root key {root_key} seals {keys} key(s)"));
    }
    for replica in &view.replicas {
        let held: Vec<_> = replica.root_keys.iter().map(ToString::to_string).collect();
        print(&format!("{} has {}", replica.name, held.join(", then ")));
    }
    match &view.blocked_by {
        Some(blocked) => print(&format!("it waits: {blocked}")),
        None if view.is_settled => print("settled: every live replica opens every key"),
        None => print("the keys are being brought under the new root key"),
    }
    for root_key in &view.may_be_taken_away {
        print(&format!("root key {root_key} may be taken away"));
    }
}
