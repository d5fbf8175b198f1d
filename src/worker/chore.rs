//! What is to be done now and then, by one replica of all: an apalis task of its own.
//!
//! 1. Each period of a [`Chore`] has one task, whoever puts it: the queue keeps its key.
//! 2. A task that is lost with its process is put again in the next period. So a chore
//!    is done again and again, and notes in the store what must be done once.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use super::{DriveError, Queue, Task, Worker};

/// Something that is to be done now and then.
#[async_trait]
pub trait Chore: fmt::Debug + Send + Sync + 'static {
    /// Its name in the queue.
    fn name(&self) -> &'static str;

    /// How often it is done, while it is due.
    fn every(&self) -> Duration;

    /// Whether there is something to do: asked every few seconds by every replica.
    async fn is_due(&self, worker: &Worker) -> Result<bool, DriveError>;

    /// Does it. May be done beside itself, when it takes longer than its period.
    async fn run(&self, worker: &Worker) -> Result<(), DriveError>;
}

impl Worker {
    /// Puts the chores that are due into the queue.
    pub(super) async fn put_chores(&self, queue: &dyn Queue) {
        for chore in &self.chores {
            let put = async {
                if chore.is_due(self).await? {
                    let period = i64::try_from(chore.every().as_millis()).unwrap_or(i64::MAX);
                    let now = self.replica.clock().now().as_millis();
                    let key = format!("chore:{}:{}", chore.name(), now.div_euclid(period.max(1)));
                    let task = Task::Chore { name: chore.name().to_owned() };
                    queue.put(task, Duration::ZERO, key).await?;
                }
                Ok::<_, DriveError>(())
            };
            if let Err(error) = put.await {
                tracing::warn!(%error, chore = chore.name(), "a chore was not queued");
            }
        }
    }

    /// Does the chore of this name; one that only a newer version knows is its own.
    pub(super) async fn do_chore(&self, name: &str) {
        if let Some(chore) = self.chores.iter().find(|chore| chore.name() == name)
            && let Err(error) = chore.run(self).await
        {
            tracing::warn!(%error, chore = name, "a chore was not done; its next period tries again");
        }
    }
}
