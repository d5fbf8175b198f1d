//! Asks a secrets manager again and again what it holds.
//!
//! 1. What it gives takes the place of what it gave before, whole.
//! 2. When it gives nothing that can be used, what it gave last stays. That is told once,
//!    and so is its end.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, rng};

use super::{Manager, ManagerError};
use crate::keyring::sources::{Environment, Managed, Revision};

/// A manager, and what was read of it last.
#[derive(Debug)]
pub(crate) struct Following {
    manager: Arc<dyn Manager>,
    managed: Managed,
    /// The variables beside it.
    local: Environment,
    poll: Duration,
}

impl Following {
    pub(super) const fn new(
        manager: Arc<dyn Manager>,
        managed: Managed,
        local: Environment,
        poll: Duration,
    ) -> Self {
        Self { manager, managed, local, poll }
    }

    pub(crate) fn manager(&self) -> &dyn Manager {
        self.manager.as_ref()
    }

    pub(crate) const fn managed(&self) -> &Managed {
        &self.managed
    }

    pub(crate) const fn local(&self) -> &Environment {
        &self.local
    }

    /// Asks every poll, until `end` is ready. Many processes do not ask all at once.
    pub(crate) async fn run(self: Arc<Self>, end: impl Future<Output = ()>) {
        let asking = async {
            let mut told = String::new();
            loop {
                let jitter = self.poll.mul_f64(rng().random_range(0.0..0.1));
                tokio::time::sleep(self.poll + jitter).await;
                told = self.look(told).await;
            }
        };
        tokio::select! {
            () = end => {}
            () = asking => {}
        }
    }

    /// Asks once; answers what has been told by then and still holds.
    async fn look(&self, told: String) -> String {
        let manager = self.manager.name();
        match self.read().await {
            Ok(_) => {
                if !told.is_empty() {
                    tracing::info!(manager, "the secrets manager gives the keys again");
                }
                String::new()
            }
            Err(error) => {
                let why = error.to_string();
                if why != told {
                    tracing::warn!(
                        manager, %error,
                        "the secrets manager gives no keys; those that it gave last stay in use"
                    );
                }
                why
            }
        }
    }

    /// Asks now, and takes over what it gives.
    pub(crate) async fn read(&self) -> Result<Revision, ManagerError> {
        match self.manager.read().await {
            Ok(read) => {
                self.take(&read);
                Ok(read)
            }
            Err(error) => {
                self.managed.note_away();
                Err(error)
            }
        }
    }

    pub(crate) fn take(&self, read: &Revision) {
        let before = self.managed.load();
        if before.version != read.version {
            tracing::info!(
                manager = self.manager.name(),
                before = before.version,
                version = read.version,
                "the secrets manager has another version"
            );
        }
        self.managed.replace(read.clone());
    }
}
