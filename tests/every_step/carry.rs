//! One process carries a rollover along its course, and an operator does what the course
//! asks of one.

use super::*;
use breeze_rollover::operator::{Accept, Operator};
use scene::is_held;

/// An operator, so that the audit trail tells what was asked for and what was done.
const ASKED: Actor = Actor::User { id: Uuid::max(), email: None };

const WHY: &str = "a test";

impl Ground {
    /// Carries `id` to the end of its course from wherever it is.
    pub(crate) async fn carry(&self, by: &ByHand, id: RolloverId) -> Result<(), Refusal> {
        let (worker, replica) = (&by.worker, by.worker.replica());
        loop {
            self.clock.advance(Duration::from_millis(1));
            replica.refresh().await?;
            replica.beat().await?;
            let seen_to = match worker.drive(id).await {
                Ok(Next::Never) if self.scene.play().due() == Some(Event::Destroyed) => {
                    operator(by).destroy(id, ASKED, WHY).await.map(drop)
                }
                Ok(Next::Never) => return Ok(()),
                Ok(Next::After(_, blocker)) => self.sees_to(by, id, blocker).await,
                Err(error) => Err(error.into()),
            };
            let seen_to = match seen_to {
                Err(refused) if is_held(&refused) => self.turns(by, id).await,
                seen_to => seen_to,
            };
            match seen_to {
                // The other one of two was first.
                Err(
                    Refusal::Illegal(_)
                    | Refusal::AtItsEnd(_)
                    | Refusal::NoCredential(_)
                    | Refusal::NotDraining(_)
                    | Refusal::NotRetired(_),
                ) => {}
                seen_to => seen_to?,
            }
        }
    }

    /// Does what the rollover waits for.
    async fn sees_to(&self, by: &ByHand, id: RolloverId, blocker: Blocker) -> Result<(), Refusal> {
        let operator = operator(by);
        let rollover = operator.rollover(id).await?;
        let due = self.scene.play().due();
        let accept = match blocker {
            Blocker::Quarantined(_) => Accept { quarantined: true, loss: false },
            _ => Accept { quarantined: false, loss: true },
        };
        match blocker {
            Blocker::Paused if !self.scene.play().is_told("limit") => {
                operator.limit(id, ASKED, None).await.map(drop)
            }
            Blocker::Paused => operator.resume(id, ASKED, WHY).await.map(drop),
            Blocker::Bulk => {
                if rollover.pass > 1 {
                    self.scene.yields().await;
                }
                by.worker.rewrap(id, rollover.pass).await?;
                let pass = by.worker.replica().store().pass(id, rollover.pass).await?;
                if pass.is_some_and(|pass| pass.finished < pass.ranges) {
                    // A range whose claim had no answer is free in a while.
                    tokio::time::sleep(Duration::from_millis(40)).await;
                }
                Ok(())
            }
            Blocker::Lifetime(until) | Blocker::Grace(until) => {
                self.clock.advance(until.since(self.clock.now()));
                Ok(())
            }
            Blocker::Presented(_) => {
                self.clock.advance(rollover.secret.entry().grace);
                Ok(())
            }
            Blocker::Needed { .. } if rollover.phase != Phase::RollingBack => {
                self.scene.play().needing = 0;
                Ok(())
            }
            Blocker::Needed { .. } | Blocker::Quarantined(_) => {
                match operator.retire(id, ASKED, WHY, accept).await {
                    // It is accepted, and retired as soon as every replica is there.
                    Err(Refusal::StillNeeded(_)) => Ok(()),
                    retired => retired.map(drop),
                }
            }
            // A credential is used for as long as the course turns back from it.
            Blocker::Unrevoked if due != Some(Event::RollBack) => {
                operator.revoked(id, ASKED, WHY).await.map(drop)
            }
            _ if due == Some(Event::RollBack) && waits_for_its_provider(&rollover) => {
                self.turns(by, id).await
            }
            // It passes by itself.
            _ => {
                self.clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(2)).await;
                Ok(())
            }
        }
    }

    /// Does what the course waits for, where nothing happens by itself.
    async fn turns(&self, by: &ByHand, id: RolloverId) -> Result<(), Refusal> {
        if self.scene.play().is_to_be_paused() {
            return operator(by).pause(id, ASKED, WHY).await.map(drop);
        }
        let due = self.scene.play().due();
        match due {
            Some(Event::RollBack) => {
                self.scene.play().needing = 1;
                match operator(by).roll_back(id, ASKED, WHY).await {
                    // It is on its way back already.
                    Err(Refusal::Illegal(_)) => Ok(()),
                    rolled_back => rolled_back.map(drop),
                }
            }
            Some(Event::SomethingLeft) => {
                let rollover = operator(by).rollover(id).await?;
                let (secret, key) = (rollover.secret, &rollover.from_key);
                match secret.entry().class {
                    Class::Sealing => self.scene.straggles().await,
                    Class::Shared => {
                        let store = by.worker.replica().store();
                        store.note_presented(secret, key, 1, self.clock.now()).await?;
                    }
                    _ => self.scene.play().needing = 1,
                }
                Ok(())
            }
            // The other one of two was first.
            _ => Ok(()),
        }
    }
}

/// Whether all that is left is that the old credential is revoked.
fn waits_for_its_provider(rollover: &Rollover) -> bool {
    let is_credential = rollover.secret.entry().class == Class::Provider;
    is_credential && rollover.phase == Phase::Promoted && rollover.settled_at.is_some()
}

/// Through `by`, with no backup to wait for.
fn operator(by: &ByHand) -> Operator {
    Operator::new(by.worker.clone(), Duration::ZERO)
}
