//! Secrets that are used as they are: hashed with, compared, or shown to a provider.
//!
//! 1. What is presented is compared in constant time, whatever its length.
//! 2. Who presents a secret that runs dry is counted, so that a rollover knows when
//!    nobody does any more.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    key::{Key, KeyState},
    ring::Keyring,
};
use crate::{clock::Timestamp, ids::KeyId, material::Material};

/// A secret as it is, and its digest to compare with.
pub struct Verbatim {
    material: Material,
    digest: [u8; 32],
    presented: Arc<Presented>,
}

impl Verbatim {
    /// The secret. Search for this name to find every reader of it.
    #[must_use]
    pub const fn expose(&self) -> &Material {
        &self.material
    }

    /// How often others have presented it to this process.
    #[must_use]
    pub const fn presented(&self) -> &Arc<Presented> {
        &self.presented
    }
}

impl fmt::Debug for Verbatim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verbatim").field("presented", &self.presented).finish_non_exhaustive()
    }
}

impl Key<Verbatim> {
    /// Keeps `material` as it is. Who presents it is counted in `presented`.
    #[must_use]
    pub fn verbatim(
        id: KeyId,
        state: KeyState,
        material: Material,
        presented: Arc<Presented>,
    ) -> Self {
        let digest = Sha256::digest(material.expose_source().as_bytes()).into();
        let fingerprint = material.fingerprint();
        Self::prepared_as(id, state, fingerprint, false, Verbatim { material, digest, presented })
    }
}

impl Keyring<Verbatim> {
    /// The accepted key that `presented` is, and a note that it was presented at `now`.
    ///
    /// Digests are compared, each with every key in constant time: neither length nor
    /// content nor place tells in how long it takes.
    #[must_use]
    pub fn accept(&self, presented: &str, now: Timestamp) -> Option<&Key<Verbatim>> {
        let digest: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        let mut found = None;
        for key in self.keys() {
            if bool::from(key.prepared().digest.ct_eq(&digest)) {
                found = Some(key);
            }
        }
        found.inspect(|key| key.prepared().presented.note(now))
    }
}

/// How often a secret was presented, and when last, as far as this process knows.
#[derive(Debug, Default)]
pub struct Presented {
    /// Since the store was told.
    count: AtomicU64,
    /// Milliseconds since the Unix epoch; zero: never.
    last: AtomicI64,
}

impl Presented {
    /// It was presented at `now`.
    pub fn note(&self, now: Timestamp) {
        self.last.fetch_max(now.as_millis(), Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Release);
    }

    /// What the store does not know yet, which it is told now: how often, and when last.
    #[must_use]
    pub fn take(&self) -> Option<(u64, Timestamp)> {
        let count = self.count.swap(0, Ordering::Acquire);
        (count > 0).then(|| (count, Timestamp::from_millis(self.last.load(Ordering::Relaxed))))
    }

    /// The store could not be told: it counts on.
    pub fn give_back(&self, count: u64) {
        self.count.fetch_add(count, Ordering::Release);
    }
}
