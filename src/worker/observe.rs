//! The world as the planner needs it, read from the store.

use std::time::Duration;

use super::{DriveError, Worker, drive::LONGEST};
use crate::{
    catalog::{Class, Secret},
    clock::Timestamp,
    ids::{KeyId, RolloverId},
    keyring::KeyState,
    rollover::{Bulk, Reliance, Rollover, World},
    store::{Custody, KeyRecord, Store, StoreError},
};

impl Worker {
    /// As [`observe`], now.
    ///
    /// # Errors
    /// [`DriveError`] when the store does not answer.
    pub async fn observe(&self, id: RolloverId) -> Result<Option<World>, DriveError> {
        let now = self.replica.clock().now();
        let Some(mut world) = observe(self.replica.store().as_ref(), id, now).await? else {
            return Ok(None);
        };
        world.grace = self.grace(world.rollover.secret);
        // A process that is not at it any more does not ask either.
        let is_mine = world.rollover.asked_by == Some(self.replica.id());
        world.ask_at = world.ask_at.filter(|_| !is_mine || self.asking.is_taken(id));
        world.reliance = self.reliance(&world).await?;
        Ok(Some(world))
    }

    /// How much still needs a key that runs dry, where somebody counts that.
    async fn reliance(&self, world: &World) -> Result<Reliance, DriveError> {
        let secret = world.rollover.secret;
        let is_counted = matches!(secret.entry().class, Class::Pepper | Class::Issued);
        match (&self.counting, world.rollover.draining_key()) {
            (Some(counting), Some(draining)) if is_counted => {
                let mut keys = world.older.clone();
                keys.push(draining.clone());
                Ok(counting.what_needs(secret, &keys).await?)
            }
            _ => Ok(Reliance::Uncounted),
        }
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
    let draining = draining.transpose()?;
    let longest_lifetime = draining.map_or(Duration::ZERO, |key| key.longest_lifetime);
    let (bulk, retry_at) = bulk(store, &rollover).await?;
    let is_older = |key: &&KeyRecord| {
        key.secret == rollover.secret
            && key.state == KeyState::Retiring
            && key.id != rollover.from_key
            && rollover.to_key.as_ref() != Some(&key.id)
    };
    let older: Vec<_> = custody.keys.iter().filter(is_older).collect();
    Ok(Some(World {
        from_state: from.state,
        to_state: to.map(|key| key.state),
        presented_at: older.iter().copied().chain(draining).filter_map(|k| k.presented_at).max(),
        older: older.into_iter().map(|key| key.id.clone()).collect(),
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
        grace: rollover.secret.entry().grace,
        reliance: Reliance::Uncounted,
        // Whoever asks and is gone asks no more.
        ask_at: rollover
            .ask_at
            .filter(|_| rollover.asked_by.is_none_or(|by| live().any(|replica| replica.id == by))),
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
