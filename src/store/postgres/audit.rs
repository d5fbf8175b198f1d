//! The audit trail, in Breeze's own table: its triggers compute checksum and chain.

use sqlx::PgConnection;
use uuid::Uuid;

use super::Pool;
use crate::store::{
    AuditEntry, AuditRecord, StoreError,
    stored::{AuditRow, NewAuditRow, to_json},
};

/// Entries, in order. Each field takes its column's type, text here and an enum in a
/// database of Breeze's.
const INSERT: &str = r#"
    INSERT INTO public.audit_logs
        (id, "timestamp", actor_type, actor_id, actor_email, action, resource_type,
         resource_id, resource_name, details, result, initiated_by)
    SELECT id, "timestamp", actor_type, actor_id, actor_email, action, resource_type,
           resource_id, resource_name, details, result, initiated_by
    FROM jsonb_populate_recordset(NULL::public.audit_logs, $1::jsonb)"#;

/// A page, newest first. Served by `audit_logs_by_time`.
const PAGE: &str = r#"
    SELECT id::text, floor(extract(epoch FROM "timestamp") * 1000)::bigint AS at,
           actor_type::text, actor_id::text, actor_email, action, resource_type,
           resource_id::text, resource_name, details::text, result::text, checksum
    FROM public.audit_logs AS entry
    WHERE $1::uuid IS NULL
        OR ("timestamp", id) < (SELECT "timestamp", id FROM public.audit_logs WHERE id = $1)
    ORDER BY "timestamp" DESC, entry.id DESC
    LIMIT $2"#;

pub(super) async fn insert(
    connection: &mut PgConnection,
    entries: &[AuditEntry],
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let rows: Vec<NewAuditRow> = entries.iter().map(NewAuditRow::from).collect();
    sqlx::query(INSERT).bind(to_json(&rows)).execute(connection).await?;
    Ok(())
}

pub(super) async fn page(
    pool: &Pool,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<AuditRecord>, StoreError> {
    let rows: Vec<AuditRow> =
        sqlx::query_as(PAGE).bind(before).bind(i64::from(limit)).fetch_all(pool).await?;
    rows.into_iter().map(AuditRecord::try_from).collect()
}
