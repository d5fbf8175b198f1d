//! The keys that the environment declares.

use std::{collections::BTreeMap, sync::Arc};

use sha2::{Digest, Sha256};

use super::{
    ROOT_KEY,
    canonical::{Identity, canonical},
    environment::{Environment, Strictness, Value, name},
    fault::{Fault, Faults},
    rules::Reading,
};
use crate::{
    catalog::{Class, Secret},
    ids::{Epoch, KeyId},
    keyring::{AnyKeyring, InvalidKeyring, Key, KeyState, Keychain, Keyring, Origin, SealBudget},
    material::{Fingerprint, Material},
};

/// One key, as the environment declares it.
#[derive(Debug)]
pub struct DeclaredKey {
    /// Its id: of the ring, or derived from its fingerprint.
    pub id: KeyId,
    /// The key, in its canonical form.
    pub material: Material,
    /// By what the store knows it, however it was written.
    pub identity: Identity,
    /// Which variable or file held it.
    pub origin: Origin,
    /// Whether it may have made values that name no key.
    pub unnamed: bool,
    /// Whether it signs or seals.
    pub is_primary: bool,
    /// Whether nobody chose it: it stands in, outside production, for a variable
    /// that is not set.
    pub is_fallback: bool,
}

impl DeclaredKey {
    /// `written` as an accepted key that is called by its fingerprint, and that may have made
    /// values that name no key.
    pub(super) fn new(secret: Secret, written: &Material, origin: Origin) -> Self {
        let material = canonical(secret, written);
        Self {
            id: derived_id(material.fingerprint()),
            identity: Identity::of(secret, written),
            material,
            origin,
            unnamed: true,
            is_primary: false,
            is_fallback: false,
        }
    }

    /// Whether its id was made from its fingerprint.
    pub(super) fn is_derived(&self) -> bool {
        self.id == derived_id(self.material.fingerprint())
    }

    /// The name of the variable or file that held it.
    #[must_use]
    pub fn variable(&self) -> &str {
        name(&self.origin)
    }
}

/// The id of a key that was given none: `k-<fingerprint>`.
#[must_use]
pub fn derived_id(fingerprint: Fingerprint) -> KeyId {
    KeyId::new(&format!("k-{fingerprint}")).expect("hexadecimal digits keep to the grammar")
}

/// Every key of the environment, by secret, in the order of trial. At most one
/// key a secret is primary, and ids are unique.
#[derive(Debug)]
pub struct Declared {
    strictness: Strictness,
    keys: BTreeMap<Secret, Vec<DeclaredKey>>,
}

impl Declared {
    /// Reads and checks every secret of the catalog. Those of `required` must have
    /// a primary key here: in production, those that the key store does not hold.
    ///
    /// # Errors
    /// [`Faults`], all of them at once.
    pub fn read(environment: &Environment, required: &[Secret]) -> Result<Self, Faults> {
        let environment = &environment.at_this_moment();
        let mut faults = Vec::new();
        let mut domains = vec![root_domain(environment, &mut faults)];
        let mut keys = BTreeMap::new();
        for secret in Secret::all() {
            let entry = secret.entry();
            faults.extend(entry.legacy.iter().filter_map(|name| environment.lookup(name).err()));
            let before = faults.len();
            let reading = Reading::take(environment, entry, &mut faults);
            domains.push(reading.domain());
            let declared = reading.keys(&mut faults);
            let is_missing = !declared.iter().any(|key| key.is_primary);
            if is_missing && required.contains(&secret) && faults.len() == before {
                faults.push(Fault::Missing { name: secret.name().to_owned() });
            }
            keys.insert(secret, declared);
        }
        tell_shared(&domains, &mut faults);
        Faults::none_or(faults, Self { strictness: environment.strictness(), keys })
    }

    /// What `NODE_ENV` said.
    #[must_use]
    pub const fn strictness(&self) -> Strictness {
        self.strictness
    }

    /// The keys of `secret`, in the order of trial.
    #[must_use]
    pub fn keys(&self, secret: Secret) -> &[DeclaredKey] {
        self.keys.get(&secret).map_or(&[], Vec::as_slice)
    }

    /// The primary key of `secret`, if one is declared.
    #[must_use]
    pub fn primary(&self, secret: Secret) -> Option<&DeclaredKey> {
        self.keys(secret).iter().find(|key| key.is_primary)
    }

    /// A keychain of the environment alone, for a command that works without the
    /// key store. A secret without a primary key is absent. Seals are counted from zero.
    ///
    /// # Errors
    /// [`UnusableKeys`] when the keys of a secret make no keyring.
    pub fn keychain(&self, epoch: Epoch) -> Result<Keychain, UnusableKeys> {
        let declared = self.keys.iter().filter(|(secret, _)| self.primary(**secret).is_some());
        declared.into_iter().try_fold(Keychain::new(epoch), |chain, (&secret, keys)| {
            let ring = keyring(secret, keys).map_err(|source| UnusableKeys { secret, source })?;
            Ok(chain.with(secret, ring))
        })
    }

    /// Tells two readings apart without keeping the keys: it changes when a key,
    /// its id, its order or its role does. A process that reads its files again
    /// compares it to see whether something changed.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (secret, keys) in &self.keys {
            for key in keys {
                let line = format!(
                    "{secret} {} {} {} {}\n",
                    key.id,
                    key.material.fingerprint(),
                    key.unnamed,
                    key.is_primary
                );
                hash.update(line.as_bytes());
            }
        }
        hash.finalize().into()
    }
}

fn keyring(secret: Secret, keys: &[DeclaredKey]) -> Result<AnyKeyring, InvalidKeyring> {
    let state = |key: &DeclaredKey| match key.is_primary {
        true => KeyState::Primary,
        false => KeyState::Retiring,
    };
    let keys = keys.iter();
    Ok(match secret.entry().class {
        Class::Signing => AnyKeyring::Signing(Keyring::new(
            keys.map(|key| Key::signing(key.id.clone(), state(key), key.unnamed, &key.material))
                .collect(),
        )?),
        Class::Sealing => AnyKeyring::Sealing(Keyring::new(
            keys.map(|key| {
                let budget = Arc::new(SealBudget::default());
                Key::sealing(key.id.clone(), state(key), key.unnamed, &key.material, budget)
            })
            .collect(),
        )?),
        Class::Pepper | Class::Shared | Class::Provider | Class::Issued => {
            AnyKeyring::Verbatim(Keyring::new(
                keys.map(|key| {
                    let material = key.material.copied();
                    Key::verbatim(key.id.clone(), state(key), material, Arc::default())
                })
                .collect(),
            )?)
        }
    })
}

/// The root key guards the others, so it must be none of them.
fn root_domain(environment: &Environment, faults: &mut Vec<Fault>) -> Vec<(Identity, String)> {
    let known = |root: &Value| (Identity::plain(root.fingerprint()), root.name().to_owned());
    match environment.lookup(ROOT_KEY) {
        Ok(root) => root.iter().map(known).collect(),
        Err(fault) => {
            faults.push(fault);
            Vec::new()
        }
    }
}

/// Each pair of variables of different domains that hold one key, or of which one holds
/// what is secret in the other.
fn tell_shared(domains: &[Vec<(Identity, String)>], faults: &mut Vec<Fault>) {
    for (index, domain) in domains.iter().enumerate() {
        for (identity, second) in domain {
            let earlier = domains[..index].iter().flatten();
            for (_, first) in earlier.filter(|(other, _)| other.shares_with(identity)) {
                faults.push(Fault::Shared { first: first.clone(), second: second.clone() });
            }
        }
    }
}

/// Keys that make no keyring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the keys of {secret} make no keyring: {source}")]
pub struct UnusableKeys {
    /// Whose keys.
    pub secret: Secret,
    /// Why.
    pub source: InvalidKeyring,
}
