//! One rollover, as it is stored.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    catalog::{Class, Secret},
    clock::Timestamp,
    envelope::Target,
    ids::{KeyId, ReplicaId, RolloverId},
};

use super::{cut_off::CutOff, phase::Phase};

/// How a rollover treats what the old key made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The old key is accepted until nothing needs it.
    Graceful,
    /// The old key is retired as the new one is promoted.
    Hard,
}

impl Mode {
    /// Its name in the store and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Graceful => "graceful",
            Self::Hard => "hard",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;
    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        [Self::Graceful, Self::Hard]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or(UnknownMode)
    }
}

/// Text that names no mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a mode is `graceful` or `hard`")]
pub struct UnknownMode;

/// One rollover, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollover {
    /// Its id.
    pub id: RolloverId,
    /// What is rolled over.
    pub secret: Secret,
    /// How.
    pub mode: Mode,
    /// Whether it only tells what a real one would do.
    pub dry_run: bool,
    /// Where it stands.
    pub phase: Phase,
    /// How often it has changed: the guard of every move.
    pub revision: u64,
    /// Since when it is paused, if it is.
    pub paused_at: Option<Timestamp>,
    /// Why it was asked for.
    pub reason: String,
    /// Who asked for it.
    pub requested_by: String,
    /// The key that it replaces.
    pub from_key: KeyId,
    /// The key that takes its place, once staged.
    pub to_key: Option<KeyId>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last moved.
    pub updated_at: Timestamp,
    /// When every live replica had acknowledged the present primary.
    pub settled_at: Option<Timestamp>,
    /// What sealed columns are rewrapped to.
    pub target: Target,
    /// How many bulk passes have begun.
    pub pass: u32,
    /// The ceiling on rows rewrapped a second, if there is one.
    pub max_rows_per_second: Option<u32>,
    /// What keeps it from moving on, in words, if anything does.
    pub blocked_by: Option<String>,
    /// Whether an operator decided that quarantined rows do not block retiring.
    pub accept_quarantined: bool,
    /// Whether an operator decided that what still needs the old key is given up.
    pub accept_loss: bool,
    /// When the new credential was probed, and found good.
    pub probed_at: Option<Timestamp>,
    /// Not before this moment is its provider asked again: it is being asked, or was lately.
    pub ask_at: Option<Timestamp>,
    /// Who asks its provider at the moment, if anybody does.
    pub asked_by: Option<ReplicaId>,
    /// Since when the old credential may be revoked: its provider was asked to, and has
    /// not said that it did not.
    pub revoking_at: Option<Timestamp>,
    /// When the old credential was revoked at its provider, as an operator or the
    /// provider has said.
    pub revoked_at: Option<Timestamp>,
    /// What a dry run found, or what the end of a real run counted and its provider told on
    /// the way.
    pub report: Option<serde_json::Value>,
    /// The cut-off of the key that it has retired, once it has.
    pub cut_off: Option<CutOff>,
}

impl Rollover {
    /// Whether it is one of a credential at an outside provider.
    #[must_use]
    pub fn is_credential(&self) -> bool {
        self.secret.entry().class == Class::Provider
    }

    /// Whether the new credential is in use everywhere, and all that is left is that
    /// somebody outside revokes the old one.
    #[must_use]
    pub fn awaits_revocation(&self) -> bool {
        self.is_credential() && self.phase == Phase::Promoted && self.settled_at.is_some()
    }

    /// Whether the old credential is revoked, or may be.
    #[must_use]
    pub const fn may_be_revoked(&self) -> bool {
        self.revoked_at.is_some() || self.revoking_at.is_some()
    }

    /// The hard rollover that took over from it, if one did.
    #[must_use]
    pub fn superseded_by(&self) -> Option<RolloverId> {
        self.report.as_ref()?["supersededBy"].as_str()?.parse().ok()
    }

    /// The cut-off that it waits for, if it waits for one.
    #[must_use]
    pub fn awaited_cut_off(&self) -> Option<&CutOff> {
        self.cut_off.as_ref().filter(|cut_off| cut_off.at.is_none())
    }

    /// The key that runs dry in this phase, if one does.
    #[must_use]
    pub const fn draining_key(&self) -> Option<&KeyId> {
        match self.phase {
            Phase::Promoted | Phase::Drained => Some(&self.from_key),
            Phase::RollingBack => self.to_key.as_ref(),
            _ => None,
        }
    }
}
