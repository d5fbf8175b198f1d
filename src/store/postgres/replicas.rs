//! Replicas and their leases, by the server's clock.
//!
//! A change locks the epoch's row from its beginning to its end ([`super::commit`]). A
//! renewal locks its own row alone and waits for no change, so that a process which hangs
//! in the middle of one costs nobody else the lease. No change misses a replica even so:
//!
//! 1. A lease is judged by a clock that was read before the leases were ([`now`]). One that
//!    is seen as over was over before any renewal that is not seen could be answered; and a
//!    replica, which counts from before it sent the renewal, has fenced itself by then.
//!    So whoever is not seen as live holds no keys, or takes its lease up anew.
//! 2. A lease is taken up by a renewal, then by waiting for every change that is being made
//!    ([`await_changes`]), then by reading the keys. A change that had the epoch's row
//!    before that wait is in what is read. One that locks it afterwards finds the lease:
//!    each of its statements sees what was committed before that statement.
//!
//! So each replica serves with what a change made, or the change knows of that replica. On
//! this rest the promotion that nobody is missed for, the root keys that every replica
//! holds, and the cut-off that names everyone who may accept the key.

use sqlx::{Executor, PgConnection, Postgres};

use super::{Pool, listen};
use crate::{
    ids::{Epoch, ReplicaId},
    material::Fingerprint,
    store::{
        Beat, Lease, ReplicaRecord, StoreError,
        refusal::{Refusal, expect_rows},
        stored::{ReplicaRow, columns_text, millis, root_keys, root_keys_text, signed, unsigned},
    },
};

/// The clock of leases.
const NOW: &str = "SELECT rollover.now_ms()";

/// Waits for whoever holds the epoch's row.
const AWAIT_CHANGES: &str = "SELECT FROM rollover.meta FOR SHARE";

/// The lease anew, which never ends earlier than was answered before, and the epoch as it
/// is. Notes what is acknowledged, unless a change is about to forget it; other epochs than
/// before are notified. Forgets others that ended an hour ago; the table has a row a
/// process. Served by the primary keys.
const RENEW: &str = "
    WITH present AS MATERIALIZED (
        SELECT epoch, rollover.now_ms() AS ms FROM rollover.meta
    ), before AS (
        SELECT applied, settled FROM rollover.replica WHERE id = $1
    ), acknowledged AS (
        UPDATE rollover.acceptor SET acknowledged_at = ms FROM present
        WHERE replica = $1 AND rollover IN (
            SELECT rollover FROM rollover.acceptor
            WHERE replica = $1 AND acknowledged_at IS NULL AND acceptor.epoch <= $5
            FOR UPDATE SKIP LOCKED)
    ), forgotten AS (
        DELETE FROM rollover.replica WHERE id IN (
            SELECT id FROM rollover.replica
            WHERE lease_until < (SELECT ms FROM present) - 3600000 AND id <> $1
                AND NOT accepts_while_fenced
                AND NOT EXISTS (SELECT FROM rollover.acceptor WHERE replica = replica.id)
            FOR UPDATE SKIP LOCKED)
    )
    INSERT INTO rollover.replica AS known
        (id, name, version, applied, settled, root_keys, lease_until,
         accepts_while_fenced, registered_at, renewed_at, applied_at, settled_at, columns)
    SELECT $1, $2, $3, $4, $5, $7, ms + $6, $9, ms, ms, ms, ms, $10 FROM present
    ON CONFLICT (id) DO UPDATE SET
        name = excluded.name, version = excluded.version, applied = excluded.applied,
        settled = excluded.settled, root_keys = excluded.root_keys,
        lease_until = greatest(known.lease_until, excluded.lease_until),
        accepts_while_fenced = excluded.accepts_while_fenced,
        renewed_at = excluded.renewed_at, left_at = NULL, columns = excluded.columns,
        applied_at = CASE WHEN known.applied = excluded.applied
            THEN known.applied_at ELSE excluded.applied_at END,
        settled_at = CASE WHEN known.settled = excluded.settled
            THEN known.settled_at ELSE excluded.settled_at END
    RETURNING (SELECT epoch FROM present), CASE
        WHEN (SELECT (applied, settled) FROM before) IS DISTINCT FROM ($4, $5)
        THEN pg_notify('breeze_rollover', $8) END";

/// Ends its lease, if it still runs. Served by the primary key.
const DEREGISTER: &str = "
    UPDATE rollover.replica SET
        lease_until = least(lease_until, ms), left_at = ms, accepts_while_fenced = false
    FROM rollover.now_ms() AS ms
    WHERE id = $1 AND left_at IS NULL";

/// One without a lease that has not left. Served by the primary key.
const STOPPED: &str = "
    UPDATE rollover.replica SET left_at = ms, accepts_while_fenced = false
    FROM rollover.now_ms() AS ms
    WHERE id = $1 AND lease_until <= ms AND left_at IS NULL";

/// Every replica whose lease runs at $1 or ended within the hour, and those that may still
/// accept a retired key: a row a process.
const REPLICAS: &str = "
    SELECT id::text, name, version, applied, settled, root_keys, lease_until,
           lease_until > $1 AS live,
           registered_at, renewed_at, applied_at, settled_at, accepts_while_fenced, left_at,
           columns, $1 AS as_of
    FROM rollover.replica
    WHERE lease_until >= $1 - 3600000 OR accepts_while_fenced
        OR EXISTS (SELECT FROM rollover.acceptor WHERE acceptor.replica = replica.id)
    ORDER BY replica.id";

/// What each replica holds that is live at $1: a row a process.
const LIVE_ROOT_KEYS: &str = "SELECT root_keys FROM rollover.replica WHERE lease_until > $1";

/// The server's clock, in a statement of its own: a later statement sees every renewal that
/// was answered before the clock was read.
pub(super) async fn now<'e>(
    executor: impl Executor<'e, Database = Postgres>,
) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(NOW).fetch_one(executor).await?)
}

/// See [`crate::store::Store::await_changes`].
pub(super) async fn await_changes(pool: &Pool) -> Result<(), StoreError> {
    sqlx::query(AWAIT_CHANGES).execute(pool).await?;
    Ok(())
}

pub(super) async fn renew(pool: &Pool, beat: &Beat) -> Result<Lease, StoreError> {
    let epoch = sqlx::query_scalar(RENEW)
        .bind(beat.replica.0)
        .bind(&beat.name)
        .bind(&beat.version)
        .bind(signed(beat.applied.0))
        .bind(signed(beat.settled.0))
        .bind(millis(beat.lease))
        .bind(root_keys_text(&beat.root_keys))
        .bind(listen::REPORT)
        .bind(beat.accepts_while_fenced)
        .bind(columns_text(&beat.columns))
        .fetch_one(pool)
        .await?;
    Ok(Lease { epoch: Epoch(unsigned("meta", "epoch", epoch)?) })
}

pub(super) async fn deregister(pool: &Pool, replica: ReplicaId) -> Result<(), StoreError> {
    sqlx::query(DEREGISTER).bind(replica.0).execute(pool).await?;
    Ok(())
}

pub(super) async fn stopped(
    transaction: &mut PgConnection,
    replica: ReplicaId,
) -> Result<(), Refusal> {
    let stopped = sqlx::query(STOPPED).bind(replica.0).execute(transaction).await?;
    expect_rows(stopped.rows_affected(), 1)
}

pub(super) async fn replicas(pool: &Pool) -> Result<Vec<ReplicaRecord>, StoreError> {
    let now = now(pool).await?;
    let rows: Vec<ReplicaRow> = sqlx::query_as(REPLICAS).bind(now).fetch_all(pool).await?;
    rows.into_iter().map(ReplicaRecord::try_from).collect()
}

/// The root keys of each live replica. True until the transaction ends, which has locked
/// the epoch's row: whoever is not seen takes its lease up after it, with its keys.
pub(super) async fn live_root_keys(
    transaction: &mut PgConnection,
) -> Result<Vec<Vec<Fingerprint>>, StoreError> {
    let now = now(&mut *transaction).await?;
    let live: Vec<String> =
        sqlx::query_scalar(LIVE_ROOT_KEYS).bind(now).fetch_all(transaction).await?;
    live.iter().map(|held| root_keys(held)).collect()
}
