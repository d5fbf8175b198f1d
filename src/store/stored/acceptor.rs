//! A replica that may still accept a retired key.

use sqlx::FromRow;

use super::{parsed, unsigned};
use crate::{
    clock::Timestamp,
    ids::Epoch,
    rollover::{Acceptance, Acceptor},
    store::StoreError,
};

/// A row of the acceptor table beside its replica's; `live` is the database's judgement.
#[derive(Debug, FromRow)]
pub(crate) struct AcceptorRow {
    replica: String,
    name: String,
    epoch: i64,
    acknowledged_at: Option<i64>,
    left_at: Option<i64>,
    lease_until: i64,
    live: bool,
    accepts_while_fenced: bool,
}

impl AcceptorRow {
    fn acceptance(&self) -> Acceptance {
        let lease_until = Timestamp::from_millis(self.lease_until);
        match (self.acknowledged_at, self.left_at) {
            (Some(at), _) => Acceptance::Acknowledged { at: Timestamp::from_millis(at) },
            (None, Some(at)) => Acceptance::Left { at: Timestamp::from_millis(at) },
            _ if self.live => Acceptance::LeaseRuns { until: lease_until },
            _ if self.accepts_while_fenced => Acceptance::AcceptsWhileFenced { since: lease_until },
            _ => Acceptance::LeaseRanOut { at: lease_until },
        }
    }
}

impl TryFrom<AcceptorRow> for Acceptor {
    type Error = StoreError;

    fn try_from(row: AcceptorRow) -> Result<Self, StoreError> {
        const TABLE: &str = "acceptor";
        Ok(Self {
            replica: parsed(TABLE, "replica", &row.replica)?,
            epoch: Epoch(unsigned(TABLE, "epoch", row.epoch)?),
            acceptance: row.acceptance(),
            name: row.name,
        })
    }
}
