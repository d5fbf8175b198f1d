//! The audit trail: checksum and chain are computed here, in the entry's transaction
//! (FORMATS section 8).

use std::{ops::RangeInclusive, time::Duration};

use sqlx::{SqliteConnection, SqlitePool};
use uuid::Uuid;

use crate::{
    audit::{Entry, Step, content_checksum, link_checksum},
    clock::Timestamp,
    store::{
        AuditEntry, AuditRecord, StoreError,
        stored::{AuditRow, LinkRow, NewAuditRow, UnchainedRow, WALK, to_json, with_microseconds},
    },
};

/// One entry. A trigger refuses an id that is there already.
const INSERT: &str = "
    INSERT INTO audit_logs
        (id, timestamp, actor_type, actor_id, actor_email, action, resource_type,
         resource_id, resource_name, details, result, initiated_by, checksum, org_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

/// The end of the chain of one organisation, or of none. Served by `audit_log_chain_head`.
const HEAD: &str = "
    SELECT chain_checksum FROM audit_log_chain
    WHERE org_id IS $1
    ORDER BY chain_seq DESC
    LIMIT 1";

/// The next link. A unique index refuses a second one after the same head.
const CHAIN: &str = "
    INSERT INTO audit_log_chain
        (audit_id, content_checksum, prev_chain_checksum, chain_checksum, org_id)
    VALUES ($1, $2, $3, $4, $5)";

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

/// A span of time, oldest first. Served by `audit_logs_by_time`: times are text of one
/// length.
const BETWEEN: &str = "
    SELECT id, CAST(round(unixepoch(timestamp, 'subsec') * 1000) AS INTEGER) AS at,
           actor_type, actor_id, actor_email, action, resource_type,
           resource_id, resource_name, details, result, checksum
    FROM audit_logs
    WHERE timestamp >= $1 AND timestamp < $2
        AND ($3 IS NULL OR resource_id IN (SELECT value FROM json_each($3)))
    ORDER BY timestamp, id
    LIMIT $4";

/// A page of the chain, each link with its entry. Served by the primary keys.
const LINKS: &str = "
    SELECT link.chain_seq, link.audit_id, link.org_id AS chain_org, link.content_checksum,
           link.prev_chain_checksum, link.chain_checksum, entry.id, entry.org_id,
           entry.actor_type, entry.actor_id, entry.action, entry.resource_type,
           entry.resource_id, entry.result, entry.details, entry.timestamp, entry.checksum
    FROM audit_log_chain AS link
    LEFT JOIN audit_logs AS entry ON entry.id = link.audit_id
    WHERE link.chain_seq > $1
    ORDER BY link.chain_seq
    LIMIT $2";

/// A page of the entries that no link seals. Served by the primary key, and by the
/// unique index of `audit_id`.
const UNCHAINED: &str = "
    SELECT id, org_id FROM audit_logs AS entry
    WHERE ($1 IS NULL OR id > $1)
        AND NOT EXISTS (SELECT 1 FROM audit_log_chain WHERE audit_id = entry.id)
    ORDER BY id
    LIMIT $2";

pub(super) async fn insert(
    transaction: &mut SqliteConnection,
    org: Option<Uuid>,
    entries: &[AuditEntry],
) -> Result<(), StoreError> {
    let org_id = org.map(|id| id.to_string());
    for entry in entries {
        let row = NewAuditRow::of(org, entry);
        let id = row.id.to_string();
        let details = row.details.as_ref().map(ToString::to_string);
        let content = content_checksum(&sealed_part(&row, details.as_deref()));
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
            .bind(&org_id)
            .execute(&mut *transaction)
            .await?;

        let head: Option<String> =
            sqlx::query_scalar(HEAD).bind(&org_id).fetch_optional(&mut *transaction).await?;
        let link = link_checksum(head.as_deref(), &content);
        sqlx::query(CHAIN)
            .bind(&id)
            .bind(&content)
            .bind(head)
            .bind(link)
            .bind(&org_id)
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

pub(super) async fn between(
    pool: &SqlitePool,
    span: RangeInclusive<Timestamp>,
    about: Option<&[Uuid]>,
    limit: u32,
) -> Result<Vec<AuditRecord>, StoreError> {
    const MOMENT: Duration = Duration::from_millis(1);
    let rows: Vec<AuditRow> = sqlx::query_as(BETWEEN)
        .bind(with_microseconds(*span.start()))
        .bind(with_microseconds(span.end().plus(MOMENT)))
        .bind(about.map(|ids| to_json(&ids)))
        .bind(limit)
        .fetch_all(pool)
        .await?;
    rows.into_iter().map(AuditRecord::try_from).collect()
}

pub(super) async fn walk(
    pool: &SqlitePool,
    see: &mut (dyn FnMut(Step) + Send),
) -> Result<(), StoreError> {
    let mut snapshot = pool.begin().await?;
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

/// What the checksum of `row` is over.
fn sealed_part(row: &NewAuditRow, details: Option<&str>) -> Entry {
    Entry {
        id: row.id.to_string(),
        org: row.org_id.map(|id| id.to_string()),
        actor_type: row.actor_type.to_owned(),
        actor_id: row.actor_id.to_string(),
        action: row.action.clone(),
        resource_type: row.resource_type.to_owned(),
        resource_id: row.resource_id.map(|id| id.to_string()),
        result: row.result.to_owned(),
        details: details.map(str::to_owned),
        timestamp: row.timestamp.clone(),
        checksum: None,
    }
}
