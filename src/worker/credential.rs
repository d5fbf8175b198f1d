//! What a rollover asks of an outside provider: try the new credential, make one,
//! revoke the old one.
//!
//! 1. Of all replicas one asks at a time: it claims that by a change of the rollover, and
//!    has it until it has its answer, or its lease is over.
//! 2. A provider that is down is asked a few times, each after a longer while and a
//!    random part of it, and then blocks its own rollover alone. Whoever drives a rollover
//!    does not wait for it: the answer is a change of its own, whenever it comes.
//! 3. What a provider has done is a fact, and is committed whatever else has changed
//!    meanwhile. Nothing that it did is done again with effect.
//! 4. That the old credential may be revoked is durable before the provider is asked to.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, rng};

use super::{
    DriveError, Worker,
    drive::{LONGEST, step},
    observe::key,
    turn::Turn,
};
use crate::{
    catalog::Secret,
    ids::{KeyId, RolloverId},
    keyring::Origin,
    material::Material,
    provider::{Provider, ProviderError},
    rollover::{Action, Phase, Planned, Rollover, World},
    store::{Change, Committed, custody, step::Step},
};

/// How often a provider is asked that does not answer.
const TRIES: u32 = 3;

/// How long to wait before the second time; twice as long before each further one.
const WAIT: Duration = Duration::from_millis(250);

/// How long one answer may take, whatever the client's own limits.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a claim to ask holds at most: longer than all that is asked may take.
const CLAIM: Duration = Duration::from_secs(120);

/// How often an answer is committed anew that others were before.
const COMMITS: u32 = 20;

/// How soon a provider is asked again that did not answer, or knows the old credential to
/// be in use.
const SOON: Duration = Duration::from_secs(5);

/// What is asked of a provider. It is claimed for as long as this value is there.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) id: RolloverId,
    rollover: Rollover,
    planned: Planned,
    provider: Arc<dyn Provider>,
    _turn: Turn,
}

impl Worker {
    /// Claims what is `planned` of the provider; `None` when another replica was first,
    /// or something has changed.
    pub(super) async fn claim(
        &self,
        world: &World,
        planned: Planned,
        provider: &Arc<dyn Provider>,
        turn: Turn,
    ) -> Result<Option<Ask>, DriveError> {
        let rollover = &world.rollover;
        let change = step(world, planned.because).ask(self.replica.id(), world.now.plus(CLAIM));
        let claimed = matches!(self.commit(&change).await?, Committed::Done(_));
        Ok(claimed.then(|| Ask {
            id: rollover.id,
            rollover: rollover.clone(),
            planned,
            provider: Arc::clone(provider),
            _turn: turn,
        }))
    }

    /// Asks, and commits the answer.
    ///
    /// # Errors
    /// [`DriveError`] when the store does not answer; whoever looks next asks again.
    pub(super) async fn ask(&self, ask: Ask) -> Result<(), DriveError> {
        match ask.planned.action {
            Action::Stage => self.make(&ask).await,
            Action::Probe => self.probe(&ask).await,
            _ => self.revoke(&ask).await,
        }
    }

    /// A new credential, made at the provider by means of the present one.
    async fn make(&self, ask: &Ask) -> Result<(), DriveError> {
        let secret = ask.rollover.secret;
        let present = self.material(secret, &ask.rollover.from_key).await?;
        // Once: a second try would leave a credential at the provider that nobody knows.
        let made = match limited(ask.provider.make(&present)).await {
            Ok(made) => Ok(self.replica.staged_key(secret, &made, Origin::Generated).await?),
            Err(error) => Err(error.to_string()),
        };
        let kept = self.answer(ask, |step| match &made {
            Ok(key) => step.stage(key.clone()).ok(),
            Err(_) if step.rollover.paused_at.is_some() => None,
            Err(why) => step.refuse(why.clone()).ok(),
        });
        if !kept.await? && made.is_ok() {
            tracing::warn!(%secret, rollover = %ask.id, "a credential was made at its provider, and the rollover was given up meanwhile: revoke it there");
        }
        Ok(())
    }

    /// Tries the new credential. Where that is in vain the rollover is given up.
    async fn probe(&self, ask: &Ask) -> Result<(), DriveError> {
        let Some(new) = &ask.rollover.to_key else { return Ok(()) };
        let new = self.material(ask.rollover.secret, new).await?;
        let probed = asked(|| ask.provider.probe(&new)).await;
        if let Err(error) = &probed {
            tracing::warn!(secret = %ask.rollover.secret, rollover = %ask.id, %error, "the new credential was tried in vain");
        }
        let is_due =
            |rollover: &Rollover| rollover.phase == Phase::Staged && rollover.probed_at.is_none();
        self.answer(ask, |step| match &probed {
            _ if !is_due(step.rollover) => None,
            Ok(shown) => Some(step.probed(shown)),
            Err(_) if step.rollover.paused_at.is_some() => None,
            Err(error) => step.probe_failed(&error.to_string()).ok(),
        })
        .await
        .map(drop)
    }

    /// Has the old credential revoked, unless somebody uses it.
    async fn revoke(&self, ask: &Ask) -> Result<(), DriveError> {
        let Ask { rollover, provider, .. } = ask;
        let Some(new) = &rollover.to_key else { return Ok(()) };
        let old = self.material(rollover.secret, &rollover.from_key).await?;
        let new = self.material(rollover.secret, new).await?;
        match asked(|| provider.in_use(&old, &new)).await {
            Ok(None) => {}
            Ok(Some(user)) => {
                let told = format!("the old credential is in use: {user}");
                return self.unrevoked(ask, &told, SOON, true).await;
            }
            Err(error) => return self.not_revoked(ask, &error, true).await,
        }
        let unused = provider.unused(&old, &new);
        let begun = self.answer(ask, |step| {
            let goes_on = is_unrevoked(step.rollover) && step.rollover.paused_at.is_none();
            goes_on.then(|| step.revoking())
        });
        if !begun.await? {
            return Ok(());
        }
        match asked(|| provider.revoke(&old, &new)).await {
            Ok(done) => {
                let shown: Vec<_> = unused.into_iter().chain([done]).collect();
                let shown = shown.join("; ");
                let answered =
                    |step: &Step<'_>| is_unrevoked(step.rollover).then(|| step.revoked(&shown));
                self.answer(ask, answered).await.map(drop)
            }
            Err(error) => self.not_revoked(ask, &error, error.is_transient()).await,
        }
    }

    /// The provider did not answer, and is asked again; or an operator has to do it. The old
    /// credential may be revoked all the same where it `may_be`.
    async fn not_revoked(
        &self,
        ask: &Ask,
        error: &ProviderError,
        may_be: bool,
    ) -> Result<(), DriveError> {
        if error.is_transient() {
            return self.unrevoked(ask, &error.to_string(), SOON, may_be).await;
        }
        let told = format!("{error}, and say so: POST /admin/rollovers/{}/revoked", ask.id);
        self.unrevoked(ask, &told, LONGEST, may_be).await
    }

    async fn unrevoked(
        &self,
        ask: &Ask,
        told: &str,
        after: Duration,
        may_be: bool,
    ) -> Result<(), DriveError> {
        let answered = |step: &Step<'_>| {
            // Unless another replica asks by now, and knows better.
            let is_mine = step.rollover.asked_by == Some(self.replica.id());
            let holds = is_unrevoked(step.rollover) && is_mine;
            holds.then(|| step.unrevoked(told.to_owned(), after, may_be))
        };
        self.answer(ask, answered).await.map(drop)
    }

    /// Commits what `change` makes of the rollover as it is by now. `false`: it makes
    /// nothing of it any more.
    async fn answer(
        &self,
        ask: &Ask,
        change: impl Fn(&Step<'_>) -> Option<Change>,
    ) -> Result<bool, DriveError> {
        for _ in 0..COMMITS {
            let Some(world) = self.observe(ask.id).await? else { return Ok(false) };
            let Some(change) = change(&step(&world, ask.planned.because)) else {
                return Ok(false);
            };
            if let Committed::Done(_) = self.commit(&change).await? {
                tracing::debug!(
                    rollover = %ask.id, secret = %ask.rollover.secret,
                    action = ?ask.planned.action, "the provider was asked"
                );
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) async fn material(
        &self,
        secret: Secret,
        id: &KeyId,
    ) -> Result<Material, DriveError> {
        let custody = self.replica.store().custody().await?;
        Ok(custody::open(&self.replica.root(), key(&custody, secret, id)?)?)
    }
}

fn is_unrevoked(rollover: &Rollover) -> bool {
    rollover.phase == Phase::Promoted && rollover.revoked_at.is_none()
}

/// Tries a credential once, for an operator who waits for the answer.
pub(crate) async fn tried(
    provider: &Arc<dyn Provider>,
    credential: &Material,
) -> Result<String, ProviderError> {
    limited(provider.probe(credential)).await
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
