//! Intervals, what was done today, and incidents.

use std::{collections::BTreeMap, time::Duration};

use uuid::Uuid;

use super::{BEGIN_LOCKING, Pool, audit};
use crate::{
    catalog::Secret,
    clock::Timestamp,
    incident::Incident,
    store::{
        AuditEntry, Claim, StoreError,
        stored::{from_json, millis, signed, to_json},
    },
};

/// One row a secret that an operator has set.
const INTERVALS: &str = "SELECT secret, interval_days FROM rollover.schedule";

/// The interval of one secret.
const SET_INTERVAL: &str = "
    INSERT INTO rollover.schedule (secret, interval_days) VALUES ($1, $2)
    ON CONFLICT (secret) DO UPDATE SET interval_days = excluded.interval_days";

/// The catalog's interval holds again.
const UNSET_INTERVAL: &str = "DELETE FROM rollover.schedule WHERE secret = $1";

/// Guards the lease: it is taken when it is over by the database's clock, and never once
/// the job is done. Served by the primary key.
const CLAIM: &str = "
    INSERT INTO rollover.daily AS daily (job, day, lease_until)
    VALUES ($1, $2, rollover.now_ms() + $3)
    ON CONFLICT (job, day) DO UPDATE SET lease_until = excluded.lease_until
    WHERE daily.done_at IS NULL AND daily.lease_until <= rollover.now_ms()";

/// Whether a job is done. Served by the primary key.
const IS_DONE: &str = "SELECT done_at IS NOT NULL FROM rollover.daily WHERE job = $1 AND day = $2";

/// Guards that it is noted once.
const FINISH: &str = "
    UPDATE rollover.daily SET done_at = $3 WHERE job = $1 AND day = $2 AND done_at IS NULL";

/// One incident. Served by the primary key.
const INCIDENT: &str = "SELECT body::text FROM rollover.incident WHERE id = $1";

/// A page, newest first: ids rise with time. Served by the primary key.
const INCIDENTS: &str = "SELECT body::text FROM rollover.incident ORDER BY id DESC LIMIT $1";

/// The one that is open. Served by `incident_one_open`.
const OPEN: &str = "SELECT body::text FROM rollover.incident WHERE is_open";

/// A new incident; the unique index refuses a second that is open.
const ADD_INCIDENT: &str = "
    INSERT INTO rollover.incident (id, revision, is_open, body) VALUES ($1, $2, $3, $4::jsonb)
    ON CONFLICT DO NOTHING";

/// Guards the revision.
const MOVE_INCIDENT: &str = "
    UPDATE rollover.incident SET revision = $2, is_open = $3, body = $4::jsonb
    WHERE id = $1 AND revision = $2 - 1";

pub(super) async fn intervals(pool: &Pool) -> Result<BTreeMap<Secret, Duration>, StoreError> {
    const DAY: u64 = 24 * 60 * 60;
    let rows: Vec<(String, i64)> = sqlx::query_as(INTERVALS).fetch_all(pool).await?;
    let known = rows.into_iter().filter_map(|(secret, days)| {
        let days = u64::try_from(days).ok()?;
        Some((secret.parse().ok()?, Duration::from_secs(days.saturating_mul(DAY))))
    });
    Ok(known.collect())
}

pub(super) async fn set_interval(
    pool: &Pool,
    secret: Secret,
    days: Option<u32>,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let mut transaction = pool.begin_with(BEGIN_LOCKING).await?;
    let statement = match days {
        Some(days) => sqlx::query(SET_INTERVAL).bind(secret.name()).bind(i64::from(days)),
        None => sqlx::query(UNSET_INTERVAL).bind(secret.name()),
    };
    statement.execute(&mut *transaction).await?;
    audit::insert(&mut transaction, None, std::slice::from_ref(entry)).await?;
    Ok(transaction.commit().await?)
}

pub(super) async fn claim(
    pool: &Pool,
    job: &str,
    day: i64,
    lease: Duration,
) -> Result<Claim, StoreError> {
    let taken = sqlx::query(CLAIM).bind(job).bind(day).bind(millis(lease)).execute(pool).await?;
    if taken.rows_affected() == 1 {
        return Ok(Claim::Taken);
    }
    let is_done: Option<bool> =
        sqlx::query_scalar(IS_DONE).bind(job).bind(day).fetch_optional(pool).await?;
    Ok(if is_done == Some(true) { Claim::Done } else { Claim::Busy })
}

pub(super) async fn finish(
    pool: &Pool,
    job: &str,
    day: i64,
    at: Timestamp,
    entry: &AuditEntry,
) -> Result<bool, StoreError> {
    let mut transaction = pool.begin_with(BEGIN_LOCKING).await?;
    let finished = sqlx::query(FINISH)
        .bind(job)
        .bind(day)
        .bind(at.as_millis())
        .execute(&mut *transaction)
        .await?;
    if finished.rows_affected() == 0 {
        return Ok(false);
    }
    audit::insert(&mut transaction, None, std::slice::from_ref(entry)).await?;
    transaction.commit().await?;
    Ok(true)
}

pub(super) async fn incident(pool: &Pool, id: Uuid) -> Result<Option<Incident>, StoreError> {
    let body: Option<String> = sqlx::query_scalar(INCIDENT).bind(id).fetch_optional(pool).await?;
    body.map(|body| from_json("incident", "body", &body)).transpose()
}

pub(super) async fn incidents(pool: &Pool, limit: u32) -> Result<Vec<Incident>, StoreError> {
    let bodies: Vec<String> =
        sqlx::query_scalar(INCIDENTS).bind(i64::from(limit)).fetch_all(pool).await?;
    bodies.iter().map(|body| from_json("incident", "body", body)).collect()
}

pub(super) async fn open_incident(pool: &Pool) -> Result<Option<Incident>, StoreError> {
    let body: Option<String> = sqlx::query_scalar(OPEN).fetch_optional(pool).await?;
    body.map(|body| from_json("incident", "body", &body)).transpose()
}

pub(super) async fn put_incident(
    pool: &Pool,
    incident: &Incident,
    entries: &[AuditEntry],
) -> Result<bool, StoreError> {
    let mut transaction = pool.begin_with(BEGIN_LOCKING).await?;
    let statement = if incident.revision == 0 { ADD_INCIDENT } else { MOVE_INCIDENT };
    let stored = sqlx::query(statement)
        .bind(incident.id)
        .bind(signed(incident.revision))
        .bind(incident.is_open())
        .bind(to_json(incident))
        .execute(&mut *transaction)
        .await?;
    if stored.rows_affected() == 0 {
        return Ok(false);
    }
    audit::insert(&mut transaction, None, entries).await?;
    transaction.commit().await?;
    Ok(true)
}
