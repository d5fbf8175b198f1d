//! An entry of the audit trail.

use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::FromRow;
use uuid::Uuid;

use super::{from_json, parsed};
use crate::{
    clock::Timestamp,
    store::{Actor, AuditEntry, AuditRecord, Outcome, StoreError},
};

/// A row of `audit_logs`, its timestamp in milliseconds.
#[derive(Debug, FromRow)]
pub(crate) struct AuditRow {
    id: String,
    at: i64,
    actor_type: String,
    actor_id: String,
    actor_email: Option<String>,
    action: String,
    resource_type: String,
    resource_id: Option<String>,
    resource_name: Option<String>,
    details: Option<String>,
    result: String,
    checksum: Option<String>,
}

impl TryFrom<AuditRow> for AuditRecord {
    type Error = StoreError;

    fn try_from(row: AuditRow) -> Result<Self, StoreError> {
        const TABLE: &str = "audit_logs";
        let uuid = |field, text: &str| parsed::<Uuid>(TABLE, field, text);
        Ok(Self {
            id: uuid("id", &row.id)?,
            timestamp: Timestamp::from_millis(row.at),
            actor_type: row.actor_type,
            actor_id: uuid("actor_id", &row.actor_id)?,
            actor_email: row.actor_email,
            action: row.action,
            resource_type: row.resource_type,
            resource_id: row.resource_id.map(|id| uuid("resource_id", &id)).transpose()?,
            resource_name: row.resource_name,
            details: row.details.map(|json| from_json(TABLE, "details", &json)).transpose()?,
            result: row.result,
            checksum: row.checksum,
        })
    }
}

/// An entry on its way into `audit_logs`, its fields named as the columns are.
///
/// Text that is longer than its column is cut: a long name must not keep an entry
/// out of the trail.
#[derive(Debug, Serialize)]
pub(crate) struct NewAuditRow {
    pub(crate) id: Uuid,
    pub(crate) org_id: Option<Uuid>,
    /// As the checksum has it: `2026-11-24T17:00:00.000000Z`.
    pub(crate) timestamp: String,
    pub(crate) actor_type: &'static str,
    pub(crate) actor_id: Uuid,
    pub(crate) actor_email: Option<String>,
    pub(crate) action: String,
    pub(crate) resource_type: &'static str,
    pub(crate) resource_id: Option<Uuid>,
    pub(crate) resource_name: Option<String>,
    pub(crate) details: Option<Value>,
    pub(crate) result: &'static str,
    pub(crate) initiated_by: &'static str,
}

impl NewAuditRow {
    /// `entry`, of an organisation or of none.
    pub(crate) fn of(org_id: Option<Uuid>, entry: &AuditEntry) -> Self {
        let (actor_type, actor_id, actor_email, initiated_by) = match &entry.actor {
            Actor::System => ("system", Uuid::nil(), None, "automation"),
            Actor::User { id, email } => ("user", *id, email.as_deref(), "manual"),
        };
        Self {
            id: Uuid::now_v7(),
            org_id,
            timestamp: with_microseconds(entry.at),
            actor_type,
            actor_id,
            actor_email: actor_email.map(|email| cut(email, 255)),
            action: cut(&entry.action, 100),
            resource_type: entry.resource_type,
            resource_id: entry.resource_id,
            resource_name: entry.resource_name.as_deref().map(|name| cut(name, 255)),
            details: details(entry),
            result: match entry.outcome {
                Outcome::Success => "success",
                Outcome::Failure => "failure",
                Outcome::Denied => "denied",
            },
            initiated_by,
        }
    }
}

/// With the name of what it is about: the checksum covers no other column that tells it.
fn details(entry: &AuditEntry) -> Option<Value> {
    let mut details = entry.details.clone();
    if let Some(name) = &entry.resource_name {
        if details.is_null() {
            details = Value::Object(Map::new());
        }
        if let Some(details) = details.as_object_mut() {
            details.insert("resource".to_owned(), name.as_str().into());
        }
    }
    Some(details).filter(|details| !details.is_null())
}

/// As the checksum has it.
pub(crate) fn with_microseconds(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}000Z", text.trim_end_matches('Z'))
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_and_the_timestamp_has_microseconds() {
        let row = NewAuditRow::of(
            None,
            &AuditEntry {
                at: Timestamp::from_millis(1_790_000_000_123),
                actor: Actor::User { id: Uuid::nil(), email: Some("é".repeat(300)) },
                action: "rollover.begin".to_owned(),
                resource_type: "rollover",
                resource_id: None,
                resource_name: Some("n".repeat(256)),
                details: Value::Null,
                outcome: Outcome::Denied,
            },
        );
        assert_eq!(row.timestamp, "2026-09-21T14:13:20.123000Z");
        assert_eq!(row.actor_email.unwrap().chars().count(), 255);
        assert_eq!(row.resource_name.unwrap().len(), 255);
        let details = row.details.unwrap();
        assert_eq!((row.result, details["resource"].as_str().unwrap().len()), ("denied", 256));
    }
}
