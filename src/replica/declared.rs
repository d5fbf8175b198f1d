//! What the environment declares, read again while the process serves.
//!
//! 1. A changed file, or field of the secrets manager, is what it would be at a start: a
//!    known key changes nothing, a new one beside the one in use asks for a rollover.
//! 2. A wish that meets another rollover of the same secret waits for its end, and is
//!    told as waiting, once. It is remembered as settled only when it was granted, or
//!    taken back.
//! 3. What is faulty, or disagrees with the store, is told once and changes nothing. It
//!    is looked at again until it is mended.
//! 4. Where no key can change and no wish waits, nothing is read.

use std::sync::{Mutex, PoisonError};

use super::{Replica, ReplicaError, told::Told};
use crate::{
    catalog::Secret,
    ids::{KeyId, RolloverId},
    keyring::{
        reconcile::{Note, Refusal, Refusals},
        sources::{Declared, Environment},
    },
};

/// What became of declared keys.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    /// What an operator may not expect, though nothing is wrong.
    pub(super) notes: Vec<Note>,
    /// Wishes that another rollover stands in the way of.
    pub(super) waiting: Vec<Waiting>,
}

/// A rollover that the environment asks for, and that cannot begin yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Of which secret.
    pub(super) secret: Secret,
    /// The rollover that it waits for.
    pub(super) rollover: RolloverId,
    /// The key that is asked for.
    pub(super) to: KeyId,
}

/// The declared keys that the store agrees with, and what was told of others.
#[derive(Debug)]
pub(super) struct DeclaredKeys {
    can_change: bool,
    settled: Mutex<Option<[u8; 32]>>,
    told: Told,
}

impl DeclaredKeys {
    /// Nothing is agreed on yet.
    pub(super) fn new(environment: &Environment) -> Self {
        let can_change = environment.can_change();
        Self { can_change, settled: Mutex::default(), told: Told::default() }
    }

    /// Notes what became of the keys of `digest`; whether that is news. Wishes that wait
    /// are told then.
    pub(super) fn note(&self, digest: [u8; 32], agreed: &Agreed) -> bool {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) =
            agreed.waiting.is_empty().then_some(digest);
        let is_news = self.told.is_news(&format!("{digest:?} {agreed:?}"));
        if is_news {
            for Waiting { secret, rollover, to } in &agreed.waiting {
                tracing::warn!(
                    %secret, %rollover, %to,
                    "the environment asks for a rollover, which waits for the end of the one in progress"
                );
            }
        }
        is_news
    }

    fn settled(&self) -> Option<[u8; 32]> {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Replica {
    /// Acts on declared keys that have changed, or whose wish was not granted yet.
    ///
    /// # Errors
    /// [`ReplicaError`] when the store does not answer; what is wrong with the keys is
    /// told, and no error.
    pub(super) async fn reread(&self) -> Result<(), ReplicaError> {
        let settled = self.declared.settled();
        if settled.is_some() && !self.declared.can_change {
            return Ok(());
        }
        let declared = match Declared::read(&self.environment, &[]) {
            Ok(declared) => declared,
            Err(faults) => {
                if self.declared.told.is_news(&faults.to_string()) {
                    tracing::warn!(%faults, "the declared keys changed and cannot be used; the keys in use stay");
                }
                return Ok(());
            }
        };
        let digest = declared.digest();
        if settled == Some(digest) {
            self.declared.told.forget();
            return Ok(());
        }
        let agreed = match self.agree(&declared).await {
            Err(ReplicaError::Disagreement(refusals)) => return self.tell_refused(&refusals).await,
            agreed => agreed?,
        };
        if self.declared.note(digest, &agreed) {
            for note in &agreed.notes {
                tracing::warn!(%note, "the declared keys changed");
            }
        }
        Ok(())
    }

    /// A new value whose predecessor is not primary yet is refused only for as long as
    /// the rollover to that one runs.
    async fn tell_refused(&self, refusals: &Refusals) -> Result<(), ReplicaError> {
        let active = self.store.active_rollovers().await?;
        let waits_for = |refusal: &Refusal| match refusal {
            Refusal::Unrelated { secret, .. } => {
                active.iter().find(|rollover| !rollover.dry_run && rollover.secret == *secret)
            }
            _ => None,
        };
        let told = |refusal: &Refusal| match waits_for(refusal) {
            Some(rollover) => format!(
                "{refusal}; it is looked at again after the end of rollover {}, which is in progress",
                rollover.id
            ),
            None => refusal.to_string(),
        };
        let told: Vec<_> = refusals.0.iter().map(told).collect();
        let told = told.join("; ");
        if self.declared.told.is_news(&told) {
            tracing::warn!("the declared keys changed and are not taken: {told}");
        }
        Ok(())
    }
}
