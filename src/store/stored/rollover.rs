//! A rollover.

use sqlx::FromRow;

use super::{corrupt, from_json, parsed, signed, small, to_json, unsigned};
use crate::{
    catalog::Secret,
    clock::Timestamp,
    envelope::Target,
    rollover::{Mode, Phase, Rollover},
    store::StoreError,
};

/// The slot of a rollover that runs beside no other.
pub(crate) const SLOT_OF_ALL: &str = "all";

/// A row of the rollover table.
#[derive(Debug, FromRow)]
pub(crate) struct RolloverRow {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) mode: String,
    pub(crate) dry_run: bool,
    pub(crate) phase: String,
    pub(crate) revision: i64,
    pub(crate) paused_at: Option<i64>,
    pub(crate) reason: String,
    pub(crate) requested_by: String,
    pub(crate) from_key: String,
    pub(crate) to_key: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) settled_at: Option<i64>,
    pub(crate) target: String,
    pub(crate) pass: i64,
    pub(crate) max_rows_per_second: Option<i64>,
    pub(crate) blocked_by: Option<String>,
    pub(crate) accept_quarantined: bool,
    pub(crate) accept_loss: bool,
    pub(crate) probed_at: Option<i64>,
    pub(crate) ask_at: Option<i64>,
    pub(crate) asked_by: Option<String>,
    pub(crate) revoking_at: Option<i64>,
    pub(crate) revoked_at: Option<i64>,
    pub(crate) report: Option<String>,
    pub(crate) cut_off: Option<String>,
}

impl RolloverRow {
    /// The rollover, unless it is of a kind that only a newer version knows.
    pub(crate) fn known(self) -> Option<Result<Rollover, StoreError>> {
        self.is_known().then(|| self.try_into())
    }

    /// Of a secret, mode, phase and target that this version knows.
    fn is_known(&self) -> bool {
        self.secret.parse::<Secret>().is_ok()
            && self.mode.parse::<Mode>().is_ok()
            && self.phase.parse::<Phase>().is_ok()
            && target(&self.target).is_some()
    }
}

impl TryFrom<RolloverRow> for Rollover {
    type Error = StoreError;

    fn try_from(row: RolloverRow) -> Result<Self, StoreError> {
        const TABLE: &str = "rollover";
        if !row.is_known() {
            return Err(StoreError::Newer(parsed(TABLE, "id", &row.id)?));
        }
        Ok(Self {
            id: parsed(TABLE, "id", &row.id)?,
            secret: parsed(TABLE, "secret", &row.secret)?,
            mode: parsed(TABLE, "mode", &row.mode)?,
            dry_run: row.dry_run,
            phase: parsed(TABLE, "phase", &row.phase)?,
            revision: unsigned(TABLE, "revision", row.revision)?,
            paused_at: row.paused_at.map(Timestamp::from_millis),
            reason: row.reason,
            requested_by: row.requested_by,
            from_key: parsed(TABLE, "from_key", &row.from_key)?,
            to_key: row.to_key.map(|id| parsed(TABLE, "to_key", &id)).transpose()?,
            created_at: Timestamp::from_millis(row.created_at),
            updated_at: Timestamp::from_millis(row.updated_at),
            settled_at: row.settled_at.map(Timestamp::from_millis),
            target: target(&row.target).ok_or_else(|| corrupt(TABLE, "target"))?,
            pass: small(TABLE, "pass", row.pass)?,
            max_rows_per_second: row
                .max_rows_per_second
                .map(|rows| small(TABLE, "max_rows_per_second", rows))
                .transpose()?,
            blocked_by: row.blocked_by,
            accept_quarantined: row.accept_quarantined,
            accept_loss: row.accept_loss,
            probed_at: row.probed_at.map(Timestamp::from_millis),
            ask_at: row.ask_at.map(Timestamp::from_millis),
            asked_by: row.asked_by.map(|id| parsed(TABLE, "asked_by", &id)).transpose()?,
            revoking_at: row.revoking_at.map(Timestamp::from_millis),
            revoked_at: row.revoked_at.map(Timestamp::from_millis),
            report: row.report.map(|json| from_json(TABLE, "report", &json)).transpose()?,
            cut_off: row.cut_off.map(|json| from_json(TABLE, "cut_off", &json)).transpose()?,
        })
    }
}

impl From<&Rollover> for RolloverRow {
    fn from(rollover: &Rollover) -> Self {
        Self {
            id: rollover.id.to_string(),
            secret: rollover.secret.name().to_owned(),
            mode: rollover.mode.as_str().to_owned(),
            dry_run: rollover.dry_run,
            phase: rollover.phase.as_str().to_owned(),
            revision: signed(rollover.revision),
            paused_at: rollover.paused_at.map(Timestamp::as_millis),
            reason: rollover.reason.clone(),
            requested_by: rollover.requested_by.clone(),
            from_key: rollover.from_key.to_string(),
            to_key: rollover.to_key.as_ref().map(ToString::to_string),
            created_at: rollover.created_at.as_millis(),
            updated_at: rollover.updated_at.as_millis(),
            settled_at: rollover.settled_at.map(Timestamp::as_millis),
            target: target_name(rollover.target).to_owned(),
            pass: rollover.pass.into(),
            max_rows_per_second: rollover.max_rows_per_second.map(Into::into),
            blocked_by: rollover.blocked_by.clone(),
            accept_quarantined: rollover.accept_quarantined,
            accept_loss: rollover.accept_loss,
            probed_at: rollover.probed_at.map(Timestamp::as_millis),
            ask_at: rollover.ask_at.map(Timestamp::as_millis),
            asked_by: rollover.asked_by.map(|id| id.to_string()),
            revoking_at: rollover.revoking_at.map(Timestamp::as_millis),
            revoked_at: rollover.revoked_at.map(Timestamp::as_millis),
            report: rollover.report.as_ref().map(ToString::to_string),
            cut_off: rollover.cut_off.as_ref().map(to_json),
        }
    }
}

const fn target_name(target: Target) -> &'static str {
    match target {
        Target::Bound => "bound",
        Target::Compatible => "compatible",
    }
}

fn target(name: &str) -> Option<Target> {
    [Target::Bound, Target::Compatible].into_iter().find(|&target| target_name(target) == name)
}
