//! `breeze-api root-key`: how far a rollover of the root key is. It needs no root key;
//! where it has the server's environment, that says which one is meant.

use std::time::Duration;

use anyhow::Context;
use breeze_rollover::{
    embed::Database,
    keyring::sources::{Environment, ROOT_KEY},
    material::Fingerprint,
    operator::RootKeyView,
    store::custody::RootKeys,
};
use clap::Args;

use super::{Exit, connect, print, print_json};
use crate::settings::DatabaseUrl;

/// Tell which root keys the keys are sealed under, and which may be taken away.
#[derive(Debug, Args)]
pub(crate) struct RootKey {
    /// Stay until every key is sealed under the root key of the environment, and every
    /// live replica knows.
    #[arg(long)]
    wait: bool,
    /// One JSON object on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(
    url: &DatabaseUrl,
    environment: &Environment,
    command: &RootKey,
) -> anyhow::Result<Exit> {
    let database = connect(url).await?;
    database.check().await?;
    let meant = meant(&database, environment)?;
    if command.wait {
        meant.context(
            "--wait needs the new root key in BREEZE_ROOT_KEY or BREEZE_ROOT_KEY_FILE, as the \
             server has it, to tell which one to wait for",
        )?;
    }
    let view = look(&database, meant, command.wait).await?;
    if command.json {
        print_json(&view)?;
    } else {
        tell(&view, meant);
    }
    Ok(if is_done(&view, meant) { Exit::Complete } else { Exit::Incomplete })
}

/// The root key of the environment, or of the file beside the database.
fn meant(database: &Database, environment: &Environment) -> anyhow::Result<Option<Fingerprint>> {
    let given = environment.lookup(ROOT_KEY)?;
    let beside = database.root_key_file().filter(|file| file.exists());
    Ok(match (given, beside) {
        (Some(given), _) => Some(given.fingerprint()),
        (None, Some(file)) => Some(RootKeys::load_or_create(&file)?.primary().fingerprint()),
        (None, None) => None,
    })
}

async fn look(
    database: &Database,
    meant: Option<Fingerprint>,
    wait: bool,
) -> anyhow::Result<RootKeyView> {
    loop {
        let view = RootKeyView::of(database.store().as_ref()).await?;
        // Where nobody serves, nobody will do anything about it.
        if !wait || is_done(&view, meant) || view.replicas.is_empty() {
            return Ok(view);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn is_done(view: &RootKeyView, meant: Option<Fingerprint>) -> bool {
    view.is_settled && meant.is_none_or(|meant| view.root_key == Some(meant))
}

fn tell(view: &RootKeyView, meant: Option<Fingerprint>) {
    for (root_key, keys) in &view.sealed {
        print(&format!("root key {root_key} seals {keys} key(s)"));
    }
    for replica in &view.replicas {
        let held: Vec<_> = replica.root_keys.iter().map(ToString::to_string).collect();
        print(&format!("{} has {}", replica.name, held.join(", then ")));
    }
    match &view.blocked_by {
        Some(blocked) => print(&format!("it waits: {blocked}")),
        None if is_done(view, meant) => print("settled: every live replica opens every key"),
        None if view.is_settled => print("no live replica has the root key of the environment yet"),
        None => print("the keys are being brought under the new root key"),
    }
    for root_key in &view.may_be_taken_away {
        print(&format!("root key {root_key} may be taken away"));
    }
}
