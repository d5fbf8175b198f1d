//! Shares a pass out to the workers of all replicas: whoever has room asks for work.
//!
//! 1. A process with room puts a task for each free range, as many as it has room for.
//!    It may be another one that takes them, and then this one asks again. Where
//!    nobody has room, or no range is free, nothing is put.
//! 2. A range whose holder is gone is taken over at the next look of anyone, room or not:
//!    a few by each process at once.
//! 3. The lease of a range decides whose it is, and never a task: one that is lost with
//!    its process, or run twice, does no harm.

use std::time::Duration;

use super::{DriveError, Queue, Task, Worker};
use crate::rollover::Rollover;

/// How often a process looks for work. With the time that a task waits in the queue,
/// it makes up what a range is left alone for after its lease, and together they stay
/// under a second.
pub(super) const LOOK: Duration = Duration::from_millis(500);

/// Tasks to take over that are put at one look.
const AT_ONCE: u64 = 8;

/// Abandoned ranges that a process has in hand at once, beside those that it has room for:
/// what two workers leave as a rule, and few enough that requests find a connection.
pub(super) const TAKEN: usize = 4;

impl Worker {
    /// Asks for work on every rollover that has some.
    ///
    /// # Errors
    /// [`DriveError`] when the store or the queue does not answer.
    pub(super) async fn look_for_work(&self) -> Result<(), DriveError> {
        for rollover in self.replica.store().active_rollovers().await? {
            self.ask_for_work(&rollover).await?;
        }
        Ok(())
    }

    /// Asks for work on the present pass of `rollover`, if it has some.
    ///
    /// # Errors
    /// [`DriveError`] when the store or the queue does not answer.
    pub(super) async fn ask_for_work(&self, rollover: &Rollover) -> Result<(), DriveError> {
        let Some(queue) = &self.queue else { return Ok(()) };
        if rollover.pass == 0 || rollover.paused_at.is_some() || rollover.draining_key().is_none() {
            return Ok(());
        }
        let (id, pass) = (rollover.id, rollover.pass);
        let Some(progress) = self.replica.store().pass(id, pass).await? else { return Ok(()) };
        let room = self.rewrapping.available_permits() as u64;
        let me = self.replica.id();
        let rewrap = || Task::Rewrap { rollover: id, pass };
        self.put(
            queue.as_ref(),
            rewrap,
            progress.free.min(room),
            &format!("rewrap:{id}:{pass}:{me}"),
        )
        .await?;
        // Those of all processes count as one: it does not matter who is first.
        let take_over = || Task::TakeOver { rollover: id, pass };
        let abandoned = progress.abandoned.min(AT_ONCE);
        self.put(queue.as_ref(), take_over, abandoned, &format!("takeover:{id}:{pass}")).await
    }

    /// Puts `count` tasks, unless they were put since the last look was due.
    async fn put(
        &self,
        queue: &dyn Queue,
        task: impl Fn() -> Task,
        count: u64,
        key: &str,
    ) -> Result<(), DriveError> {
        let look = self.replica.clock().now().as_millis() / LOOK.as_millis() as i64;
        for number in 0..count {
            queue.put(task(), Duration::ZERO, format!("{key}:{look}:{number}")).await?;
        }
        Ok(())
    }
}
