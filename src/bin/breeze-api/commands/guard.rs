//! `breeze-api guard`: has PostgreSQL refuse writes to registered columns that name a
//! retired key; off unless installed.

use std::{collections::BTreeMap, sync::Arc};

use breeze_rollover::{
    clock::SystemClock,
    operator::Guard,
    store::{Actor, Guarding, TableGuard},
};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, connect, print, print_json};
use crate::{data, settings::DatabaseUrl};

/// Refuse, in the database itself, writes that name a retired key.
#[derive(Debug, Args)]
pub(crate) struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Put the guard on every registered column that is there; needs a role that may.
    Install(Change),
    /// Take the guard away, and leave nothing of it; needs a role that may.
    Remove(Change),
    /// Tell which registered columns are guarded.
    Status {
        /// One JSON object on standard output, and nothing else there.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Change {
    /// Why; the audit trail keeps it.
    #[arg(long)]
    reason: String,
    /// One JSON object on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(url: &DatabaseUrl, command: &Command) -> anyhow::Result<Exit> {
    let database = connect(url).await?;
    database.check().await?;
    let guard = Guard::new(database.store(), Arc::new(data::registry()), Arc::new(SystemClock));
    match &command.what {
        What::Install(Change { reason, json }) => {
            tell(&guard.install(Actor::System, reason).await?, *json)
        }
        What::Status { json } => tell(&guard.status().await?, *json),
        What::Remove(Change { reason, json }) => {
            let removed = guard.remove(Actor::System, reason).await?;
            if *json {
                print_json(&json!({ "removed": removed }))?;
            } else if removed.is_empty() {
                print("the guard was not installed");
            } else {
                print(&format!("the guard is off {}", removed.join(", ")));
            }
            Ok(Exit::Complete)
        }
    }
}

/// Complete when it is on every registered column that is there, or on none.
fn tell(tables: &[TableGuard], json: bool) -> anyhow::Result<Exit> {
    let mut columns = BTreeMap::<Guarding, Vec<String>>::new();
    for table in tables {
        for (column, guarding) in &table.columns {
            columns.entry(*guarding).or_default().push(format!("{}.{column}", table.table));
        }
    }
    let is_installed = tables.iter().any(|table| table.installed);
    if json {
        print_json(&json!({ "installed": is_installed, "columns": columns }))?;
    } else {
        if !is_installed {
            print("the guard is not installed");
        }
        for (guarding, columns) in &columns {
            for column in columns {
                print(&format!("{:<12} {column}", guarding.as_str()));
            }
        }
    }
    let lacking = columns.contains_key(&Guarding::Unguarded);
    Ok(if is_installed && lacking { Exit::Incomplete } else { Exit::Complete })
}
