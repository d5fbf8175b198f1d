//! How a replica hears of a change before its next poll.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::futures::Notified;

use super::Replica;
use crate::store::{Signal, Signals};

/// How often a replica looks whether the last request of an older keychain has ended.
const LOOK: Duration = Duration::from_millis(10);

impl Replica {
    /// Waits for the next report of any replica that this one hears of: one that has
    /// applied or settled another epoch. Counts from the call on, waited for or not.
    pub fn reported(&self) -> Notified<'_> {
        self.reported.notified()
    }

    /// Waits for an epoch that is not applied yet, or for signals that were missed.
    pub(super) async fn hears_of_a_change(&self, signals: &mut Signals) {
        while let Some(signal) = signals.next().await {
            match signal {
                Signal::Report => self.reported.notify_waiters(),
                Signal::Epoch(epoch) if epoch <= self.handle.load().epoch() => {}
                Signal::Epoch(_) | Signal::Missed => return,
            }
        }
        std::future::pending().await
    }

    /// Applies a change before the lease is renewed: that tells of it at once.
    pub(super) async fn apply_at_once(&self) {
        if let Err(error) = self.refresh().await {
            tracing::debug!(%error, "the change was not applied at once");
        }
    }

    /// Waits until the last request of an older keychain ends: others wait to hear of
    /// it. For ever, where there is no older one.
    pub(super) async fn settles(&self) {
        let is_settled = || {
            let applied = self.handle.load().epoch();
            self.snapshots().settled(applied) == applied
        };
        if is_settled() {
            return std::future::pending().await;
        }
        while !is_settled() {
            tokio::time::sleep(LOOK).await;
        }
    }
}
