//! Who may still accept a key that was retired, by SQLite's clock.

use sqlx::{SqliteConnection, SqlitePool};

use super::replicas;
use crate::{
    ids::{Epoch, RolloverId},
    rollover::Acceptor,
    store::{
        Acceptors, StoreError,
        refusal::Refusal,
        stored::{AcceptorRow, signed},
    },
};

/// Everyone who may accept it now. The transaction has the write lock, so that nobody is
/// missed who was not told of the new epoch.
const NOTE: &str = "
    INSERT INTO rollover_acceptor (rollover, replica, name, epoch)
    SELECT $1, id, name, $2 FROM rollover_replica, rollover_now
    WHERE lease_until > ms OR accepts_while_fenced";

/// Served by the primary key.
const FORGET: &str = "DELETE FROM rollover_acceptor WHERE rollover = $1";

/// Each with whether its lease runs at $2. An older version acknowledges without leaving the
/// moment: it is now, at the latest. Served by the primary keys.
const ACCEPTORS: &str = "
    SELECT acceptor.replica, acceptor.name, acceptor.epoch,
           CASE WHEN acknowledged_at IS NULL AND settled >= acceptor.epoch
               THEN ms ELSE acknowledged_at END AS acknowledged_at,
           left_at, coalesce(lease_until, $2) AS lease_until,
           coalesce(lease_until > $2, 0) AS live,
           coalesce(accepts_while_fenced, 0) AS accepts_while_fenced
    FROM rollover_acceptor AS acceptor
        CROSS JOIN rollover_now
        LEFT JOIN rollover_replica AS replica ON replica.id = acceptor.replica
    WHERE acceptor.rollover = $1
    ORDER BY acceptor.replica";

pub(super) async fn change(
    transaction: &mut SqliteConnection,
    rollover: RolloverId,
    change: Acceptors,
    epoch: Epoch,
) -> Result<(), Refusal> {
    let statement = match change {
        Acceptors::Note => sqlx::query(NOTE).bind(rollover.to_string()).bind(signed(epoch.0)),
        Acceptors::Forget => sqlx::query(FORGET).bind(rollover.to_string()),
    };
    statement.execute(transaction).await?;
    Ok(())
}

pub(super) async fn of(
    pool: &SqlitePool,
    rollover: RolloverId,
) -> Result<Vec<Acceptor>, StoreError> {
    let now = replicas::now(pool).await?;
    let rows: Vec<AcceptorRow> =
        sqlx::query_as(ACCEPTORS).bind(rollover.to_string()).bind(now).fetch_all(pool).await?;
    rows.into_iter().map(Acceptor::try_from).collect()
}
