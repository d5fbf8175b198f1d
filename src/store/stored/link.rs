//! A link of the audit trail's chain, and its entry beside it.

use sqlx::FromRow;

use crate::audit::{Entry, Link, Step};

/// Rows of a page of a walk.
pub(crate) const WALK: i64 = 1000;

/// A row of `audit_log_chain`, joined to `audit_logs`.
#[derive(Debug, FromRow)]
pub(crate) struct LinkRow {
    pub(crate) chain_seq: i64,
    audit_id: String,
    chain_org: Option<String>,
    content_checksum: String,
    prev_chain_checksum: Option<String>,
    chain_checksum: String,
    id: Option<String>,
    org_id: Option<String>,
    actor_type: Option<String>,
    actor_id: Option<String>,
    action: Option<String>,
    resource_type: Option<String>,
    resource_id: Option<String>,
    result: Option<String>,
    details: Option<String>,
    timestamp: Option<String>,
    checksum: Option<String>,
}

impl From<LinkRow> for Step {
    fn from(row: LinkRow) -> Self {
        // What is NOT NULL is there with its row; by hand it may have become empty.
        let entry = row.id.map(|id| Entry {
            id,
            org: row.org_id,
            actor_type: row.actor_type.unwrap_or_default(),
            actor_id: row.actor_id.unwrap_or_default(),
            action: row.action.unwrap_or_default(),
            resource_type: row.resource_type.unwrap_or_default(),
            resource_id: row.resource_id,
            result: row.result.unwrap_or_default(),
            details: row.details,
            timestamp: row.timestamp.unwrap_or_default(),
            checksum: row.checksum,
        });
        Self::Link(Box::new(Link {
            seq: row.chain_seq,
            entry_id: row.audit_id,
            org: row.chain_org,
            content: row.content_checksum,
            prev: row.prev_chain_checksum,
            chain: row.chain_checksum,
            entry,
        }))
    }
}

/// An entry of `audit_logs` that is in no chain.
#[derive(Debug, FromRow)]
pub(crate) struct UnchainedRow {
    pub(crate) id: String,
    org_id: Option<String>,
}

impl From<UnchainedRow> for Step {
    fn from(row: UnchainedRow) -> Self {
        Self::Unchained { entry_id: row.id, org: row.org_id }
    }
}
