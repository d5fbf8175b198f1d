//! The world as the planner needs it, read from the store.

use std::time::Duration;

use super::{DriveError, Worker, drive::LONGEST};
use crate::{
    catalog::{Class, Secret},
    clock::Timestamp,
    ids::{KeyId, RolloverId},
    keyring::KeyState,
    rollover::{Bulk, Rollover, World},
    store::{Custody, KeyRecord, Store, StoreError},
};

impl Worker {
    /// As [`observe`], now.
    ///
    /// # Errors
    /// [`DriveError`] when the store does not answer.
    pub async fn observe(&self, id: RolloverId) -> Result<Option<World>, DriveError> {
        observe(self.replica.store().as_ref(), id, self.replica.clock().now()).await
    }
}

/// The world of one rollover; `None` when there is no such rollover.
///
/// # Errors
/// [`DriveError`] when the store does not answer.
pub async fn observe(
    store: &dyn Store,
    id: RolloverId,
    now: Timestamp,
) -> Result<Option<World>, DriveError> {
    let Some(rollover) = store.rollover(id).await? else { return Ok(None) };
    let custody = store.custody().await?;
    let replicas = store.replicas().await?;
    let live = || replicas.iter().filter(|replica| replica.live);
    let from = key(&custody, rollover.secret, &rollover.from_key)?;
    let to = rollover.to_key.as_ref().map(|to| key(&custody, rollover.secret, to)).transpose()?;
    // Whoever knows the state of its keys drives it.
    if [Some(from), to].into_iter().flatten().any(|key| key.state == KeyState::Unknown) {
        return Err(StoreError::Newer(id).into());
    }
    let draining = rollover.draining_key().map(|id| key(&custody, rollover.secret, id));
    let longest_lifetime = match draining.transpose()? {
        Some(key) => key.longest_lifetime,
        None => Duration::ZERO,
    };
    let (bulk, retry_at) = bulk(store, &rollover).await?;
    Ok(Some(World {
        from_state: from.state,
        to_state: to.map(|key| key.state),
        older: custody
            .keys
            .iter()
            .filter(|key| {
                key.secret == rollover.secret
                    && key.state == KeyState::Retiring
                    && key.id != rollover.from_key
                    && rollover.to_key.as_ref() != Some(&key.id)
            })
            .map(|key| key.id.clone())
            .collect(),
        epoch: custody.epoch,
        behind: live()
            .filter(|replica| replica.applied < custody.epoch)
            .map(|replica| replica.id)
            .collect(),
        unsettled: live()
            .filter(|replica| replica.settled < custody.epoch)
            .map(|replica| replica.id)
            .collect(),
        acceptors: match rollover.awaited_cut_off() {
            Some(_) => store.acceptors(id).await?,
            None => vec![],
        },
        longest_lifetime,
        bulk,
        retry_at,
        now,
        rollover,
    }))
}

/// How far the present pass is, and when another may follow it.
async fn bulk(
    store: &dyn Store,
    rollover: &Rollover,
) -> Result<(Bulk, Option<Timestamp>), StoreError> {
    if rollover.secret.entry().class != Class::Sealing || rollover.pass == 0 {
        return Ok((Bulk::NotBegun, None));
    }
    let Some(pass) = store.pass(rollover.id, rollover.pass).await? else {
        return Ok((Bulk::NotBegun, None));
    };
    let bulk = if pass.finished < pass.ranges { Bulk::Running } else { Bulk::PassDone };
    let is_fruitless = pass.scanned > 0 && pass.rewrapped == 0;
    Ok((bulk, is_fruitless.then(|| pass.began_at.plus(LONGEST))))
}

/// The record of one key in custody.
pub(super) fn key<'a>(
    custody: &'a Custody,
    secret: Secret,
    id: &KeyId,
) -> Result<&'a KeyRecord, DriveError> {
    custody
        .keys
        .iter()
        .find(|key| key.secret == secret && key.id == *id)
        .ok_or_else(|| DriveError::NoKey { secret, key: id.clone() })
}

/// The primary key of `secret` in custody, if there is one.
#[must_use]
pub fn primary(custody: &Custody, secret: Secret) -> Option<&KeyRecord> {
    custody.keys.iter().find(|key| key.secret == secret && key.state == KeyState::Primary)
}
