//! One rollover as the model keeps it, and as the product does.

use std::sync::LazyLock;

use breeze_rollover::{
    clock::Timestamp,
    envelope::Target,
    ids::{KeyId, RolloverId},
    rollover::{Phase, Rollover},
};
use uuid::Uuid;

use super::{
    database::{KEYS, Key},
    rules::Bounds,
};

/// One rollover, as far as what follows depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Course {
    pub phase: Phase,
    pub revision: u8,
    pub from: Key,
    pub to: Option<Key>,
    pub settled: bool,
    /// Whether the longest lifetime has passed since it settled.
    pub lifetime_over: bool,
    pub pass: u8,
    /// Whether the present pass has begun. It is over at once and proves nothing: what
    /// rewraps is a step of its own.
    pub pass_begun: bool,
    pub cut_off: CutOff,
}

/// How far the old key is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CutOff {
    Not,
    /// The store does not accept it any more.
    Committed,
    /// The report says that nobody does.
    Told,
}

/// The one moment of everything: order is all that counts.
pub const NOW: Timestamp = Timestamp::from_seconds(1_000);

static KEY_IDS: LazyLock<[KeyId; KEYS]> =
    LazyLock::new(|| ["k0", "k1", "k2"].map(|id| KeyId::new(id).unwrap()));

/// The key of this id.
pub fn key_of(id: &KeyId) -> Key {
    KEY_IDS.iter().position(|known| known == id).unwrap() as Key
}

/// The id of this key.
pub fn id_of(key: Key) -> KeyId {
    KEY_IDS[key as usize].clone()
}

impl Course {
    /// A rollover from this key, asked for.
    pub const fn requested(from: Key) -> Self {
        Self {
            phase: Phase::Requested,
            revision: 0,
            from,
            to: None,
            settled: false,
            lifetime_over: false,
            pass: 0,
            pass_begun: false,
            cut_off: CutOff::Not,
        }
    }

    /// The product's rollover, with what is noted beside it `before`.
    pub fn of(rollover: &Rollover, before: Option<&Self>) -> Self {
        let requested = Self::requested(key_of(&rollover.from_key));
        let before = before.unwrap_or(&requested);
        let settled = rollover.settled_at.is_some();
        let pass = rollover.pass as u8;
        // Rolling back counts a pass and begins none, so that the running one ends.
        let is_at_work = rollover.phase == before.phase;
        Self {
            phase: rollover.phase,
            revision: rollover.revision as u8,
            from: before.from,
            to: rollover.to_key.as_ref().map(key_of),
            settled,
            lifetime_over: settled && before.lifetime_over,
            pass,
            pass_begun: if pass == before.pass { before.pass_begun } else { is_at_work },
            cut_off: before.cut_off,
        }
    }

    /// The product's rollover.
    pub fn rollover(&self, number: usize, bounds: &Bounds) -> Rollover {
        Rollover {
            id: RolloverId(Uuid::from_u128(number as u128)),
            secret: bounds.secret,
            mode: bounds.mode,
            dry_run: false,
            phase: self.phase,
            revision: self.revision.into(),
            paused_at: None,
            reason: String::new(),
            requested_by: String::new(),
            from_key: id_of(self.from),
            to_key: self.to.map(id_of),
            created_at: NOW,
            updated_at: NOW,
            settled_at: self.settled.then_some(NOW),
            target: Target::Bound,
            pass: self.pass.into(),
            max_rows_per_second: None,
            blocked_by: None,
            accept_quarantined: true,
            accept_loss: false,
            probed_at: None,
            ask_at: None,
            asked_by: None,
            revoking_at: None,
            revoked_at: None,
            report: None,
            cut_off: None,
        }
    }
}
