//! The audit trail: checksum and chain are computed here, in the entry's transaction
//! (FORMATS section 8).

use sha2::{Digest, Sha256};
use sqlx::{SqliteConnection, SqlitePool};
use uuid::Uuid;

use crate::store::{
    AuditEntry, AuditRecord, StoreError,
    stored::{AuditRow, NewAuditRow},
};

/// One entry. A trigger refuses an id that is there already.
const INSERT: &str = "
    INSERT INTO audit_logs
        (id, timestamp, actor_type, actor_id, actor_email, action, resource_type,
         resource_id, resource_name, details, result, initiated_by, checksum)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

/// The end of the chain of entries of no organisation. Served by `audit_log_chain_head`.
const HEAD: &str = "
    SELECT chain_checksum FROM audit_log_chain
    WHERE org_id IS NULL
    ORDER BY chain_seq DESC
    LIMIT 1";

/// The next link. A unique index refuses a second one after the same head.
const CHAIN: &str = "
    INSERT INTO audit_log_chain (audit_id, content_checksum, prev_chain_checksum, chain_checksum)
    VALUES ($1, $2, $3, $4)";

/// A page, newest first. Served by `audit_logs_by_time`.
const PAGE: &str = "
    SELECT id, CAST(round(unixepoch(timestamp, 'subsec') * 1000) AS INTEGER) AS at,
           actor_type, actor_id, actor_email, action, resource_type,
           resource_id, resource_name, details, result, checksum
    FROM audit_logs
    WHERE $1 IS NULL
        OR (timestamp, id) < (SELECT timestamp, id FROM audit_logs WHERE id = $1)
    ORDER BY timestamp DESC, id DESC
    LIMIT $2";

pub(super) async fn insert(
    transaction: &mut SqliteConnection,
    entries: &[AuditEntry],
) -> Result<(), StoreError> {
    for entry in entries {
        let row = NewAuditRow::from(entry);
        let id = row.id.to_string();
        let details = row.details.as_ref().map(ToString::to_string);
        let content = content_checksum(&row, details.as_deref());
        sqlx::query(INSERT)
            .bind(&id)
            .bind(row.timestamp)
            .bind(row.actor_type)
            .bind(row.actor_id.to_string())
            .bind(row.actor_email)
            .bind(row.action)
            .bind(row.resource_type)
            .bind(row.resource_id.map(|id| id.to_string()))
            .bind(row.resource_name)
            .bind(details)
            .bind(row.result)
            .bind(row.initiated_by)
            .bind(&content)
            .execute(&mut *transaction)
            .await?;

        let head: Option<String> =
            sqlx::query_scalar(HEAD).fetch_optional(&mut *transaction).await?;
        let link = sha256(&format!("{}|{content}", head.as_deref().unwrap_or("")));
        sqlx::query(CHAIN)
            .bind(&id)
            .bind(&content)
            .bind(head)
            .bind(link)
            .execute(&mut *transaction)
            .await?;
    }
    Ok(())
}

pub(super) async fn page(
    pool: &SqlitePool,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<AuditRecord>, StoreError> {
    let before = before.map(|id| id.to_string());
    let rows: Vec<AuditRow> = sqlx::query_as(PAGE).bind(before).bind(limit).fetch_all(pool).await?;
    rows.into_iter().map(AuditRecord::try_from).collect()
}

/// SHA-256 of the canonical payload; it begins with the previous checksum, always empty.
fn content_checksum(row: &NewAuditRow, details: Option<&str>) -> String {
    let resource_id = row.resource_id.map(|id| id.to_string()).unwrap_or_default();
    sha256(
        &[
            "",
            &row.id.to_string(),
            row.actor_type,
            &row.actor_id.to_string(),
            &row.action,
            row.resource_type,
            &resource_id,
            row.result,
            details.unwrap_or(""),
            &row.timestamp,
        ]
        .join("|"),
    )
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
