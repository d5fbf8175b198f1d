//! Who serves, how far each replica is, and who still waits for which of them.
//!
//! 1. What is awaited is what the planner waits for, and nothing else.
//! 2. Times are the database's: a lease is judged by no other clock.
//! 3. A replica is deregistered by an operator only when its lease is over.

use serde::Serialize;

use serde_json::json;

use super::{Operator, Refusal, checked_reason};
use crate::{
    catalog::Secret,
    clock::Timestamp,
    ids::{Epoch, ReplicaId, RolloverId},
    rollover::{Acceptor, Action, Blocker, Rollover, World, plan},
    store::{Actor, AuditEntry, Change, Committed, Outcome, ReplicaRecord, Store},
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
    /// No request holds a keychain with the key that was retired.
    CutOff,
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

    /// Notes that a replica without a lease is stopped for good, so that it accepts
    /// nothing. Only one that accepts without a lease is waited for until then.
    ///
    /// # Errors
    /// [`Refusal::NoReplica`], or [`Refusal::ReplicaLives`] while its lease runs.
    pub async fn deregister(&self, id: ReplicaId, actor: Actor, why: &str) -> Result<(), Refusal> {
        let reason = checked_reason(why)?;
        let replica = self.worker.replica();
        let known = replica.store().replicas().await?.into_iter().find(|known| known.id == id);
        let known = known.ok_or(Refusal::NoReplica(id))?;
        if known.live {
            return Err(Refusal::ReplicaLives { replica: id, until: known.lease_until });
        }
        if known.left_at.is_some() {
            return Ok(());
        }
        let entry = AuditEntry {
            at: replica.clock().now(),
            actor,
            action: "replica.deregister".to_owned(),
            resource_type: "replica",
            resource_id: Some(id.0),
            resource_name: Some(known.name),
            details: json!({ "reason": reason, "leaseUntil": known.lease_until }),
            outcome: Outcome::Success,
        };
        let change = Change { stopped: Some(id), audit: vec![entry], ..Change::default() };
        match self.worker.commit(&change).await? {
            Committed::Done(_) => Ok(()),
            Committed::Busy(_) | Committed::Conflict => Err(Refusal::Conflict),
        }
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
    for rollover in store.awaiting_cut_off().await? {
        awaited.extend(awaited_for_cut_off(&rollover, &store.acceptors(rollover.id).await?));
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

/// Whom `rollover` waits for before it says that the retired key is cut off.
fn awaited_for_cut_off<'a>(
    rollover: &'a Rollover,
    acceptors: &'a [Acceptor],
) -> impl Iterator<Item = (ReplicaId, Awaited)> + 'a {
    let accepting = acceptors.iter().filter(|acceptor| acceptor.acceptance.ended_at().is_none());
    accepting.map(|acceptor| {
        let awaited = Awaited {
            rollover: rollover.id,
            secret: rollover.secret,
            epoch: acceptor.epoch,
            acknowledgement: Acknowledgement::CutOff,
        };
        (acceptor.replica, awaited)
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
