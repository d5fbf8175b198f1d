//! What operators see: secrets with their keys, rollovers with their progress.
//! Fingerprints, never keys.

use serde::Serialize;

use super::{Operator, Refusal};
use crate::{
    catalog::{Class, Entry, Secret},
    clock::Timestamp,
    ids::{KeyId, RolloverId},
    keyring::{KeyState, SEAL_LIMIT},
    material::Fingerprint,
    rollover::Rollover,
    schedule::Due,
    store::{ColumnCensus, KeyRecord, PassProgress, custody::root_of},
    worker::{primary, rewrap::aims},
};

/// One key, as people may see it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyView {
    /// Its public name.
    pub id: KeyId,
    /// Its name in every output.
    pub fingerprint: Fingerprint,
    /// Where it stands.
    pub state: KeyState,
    /// Where it came from.
    pub origin: String,
    /// The root key that it is sealed under, until it is destroyed.
    pub root_key: Option<Fingerprint>,
    /// When it entered custody.
    pub created_at: String,
    /// When it first became primary: its age counts from then.
    pub promoted_at: Option<String>,
    /// When it was last retired.
    pub retired_at: Option<String>,
    /// Since when it counts as compromised, if it does.
    pub compromised_at: Option<String>,
    /// How often it has sealed, as far as replicas have reported.
    pub seals: u64,
    /// The share of its budget that this is.
    pub seal_budget_used: f64,
    /// The longest lifetime that it has signed, in seconds.
    pub longest_lifetime_seconds: u64,
    /// How often others have presented it, as far as replicas have reported.
    pub presented: u64,
    /// When it was last presented.
    pub presented_at: Option<String>,
}

impl From<&KeyRecord> for KeyView {
    fn from(key: &KeyRecord) -> Self {
        Self {
            id: key.id.clone(),
            fingerprint: key.fingerprint,
            state: key.state,
            origin: key.origin.to_string(),
            root_key: key.sealed.as_deref().and_then(root_of),
            created_at: key.created_at.to_string(),
            promoted_at: key.promoted_at.map(|at| at.to_string()),
            retired_at: key.retired_at.map(|at| at.to_string()),
            compromised_at: key.compromised_at.map(|at| at.to_string()),
            seals: key.seals,
            seal_budget_used: key.seals as f64 / SEAL_LIMIT as f64,
            longest_lifetime_seconds: key.longest_lifetime.as_secs(),
            presented: key.presented,
            presented_at: key.presented_at.map(|at| at.to_string()),
        }
    }
}

/// One secret of the catalog, with its keys.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretView {
    /// Its name.
    pub secret: Secret,
    /// What it does.
    pub class: Class,
    /// What it protects.
    pub protects: &'static str,
    /// How long one key should serve, in days.
    pub interval_days: u64,
    /// How old its primary key is, in days.
    pub age_days: Option<f64>,
    /// When its primary key should be rolled over.
    pub due_at: Option<String>,
    /// How that stands to the present time.
    pub due: Option<Due>,
    /// Whether an operator has set the interval.
    pub interval_is_set: bool,
    /// What a graceful rollover disturbs.
    pub graceful_disruption: &'static str,
    /// What a hard rollover breaks.
    pub hard_disruption: &'static str,
    /// What retiring the old key waits for.
    pub drains_when: &'static str,
    /// What an operator does elsewhere, in order.
    pub elsewhere: &'static [&'static str],
    /// The rollover in progress, if there is one.
    pub rollover: Option<RolloverId>,
    /// Its keys, the likeliest first.
    pub keys: Vec<KeyView>,
}

impl SecretView {
    /// For how many days it has been due; less than none before that.
    pub(super) fn overdue_days(&self) -> f64 {
        self.age_days.unwrap_or_default() - self.interval_days as f64
    }
}

/// A rollover with how far it is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloverView {
    /// The rollover itself.
    #[serde(flatten)]
    pub rollover: Rollover,
    /// How far its bulk pass is.
    pub progress: Option<Progress>,
}

/// How far a bulk pass is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The counts of the pass.
    #[serde(flatten)]
    pub pass: PassProgress,
    /// Rows a second since the pass began.
    pub rows_per_second: f64,
}

impl Operator {
    /// Every secret of the catalog.
    ///
    /// # Errors
    /// [`Refusal`] when the store does not answer.
    pub async fn secrets(&self) -> Result<Vec<SecretView>, Refusal> {
        let replica = self.worker.replica();
        let custody = replica.store().custody().await?;
        let active = replica.store().active_rollovers().await?;
        let schedule = self.schedule().await?;
        let now = replica.clock().now();
        Ok(Secret::all()
            .map(|secret| {
                let Entry { class, protects, .. } = *secret.entry();
                let interval = schedule.interval(secret);
                let since =
                    primary(&custody, secret).map(|key| key.promoted_at.unwrap_or(key.created_at));
                let days = |at: Timestamp| now.since(at).as_secs_f64() / 86_400.0;
                SecretView {
                    secret,
                    class,
                    protects,
                    interval_days: interval.as_secs() / 86_400,
                    age_days: since.map(days),
                    due_at: since.map(|at| at.plus(interval).to_string()),
                    due: since.map(|at| Due::of(at, interval, now)),
                    interval_is_set: schedule.is_set(secret),
                    graceful_disruption: secret.entry().graceful_disruption,
                    hard_disruption: secret.entry().hard_disruption,
                    drains_when: secret.entry().drains_when,
                    elsewhere: secret.entry().elsewhere,
                    rollover: active.iter().find(|r| r.secret == secret).map(|r| r.id),
                    keys: custody
                        .keys
                        .iter()
                        .filter(|key| key.secret == secret)
                        .map(KeyView::from)
                        .collect(),
                }
            })
            .collect())
    }

    /// One rollover with how far it is, and who may still accept the key that it retired.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] when there is none of this id.
    pub async fn inspect(&self, id: RolloverId) -> Result<RolloverView, Refusal> {
        let mut rollover = self.rollover(id).await?;
        let store = self.worker.replica().store();
        if let Some(awaited) = rollover.cut_off.as_mut().filter(|cut_off| cut_off.at.is_none()) {
            awaited.replicas = store.acceptors(id).await?;
        }
        let pass = match rollover.pass {
            0 => None,
            pass => store.pass(id, pass).await?,
        };
        let until = if rollover.phase.is_active() {
            self.worker.replica().clock().now()
        } else {
            rollover.updated_at
        };
        let progress = pass.map(|pass| {
            let seconds = until.since(pass.began_at).as_secs_f64().max(0.001);
            Progress { rows_per_second: pass.scanned as f64 / seconds, pass }
        });
        Ok(RolloverView { rollover, progress })
    }

    /// What every registered column holds, by form and key.
    ///
    /// # Errors
    /// [`Refusal`] when the store does not answer.
    pub async fn census(&self) -> Result<Census, Refusal> {
        let replica = self.worker.replica();
        let survey = replica.store().survey(self.worker.registry()).await?;
        let keys = replica.opening_keychain();
        let target = crate::envelope::Target::default();
        let (mut columns, mut values, mut stale) = (vec![], 0, 0);
        for table in &survey.tables {
            let finals = aims(table, &keys, target).unwrap_or_default();
            for (index, column) in replica.store().census(table).await?.into_iter().enumerate() {
                for (form, count) in &column.values {
                    let is_final = finals.get(index).is_some_and(|aim| {
                        aim.prefixes.iter().any(|prefix| prefix.trim_end_matches(':') == form)
                    });
                    values += count;
                    stale += if is_final { 0 } else { *count };
                }
                columns.push(column);
            }
        }
        Ok(Census {
            columns,
            values,
            stale,
            quarantined: replica.store().quarantined(1000).await?,
            faults: survey.faults.iter().map(ToString::to_string).collect(),
            unregistered: survey.unregistered,
        })
    }
}

/// What every registered column holds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Census {
    /// By column.
    pub columns: Vec<ColumnCensus>,
    /// Values in all.
    pub values: u64,
    /// Values that are not final under the primary key.
    pub stale: u64,
    /// Values that no key opens.
    pub quarantined: Vec<crate::store::Quarantined>,
    /// Registered columns that cannot be looked at, and tables that are not there.
    pub faults: Vec<String>,
    /// Columns that hold envelopes and are not registered.
    pub unregistered: Vec<String>,
}
