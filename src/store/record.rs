//! What the store keeps, and the one shape of every change.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    catalog::Secret,
    clock::Timestamp,
    column::RowKey,
    ids::{Epoch, KeyId, ReplicaId, RolloverId},
    keyring::{KeyState, Origin},
    material::Fingerprint,
    rollover::Rollover,
};

/// The present epoch and every key, from one snapshot.
#[derive(Debug, Clone)]
pub struct Custody {
    /// The present epoch.
    pub epoch: Epoch,
    /// Every key, of every state, by secret and then rank. Keys of a secret that
    /// only a newer version knows are left out.
    pub keys: Vec<KeyRecord>,
}

/// One key version in custody.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRecord {
    /// Whose key.
    pub secret: Secret,
    /// Its public name.
    pub id: KeyId,
    /// Its name in every output.
    pub fingerprint: Fingerprint,
    /// Where it stands.
    pub state: KeyState,
    /// Whether it may have made values that name no key.
    pub unnamed: bool,
    /// Where it came from.
    pub origin: Origin,
    /// The order of trial for values that name no key: the smallest first.
    pub rank: i64,
    /// The material, sealed under the root key; `None` once destroyed.
    pub sealed: Option<String>,
    /// When it entered custody.
    pub created_at: Timestamp,
    /// When it last became primary.
    pub promoted_at: Option<Timestamp>,
    /// When it was last retired.
    pub retired_at: Option<Timestamp>,
    /// Since when it counts as compromised: nothing is opened with it any more, but to
    /// be sealed again under another key.
    pub compromised_at: Option<Timestamp>,
    /// Seals that all replicas have reported.
    pub seals: u64,
    /// The longest lifetime that it has signed.
    pub longest_lifetime: Duration,
    /// How often others have presented it, as far as replicas have reported.
    pub presented: u64,
    /// When it was last presented.
    pub presented_at: Option<Timestamp>,
}

/// One change to keys and rollovers: a value made by pure code, applied whole or not at all.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The rollover that begins or moves, if one does.
    pub rollover: Option<RolloverChange>,
    /// The one of the same secret that it takes over from, which moves first, as
    /// [`RolloverChange::Move`] does.
    pub superseded: Option<Box<Rollover>>,
    /// Key changes, in order. Any of them bumps the epoch, once.
    pub keys: Vec<KeyChange>,
    /// Ranges that a pass begins with, in the order in which they are to be done. The
    /// pass begins when its rollover was last updated. One that is there already is a
    /// conflict.
    pub ranges: Vec<NewRange>,
    /// What becomes of the acceptors of the key that the rollover retires, or the one that
    /// it takes over from.
    pub acceptors: Option<Acceptors>,
    /// A replica without a lease that is stopped for good, as an operator knows. One
    /// whose lease runs, or that has left, is a conflict.
    pub stopped: Option<ReplicaId>,
    /// What the audit trail tells of it.
    pub audit: Vec<AuditEntry>,
}

impl Change {
    /// The rollover of which it retires a key, if it retires one.
    pub(crate) fn retires(&self) -> Option<RolloverId> {
        let superseded = self.superseded.as_ref().map(|rollover| rollover.id);
        superseded.or_else(|| self.rollover.as_ref().map(RolloverChange::id))
    }
}

/// What becomes of the acceptors of a retired key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptors {
    /// Every replica that may accept it at this moment is noted: those whose lease
    /// runs, and those that accept without one. They are to acknowledge the epoch that
    /// this change makes.
    Note,
    /// They are forgotten: the key is cut off, or is to be accepted again.
    Forget,
}

/// How a rollover changes.
#[derive(Debug, Clone)]
pub enum RolloverChange {
    /// It begins. Refused while one of the same secret is in progress, and,
    /// unless `alongside`, while any is. Dry runs stand in nobody's way.
    Begin {
        /// The new row, of revision 0.
        rollover: Box<Rollover>,
        /// Whether it may run beside another secret's rollover.
        alongside: bool,
    },
    /// It moves: the row is replaced if its revision is still one below
    /// `rollover.revision`.
    Move(Box<Rollover>),
}

impl RolloverChange {
    /// Which rollover changes.
    #[must_use]
    pub const fn id(&self) -> RolloverId {
        match self {
            Self::Begin { rollover, .. } | Self::Move(rollover) => rollover.id,
        }
    }
}

/// How one key changes.
#[derive(Debug, Clone)]
pub enum KeyChange {
    /// It enters custody. A key of the same secret and id that is there already is a conflict.
    Add(Box<KeyRecord>),
    /// It goes from one state to another, if it is still in the first.
    Move {
        /// Whose key.
        secret: Secret,
        /// Which key.
        key: KeyId,
        /// The state that it must be in.
        from: KeyState,
        /// The state that it gets. `Destroyed` erases the sealed material too.
        to: KeyState,
        /// When: `promoted_at`, the first time, and `retired_at` follow from it. One that is accepted
        /// again is not compromised any more.
        at: Timestamp,
    },
    /// It counts as compromised, if it is retired.
    Compromise {
        /// Whose key.
        secret: Secret,
        /// Which key.
        key: KeyId,
        /// Since when.
        at: Timestamp,
    },
    /// Its sealed material is replaced, if it is still the one that was read
    /// (a rollover of the root key).
    Reseal {
        /// Whose key.
        secret: Secret,
        /// Which key.
        key: KeyId,
        /// The sealed material that was read.
        old: String,
        /// The same material, sealed again.
        new: String,
    },
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It is durable; this is the epoch now.
    Done(Epoch),
    /// A guard did not hold: something was changed meanwhile. Nothing was done.
    Conflict,
    /// A rollover is in progress already: this one. Nothing was done.
    Busy(RolloverId),
}

/// What a replica reports when it renews its lease.
#[derive(Debug, Clone)]
pub struct Beat {
    /// Which replica.
    pub replica: ReplicaId,
    /// Its name, for people.
    pub name: String,
    /// The crate's version.
    pub version: String,
    /// The epoch of the keychain that it has published.
    pub applied: Epoch,
    /// The newest epoch of which every older keychain is out of use: no request
    /// holds one any more.
    pub settled: Epoch,
    /// The root keys that it holds, its current one first.
    pub root_keys: Vec<Fingerprint>,
    /// How long the lease shall last.
    pub lease: Duration,
    /// Whether it goes on accepting when its lease is over.
    pub accepts_while_fenced: bool,
    /// The sealed columns that it registers, each `<table>.<column>`.
    pub columns: Arc<[String]>,
}

/// A renewed lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The present epoch.
    pub epoch: Epoch,
}

/// One replica, as the store knows it: every time by the database's clock. A version
/// that is older than a column leaves it empty.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaRecord {
    /// Which.
    pub id: ReplicaId,
    /// Its name, for people.
    pub name: String,
    /// The crate's version.
    pub version: String,
    /// The epoch that it has published.
    pub applied: Epoch,
    /// The epoch of which every older keychain is out of use there.
    pub settled: Epoch,
    /// The root keys that it holds, its current one first. Empty: it is of a version
    /// that does not tell.
    pub root_keys: Vec<Fingerprint>,
    /// Whether its lease runs, by the database's clock.
    pub live: bool,
    /// When its lease ends, or ended.
    pub lease_until: Timestamp,
    /// Since when it is there.
    pub registered_at: Option<Timestamp>,
    /// When it last renewed its lease.
    pub renewed_at: Option<Timestamp>,
    /// When it reported `applied` first.
    pub applied_at: Option<Timestamp>,
    /// When it reported `settled` first.
    pub settled_at: Option<Timestamp>,
    /// Whether it goes on accepting when its lease is over.
    pub accepts_while_fenced: bool,
    /// When it gave up its lease, if it did.
    pub left_at: Option<Timestamp>,
    /// The sealed columns that it registers, each `<table>.<column>`; empty for a
    /// version that does not tell.
    #[serde(skip)]
    pub columns: Vec<String>,
    /// When all this was so.
    pub as_of: Timestamp,
}

/// One range of a pass, before it has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRange {
    /// Of which rollover.
    pub rollover: RolloverId,
    /// Of which of its passes.
    pub pass: u32,
    /// Which table.
    pub table: String,
    /// Its number within the table.
    pub number: u32,
    /// Where it begins: the rows after this key; `None`: the first row.
    pub after: Option<RowKey>,
    /// Where it ends: up to and including this key; `None`: the last row.
    pub upto: Option<RowKey>,
}

/// One range of a pass, claimed by a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Of which rollover.
    pub rollover: RolloverId,
    /// Of which of its passes.
    pub pass: u32,
    /// Which table.
    pub table: String,
    /// Its number within the table.
    pub number: u32,
    /// The last row finished, or where the range begins.
    pub cursor: Option<RowKey>,
    /// Where it ends, inclusive.
    pub upto: Option<RowKey>,
    /// Who holds it.
    pub holder: ReplicaId,
}

/// What one batch adds to its range, written in the batch's transaction. The
/// transaction is refused ([`super::Written::LeaseLost`]) when `range.holder` does
/// not hold the range any more, or its cursor is not `range.cursor`.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The range as it was before the batch.
    pub range: Range,
    /// The last row of the batch.
    pub cursor: RowKey,
    /// Rows looked at.
    pub scanned: u64,
    /// How long the lease is renewed for.
    pub lease: Duration,
    /// Rows of the batch that no key opens.
    pub quarantined: Vec<Quarantined>,
}

/// How far one pass is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PassProgress {
    /// Ranges in all.
    pub ranges: u64,
    /// Ranges finished.
    pub finished: u64,
    /// Ranges that nobody holds now, and that are not finished.
    pub free: u64,
    /// Of them, those that a replica held until its lease on them ended.
    pub abandoned: u64,
    /// Stale rows looked at.
    pub scanned: u64,
    /// Rows rewrapped.
    pub rewrapped: u64,
    /// Rows that were edited meanwhile and kept the edit.
    pub superseded: u64,
    /// When the pass began.
    pub began_at: Timestamp,
}

/// A value that no key opens. Never holds the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantined {
    /// Which table.
    pub table: String,
    /// Which column.
    pub column: String,
    /// Which row.
    pub row: RowKey,
    /// Where in a document or array, as a JSON pointer; empty for text.
    pub path: String,
    /// Which class of error.
    pub error: String,
    /// When it was last seen.
    pub seen_at: Timestamp,
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Actor {
    /// The process itself.
    System,
    /// A user, by the subject of a token.
    User {
        /// `users.id`.
        id: Uuid,
        /// The address, if the token has one.
        email: Option<String>,
    },
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::User { email: Some(email), .. } => f.write_str(email),
            Self::User { id, .. } => id.fmt(f),
        }
    }
}

/// How something ended (`audit_logs.result`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Success,
    /// It was tried, and failed.
    Failure,
    /// It was refused.
    Denied,
}

/// One entry for the audit trail (FORMATS section 8).
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What: `rollover.promote` and the like, at most 100 characters.
    pub action: String,
    /// What it was done to: `rollover`, `key`, …, at most 50 characters.
    pub resource_type: &'static str,
    /// Which one.
    pub resource_id: Option<Uuid>,
    /// Its name, at most 255 characters.
    pub resource_name: Option<String>,
    /// Everything else: why, from which key id to which. Never a key.
    pub details: serde_json::Value,
    /// How it ended.
    pub outcome: Outcome,
}

/// One entry of the audit trail, as it is stored.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// `audit_logs.id`.
    pub id: Uuid,
    /// When.
    pub timestamp: Timestamp,
    /// `user`, `system`, ….
    pub actor_type: String,
    /// `users.id`, or the nil UUID for the system.
    pub actor_id: Uuid,
    /// The actor's address.
    pub actor_email: Option<String>,
    /// What.
    pub action: String,
    /// What it was done to.
    pub resource_type: String,
    /// Which one.
    pub resource_id: Option<Uuid>,
    /// Its name.
    pub resource_name: Option<String>,
    /// Everything else.
    pub details: Option<serde_json::Value>,
    /// How it ended.
    pub result: String,
    /// Hex SHA-256 of the canonical payload.
    pub checksum: Option<String>,
}
