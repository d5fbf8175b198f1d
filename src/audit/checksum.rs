//! The two hashes of FORMATS section 8.

use sha2::{Digest, Sha256};

use super::Entry;

/// SHA-256 of the canonical payload, which begins with the previous checksum, always
/// empty; in lower-case hex.
#[must_use]
pub fn content_checksum(entry: &Entry) -> String {
    hex(&[
        "",
        &entry.id,
        &entry.actor_type,
        &entry.actor_id,
        &entry.action,
        &entry.resource_type,
        entry.resource_id.as_deref().unwrap_or(""),
        &entry.result,
        entry.details.as_deref().unwrap_or(""),
        &entry.timestamp,
    ])
}

/// SHA-256 of the link before, and the entry's checksum; in lower-case hex.
#[must_use]
pub fn link_checksum(prev: Option<&str>, content: &str) -> String {
    hex(&[prev.unwrap_or(""), content])
}

fn hex(fields: &[&str]) -> String {
    Sha256::digest(fields.join("|")).iter().map(|byte| format!("{byte:02x}")).collect()
}
