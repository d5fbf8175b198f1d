//! `breeze-api replicas`: who serves, how far each is, and who waits for it.

use breeze_rollover::{
    clock::{Clock, SystemClock},
    operator::{Acknowledgement, Awaited, ReplicaView, replicas},
};
use clap::Args;

use super::{Exit, connect, print, print_json};
use crate::settings::DatabaseUrl;

/// List every replica with its lease, its epoch, and what is awaited from it.
#[derive(Debug, Args)]
pub(crate) struct Replicas {
    /// One JSON object on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(url: &DatabaseUrl, command: &Replicas) -> anyhow::Result<Exit> {
    let database = connect(url).await?;
    database.check().await?;
    let found = replicas(database.store().as_ref(), SystemClock.now()).await?;
    if command.json {
        print_json(&found)?;
    } else {
        print(&format!("epoch {}", found.epoch));
        found.replicas.iter().for_each(tell);
    }
    Ok(Exit::Complete)
}

fn tell(view: &ReplicaView) {
    let replica = &view.replica;
    let lease = match (view.lease_seconds_left, view.lease_over_for_seconds, replica.left_at) {
        (Some(left), ..) => format!("its lease lasts {left:.1} s"),
        (None, Some(ago), Some(_)) => format!("it left {ago:.0} s ago"),
        (None, ago, _) => format!("its lease ended {:.0} s ago", ago.unwrap_or_default()),
    };
    print(&format!(
        "{}  {:<28} {:<8} applied {:<6} settled {:<6} {lease}",
        replica.id,
        replica.name,
        replica.version,
        replica.applied.to_string(),
        replica.settled.to_string(),
    ));
    for awaited in &view.awaited {
        let Awaited { rollover, secret, epoch, acknowledgement } = awaited;
        let what = match acknowledgement {
            Acknowledgement::Applied => "its keychain is published",
            Acknowledgement::Settled => "no request holds an older keychain",
            Acknowledgement::CutOff => "no request accepts the retired key",
        };
        print(&format!(
            "    rollover {rollover} of {secret} waits for it to say of epoch {epoch} that {what}"
        ));
    }
}
