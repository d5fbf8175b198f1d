//! Background tasks that go on until they are asked to end, and are waited for then.

use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
};

/// Tasks that end together. They end also when this is dropped, unwaited for.
#[derive(Debug)]
pub(super) struct Tasks {
    stop: watch::Sender<bool>,
    running: Mutex<Vec<JoinHandle<()>>>,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self { stop: watch::Sender::new(false), running: Mutex::default() }
    }

    /// Ready once the tasks are asked to end.
    pub(super) fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopped = self.stop.subscribe();
        async move { drop(stopped.wait_for(|stop| *stop).await) }
    }

    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.running.get_mut().push(tokio::spawn(task));
    }

    /// Asks the tasks to end, and waits until they have. May be asked more than once,
    /// and given up on: whoever asks again waits for the rest.
    pub(super) async fn end(&self) {
        self.stop.send_replace(true);
        let mut running = self.running.lock().await;
        while let Some(task) = running.last_mut() {
            if let Err(error) = task.await {
                tracing::error!(%error, "a background task did not end well");
            }
            running.pop();
        }
    }
}
