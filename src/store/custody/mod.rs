//! Keys in the store are sealed under a root key, and leave it as a keychain.
//!
//! 1. Material is sealed under the primary root key, and opens with it or a
//!    previous one. It is bound to its secret and key id: a sealed key that was
//!    moved to another row fails to open.
//! 2. A keychain holds every accepted key in rank order, and no other, unless the
//!    caller names it.
//! 3. A key that opens to something else than its fingerprint says is refused.
//! 4. Which root key seals while it rolls over, one rule decides ([`sealing`],
//!    [`permits`]), and when every key is brought under the new one ([`plan`]).
//! 5. What counts the uses of a key goes on counting through every epoch.

mod error;
mod root;
mod root_file;
mod root_plan;
mod sealed;
mod usage;

pub use error::{CustodyError, RootKeyError};
pub use root::RootKeys;
pub use root_plan::{RootBlocker, RootPlan, held, permits, plan, sealing, seals_anew};
pub use sealed::{open_material, root_of, seal_material};
pub use usage::Usage;

use crate::{
    catalog::{Class, Secret},
    clock::Timestamp,
    ids::KeyId,
    keyring::{
        AnyKeyring, Key, KeyState, Keychain, Keyring, Origin, reconcile::Stored, sources::Identity,
    },
    material::Material,
};

use super::record::{Custody, KeyChange, KeyRecord};

/// A key on its way into custody.
#[derive(Debug)]
pub struct NewKey<'a> {
    /// Whose key.
    pub secret: Secret,
    /// Its public name.
    pub id: KeyId,
    /// The key.
    pub material: &'a Material,
    /// Where it came from.
    pub origin: Origin,
    /// Where it stands.
    pub state: KeyState,
    /// Whether it may have made values that name no key.
    pub unnamed: bool,
    /// The order of trial.
    pub rank: i64,
}

impl NewKey<'_> {
    /// The record to store, its material sealed under the primary root key.
    ///
    /// # Errors
    /// [`CustodyError::NoEntropy`] without a nonce.
    pub fn into_record(self, root: &RootKeys, now: Timestamp) -> Result<KeyRecord, CustodyError> {
        let sealed = seal_material(root, self.secret, &self.id, self.material)?;
        Ok(KeyRecord {
            secret: self.secret,
            id: self.id,
            fingerprint: self.material.fingerprint(),
            state: self.state,
            unnamed: self.unnamed,
            origin: self.origin,
            rank: self.rank,
            sealed: Some(sealed),
            created_at: now,
            promoted_at: (self.state == KeyState::Primary).then_some(now),
            retired_at: None,
            compromised_at: None,
            seals: 0,
            longest_lifetime: std::time::Duration::ZERO,
            presented: 0,
            presented_at: None,
        })
    }
}

/// What [`crate::keyring::reconcile`] needs to know of each key.
#[must_use]
pub fn stored(custody: &Custody, root: &RootKeys) -> Vec<Stored> {
    let stored = custody.keys.iter().map(|record| Stored {
        secret: record.secret,
        id: record.id.clone(),
        identity: identity(root, record),
        state: record.state,
        rank: record.rank,
    });
    stored.collect()
}

/// By what the key of `record` is known again. One that does not open, or is destroyed, is
/// known by its fingerprint alone.
#[must_use]
pub fn identity(root: &RootKeys, record: &KeyRecord) -> Identity {
    open(root, record).map_or_else(
        |_| Identity::plain(record.fingerprint),
        |material| Identity::of(record.secret, &material),
    )
}

/// The keychain of `custody`: of each secret every accepted key, in rank order. A
/// secret without an accepted key is absent.
///
/// The retired keys of `also` are in it too, as retiring ones: the bulk worker
/// opens what they sealed.
///
/// # Errors
/// [`CustodyError`] when a key does not open, or the keys of a secret make no keyring.
pub fn keychain(
    custody: &Custody,
    root: &RootKeys,
    usage: &Usage,
    also: &[(Secret, KeyId)],
) -> Result<Keychain, CustodyError> {
    let is_named = |record: &KeyRecord| {
        record.state == KeyState::Retired
            && also.iter().any(|(secret, id)| (*secret, id) == (record.secret, &record.id))
    };
    Secret::all().try_fold(Keychain::new(custody.epoch), |chain, secret| {
        let of_secret = || custody.keys.iter().filter(|record| record.secret == secret);
        if !of_secret().any(|record| record.state.accepts()) {
            return Ok(chain);
        }
        let mut records: Vec<_> = of_secret()
            .filter_map(|record| match record.state {
                state if state.accepts() => Some((record, state)),
                _ if is_named(record) => Some((record, KeyState::Retiring)),
                _ => None,
            })
            .collect();
        records.sort_by_key(|(record, _)| record.rank);
        Ok(chain.with(secret, keyring(secret, &records, root, usage)?))
    })
}

/// The sealing keys of `custody` that are not accepted any more, and may still be
/// opened with: retired, and not compromised.
#[must_use]
pub fn retired(custody: &Custody) -> Vec<(Secret, KeyId)> {
    let is_retired = |key: &&KeyRecord| {
        key.secret.entry().class == Class::Sealing
            && key.state == KeyState::Retired
            && key.compromised_at.is_none()
    };
    custody.keys.iter().filter(is_retired).map(|key| (key.secret, key.id.clone())).collect()
}

fn keyring(
    secret: Secret,
    records: &[(&KeyRecord, KeyState)],
    root: &RootKeys,
    usage: &Usage,
) -> Result<AnyKeyring, CustodyError> {
    let invalid = |source| CustodyError::Keyring { secret, source };
    Ok(match secret.entry().class {
        Class::Signing => {
            let keys = records.iter().map(|&(record, state)| {
                let material = open(root, record)?;
                Ok(Key::signing(record.id.clone(), state, record.unnamed, &material))
            });
            let keys = keys.collect::<Result<_, CustodyError>>()?;
            AnyKeyring::Signing(Keyring::new(keys).map_err(invalid)?)
        }
        Class::Sealing => {
            let keys = records.iter().map(|&(record, state)| {
                let material = open(root, record)?;
                let budget = usage.seals(record);
                Ok(Key::sealing(record.id.clone(), state, record.unnamed, &material, budget))
            });
            let keys = keys.collect::<Result<_, CustodyError>>()?;
            AnyKeyring::Sealing(Keyring::new(keys).map_err(invalid)?)
        }
        Class::Pepper | Class::Shared | Class::Provider | Class::Issued => {
            let keys = records.iter().map(|&(record, state)| {
                let material = open(root, record)?;
                let presented = usage.presented(record);
                Ok(Key::verbatim(record.id.clone(), state, material, presented))
            });
            let keys = keys.collect::<Result<_, CustodyError>>()?;
            AnyKeyring::Verbatim(Keyring::new(keys).map_err(invalid)?)
        }
    })
}

/// The material of `record`, if it is the one that its fingerprint names.
///
/// # Errors
/// [`CustodyError`] when it is destroyed, does not open, or is another.
pub fn open(root: &RootKeys, record: &KeyRecord) -> Result<Material, CustodyError> {
    let (secret, id) = (record.secret, &record.id);
    let sealed = record
        .sealed
        .as_deref()
        .ok_or_else(|| CustodyError::NoMaterial { secret, id: id.clone() })?;
    let material = open_material(root, secret, id, sealed)?;
    if material.fingerprint() != record.fingerprint {
        return Err(CustodyError::OtherKey { secret, id: id.clone() });
    }
    Ok(material)
}

/// What brings every key under the primary root key: after it, the previous root
/// keys open nothing more in the store. Empty when there is nothing to do.
///
/// # Errors
/// [`CustodyError`] when a key does not open; nothing is to be changed then.
pub fn reseal(custody: &Custody, root: &RootKeys) -> Result<Vec<KeyChange>, CustodyError> {
    let stale = custody.keys.iter().filter_map(|record| {
        let sealed = record.sealed.as_ref().filter(|sealed| !root.is_current(sealed))?;
        Some((record, sealed))
    });
    stale
        .map(|(record, sealed)| {
            let material = open(root, record)?;
            Ok(KeyChange::Reseal {
                secret: record.secret,
                key: record.id.clone(),
                old: sealed.clone(),
                new: seal_material(root, record.secret, &record.id, &material)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
