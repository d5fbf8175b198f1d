//! Writes the keys that rollovers made to the secrets manager, in place of those that they
//! replaced.
//!
//! 1. Any replica may do it, and one has an effect: a write takes the place of the version
//!    that it was worked out from, or none. The others find it done.
//! 2. Custody has every key long before. A write that fails is told once, and tried again;
//!    no rollover waits for it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;

use super::{
    Following, ManagerError, replace,
    wanted::{Wanted, wanted},
};
use crate::{
    clock::Timestamp,
    ids::Epoch,
    replica::Told,
    store::{Actor, AuditEntry, Outcome},
    worker::{Chore, DriveError, Worker},
};

/// Brings the secrets manager up to date.
#[derive(Debug)]
pub(crate) struct WriteBack {
    following: Arc<Following>,
    /// The epoch that was last found in the manager, and in which version of it.
    settled: Mutex<Option<(Epoch, String)>>,
    told: Told,
}

impl WriteBack {
    pub(crate) fn to(following: Arc<Following>) -> Self {
        Self { following, settled: Mutex::default(), told: Told::default() }
    }

    fn settle(&self, epoch: Epoch, version: &str) {
        let settled = Some((epoch, version.to_owned()));
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = settled;
        self.told.forget();
    }

    async fn bring_up_to_date(&self, worker: &Worker) -> Result<(), DriveError> {
        let replica = worker.replica();
        let held = match self.following.read().await {
            Ok(held) => held,
            Err(error) => return self.tell(worker, &error).await,
        };
        // After it: what is written is not older than what was read.
        let custody = replica.store().custody().await?;
        let local = self.following.local();
        let Some(wanted) = wanted(&held.fields, local, &custody, &replica.root())? else {
            self.settle(custody.epoch, &held.version);
            return Ok(());
        };
        let manager = self.following.manager();
        match replace(manager, &wanted.fields, &held.version).await {
            Ok(written) => {
                let details = json!({
                    "version": written.version,
                    "inPlaceOf": held.version,
                    "secrets": secrets(&wanted),
                });
                let at = replica.clock().now();
                replica.store().record(&self.entry(Outcome::Success, details, at)).await?;
                tracing::info!(
                    manager = manager.name(),
                    version = written.version,
                    "the keys of custody are written to the secrets manager, and read back"
                );
                self.following.take(&written);
                self.settle(custody.epoch, &written.version);
                Ok(())
            }
            Err(ManagerError::Overtaken) => {
                tracing::debug!(manager = manager.name(), "somebody else wrote first");
                Ok(())
            }
            Err(error) => self.tell(worker, &error).await,
        }
    }

    /// Tells once what failed; it is tried again.
    async fn tell(&self, worker: &Worker, error: &ManagerError) -> Result<(), DriveError> {
        let manager = self.following.manager().name();
        if self.told.is_news(&error.to_string()) {
            tracing::warn!(
                manager, %error,
                "the keys of custody are not written to the secrets manager; it is tried again"
            );
            let replica = worker.replica();
            let details = json!({ "error": error.to_string() });
            let entry = self.entry(Outcome::Failure, details, replica.clock().now());
            replica.store().record(&entry).await?;
        }
        Ok(())
    }

    fn entry(&self, outcome: Outcome, details: serde_json::Value, at: Timestamp) -> AuditEntry {
        AuditEntry {
            at,
            actor: Actor::System,
            action: "secrets_manager.write".to_owned(),
            resource_type: "secrets_manager",
            resource_id: None,
            resource_name: Some(self.following.manager().name().to_owned()),
            details,
            outcome,
        }
    }
}

#[async_trait]
impl Chore for WriteBack {
    fn name(&self) -> &'static str {
        "write-back"
    }

    fn every(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn is_due(&self, worker: &Worker) -> Result<bool, DriveError> {
        let epoch = worker.replica().keychain().load().epoch();
        let version = self.following.managed().load().version.clone();
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(*settled != Some((epoch, version)))
    }

    async fn run(&self, worker: &Worker) -> Result<(), DriveError> {
        self.bring_up_to_date(worker).await
    }
}

fn secrets(wanted: &Wanted) -> Vec<serde_json::Value> {
    let secrets = wanted.secrets.iter();
    secrets
        .map(|renewed| {
            json!({
                "secret": renewed.secret,
                "primary": renewed.primary,
                "previous": renewed.previous,
            })
        })
        .collect()
}
