//! Who serves, how far each replica is, and who still waits for which of them.
//!
//! 1. What is awaited is what the planner waits for, and nothing else.
//! 2. Times are the database's: a lease is judged by no other clock.

use serde::Serialize;

use super::{Operator, Refusal};
use crate::{
    catalog::Secret,
    clock::Timestamp,
    ids::{Epoch, ReplicaId, RolloverId},
    rollover::{Action, Blocker, World, plan},
    store::{ReplicaRecord, Store},
    worker::observe,
};

/// Every replica whose lease runs, or ended within the hour.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replicas {
    /// The present epoch.
    pub epoch: Epoch,
    /// The replicas, the longest known first.
    pub replicas: Vec<ReplicaView>,
}

/// One replica, and what is awaited from it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaView {
    /// The replica itself.
    #[serde(flatten)]
    pub replica: ReplicaRecord,
    /// How long its lease lasts without a renewal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_seconds_left: Option<f64>,
    /// How long its lease has been over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_over_for_seconds: Option<f64>,
    /// What it has not acknowledged, and who waits for it.
    pub awaited: Vec<Awaited>,
}

/// An acknowledgement that a rollover waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Awaited {
    /// Which rollover waits.
    pub rollover: RolloverId,
    /// Of which secret.
    pub secret: Secret,
    /// Which epoch is to be acknowledged.
    pub epoch: Epoch,
    /// As what.
    pub acknowledgement: Acknowledgement,
}

/// What a replica says of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Acknowledgement {
    /// Its keychain is published.
    Applied,
    /// No request holds an older keychain.
    Settled,
}

impl Acknowledgement {
    /// Its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Settled => "settled",
        }
    }
}

impl Operator {
    /// As [`replicas`], now.
    ///
    /// # Errors
    /// [`Refusal`] when the store does not answer.
    pub async fn replicas(&self) -> Result<Replicas, Refusal> {
        let replica = self.worker.replica();
        replicas(replica.store().as_ref(), replica.clock().now()).await
    }
}

/// Every replica, and what is awaited from it.
///
/// # Errors
/// [`Refusal`] when the store does not answer.
pub async fn replicas(store: &dyn Store, now: Timestamp) -> Result<Replicas, Refusal> {
    let mut awaited = vec![];
    for rollover in store.active_rollovers().await? {
        if let Some(world) = observe(store, rollover.id, now).await? {
            awaited.extend(awaited_by(world));
        }
    }
    let view = |replica: ReplicaRecord| {
        let left = |until: Timestamp, at: Timestamp| until.since(at).as_secs_f64();
        let (until, as_of) = (replica.lease_until, replica.as_of);
        ReplicaView {
            lease_seconds_left: replica.live.then(|| left(until, as_of)),
            lease_over_for_seconds: (!replica.live).then(|| left(as_of, until)),
            awaited: awaited
                .iter()
                .filter(|(id, _)| *id == replica.id)
                .map(|(_, awaited)| *awaited)
                .collect(),
            replica,
        }
    };
    Ok(Replicas {
        epoch: store.epoch().await?,
        replicas: store.replicas().await?.into_iter().map(view).collect(),
    })
}

/// Whom the rollover of `world` waits for, and for what.
fn awaited_by(world: World) -> Vec<(ReplicaId, Awaited)> {
    let (replicas, acknowledgement) = match plan(&world).action {
        Action::Wait(Blocker::Replicas(_)) => (world.behind, Acknowledgement::Applied),
        Action::Wait(Blocker::InFlight(_)) => (world.unsettled, Acknowledgement::Settled),
        _ => return vec![],
    };
    let (rollover, secret) = (world.rollover.id, world.rollover.secret);
    let awaited = Awaited { rollover, secret, epoch: world.epoch, acknowledgement };
    replicas.into_iter().map(|id| (id, awaited)).collect()
}
