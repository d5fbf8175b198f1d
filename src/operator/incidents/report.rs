//! Makes the report of an incident from what the store holds.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::super::{Operator, Refusal};
use crate::{
    clock::Timestamp,
    incident::{Affected, CutOffOf, Incident, Progress, Report, Step, Told},
    rollover::{Phase, Rollover},
    store::AuditRecord,
};

/// Entries of the audit trail that a report shows of each kind, at most.
const MOST: u32 = 2000;

/// Rollovers that are looked through for later ones of the same secrets.
const ROLLOVERS: u32 = 1000;

impl Operator {
    /// Everything that is known of an incident.
    ///
    /// # Errors
    /// [`Refusal::NoIncident`].
    pub async fn incident_report(&self, id: Uuid) -> Result<Report, Refusal> {
        let incident = self.incident(id).await?;
        let store = self.worker.replica().store();
        let recent = store.rollovers(None, ROLLOVERS).await?;
        let (mut cut_offs, mut to_do, mut about) = (vec![], vec![], vec![id]);
        for step in &incident.steps {
            let view = match step.rollover() {
                Some(id) => Some(self.inspect(id).await?),
                None => None,
            };
            let later = later(&recent, &incident, step);
            about.extend(step.rollover().map(|id| id.0));
            about.extend(later.map(|rollover| rollover.id.0));
            to_do.extend(Report::to_do(step, view.as_ref().map(|view| &view.rollover), later));
            if let Some(view) = view
                && let Some(cut_off) = view.rollover.cut_off.clone()
            {
                let passes = self.worker.passes(&view.rollover).await?;
                let rows_rewrapped = passes.iter().map(|pass| pass.rewrapped).sum();
                cut_offs.push(CutOffOf { secret: step.secret, rows_rewrapped, cut_off });
            }
        }
        let now = self.now();
        // The exposure is over once its last key is cut off.
        let is_open = incident.is_open() || cut_offs.iter().any(|of| of.cut_off.at.is_none());
        let last = cut_offs.iter().filter_map(|of| of.cut_off.at).max();
        let until = last.filter(|_| !is_open).or(incident.ended_at).unwrap_or(now);
        let exposure = incident.exposed_since..=until;
        let window = store.audit_between(exposure, None, MOST).await?;
        let timeline = store.audit_between(incident.opened_at..=now, Some(&about), MOST).await?;
        Ok(Report {
            as_of: now,
            window_until: until,
            window_goes_on: window.len() == MOST as usize,
            window: window.iter().map(told).collect(),
            timeline: timeline.iter().map(told).collect(),
            affected: self.affected(&incident).await,
            cut_offs,
            to_do,
            incident,
        })
    }

    /// Whom it concerns; `None` where they cannot be listed.
    async fn affected(&self, incident: &Incident) -> Option<Vec<Affected>> {
        let Some(impact) = self.worker.impact() else { return Some(vec![]) };
        let mut affected = BTreeSet::new();
        for step in incident.steps.iter().filter(|step| step.progress != Progress::Off) {
            affected.extend(impact.affected(step.secret).await?);
        }
        Some(affected.into_iter().collect())
    }
}

/// The newest rollover of the step's secret after it, by which a person did what was left.
fn later<'a>(recent: &'a [Rollover], incident: &Incident, step: &Step) -> Option<&'a Rollover> {
    let since: Timestamp = match (&step.progress, incident.confirmed_at) {
        (Progress::Done { at, .. }, _) => *at,
        (_, Some(at)) => at,
        (_, None) => incident.opened_at,
    };
    recent.iter().find(|rollover| {
        let is_real = !rollover.dry_run
            && !matches!(rollover.phase, Phase::Abandoned | Phase::Refused | Phase::RolledBack);
        rollover.secret == step.secret
            && is_real
            && rollover.created_at >= since
            && step.rollover() != Some(rollover.id)
    })
}

fn told(entry: &AuditRecord) -> Told {
    let who = match entry.actor_type.as_str() {
        "system" => "system".to_owned(),
        _ => entry.actor_email.clone().unwrap_or_else(|| entry.actor_id.to_string()),
    };
    let resource = entry.resource_name.clone();
    let resource = resource.or_else(|| entry.resource_id.map(|id| id.to_string()));
    Told {
        at: entry.timestamp,
        who,
        action: entry.action.clone(),
        what: format!("{} {}", entry.resource_type, resource.unwrap_or_default()),
        result: entry.result.clone(),
    }
}
