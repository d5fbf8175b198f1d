//! The environment and the key store agree, or the process says why not.
//!
//! 1. The store decides which key is primary. Nothing here changes it: a new value
//!    in the environment can only ask for a rollover.
//! 2. A value that the store knows is matched by its [`Identity`], however it is written and
//!    whatever its state, and changes nothing: a retired key stays retired.
//! 3. Agreeing twice does nothing the second time.
//!
//! | store | environment | outcome |
//! |---|---|---|
//! | empty | a primary key | adopt all: it is primary, the others are accepted |
//! | empty | none | generate one, refuse (in production), or do without, as the catalog says |
//! | has keys | a known primary key, or none | nothing |
//! | has keys | an unknown key beside the primary one | adopt it, accepted |
//! | has keys | a new primary key, the store's primary beside it | start a graceful rollover |
//! | has keys | a new primary key alone | refuse |
//! | has keys | a known id with another key | refuse |

use std::fmt;

use super::{
    key::KeyState,
    sources::{Declared, DeclaredKey, Identity, Strictness},
};
use crate::{
    catalog::{Absence, Secret},
    ids::KeyId,
    material::Fingerprint,
};

/// A key of the store, as far as the agreement depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Whose key.
    pub secret: Secret,
    /// Its id.
    pub id: KeyId,
    /// By what it is known again.
    pub identity: Identity,
    /// Its state.
    pub state: KeyState,
    /// Its place in the order of trial.
    pub rank: i64,
}

/// What makes the store agree with the environment.
#[derive(Debug, Default)]
pub struct Agreement<'a> {
    /// What to do, in order.
    pub actions: Vec<Action<'a>>,
    /// What to tell the operator.
    pub notes: Vec<Note>,
}

/// One thing to do.
#[derive(Debug)]
pub enum Action<'a> {
    /// Take a declared key into custody.
    Adopt {
        /// Whose key.
        secret: Secret,
        /// The key.
        key: &'a DeclaredKey,
        /// Its state: primary only when the store has no key of the secret.
        state: KeyState,
        /// Its place in the order of trial.
        rank: i64,
    },
    /// Make a primary key, since nobody gave one (never in production).
    Generate {
        /// For which secret.
        secret: Secret,
        /// Its place in the order of trial.
        rank: i64,
    },
    /// Start a graceful rollover to a declared key.
    RollOver {
        /// Of which secret.
        secret: Secret,
        /// The primary key that it replaces.
        from: KeyId,
        /// The key that is to take its place.
        to: &'a DeclaredKey,
    },
}

/// Something that is as it should be, and that an operator may not expect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// The environment's primary key is not the store's.
    #[error(
        "{variable} holds key {declared}, which is {}; {primary} is the primary key of {secret} and stays it; remove {variable}, or start a rollover if you want another key",
        state.as_str()
    )]
    NotPrimary {
        /// Of which secret.
        secret: Secret,
        /// The variable.
        variable: String,
        /// The key in it.
        declared: KeyId,
        /// Its state.
        state: KeyState,
        /// The primary key.
        primary: KeyId,
    },
}

/// Why the process must not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A key that is nowhere.
    #[error("{0} is neither in the environment nor in the key store; set it, or {0}_FILE")]
    Missing(Secret),
    /// A new primary key without the one in use.
    #[error(
        "{variable} holds a new value (fingerprint {declared}), and the key in use (fingerprint {primary}) is not beside it; put the value in use into {} to ask for a rollover, or restore it",
        previous(*secret)
    )]
    Unrelated {
        /// Of which secret.
        secret: Secret,
        /// The variable.
        variable: String,
        /// What it holds.
        declared: Fingerprint,
        /// The key in use.
        primary: Fingerprint,
    },
    /// One id for two keys.
    #[error(
        "{variable} gives key id {id} of {secret} to a key (fingerprint {declared}) that is not the one that the store knows by it (fingerprint {stored}); give the new key an id of its own"
    )]
    IdTaken {
        /// Of which secret.
        secret: Secret,
        /// The variable.
        variable: String,
        /// The id.
        id: KeyId,
        /// What the environment calls so.
        declared: Fingerprint,
        /// What the store calls so.
        stored: Fingerprint,
    },
    /// A store whose keys are damaged.
    #[error("the key store holds keys of {0} and none is primary; restore the store from a backup")]
    NoPrimary(Secret),
}

/// The variables that the value in use stands in beside a new one.
fn previous(secret: Secret) -> String {
    let entry = secret.entry();
    let own = [entry.name];
    let names = if entry.parts.is_empty() { &own[..] } else { entry.parts };
    let names: Vec<_> = names.iter().map(|name| format!("{name}_PREVIOUS")).collect();
    names.join(" and ")
}

/// Every refusal, in the order of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusals(pub Vec<Refusal>);

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the environment and the key store disagree:")?;
        self.0.iter().try_for_each(|refusal| write!(f, "\n- {refusal}"))
    }
}

impl std::error::Error for Refusals {}

/// Compares what is declared with what is stored. Pure.
///
/// # Errors
/// [`Refusals`], all of them at once; nothing is to be done then.
pub fn reconcile<'a>(declared: &'a Declared, stored: &[Stored]) -> Result<Agreement<'a>, Refusals> {
    let mut agreement = Agreement::default();
    let mut refusals = Vec::new();
    for secret in Secret::all() {
        let keys = declared.keys(secret);
        let stored: Vec<_> = stored.iter().filter(|key| key.secret == secret).collect();
        if stored.is_empty() {
            begin(secret, keys, declared.strictness(), &mut agreement, &mut refusals);
        } else {
            compare(secret, keys, &stored, &mut agreement, &mut refusals);
        }
    }
    if refusals.is_empty() { Ok(agreement) } else { Err(Refusals(refusals)) }
}

/// The store has no key of the secret yet.
fn begin<'a>(
    secret: Secret,
    keys: &'a [DeclaredKey],
    strictness: Strictness,
    agreement: &mut Agreement<'a>,
    refusals: &mut Vec<Refusal>,
) {
    let mut ranks = 0..;
    let mut next_rank = || ranks.next().unwrap_or(i64::MAX);
    if !keys.iter().any(|key| key.is_primary) {
        match (secret.entry().absence, strictness) {
            (Absence::Development, Strictness::Production) => {
                refusals.push(Refusal::Missing(secret));
                return;
            }
            (Absence::Off, _) => return,
            (Absence::Development | Absence::Made, _) => {}
        }
        agreement.actions.push(Action::Generate { secret, rank: next_rank() });
    }
    agreement.actions.extend(keys.iter().map(|key| {
        let state = if key.is_primary { KeyState::Primary } else { KeyState::Retiring };
        Action::Adopt { secret, key, state, rank: next_rank() }
    }));
}

/// The store has keys of the secret, and decides.
fn compare<'a>(
    secret: Secret,
    keys: &'a [DeclaredKey],
    stored: &[&Stored],
    agreement: &mut Agreement<'a>,
    refusals: &mut Vec<Refusal>,
) {
    let Some(primary) = stored.iter().find(|key| key.state == KeyState::Primary) else {
        refusals.push(Refusal::NoPrimary(secret));
        return;
    };
    let holds = |key: &DeclaredKey, stored: &Stored| key.identity.is(&stored.identity);
    // Of keys that are one credential, written in two ways, the one in use counts.
    let known_as = |key: &DeclaredKey| {
        let all = [primary].into_iter().chain(stored);
        all.copied().find(|known| holds(key, known))
    };
    let has_primary_beside = keys.iter().any(|key| holds(key, primary));
    let mut rank = stored.iter().map(|key| key.rank).max().unwrap_or(0);

    for key in keys {
        let fingerprint = key.material.fingerprint();
        let variable = || key.variable().to_owned();
        let is_chosen = key.is_primary && !key.is_fallback;
        let namesake = stored.iter().find(|known| known.id == key.id && !holds(key, known));
        if let Some(known) = namesake {
            refusals.push(Refusal::IdTaken {
                secret,
                variable: variable(),
                id: key.id.clone(),
                declared: fingerprint,
                stored: known.identity.written(),
            });
        } else if let Some(known) = known_as(key) {
            let is_settled = matches!(known.state, KeyState::Primary | KeyState::Staged);
            if is_chosen && !is_settled {
                agreement.notes.push(Note::NotPrimary {
                    secret,
                    variable: variable(),
                    declared: known.id.clone(),
                    state: known.state,
                    primary: primary.id.clone(),
                });
            }
        } else if !is_chosen {
            rank += 1;
            agreement.actions.push(Action::Adopt { secret, key, state: KeyState::Retiring, rank });
        } else if has_primary_beside {
            let from = primary.id.clone();
            agreement.actions.push(Action::RollOver { secret, from, to: key });
        } else {
            refusals.push(Refusal::Unrelated {
                secret,
                variable: variable(),
                declared: fingerprint,
                primary: primary.identity.written(),
            });
        }
    }
}

#[cfg(test)]
mod tests;
