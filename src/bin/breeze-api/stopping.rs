//! Whether the process was asked to stop.

use std::{io, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Whether the process was asked to stop. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// By SIGTERM or SIGINT.
    pub(crate) fn by_signal() -> io::Result<Self> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let (tell, told) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            tracing::info!("asked to stop; what is in flight is finished first");
            tell.send_replace(true);
        });
        Ok(Self(told))
    }

    /// Whether it was.
    pub(crate) fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Ready once it was asked `span` ago.
    pub(crate) async fn asked_for(mut self, span: Duration) {
        drop(self.0.wait_for(|stop| *stop).await);
        tokio::time::sleep(span).await;
    }
}
