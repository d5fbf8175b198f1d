//! Who may still accept a key that was retired, by the server's clock.

use sqlx::PgConnection;

use super::{Pool, replicas};
use crate::{
    ids::{Epoch, RolloverId},
    rollover::Acceptor,
    store::{
        Acceptors, StoreError,
        refusal::Refusal,
        stored::{AcceptorRow, signed},
    },
};

/// Everyone who may accept it at $3. Whoever is not noted takes its lease up after this change,
/// as [`replicas`] shows.
const NOTE: &str = "
    INSERT INTO rollover.acceptor (rollover, replica, name, epoch)
    SELECT $1, id, name, $2 FROM rollover.replica
    WHERE lease_until > $3 OR accepts_while_fenced";

/// Served by the primary key.
const FORGET: &str = "DELETE FROM rollover.acceptor WHERE rollover = $1";

/// Each with whether its lease runs at $2. An older version acknowledges without leaving the
/// moment: it is now, at the latest. Served by the primary keys.
const ACCEPTORS: &str = "
    SELECT acceptor.replica::text, acceptor.name, acceptor.epoch,
           CASE WHEN acknowledged_at IS NULL AND settled >= acceptor.epoch
               THEN rollover.now_ms() ELSE acknowledged_at END AS acknowledged_at,
           left_at, coalesce(lease_until, $2) AS lease_until,
           coalesce(lease_until > $2, false) AS live,
           coalesce(accepts_while_fenced, false) AS accepts_while_fenced
    FROM rollover.acceptor
        LEFT JOIN rollover.replica ON replica.id = acceptor.replica
    WHERE acceptor.rollover = $1
    ORDER BY acceptor.replica";

pub(super) async fn change(
    transaction: &mut PgConnection,
    rollover: RolloverId,
    change: Acceptors,
    epoch: Epoch,
) -> Result<(), Refusal> {
    let statement = match change {
        Acceptors::Note => {
            let now = replicas::now(&mut *transaction).await?;
            sqlx::query(NOTE).bind(rollover.0).bind(signed(epoch.0)).bind(now)
        }
        Acceptors::Forget => sqlx::query(FORGET).bind(rollover.0),
    };
    statement.execute(transaction).await?;
    Ok(())
}

pub(super) async fn of(pool: &Pool, rollover: RolloverId) -> Result<Vec<Acceptor>, StoreError> {
    let now = replicas::now(pool).await?;
    let rows: Vec<AcceptorRow> =
        sqlx::query_as(ACCEPTORS).bind(rollover.0).bind(now).fetch_all(pool).await?;
    rows.into_iter().map(Acceptor::try_from).collect()
}
