//! A login that the database refuses for good: the credential rolled over while this
//! replica was away, and was taken away.
//!
//! 1. Where the environment holds another one by now (a file, a secrets manager), that is
//!    tried, and the replica recovers by itself.
//! 2. Else it cannot: custody, which has the credential, is in the database. Once its lease
//!    is over too, it is locked out, and says so to whoever runs the process.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::{Replica, ReplicaError};
use crate::{
    catalog::Secret,
    keyring::sources::user_info,
    material::{Fingerprint, Material},
    store::StoreError,
};

/// How far a replica is from being locked out.
#[derive(Debug, Default)]
pub(super) struct Lockout {
    /// The credential of the environment that was tried since the last refusal.
    tried: Mutex<Option<Fingerprint>>,
    /// What the database said.
    out: watch::Sender<Option<String>>,
}

impl Replica {
    /// Ready once this replica is without its lease, and will not get it back by itself:
    /// the database refuses its login, and the environment has no other one. End the
    /// process then, to have it started with the credential in use.
    pub async fn locked_out(&self) -> StoreError {
        let mut out = self.lockout.out.subscribe();
        let said = match out.wait_for(Option::is_some).await {
            Ok(said) => said.clone(),
            // Never: this replica has the other end.
            Err(_) => None,
        };
        StoreError::Login(said.unwrap_or_default())
    }

    /// Notes how a turn ended, and tries another login where one was refused.
    pub(super) fn note_login(&self, turn: &Result<(), ReplicaError>) {
        let mut tried = self.lockout.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let Err(ReplicaError::Store(StoreError::Login(said))) = turn else {
            *tried = None;
            return;
        };
        let held = self.environment.lookup(Secret::DatabaseUrl.name()).ok().flatten();
        let held = held.and_then(|url| Material::new(user_info(url.expose_text())?).ok());
        let name = held.as_ref().map(Material::fingerprint);
        match held {
            Some(held) if *tried != name => {
                *tried = name;
                self.store.log_in_as(&held);
            }
            _ if self.check().is_err() => {
                self.lockout.out.send_replace(Some(said.clone()));
            }
            _ => {}
        }
    }
}
