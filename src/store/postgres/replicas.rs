//! Replicas and their leases, by the server's clock.

use sqlx::PgConnection;

use super::{Pool, listen};
use crate::{
    ids::{Epoch, ReplicaId},
    material::Fingerprint,
    store::{
        Beat, Lease, ReplicaRecord, StoreError,
        stored::{ReplicaRow, millis, root_keys, root_keys_text, signed, unsigned},
    },
};

/// The lease anew, and the present epoch. Other epochs than before are notified. Forgets
/// leases of others that ended an hour ago; the table has a row a process. Served by the
/// primary key.
const RENEW: &str = "
    WITH before AS (
        SELECT applied, settled FROM rollover.replica WHERE id = $1
    ), forgotten AS (
        DELETE FROM rollover.replica WHERE id IN (
            SELECT id FROM rollover.replica
            WHERE lease_until < rollover.now_ms() - 3600000 AND id <> $1
            FOR UPDATE SKIP LOCKED)
    )
    INSERT INTO rollover.replica AS known
        (id, name, version, applied, settled, root_keys, lease_until,
         registered_at, renewed_at, applied_at, settled_at)
    SELECT $1, $2, $3, $4, $5, $7, ms + $6, ms, ms, ms, ms FROM rollover.now_ms() AS ms
    ON CONFLICT (id) DO UPDATE SET
        name = excluded.name, version = excluded.version, applied = excluded.applied,
        settled = excluded.settled, root_keys = excluded.root_keys,
        lease_until = excluded.lease_until,
        renewed_at = excluded.renewed_at, left_at = NULL,
        applied_at = CASE WHEN known.applied = excluded.applied
            THEN known.applied_at ELSE excluded.applied_at END,
        settled_at = CASE WHEN known.settled = excluded.settled
            THEN known.settled_at ELSE excluded.settled_at END
    RETURNING (SELECT epoch FROM rollover.meta), CASE
        WHEN (SELECT (applied, settled) FROM before) IS DISTINCT FROM ($4, $5)
        THEN pg_notify('breeze_rollover', $8) END";

/// Ends a lease that still runs. Served by the primary key.
const DEREGISTER: &str = "
    UPDATE rollover.replica SET lease_until = ms, left_at = ms
    FROM rollover.now_ms() AS ms
    WHERE id = $1 AND lease_until > ms";

/// Every replica whose lease runs or ended within the hour: a row a process.
const REPLICAS: &str = "
    SELECT id::text, name, version, applied, settled, root_keys, lease_until,
           lease_until > ms AS live,
           registered_at, renewed_at, applied_at, settled_at, left_at, ms AS as_of
    FROM rollover.replica, rollover.now_ms() AS ms
    WHERE lease_until >= ms - 3600000
    ORDER BY replica.id";

/// Every beat that is under way is over, and none begins until the transaction ends:
/// nobody joins unseen. Changes that seal a key are rare.
const HOLD_STILL: &str = "LOCK TABLE rollover.replica IN SHARE MODE";

/// What each live replica holds: a row a process.
const LIVE_ROOT_KEYS: &str =
    "SELECT root_keys FROM rollover.replica WHERE lease_until > rollover.now_ms()";

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
        .fetch_one(pool)
        .await?;
    Ok(Lease { epoch: Epoch(unsigned("meta", "epoch", epoch)?) })
}

pub(super) async fn deregister(pool: &Pool, replica: ReplicaId) -> Result<(), StoreError> {
    sqlx::query(DEREGISTER).bind(replica.0).execute(pool).await?;
    Ok(())
}

pub(super) async fn replicas(pool: &Pool) -> Result<Vec<ReplicaRecord>, StoreError> {
    let rows: Vec<ReplicaRow> = sqlx::query_as(REPLICAS).fetch_all(pool).await?;
    rows.into_iter().map(ReplicaRecord::try_from).collect()
}

/// The root keys of each live replica, true until the transaction ends.
pub(super) async fn live_root_keys(
    transaction: &mut PgConnection,
) -> Result<Vec<Vec<Fingerprint>>, StoreError> {
    sqlx::query(HOLD_STILL).execute(&mut *transaction).await?;
    let live: Vec<String> = sqlx::query_scalar(LIVE_ROOT_KEYS).fetch_all(transaction).await?;
    live.iter().map(|held| root_keys(held)).collect()
}
