//! The audit trail as a chain of hashes, and where it is broken (FORMATS section 8).
//!
//! 1. An entry's checksum is over what happened: id, actor, action, resource, result,
//!    details and time. Address, names and organisation are not in it; that the entry
//!    stands in the chain of its own organisation is checked by itself.
//! 2. A link's checksum is over the link before it and its entry's: whoever alters,
//!    removes or moves one entry leaves a [`Break`] there.
//! 3. Checking looks at one link at a time, and keeps the end of each organisation's
//!    chain: its memory does not grow with the trail.
//!
//! It cannot tell that the newest entries of a chain are gone together with their links,
//! nor that somebody wrote the whole chain anew. For that, keep the [`Head`]s of one
//! check somewhere else, and hand them to the next.

mod checksum;
mod verify;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use checksum::{content_checksum, link_checksum};
pub use verify::Verifier;

/// One link of the chain, with the entry that it seals, as both are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// `chain_seq`: its place among the links of all organisations.
    pub seq: i64,
    /// Which entry it seals.
    pub entry_id: String,
    /// Of which organisation's chain it is.
    pub org: Option<String>,
    /// The checksum of the entry when it was sealed.
    pub content: String,
    /// The link before it; `None`: it is the first.
    pub prev: Option<String>,
    /// Its own checksum.
    pub chain: String,
    /// The entry as it is now; `None`: it is gone.
    pub entry: Option<Entry>,
}

/// What of an entry its checksum is over, each as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `audit_logs.id`.
    pub id: String,
    /// Of which organisation it is. Not in the checksum.
    pub org: Option<String>,
    /// Which kind of actor.
    pub actor_type: String,
    /// Who.
    pub actor_id: String,
    /// What.
    pub action: String,
    /// What it was done to.
    pub resource_type: String,
    /// Which one.
    pub resource_id: Option<String>,
    /// How it ended.
    pub result: String,
    /// Everything else: JSON, as the database writes it.
    pub details: Option<String>,
    /// When: `2026-11-24T17:00:00.000000Z`.
    pub timestamp: String,
    /// The checksum beside it.
    pub checksum: Option<String>,
}

/// One step of a walk through the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A link; all links come first, in the order of `chain_seq`.
    Link(Box<Link>),
    /// An entry that no link seals.
    Unchained {
        /// Which entry.
        entry_id: String,
        /// Of which organisation.
        org: Option<String>,
    },
}

/// The end of one organisation's chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// Which organisation; `None`: entries of no organisation.
    pub org: Option<String>,
    /// The place of its last link.
    pub chain_seq: i64,
    /// The checksum of its last link.
    pub chain_checksum: String,
}

/// Where the trail is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Break {
    /// Which organisation's chain; `None`: that of no organisation.
    pub org: Option<String>,
    /// At which link, if there is one.
    pub chain_seq: Option<i64>,
    /// At which entry.
    pub entry: Option<String>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong at a break.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Fault {
    /// The entry of this link is gone.
    Missing,
    /// The entry is not what was sealed.
    Altered,
    /// The entry stands in another organisation than its link.
    Moved,
    /// The link itself is not what was written.
    LinkAltered,
    /// The link before it stands elsewhere; `None`: it should be the first.
    #[serde(rename_all = "camelCase")]
    Reordered {
        /// Where the link stands that should be before it.
        belongs_after: Option<i64>,
    },
    /// The link before it is gone, and its entry with it.
    #[serde(rename_all = "camelCase")]
    Gap {
        /// The last link of the same chain before the gap.
        after: Option<i64>,
    },
    /// No link seals the entry: it was written past the chain, or its link is gone.
    Unchained,
    /// The end of the chain, as it was noted at an earlier check, is not there.
    End,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.entry {
            Some(entry) => write!(f, "entry {entry}")?,
            None => f.write_str("an entry")?,
        }
        match &self.org {
            Some(org) => write!(f, " of organisation {org}")?,
            None => f.write_str(" of no organisation")?,
        }
        if let Some(seq) = self.chain_seq {
            write!(f, " (chain_seq {seq})")?;
        }
        match &self.fault {
            Fault::Missing => f.write_str(" is missing: its link is there alone"),
            Fault::Altered => f.write_str(" was altered: it is not what was sealed"),
            Fault::Moved => f.write_str(" was moved to another organisation"),
            Fault::LinkAltered => f.write_str(" has a link that was altered"),
            Fault::Reordered { belongs_after: Some(seq) } => {
                write!(f, " was reordered: it belongs after chain_seq {seq}")
            }
            Fault::Reordered { belongs_after: None } => {
                f.write_str(" was reordered: it belongs at the beginning")
            }
            Fault::Gap { after: Some(seq) } => {
                write!(f, " follows a gap: what stood between it and chain_seq {seq} is missing")
            }
            Fault::Gap { after: None } => {
                f.write_str(" follows a gap: the beginning of the chain is missing")
            }
            Fault::Unchained => {
                f.write_str(" is in no chain: it was written past it, or its link is missing")
            }
            Fault::End => {
                f.write_str(" was the end of the chain at an earlier check, and is missing")
            }
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Links looked at.
    pub links: u64,
    /// Where the trail is broken, at most [`Verifier::MOST`] places.
    pub breaks: Vec<Break>,
    /// Breaks beyond those.
    pub more_breaks: u64,
    /// The end of each organisation's chain, to be kept elsewhere.
    pub heads: Vec<Head>,
}

impl Report {
    /// Whether nothing is missing, altered or reordered.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.breaks.is_empty()
    }
}
