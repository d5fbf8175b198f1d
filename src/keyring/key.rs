//! One key: its name, its state, and its material prepared for use.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aes_gcm::{Aes256Gcm, KeyInit};
use hmac::Hmac;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{
    ids::KeyId,
    material::{Fingerprint, Material},
};

/// Where a key stands in its life.
///
/// ```text
/// staged ──► primary ──► retiring ──► retired ──► destroyed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Accepted everywhere, not yet used to make anything.
    Staged,
    /// The only key that signs or seals.
    Primary,
    /// Accepted, and used to make nothing more.
    Retiring,
    /// Not accepted; still in custody, for backups.
    Retired,
    /// Its material is erased.
    Destroyed,
    /// A state that only a newer version knows: not accepted here, and left alone.
    Unknown,
}

impl KeyState {
    /// Whether what a key of this state made is accepted.
    #[must_use]
    pub const fn accepts(self) -> bool {
        matches!(self, Self::Staged | Self::Primary | Self::Retiring)
    }

    /// Its name in the store and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Primary => "primary",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Destroyed => "destroyed",
            Self::Unknown => "unknown",
        }
    }
}

impl From<&str> for KeyState {
    fn from(text: &str) -> Self {
        [Self::Staged, Self::Primary, Self::Retiring, Self::Retired, Self::Destroyed]
            .into_iter()
            .find(|state| state.as_str() == text)
            .unwrap_or(Self::Unknown)
    }
}

/// Where a key came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "name")]
pub enum Origin {
    /// An environment variable, by its name.
    Environment(String),
    /// A file, by the variable or directory entry that named it.
    File(String),
    /// A secrets manager, by the field that is called like the variable.
    Manager(String),
    /// Made by a rollover.
    Generated,
    /// Handed in by an operator.
    Supplied,
    /// From where only a newer version knows.
    #[serde(untagged)]
    Unknown(serde_json::Value),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File(name) => write!(f, "file {name}"),
            Self::Manager(name) => write!(f, "secrets manager {name}"),
            Self::Generated => f.write_str("generated"),
            Self::Supplied => f.write_str("supplied"),
            Self::Unknown(_) => f.write_str("unknown"),
        }
    }
}

/// One key of a keyring, its material prepared as `U` ([`Sealing`] or [`Signing`]).
///
/// Not `Clone`: share a keyring, never copy a key.
pub struct Key<U> {
    id: KeyId,
    state: KeyState,
    fingerprint: Fingerprint,
    unnamed: bool,
    prepared: U,
}

impl<U> Key<U> {
    pub(super) const fn prepared_as(
        id: KeyId,
        state: KeyState,
        fingerprint: Fingerprint,
        unnamed: bool,
        prepared: U,
    ) -> Self {
        Self { id, state, fingerprint, unnamed, prepared }
    }

    /// Its public name.
    #[must_use]
    pub const fn id(&self) -> &KeyId {
        &self.id
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> KeyState {
        self.state
    }

    /// Its name in every output.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether it may have made values that name no key: `enc:v1`, `mfa:v1`, or
    /// a token without `kid`.
    #[must_use]
    pub const fn is_unnamed(&self) -> bool {
        self.unnamed
    }

    /// The material, prepared.
    #[must_use]
    pub const fn prepared(&self) -> &U {
        &self.prepared
    }
}

impl Key<Sealing> {
    /// Prepares `material` for AES-256-GCM. Seals are counted in `budget`.
    #[must_use]
    pub fn sealing(
        id: KeyId,
        state: KeyState,
        unnamed: bool,
        material: &Material,
        budget: Arc<SealBudget>,
    ) -> Self {
        let cipher = Aes256Gcm::new(&(*material.derive_aes256()).into());
        let text = material.expose_source().trim().as_bytes();
        let mac = Hmac::new_from_slice(text).expect("HMAC takes a key of any length");
        let prepared = Sealing { cipher, state_mac: mac, budget };
        Self { id, state, fingerprint: material.fingerprint(), unnamed, prepared }
    }
}

impl Key<Signing> {
    /// Prepares `material` for HMAC-SHA-256, keyed by its raw bytes (FORMATS section 5).
    #[must_use]
    pub fn signing(id: KeyId, state: KeyState, unnamed: bool, material: &Material) -> Self {
        let bytes = material.expose_source().as_bytes();
        let prepared = Signing {
            mac: Hmac::new_from_slice(bytes).expect("HMAC takes a key of any length"),
            encoding: jsonwebtoken::EncodingKey::from_secret(bytes),
        };
        Self { id, state, fingerprint: material.fingerprint(), unnamed, prepared }
    }
}

impl<U> fmt::Debug for Key<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("state", &self.state)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// An AES-256-GCM cipher, its key schedule ready.
pub struct Sealing {
    cipher: Aes256Gcm,
    state_mac: Hmac<Sha256>,
    budget: Arc<SealBudget>,
}

impl Sealing {
    pub(crate) const fn cipher(&self) -> &Aes256Gcm {
        &self.cipher
    }

    /// What signs the state of a sign-on elsewhere.
    pub(crate) const fn state_mac(&self) -> &Hmac<Sha256> {
        &self.state_mac
    }

    /// How often this key has sealed, and how often it may.
    #[must_use]
    pub const fn budget(&self) -> &Arc<SealBudget> {
        &self.budget
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing").field("budget", &self.budget).finish_non_exhaustive()
    }
}

/// How often one key may seal with random 96-bit nonces: 2^32 times
/// (NIST SP 800-38D, section 8.3).
pub const SEAL_LIMIT: u64 = 1 << 32;

/// Counts the seals of one key, across every epoch and, through the store, every replica.
#[derive(Debug)]
pub struct SealBudget {
    /// Seals known to the store, by all replicas.
    stored: AtomicU64,
    /// Seals of this process that the store does not know yet.
    pending: AtomicU64,
    limit: u64,
}

impl Default for SealBudget {
    fn default() -> Self {
        Self::new(0, SEAL_LIMIT)
    }
}

impl SealBudget {
    /// A budget of `limit` seals, `stored` of which are spent.
    #[must_use]
    pub const fn new(stored: u64, limit: u64) -> Self {
        Self { stored: AtomicU64::new(stored), pending: AtomicU64::new(0), limit }
    }

    /// Spends one seal.
    ///
    /// # Errors
    /// [`BudgetSpent`] past the limit: the key must be rolled over.
    pub fn spend(&self) -> Result<(), BudgetSpent> {
        let pending = self.pending.fetch_add(1, Ordering::Relaxed);
        if self.stored.load(Ordering::Relaxed).saturating_add(pending) >= self.limit {
            self.pending.fetch_sub(1, Ordering::Relaxed);
            return Err(BudgetSpent);
        }
        Ok(())
    }

    /// Seals spent so far, as far as this process knows.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.stored.load(Ordering::Relaxed) + self.pending.load(Ordering::Relaxed)
    }

    /// Seals allowed in all.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Seals that the store does not know yet.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Notes that the store took `count` pending seals, and now knows of `stored` in all.
    pub fn settle(&self, count: u64, stored: u64) {
        self.stored.store(stored, Ordering::Relaxed);
        self.pending.fetch_sub(count, Ordering::Relaxed);
    }
}

/// A key has sealed as often as its random nonces allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this key has sealed as often as random nonces allow; roll it over")]
pub struct BudgetSpent;

/// An HMAC-SHA-256 key, its inner and outer block hashed already.
pub struct Signing {
    mac: Hmac<Sha256>,
    encoding: jsonwebtoken::EncodingKey,
}

impl Signing {
    pub(crate) const fn mac(&self) -> &Hmac<Sha256> {
        &self.mac
    }

    pub(super) const fn encoding(&self) -> &jsonwebtoken::EncodingKey {
        &self.encoding
    }
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signing").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_refuses_the_seal_past_its_limit_and_counts_no_refusal() {
        let budget = SealBudget::new(2, 4);
        assert_eq!(budget.spend(), Ok(()));
        assert_eq!(budget.spend(), Ok(()));
        assert_eq!(budget.spend(), Err(BudgetSpent));
        assert_eq!((budget.spent(), budget.pending()), (4, 2));
        budget.settle(2, 4);
        assert_eq!((budget.spent(), budget.pending()), (4, 0));
    }

    #[test]
    fn only_live_states_accept() {
        for (state, accepts) in [
            (KeyState::Staged, true),
            (KeyState::Primary, true),
            (KeyState::Retiring, true),
            (KeyState::Retired, false),
            (KeyState::Destroyed, false),
            (KeyState::Unknown, false),
        ] {
            assert_eq!(state.accepts(), accepts);
            assert_eq!(KeyState::from(state.as_str()), state);
        }
        assert_eq!(KeyState::from("of a newer version"), KeyState::Unknown);
    }
}
