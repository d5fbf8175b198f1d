//! The ranges of each pass, and values that no key opens.
//!
//! 1. A range belongs to one replica at a time, by a lease on SQLite's clock.
//! 2. Its cursor moves only from where its holder saw it.

use std::time::Duration;

use sqlx::{SqliteConnection, SqlitePool};

use crate::{
    clock::Timestamp,
    ids::{ReplicaId, RolloverId},
    store::{
        NewRange, PassProgress, Progress, Quarantined, Range, StoreError,
        refusal::{Refusal, expect_rows},
        stored::{PassRow, QuarantineRow, RangeRow, millis, signed, to_json},
    },
};

/// One range of a pass, begun when its rollover was last updated. The table's unique key
/// refuses one that is there already.
const INSERT: &str = "
    INSERT INTO rollover_range
        (rollover, pass, table_name, number, after, upto, cursor, began_at)
    SELECT id, $2, $3, $4, $5, $6, $5, updated_at FROM rollover_rollover WHERE id = $1";

/// The first range that nobody holds, found and taken in one statement. Served by the
/// table's unique key.
const CLAIM: &str = "
    UPDATE rollover_range SET holder = $3, lease_until = (SELECT ms FROM rollover_now) + $4
    WHERE position = (
        SELECT position FROM rollover_range
        WHERE rollover = $1 AND pass = $2 AND NOT finished
            AND lease_until <= (SELECT ms FROM rollover_now)
        ORDER BY position
        LIMIT 1)
    RETURNING table_name, number, cursor, upto";

/// One batch further, if $5 holds the range and has seen its cursor. Served by the
/// unique key.
const ADVANCE: &str = "
    UPDATE rollover_range SET
        cursor = $7, lease_until = (SELECT ms FROM rollover_now) + $8, scanned = scanned + $9,
        rewrapped = rewrapped + $10, superseded = superseded + $11
    WHERE rollover = $1 AND pass = $2 AND table_name = $3 AND number = $4
        AND holder = $5 AND cursor IS $6 AND NOT finished";

/// The end of a range, if $5 holds it. Served by the unique key.
const FINISH: &str = "
    UPDATE rollover_range SET finished = TRUE
    WHERE rollover = $1 AND pass = $2 AND table_name = $3 AND number = $4 AND holder = $5";

/// One pass, summed up. Served by the unique key.
const PROGRESS: &str = "
    SELECT count(*) AS ranges, count(*) FILTER (WHERE finished) AS finished,
           count(*) FILTER (WHERE NOT finished AND lease_until <= (SELECT ms FROM rollover_now)) AS free,
           count(*) FILTER (WHERE NOT finished AND lease_until <= (SELECT ms FROM rollover_now)
               AND holder IS NOT NULL) AS abandoned,
           coalesce(sum(scanned), 0) AS scanned,
           coalesce(sum(rewrapped), 0) AS rewrapped,
           coalesce(sum(superseded), 0) AS superseded,
           min(began_at) AS began_at
    FROM rollover_range
    WHERE rollover = $1 AND pass = $2";

/// One value that no key opens, last seen now. Served by the primary key.
const QUARANTINE: &str = "
    INSERT INTO rollover_quarantine (table_name, column_name, row_key, path, error, seen_at)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (table_name, column_name, row_key, path) DO UPDATE SET
        error = excluded.error, seen_at = max(seen_at, excluded.seen_at)";

/// The first few, oldest first. A short table, or there is work for people.
const QUARANTINED: &str = "
    SELECT table_name, column_name, row_key, path, error, seen_at
    FROM rollover_quarantine
    ORDER BY seen_at, table_name, column_name, row_key, path
    LIMIT $1";

/// What a later pass over the table did not meet again. Served by the primary key.
const RELEASE: &str = "DELETE FROM rollover_quarantine WHERE table_name = $1 AND seen_at < $2";

pub(super) async fn begin(
    transaction: &mut SqliteConnection,
    ranges: &[NewRange],
) -> Result<(), Refusal> {
    for range in ranges {
        let begun = sqlx::query(INSERT)
            .bind(range.rollover.to_string())
            .bind(range.pass)
            .bind(&range.table)
            .bind(range.number)
            .bind(range.after.as_ref().map(to_json))
            .bind(range.upto.as_ref().map(to_json))
            .execute(&mut *transaction)
            .await?;
        expect_rows(begun.rows_affected(), 1)?;
    }
    Ok(())
}

pub(super) async fn claim_range(
    pool: &SqlitePool,
    rollover: RolloverId,
    pass: u32,
    replica: ReplicaId,
    lease: Duration,
) -> Result<Option<Range>, StoreError> {
    let claimed: Vec<RangeRow> = sqlx::query_as(CLAIM)
        .bind(rollover.to_string())
        .bind(pass)
        .bind(replica.to_string())
        .bind(millis(lease))
        .fetch_all(pool)
        .await?;
    claimed.into_iter().next().map(|row| row.claimed(rollover, pass, replica)).transpose()
}

/// Moves the cursor of `progress.range` past one batch, adds its counts and renews its
/// lease, in the batch's own transaction. `false`: another replica has the range, or has
/// had it meanwhile; the batch must be rolled back.
pub(crate) async fn advance_range(
    transaction: &mut SqliteConnection,
    progress: &Progress,
    rewrapped: u64,
    superseded: u64,
) -> Result<bool, StoreError> {
    let range = &progress.range;
    let advanced = sqlx::query(ADVANCE)
        .bind(range.rollover.to_string())
        .bind(range.pass)
        .bind(&range.table)
        .bind(range.number)
        .bind(range.holder.to_string())
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

pub(super) async fn finish_range(pool: &SqlitePool, range: &Range) -> Result<(), StoreError> {
    sqlx::query(FINISH)
        .bind(range.rollover.to_string())
        .bind(range.pass)
        .bind(&range.table)
        .bind(range.number)
        .bind(range.holder.to_string())
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn progress(
    pool: &SqlitePool,
    rollover: RolloverId,
    pass: u32,
) -> Result<Option<PassProgress>, StoreError> {
    let row: PassRow =
        sqlx::query_as(PROGRESS).bind(rollover.to_string()).bind(pass).fetch_one(pool).await?;
    row.progress()
}

/// Records values that no key opens, or that they were seen again.
pub(crate) async fn quarantine(
    transaction: &mut SqliteConnection,
    seen: &[Quarantined],
) -> Result<(), StoreError> {
    for value in seen {
        sqlx::query(QUARANTINE)
            .bind(&value.table)
            .bind(&value.column)
            .bind(to_json(&value.row))
            .bind(&value.path)
            .bind(&value.error)
            .bind(value.seen_at.as_millis())
            .execute(&mut *transaction)
            .await?;
    }
    Ok(())
}

pub(super) async fn quarantined(
    pool: &SqlitePool,
    limit: u32,
) -> Result<Vec<Quarantined>, StoreError> {
    let rows: Vec<QuarantineRow> = sqlx::query_as(QUARANTINED).bind(limit).fetch_all(pool).await?;
    rows.into_iter().map(Quarantined::try_from).collect()
}

pub(super) async fn release_quarantine(
    pool: &SqlitePool,
    table: &str,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let released = sqlx::query(RELEASE).bind(table).bind(before.as_millis()).execute(pool).await?;
    Ok(released.rows_affected())
}
