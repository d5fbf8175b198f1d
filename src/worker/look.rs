//! Asks the queue for a look at a rollover.

use std::time::Duration;

use super::{DriveError, Task, Worker};
use crate::ids::RolloverId;

impl Worker {
    /// Puts a look at `rollover` into the queue. Looks that fall into the same
    /// second are one.
    ///
    /// # Errors
    /// [`DriveError`] when the queue does not answer.
    pub async fn look_at(&self, rollover: RolloverId, after: Duration) -> Result<(), DriveError> {
        let Some(queue) = &self.queue else { return Ok(()) };
        let due = self.replica.clock().now().plus(after);
        let key = format!("drive:{rollover}:{}", due.as_seconds());
        Ok(queue.put(Task::Drive { rollover }, after, key).await?)
    }

    /// Looks at `rollover` as soon as possible, whatever is queued; when the queue
    /// does not answer, at the next tick.
    pub async fn look_now(&self, rollover: RolloverId) {
        let Some(queue) = &self.queue else { return };
        let key = format!("drive:{rollover}:now:{}", uuid::Uuid::now_v7());
        if let Err(error) = queue.put(Task::Drive { rollover }, Duration::ZERO, key).await {
            tracing::warn!(%error, %rollover, "a rollover was not queued; the tick comes by");
        }
    }
}
