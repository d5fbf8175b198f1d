//! Why a key does not come out of custody, or the root key cannot be had.

use std::io;

use crate::{
    catalog::Secret,
    ids::KeyId,
    keyring::{
        InvalidKeyring,
        sources::{Fault, Faults},
    },
    material::{Fingerprint, NoEntropy},
};

/// A key does not come out of custody. Never holds a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustodyError {
    /// No nonce could be made.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    /// The root key that sealed the store is not at hand.
    #[error(
        "the root key does not open the key store: key {id} of {secret} is sealed under root key {needed}, and at hand is {}; set BREEZE_ROOT_KEY to it if it is the newer one, or BREEZE_ROOT_KEY_PREVIOUS if it was replaced",
        listed(at_hand)
    )]
    UnknownRootKey {
        /// Whose key.
        secret: Secret,
        /// Which key.
        id: KeyId,
        /// The root key that is needed.
        needed: Fingerprint,
        /// The root keys that are there.
        at_hand: Vec<Fingerprint>,
    },
    /// A sealed key that was altered, or moved from another row.
    #[error(
        "key {id} of {secret} fails authentication: its row was altered, or belongs to another key; restore the key store from a backup"
    )]
    Authentication {
        /// Whose key.
        secret: Secret,
        /// Which key.
        id: KeyId,
    },
    /// A sealed key outside its format.
    #[error("key {id} of {secret} is not sealed as root:v1; restore the key store from a backup")]
    Malformed {
        /// Whose key.
        secret: Secret,
        /// Which key.
        id: KeyId,
    },
    /// A key that is not the one that its fingerprint names.
    #[error(
        "key {id} of {secret} is not the key that its fingerprint names; restore the key store from a backup"
    )]
    OtherKey {
        /// Whose key.
        secret: Secret,
        /// Which key.
        id: KeyId,
    },
    /// A key whose material is erased.
    #[error("the material of key {id} of {secret} is destroyed; it cannot be used any more")]
    NoMaterial {
        /// Whose key.
        secret: Secret,
        /// Which key.
        id: KeyId,
    },
    /// The accepted keys of a secret make no keyring.
    #[error("the keys of {secret} in the store make no keyring: {source}")]
    Keyring {
        /// Whose keys.
        secret: Secret,
        /// Why.
        source: InvalidKeyring,
    },
}

fn listed(fingerprints: &[Fingerprint]) -> String {
    fingerprints.iter().map(Fingerprint::to_string).collect::<Vec<_>>().join(", ")
}

/// The root key cannot be had. Never holds it.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    /// Its variables are faulty.
    #[error(transparent)]
    Environment(#[from] Faults),
    /// There is none.
    #[error(
        "BREEZE_ROOT_KEY is not set, and the key store is sealed under it; set it, or BREEZE_ROOT_KEY_FILE, for example to the output of `openssl rand -base64 32`"
    )]
    Missing,
    /// Its file does not hold a key.
    #[error("the root key file does not hold a key: {0}")]
    File(Fault),
    /// Its file can be read by others.
    #[error(
        "the root key file has mode {mode:03o}, so others can read it; run `chmod 600` on it, or make a new root key if somebody has"
    )]
    TooOpen {
        /// Its permission bits.
        mode: u32,
    },
    /// Its file cannot be read or made.
    #[error("the root key file cannot be read or made: {0}")]
    Io(#[from] io::Error),
    /// None could be made.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
}
