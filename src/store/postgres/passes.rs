//! The ranges of each pass, and values that no key opens.
//!
//! 1. A range belongs to one replica at a time, by a lease on the server's clock.
//! 2. Its cursor moves only from where its holder saw it.

use std::time::Duration;

use sqlx::PgConnection;

use super::Pool;
use crate::{
    clock::Timestamp,
    ids::{ReplicaId, RolloverId},
    store::{
        NewRange, PassProgress, Progress, Quarantined, Range, StoreError,
        refusal::{Refusal, expect_rows},
        stored::{PassRow, QuarantineRow, RangeRow, millis, signed, to_json},
    },
};

/// All ranges of a pass at once, in order, begun when their rollover was last updated.
/// The primary key refuses one that is there already.
const INSERT: &str = "
    INSERT INTO rollover.range
        (rollover, pass, table_name, number, after, upto, cursor, began_at)
    SELECT r.id, n.pass, n.table_name, n.number, n.after, n.upto, n.after, r.updated_at
    FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[])
        WITH ORDINALITY AS n (rollover, pass, table_name, number, after, upto, ordinal)
    JOIN rollover.rollover r ON r.id = n.rollover
    ORDER BY n.ordinal";

/// The first range that nobody holds, passing over those that another claim has locked.
/// Served by the primary key.
const CLAIM: &str = "
    UPDATE rollover.range SET holder = $3, lease_until = rollover.now_ms() + $4
    WHERE position = (
        SELECT position FROM rollover.range
        WHERE rollover = $1 AND pass = $2 AND NOT finished AND lease_until <= rollover.now_ms()
        ORDER BY position
        LIMIT 1
        FOR UPDATE SKIP LOCKED)
    RETURNING table_name, number, cursor, upto";

/// One batch further, if $5 holds the range and has seen its cursor. Served by the
/// primary key.
const ADVANCE: &str = "
    UPDATE rollover.range SET
        cursor = $7, lease_until = rollover.now_ms() + $8, scanned = scanned + $9,
        rewrapped = rewrapped + $10, superseded = superseded + $11
    WHERE rollover = $1 AND pass = $2 AND table_name = $3 AND number = $4
        AND holder = $5 AND cursor IS NOT DISTINCT FROM $6 AND NOT finished";

/// The end of a range, if $5 holds it. Served by the primary key.
const FINISH: &str = "
    UPDATE rollover.range SET finished = true
    WHERE rollover = $1 AND pass = $2 AND table_name = $3 AND number = $4 AND holder = $5";

/// One pass, summed up. Served by the primary key.
const PROGRESS: &str = "
    SELECT count(*) AS ranges, count(*) FILTER (WHERE finished) AS finished,
           count(*) FILTER (WHERE NOT finished AND lease_until <= rollover.now_ms()) AS free,
           count(*) FILTER (WHERE NOT finished AND lease_until <= rollover.now_ms()
               AND holder IS NOT NULL) AS abandoned,
           coalesce(sum(scanned), 0)::bigint AS scanned,
           coalesce(sum(rewrapped), 0)::bigint AS rewrapped,
           coalesce(sum(superseded), 0)::bigint AS superseded,
           min(began_at) AS began_at
    FROM rollover.range
    WHERE rollover = $1 AND pass = $2";

/// Values that no key opens, each once, last seen now. Served by the primary key.
const QUARANTINE: &str = "
    INSERT INTO rollover.quarantine (table_name, column_name, row_key, path, error, seen_at)
    SELECT DISTINCT ON (table_name, column_name, row_key, path) *
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
        AS seen (table_name, column_name, row_key, path, error, seen_at)
    ORDER BY table_name, column_name, row_key, path, seen_at DESC
    ON CONFLICT (table_name, column_name, row_key, path) DO UPDATE SET
        error = excluded.error, seen_at = greatest(quarantine.seen_at, excluded.seen_at)";

/// The first few, oldest first. A short table, or there is work for people.
const QUARANTINED: &str = "
    SELECT table_name, column_name, row_key, path, error, seen_at
    FROM rollover.quarantine
    ORDER BY seen_at, table_name, column_name, row_key, path
    LIMIT $1";

/// What a later pass over the table did not meet again. Served by the primary key.
const RELEASE: &str = "DELETE FROM rollover.quarantine WHERE table_name = $1 AND seen_at < $2";

pub(super) async fn begin(
    transaction: &mut PgConnection,
    ranges: &[NewRange],
) -> Result<(), Refusal> {
    if ranges.is_empty() {
        return Ok(());
    }
    let column = |key: fn(&NewRange) -> Option<String>| ranges.iter().map(key).collect::<Vec<_>>();
    let begun = sqlx::query(INSERT)
        .bind(ranges.iter().map(|range| range.rollover.0).collect::<Vec<_>>())
        .bind(ranges.iter().map(|range| i64::from(range.pass)).collect::<Vec<_>>())
        .bind(ranges.iter().map(|range| range.table.as_str()).collect::<Vec<_>>())
        .bind(ranges.iter().map(|range| i64::from(range.number)).collect::<Vec<_>>())
        .bind(column(|range| range.after.as_ref().map(to_json)))
        .bind(column(|range| range.upto.as_ref().map(to_json)))
        .execute(transaction)
        .await?;
    expect_rows(begun.rows_affected(), ranges.len())
}

pub(super) async fn claim_range(
    pool: &Pool,
    rollover: RolloverId,
    pass: u32,
    replica: ReplicaId,
    lease: Duration,
) -> Result<Option<Range>, StoreError> {
    let row: Option<RangeRow> = sqlx::query_as(CLAIM)
        .bind(rollover.0)
        .bind(i64::from(pass))
        .bind(replica.0)
        .bind(millis(lease))
        .fetch_optional(pool)
        .await?;
    row.map(|row| row.claimed(rollover, pass, replica)).transpose()
}

/// Moves the cursor of `progress.range` past one batch, adds its counts and renews its
/// lease, in the batch's own transaction. `false`: another replica has the range, or has
/// had it meanwhile; the batch must be rolled back.
pub(crate) async fn advance_range(
    transaction: &mut PgConnection,
    progress: &Progress,
    rewrapped: u64,
    superseded: u64,
) -> Result<bool, StoreError> {
    let range = &progress.range;
    let advanced = sqlx::query(ADVANCE)
        .bind(range.rollover.0)
        .bind(i64::from(range.pass))
        .bind(&range.table)
        .bind(i64::from(range.number))
        .bind(range.holder.0)
        .bind(range.cursor.as_ref().map(to_json))
        .bind(to_json(&progress.cursor))
        .bind(millis(progress.lease))
        .bind(signed(progress.scanned))
        .bind(signed(rewrapped))
        .bind(signed(superseded))
        .execute(transaction)
        .await?;
    Ok(advanced.rows_affected() == 1)
}

pub(super) async fn finish_range(pool: &Pool, range: &Range) -> Result<(), StoreError> {
    sqlx::query(FINISH)
        .bind(range.rollover.0)
        .bind(i64::from(range.pass))
        .bind(&range.table)
        .bind(i64::from(range.number))
        .bind(range.holder.0)
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn progress(
    pool: &Pool,
    rollover: RolloverId,
    pass: u32,
) -> Result<Option<PassProgress>, StoreError> {
    let row: PassRow =
        sqlx::query_as(PROGRESS).bind(rollover.0).bind(i64::from(pass)).fetch_one(pool).await?;
    row.progress()
}

/// Records values that no key opens, or that they were seen again.
pub(crate) async fn quarantine(
    transaction: &mut PgConnection,
    seen: &[Quarantined],
) -> Result<(), StoreError> {
    if seen.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&Quarantined) -> &str| seen.iter().map(of).collect::<Vec<_>>();
    sqlx::query(QUARANTINE)
        .bind(column(|value| &value.table))
        .bind(column(|value| &value.column))
        .bind(seen.iter().map(|value| to_json(&value.row)).collect::<Vec<_>>())
        .bind(column(|value| &value.path))
        .bind(column(|value| &value.error))
        .bind(seen.iter().map(|value| value.seen_at.as_millis()).collect::<Vec<_>>())
        .execute(transaction)
        .await?;
    Ok(())
}

pub(super) async fn quarantined(pool: &Pool, limit: u32) -> Result<Vec<Quarantined>, StoreError> {
    let rows: Vec<QuarantineRow> =
        sqlx::query_as(QUARANTINED).bind(i64::from(limit)).fetch_all(pool).await?;
    rows.into_iter().map(Quarantined::try_from).collect()
}

pub(super) async fn release_quarantine(
    pool: &Pool,
    table: &str,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let released = sqlx::query(RELEASE).bind(table).bind(before.as_millis()).execute(pool).await?;
    Ok(released.rows_affected())
}
