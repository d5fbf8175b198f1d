//! Replicas and their leases, by SQLite's clock.

use sqlx::{SqliteConnection, SqlitePool};

use super::BEGIN_WRITING;
use crate::{
    ids::{Epoch, ReplicaId},
    material::Fingerprint,
    store::{
        Beat, Lease, ReplicaRecord, StoreError,
        refusal::{Refusal, expect_rows},
        stored::{ReplicaRow, columns_text, millis, root_keys, root_keys_text, signed, unsigned},
    },
};

/// Whether a replica reported just these epochs last. Served by the primary key.
const IS_KNOWN: &str = "
    SELECT EXISTS (
        SELECT 1 FROM rollover_replica WHERE id = $1 AND applied = $2 AND settled = $3)";

/// The lease anew, and the present epoch. Served by the primary key.
const RENEW: &str = "
    INSERT INTO rollover_replica AS known
        (id, name, version, applied, settled, root_keys, lease_until,
         accepts_while_fenced, registered_at, renewed_at, applied_at, settled_at, columns)
    SELECT $1, $2, $3, $4, $5, $7, ms + $6, $8, ms, ms, ms, ms, $9 FROM rollover_now WHERE true
    ON CONFLICT (id) DO UPDATE SET
        name = excluded.name, version = excluded.version, applied = excluded.applied,
        settled = excluded.settled, root_keys = excluded.root_keys,
        lease_until = excluded.lease_until,
        accepts_while_fenced = excluded.accepts_while_fenced,
        renewed_at = excluded.renewed_at, left_at = NULL, columns = excluded.columns,
        applied_at = CASE WHEN known.applied = excluded.applied
            THEN known.applied_at ELSE excluded.applied_at END,
        settled_at = CASE WHEN known.settled = excluded.settled
            THEN known.settled_at ELSE excluded.settled_at END
    RETURNING (SELECT epoch FROM rollover_meta)";

/// What replica $1 acknowledges with the settled epoch $2. The table is all but empty.
const ACKNOWLEDGE: &str = "
    UPDATE rollover_acceptor SET acknowledged_at = ms FROM rollover_now
    WHERE replica = $1 AND acknowledged_at IS NULL AND epoch <= $2";

/// Leases that ended an hour ago: the table has a row a process.
const FORGET: &str = "
    DELETE FROM rollover_replica
    WHERE lease_until < (SELECT ms FROM rollover_now) - 3600000 AND NOT accepts_while_fenced
        AND NOT EXISTS (SELECT 1 FROM rollover_acceptor WHERE replica = rollover_replica.id)";

/// Ends its lease, if it still runs. Served by the primary key.
const DEREGISTER: &str = "
    UPDATE rollover_replica SET
        lease_until = min(lease_until, ms), left_at = ms, accepts_while_fenced = 0
    FROM rollover_now
    WHERE id = $1 AND left_at IS NULL";

/// One without a lease that has not left. Served by the primary key.
const STOPPED: &str = "
    UPDATE rollover_replica SET left_at = ms, accepts_while_fenced = 0
    FROM rollover_now
    WHERE id = $1 AND lease_until <= ms AND left_at IS NULL";

/// The clock of leases, read before they are: a lease that is seen as over was over before
/// any renewal that is not seen was answered.
const NOW: &str = "SELECT ms FROM rollover_now";

/// Every replica whose lease runs at $1 or ended within the hour, and those that may still
/// accept a retired key: a row a process.
const REPLICAS: &str = "
    SELECT id, name, version, applied, settled, root_keys, lease_until,
           lease_until > $1 AS live,
           registered_at, renewed_at, applied_at, settled_at, accepts_while_fenced, left_at,
           columns, $1 AS as_of
    FROM rollover_replica
    WHERE lease_until >= $1 - 3600000 OR accepts_while_fenced
        OR EXISTS (SELECT 1 FROM rollover_acceptor WHERE replica = rollover_replica.id)
    ORDER BY id";

/// What each live replica holds: a row a process.
const LIVE_ROOT_KEYS: &str =
    "SELECT root_keys FROM rollover_replica WHERE lease_until > (SELECT ms FROM rollover_now)";

/// Renews a lease; answers whether the epochs were reported before, too.
pub(super) async fn renew(pool: &SqlitePool, beat: &Beat) -> Result<(Lease, bool), StoreError> {
    let mut transaction = pool.begin_with(BEGIN_WRITING).await?;
    let is_known = sqlx::query_scalar(IS_KNOWN)
        .bind(beat.replica.to_string())
        .bind(signed(beat.applied.0))
        .bind(signed(beat.settled.0))
        .fetch_one(&mut *transaction)
        .await?;
    let epoch = sqlx::query_scalar(RENEW)
        .bind(beat.replica.to_string())
        .bind(&beat.name)
        .bind(&beat.version)
        .bind(signed(beat.applied.0))
        .bind(signed(beat.settled.0))
        .bind(millis(beat.lease))
        .bind(root_keys_text(&beat.root_keys))
        .bind(beat.accepts_while_fenced)
        .bind(columns_text(&beat.columns))
        .fetch_one(&mut *transaction)
        .await?;
    sqlx::query(ACKNOWLEDGE)
        .bind(beat.replica.to_string())
        .bind(signed(beat.settled.0))
        .execute(&mut *transaction)
        .await?;
    sqlx::query(FORGET).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok((Lease { epoch: Epoch(unsigned("meta", "epoch", epoch)?) }, is_known))
}

pub(super) async fn deregister(pool: &SqlitePool, replica: ReplicaId) -> Result<(), StoreError> {
    sqlx::query(DEREGISTER).bind(replica.to_string()).execute(pool).await?;
    Ok(())
}

pub(super) async fn stopped(
    transaction: &mut SqliteConnection,
    replica: ReplicaId,
) -> Result<(), Refusal> {
    let stopped = sqlx::query(STOPPED).bind(replica.to_string()).execute(transaction).await?;
    expect_rows(stopped.rows_affected(), 1)
}

pub(super) async fn now(pool: &SqlitePool) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(NOW).fetch_one(pool).await?)
}

pub(super) async fn replicas(pool: &SqlitePool) -> Result<Vec<ReplicaRecord>, StoreError> {
    let now = now(pool).await?;
    let rows: Vec<ReplicaRow> = sqlx::query_as(REPLICAS).bind(now).fetch_all(pool).await?;
    rows.into_iter().map(ReplicaRecord::try_from).collect()
}

/// The root keys of each live replica, true until the transaction ends: it has the
/// write lock.
pub(super) async fn live_root_keys(
    transaction: &mut SqliteConnection,
) -> Result<Vec<Vec<Fingerprint>>, StoreError> {
    let live: Vec<String> = sqlx::query_scalar(LIVE_ROOT_KEYS).fetch_all(transaction).await?;
    live.iter().map(|held| root_keys(held)).collect()
}
