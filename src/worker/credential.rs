//! What a rollover asks of an outside provider: try the new credential, make one,
//! revoke the old one.
//!
//! 1. A provider that is down is asked a few times, each after a longer while and a
//!    random part of it, and then blocks its own rollover alone.
//! 2. Nothing that a provider did is done again with effect: what came of it is
//!    committed before anything depends on it.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, rng};

use super::{DriveError, Worker, observe::key};
use crate::{
    catalog::{Class, Secret},
    ids::KeyId,
    material::Material,
    provider::{Provider, ProviderError},
    rollover::{OldCredential, Rollover, World},
    store::{
        Change, custody,
        step::{MAKING, Step},
    },
};

/// How often a provider is asked that does not answer.
const TRIES: u32 = 3;

/// How long to wait before the second time; twice as long before each further one.
const WAIT: Duration = Duration::from_millis(250);

/// How long one answer may take, whatever the client's own limits.
const PATIENCE: Duration = Duration::from_secs(15);

impl Worker {
    /// Tries the new credential: the change that notes it, or gives the rollover up.
    pub(super) async fn probe(&self, world: &World, step: &Step<'_>) -> Result<Change, DriveError> {
        let rollover = &world.rollover;
        let probed = match (self.provider(rollover.secret), &rollover.to_key) {
            (Some(provider), Some(new)) => {
                let new = self.material(rollover.secret, new).await?;
                asked(|| provider.probe(&new)).await
            }
            _ => Err(nobody()),
        };
        match probed {
            Ok(shown) => Ok(step.probed(&shown)),
            Err(error) => {
                tracing::warn!(secret = %rollover.secret, rollover = %rollover.id, %error, "the new credential was tried in vain");
                Ok(step.probe_failed(&error.to_string())?)
            }
        }
    }

    /// Has the old credential revoked: the change that notes it, or why not.
    pub(super) async fn revoke(
        &self,
        world: &World,
        step: &Step<'_>,
    ) -> Result<Result<Change, (OldCredential, String)>, DriveError> {
        let rollover = &world.rollover;
        let (Some(provider), Some(new)) = (self.provider(rollover.secret), &rollover.to_key) else {
            return Ok(Err((OldCredential::ByHand, nobody().to_string())));
        };
        let old = self.material(rollover.secret, &rollover.from_key).await?;
        let new = self.material(rollover.secret, new).await?;
        let done = match asked(|| provider.in_use(&old, &new)).await {
            Ok(Some(user)) => {
                let told = format!("the old credential is in use: {user}");
                return Ok(Err((OldCredential::InUse, told)));
            }
            Ok(None) => asked(|| provider.revoke(&old, &new)).await,
            Err(error) => Err(error),
        };
        Ok(match done {
            Ok(shown) => Ok(step.revoked(&shown)),
            Err(error) if error.is_transient() => {
                Err((OldCredential::Unreachable, error.to_string()))
            }
            Err(error) => {
                let told =
                    format!("{error}, and say so: POST /admin/rollovers/{}/revoked", rollover.id);
                Err((OldCredential::ByHand, told))
            }
        })
    }

    /// Whether this process can do its part in it: of a credential, it must know the
    /// provider. A process that does not, such as a command, spoils nothing.
    pub(super) fn is_set_up_for(&self, rollover: &Rollover) -> bool {
        let is_credential = rollover.secret.entry().class == Class::Provider;
        !is_credential || self.provider(rollover.secret).is_some()
    }

    /// Whether this replica is the one that stages the new key: of a credential, it must
    /// be the only one that has its provider make it. One that dies over it is replaced
    /// when its lease is over, and may leave a credential there that nobody knows.
    pub(super) async fn may_make(&self, rollover: &Rollover) -> Result<bool, DriveError> {
        if rollover.secret.entry().class != Class::Provider {
            return Ok(true);
        }
        let store = self.replica.store();
        let claim = store.claim_range(rollover.id, MAKING, self.replica.id(), 4 * PATIENCE);
        Ok(claim.await?.is_some())
    }

    /// A new credential, made at the provider by means of the present one.
    pub(super) async fn made(&self, world: &World) -> Result<Result<Material, String>, DriveError> {
        let rollover = &world.rollover;
        let Some(provider) = self.provider(rollover.secret) else {
            return Ok(Err(nobody().to_string()));
        };
        let present = self.material(rollover.secret, &rollover.from_key).await?;
        // Once: a second try would leave a credential at the provider that nobody knows.
        let made = limited(provider.make(&present)).await;
        Ok(made.map_err(|error| error.to_string()))
    }

    async fn material(&self, secret: Secret, id: &KeyId) -> Result<Material, DriveError> {
        let custody = self.replica.store().custody().await?;
        Ok(custody::open(&self.replica.root(), key(&custody, secret, id)?)?)
    }
}

/// Tries a credential that is not in custody, for a dry run.
pub(crate) async fn tried(
    provider: &Arc<dyn Provider>,
    credential: &Material,
) -> Result<String, ProviderError> {
    asked(|| provider.probe(credential)).await
}

const fn nobody() -> ProviderError {
    ProviderError::ByHand("this process does not know the provider; it was not set up with one")
}

async fn asked<T, A>(mut ask: impl FnMut() -> A) -> Result<T, ProviderError>
where
    A: Future<Output = Result<T, ProviderError>>,
{
    let mut wait = WAIT;
    for _ in 1..TRIES {
        match limited(ask()).await {
            Err(error) if error.is_transient() => {
                let jitter = wait.mul_f64(rng().random());
                tokio::time::sleep(wait + jitter).await;
                wait *= 2;
            }
            answer => return answer,
        }
    }
    limited(ask()).await
}

async fn limited<T>(
    answer: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap_or_else(|_| Err(ProviderError::Unreachable("no answer in time".to_owned())))
}
