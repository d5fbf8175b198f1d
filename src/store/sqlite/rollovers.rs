//! Rollovers: one of a secret, and by default one in all.

use sqlx::{Sqlite, SqliteConnection, SqlitePool, query::Query, sqlite::SqliteArguments};
use uuid::Uuid;

use crate::{
    ids::RolloverId,
    rollover::Rollover,
    store::{
        StoreError,
        refusal::{Refusal, expect_rows},
        stored::{RolloverRow, SLOT_OF_ALL, parsed},
    },
};

/// The rollover that one of secret $1 must not begin beside, $2 telling whether it may
/// run beside another secret's. Exact, because the transaction has the write lock; the two
/// unique indexes of the table hold the same against any other writer.
const IN_THE_WAY: &str = "
    SELECT id FROM rollover_rollover
    WHERE active AND NOT dry_run AND (secret = $1 OR NOT $2)
    ORDER BY secret = $1 DESC, id
    LIMIT 1";

/// A new rollover. The primary key refuses one that is there already.
const INSERT: &str = "
    INSERT INTO rollover_rollover
        (id, secret, mode, dry_run, phase, revision, paused_at, reason, requested_by,
         from_key, to_key, created_at, updated_at, settled_at, target, pass,
         max_rows_per_second, blocked_by, accept_quarantined, report, cut_off,
         accept_loss, probed_at, revoked_at, ask_at, asked_by, revoking_at, slot)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
            $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28)";

/// The row whole, if its revision is one below. Served by the primary key.
const REPLACE: &str = "
    UPDATE rollover_rollover SET
        secret = $2, mode = $3, dry_run = $4, phase = $5, revision = $6, paused_at = $7,
        reason = $8, requested_by = $9, from_key = $10, to_key = $11, created_at = $12,
        updated_at = $13, settled_at = $14, target = $15, pass = $16,
        max_rows_per_second = $17, blocked_by = $18, accept_quarantined = $19,
        report = $20, cut_off = $21, accept_loss = $22, probed_at = $23, revoked_at = $24,
        ask_at = $25, asked_by = $26, revoking_at = $27
    WHERE id = $1 AND revision = $6 - 1";

/// One rollover. Served by the primary key.
const ONE: &str = "
    SELECT id, secret, mode, dry_run, phase, revision, paused_at, reason, requested_by,
           from_key, to_key, created_at, updated_at, settled_at, target, pass,
           max_rows_per_second, blocked_by, accept_quarantined, report, cut_off,
           accept_loss, probed_at, revoked_at, ask_at, asked_by, revoking_at
    FROM rollover_rollover
    WHERE id = $1";

/// A page, newest first: ids rise with time. Served by the primary key.
const PAGE: &str = "
    SELECT id, secret, mode, dry_run, phase, revision, paused_at, reason, requested_by,
           from_key, to_key, created_at, updated_at, settled_at, target, pass,
           max_rows_per_second, blocked_by, accept_quarantined, report, cut_off,
           accept_loss, probed_at, revoked_at, ask_at, asked_by, revoking_at
    FROM rollover_rollover
    WHERE id < $1
    ORDER BY id DESC
    LIMIT $2";

/// What is in progress, oldest first: a few rows of a short table.
const ACTIVE: &str = "
    SELECT id, secret, mode, dry_run, phase, revision, paused_at, reason, requested_by,
           from_key, to_key, created_at, updated_at, settled_at, target, pass,
           max_rows_per_second, blocked_by, accept_quarantined, report, cut_off,
           accept_loss, probed_at, revoked_at, ask_at, asked_by, revoking_at
    FROM rollover_rollover
    WHERE active
    ORDER BY id";

/// What has retired a key that may still be accepted. Served by `rollover_rollover_awaits_cut_off`.
const AWAITING_CUT_OFF: &str = "
    SELECT id, secret, mode, dry_run, phase, revision, paused_at, reason, requested_by,
           from_key, to_key, created_at, updated_at, settled_at, target, pass,
           max_rows_per_second, blocked_by, accept_quarantined, report, cut_off,
           accept_loss, probed_at, revoked_at, ask_at, asked_by, revoking_at
    FROM rollover_rollover
    WHERE cut_off IS NOT NULL AND cut_off ->> 'at' IS NULL
    ORDER BY id";

pub(super) async fn rollover(
    pool: &SqlitePool,
    id: RolloverId,
) -> Result<Option<Rollover>, StoreError> {
    let row: Option<RolloverRow> =
        sqlx::query_as(ONE).bind(id.to_string()).fetch_optional(pool).await?;
    row.map(Rollover::try_from).transpose()
}

pub(super) async fn rollovers(
    pool: &SqlitePool,
    before: Option<RolloverId>,
    limit: u32,
) -> Result<Vec<Rollover>, StoreError> {
    let before = before.map_or(Uuid::max(), |id| id.0).to_string();
    let page = sqlx::query_as(PAGE).bind(before).bind(i64::from(limit)).fetch_all(pool).await?;
    page.into_iter().filter_map(RolloverRow::known).collect()
}

pub(super) async fn active(pool: &SqlitePool) -> Result<Vec<Rollover>, StoreError> {
    let active = sqlx::query_as(ACTIVE).fetch_all(pool).await?;
    active.into_iter().filter_map(RolloverRow::known).collect()
}

pub(super) async fn awaiting_cut_off(pool: &SqlitePool) -> Result<Vec<Rollover>, StoreError> {
    let awaiting = sqlx::query_as(AWAITING_CUT_OFF).fetch_all(pool).await?;
    awaiting.into_iter().filter_map(RolloverRow::known).collect()
}

pub(super) async fn begin(
    transaction: &mut SqliteConnection,
    rollover: &Rollover,
    alongside: bool,
) -> Result<(), Refusal> {
    if rollover.phase.is_active() && !rollover.dry_run {
        let in_the_way: Option<String> = sqlx::query_scalar(IN_THE_WAY)
            .bind(rollover.secret.name())
            .bind(alongside)
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(id) = in_the_way {
            return Err(Refusal::Busy(parsed("rollover", "id", &id)?));
        }
    }
    let slot = if alongside { rollover.secret.name() } else { SLOT_OF_ALL };
    let begun = bound(INSERT, rollover).bind(slot).execute(transaction).await?;
    expect_rows(begun.rows_affected(), 1)
}

pub(super) async fn replace(
    transaction: &mut SqliteConnection,
    rollover: &Rollover,
) -> Result<(), Refusal> {
    let replaced = bound(REPLACE, rollover).execute(transaction).await?;
    expect_rows(replaced.rows_affected(), 1)
}

/// `statement` with $1 to $27 as [`INSERT`] and [`REPLACE`] number them.
fn bound(statement: &'static str, rollover: &Rollover) -> Query<'static, Sqlite, SqliteArguments> {
    let row = RolloverRow::from(rollover);
    sqlx::query(statement)
        .bind(row.id)
        .bind(row.secret)
        .bind(row.mode)
        .bind(row.dry_run)
        .bind(row.phase)
        .bind(row.revision)
        .bind(row.paused_at)
        .bind(row.reason)
        .bind(row.requested_by)
        .bind(row.from_key)
        .bind(row.to_key)
        .bind(row.created_at)
        .bind(row.updated_at)
        .bind(row.settled_at)
        .bind(row.target)
        .bind(row.pass)
        .bind(row.max_rows_per_second)
        .bind(row.blocked_by)
        .bind(row.accept_quarantined)
        .bind(row.report)
        .bind(row.cut_off)
        .bind(row.accept_loss)
        .bind(row.probed_at)
        .bind(row.revoked_at)
        .bind(row.ask_at)
        .bind(row.asked_by)
        .bind(row.revoking_at)
}
