//! The audit trail, in Breeze's own table: its triggers compute checksum and chain.

use std::ops::RangeInclusive;

use sqlx::PgConnection;
use uuid::Uuid;

use super::Pool;
use crate::{
    audit::Step,
    clock::Timestamp,
    store::{
        AuditEntry, AuditRecord, StoreError,
        stored::{AuditRow, LinkRow, NewAuditRow, UnchainedRow, WALK, to_json},
    },
};

/// Entries, in order. Each field takes its column's type, text here and an enum in a
/// database of Breeze's.
const INSERT: &str = r#"
    INSERT INTO public.audit_logs
        (id, org_id, "timestamp", actor_type, actor_id, actor_email, action, resource_type,
         resource_id, resource_name, details, result, initiated_by)
    SELECT id, org_id, "timestamp", actor_type, actor_id, actor_email, action, resource_type,
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

/// A span of time, oldest first. Served by `audit_logs_by_time`.
const BETWEEN: &str = r#"
    SELECT id::text, floor(extract(epoch FROM "timestamp") * 1000)::bigint AS at,
           actor_type::text, actor_id::text, actor_email, action, resource_type,
           resource_id::text, resource_name, details::text, result::text, checksum
    FROM public.audit_logs AS entry
    WHERE "timestamp" >= to_timestamp($1::double precision / 1000) AT TIME ZONE 'UTC'
        AND "timestamp" < to_timestamp(($2::double precision + 1) / 1000) AT TIME ZONE 'UTC'
        AND ($3::uuid[] IS NULL OR resource_id = ANY ($3))
    ORDER BY "timestamp", entry.id
    LIMIT $4"#;

/// A page of the chain, each link with its entry. Served by the primary keys.
const LINKS: &str = r#"
    SELECT link.chain_seq, link.audit_id::text, link.org_id::text AS chain_org,
           link.content_checksum, link.prev_chain_checksum, link.chain_checksum,
           entry.id::text, entry.org_id::text, entry.actor_type::text, entry.actor_id::text,
           entry.action, entry.resource_type, entry.resource_id::text, entry.result::text,
           entry.details::text, entry.checksum,
           to_char(entry."timestamp", 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "timestamp"
    FROM public.audit_log_chain AS link
    LEFT JOIN public.audit_logs AS entry ON entry.id = link.audit_id
    WHERE link.chain_seq > $1
    ORDER BY link.chain_seq
    LIMIT $2"#;

/// A page of the entries that no link seals. Served by the primary key, and by the
/// unique index of `audit_id`.
const UNCHAINED: &str = "
    SELECT entry.id::text, entry.org_id::text
    FROM public.audit_logs AS entry
    WHERE ($1::uuid IS NULL OR entry.id > $1::uuid)
        AND NOT EXISTS (SELECT FROM public.audit_log_chain WHERE audit_id = entry.id)
    ORDER BY entry.id
    LIMIT $2";

/// All pages are of one moment.
const BEGIN_WALK: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

pub(super) async fn walk(
    pool: &Pool,
    see: &mut (dyn FnMut(Step) + Send),
) -> Result<(), StoreError> {
    let mut snapshot = pool.begin_with(BEGIN_WALK).await?;
    let mut after = i64::MIN;
    loop {
        let links: Vec<LinkRow> =
            sqlx::query_as(LINKS).bind(after).bind(WALK).fetch_all(&mut *snapshot).await?;
        let Some(last) = links.last() else { break };
        after = last.chain_seq;
        links.into_iter().for_each(|link| see(link.into()));
    }
    let mut after = None::<String>;
    loop {
        let entries: Vec<UnchainedRow> = sqlx::query_as(UNCHAINED)
            .bind(after.as_deref())
            .bind(WALK)
            .fetch_all(&mut *snapshot)
            .await?;
        let Some(last) = entries.last() else { break };
        after = Some(last.id.clone());
        entries.into_iter().for_each(|entry| see(entry.into()));
    }
    Ok(snapshot.commit().await?)
}

pub(super) async fn insert(
    connection: &mut PgConnection,
    org: Option<Uuid>,
    entries: &[AuditEntry],
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let rows: Vec<NewAuditRow> = entries.iter().map(|entry| NewAuditRow::of(org, entry)).collect();
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

pub(super) async fn between(
    pool: &Pool,
    span: RangeInclusive<Timestamp>,
    about: Option<&[Uuid]>,
    limit: u32,
) -> Result<Vec<AuditRecord>, StoreError> {
    let rows: Vec<AuditRow> = sqlx::query_as(BETWEEN)
        .bind(span.start().as_millis())
        .bind(span.end().as_millis())
        .bind(about)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    rows.into_iter().map(AuditRecord::try_from).collect()
}
