//! Applies one change whole, or not at all.
//!
//! 1. A change locks the epoch's row first, and goes on alone until it is committed.
//! 2. One that is begun and not gone on with ends by itself ([`BEGIN_LOCKING`]): the next
//!    waits no longer. No renewal of a lease waits at all ([`super::replicas`]).
//! 3. The audit trail's own lock is taken within the commit, by a trigger that is deferred
//!    to it, and is held for no exchange with a process.

use sqlx::PgConnection;

use super::{BEGIN_LOCKING, Pool, acceptors, audit, keys, passes, replicas, rollovers};
use crate::{
    ids::Epoch,
    store::{Change, Committed, RolloverChange, StoreError, custody, refusal::Refusal},
};

pub(super) async fn commit(pool: &Pool, change: &Change) -> Result<Committed, StoreError> {
    let mut transaction = pool.begin_with(BEGIN_LOCKING).await?;
    let applied = match apply(&mut transaction, change).await {
        Ok(epoch) => transaction.commit().await.map(|()| epoch).map_err(Refusal::from),
        Err(refusal) => {
            // One that fails has lost its connection, and the transaction with it.
            let _ = transaction.rollback().await;
            Err(refusal)
        }
    };
    applied.map_or_else(Refusal::answer, |epoch| Ok(Committed::Done(epoch)))
}

async fn apply(transaction: &mut PgConnection, change: &Change) -> Result<Epoch, Refusal> {
    let mut epoch = keys::lock_epoch(transaction).await?;
    if let Some(superseded) = &change.superseded {
        rollovers::replace(transaction, superseded).await?;
    }
    match &change.rollover {
        Some(RolloverChange::Begin { rollover, alongside }) => {
            rollovers::begin(transaction, rollover, *alongside).await?;
        }
        Some(RolloverChange::Move(rollover)) => rollovers::replace(transaction, rollover).await?,
        None => {}
    }
    if custody::seals_anew(&change.keys)
        && !custody::permits(&change.keys, &replicas::live_root_keys(transaction).await?)
    {
        return Err(Refusal::Conflict);
    }
    if !change.keys.is_empty() {
        keys::change(transaction, &change.keys).await?;
        epoch = keys::bump_epoch(transaction).await?;
    }
    if let (Some(acceptors), Some(rollover)) = (change.acceptors, change.retires()) {
        acceptors::change(transaction, rollover, acceptors, epoch).await?;
    }
    if let Some(stopped) = change.stopped {
        replicas::stopped(transaction, stopped).await?;
    }
    passes::begin(transaction, &change.ranges).await?;
    audit::insert(transaction, None, &change.audit).await?;
    Ok(epoch)
}
