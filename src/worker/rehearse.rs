//! The dry run: what a rollover would touch, for how long, and whom it would log out.
//! Nothing is written.

use std::{collections::BTreeMap, fmt, time::Instant};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    DriveError, Worker,
    observe::primary,
    rewrap::{RewrapError, rewrap_rows},
};
use crate::{
    catalog::{Class, Secret},
    column::Aim,
    envelope::Target,
    ids::KeyId,
    incident::Affected,
    rollover::{Mode, Reliance, Rollover},
    store::{TableShape, Window},
};

/// What only the application knows about the effect of a rollover.
#[async_trait]
pub trait Impact: fmt::Debug + Send + Sync + 'static {
    /// Sessions that tokens of today keep alive; `None` when it is not known.
    async fn live_sessions(&self) -> Option<u64>;

    /// Sessions, codes and keys that a hard rollover of `secret` makes invalid, by what
    /// they are called: what stands under `keys`, which are those that it ends. `None` when
    /// they cannot be counted now.
    async fn invalidates(&self, secret: Secret, _keys: &[KeyId]) -> Option<BTreeMap<String, u64>> {
        Some(match secret {
            Secret::JwtSecret => {
                BTreeMap::from([("sessions".to_owned(), self.live_sessions().await?)])
            }
            _ => BTreeMap::new(),
        })
    }

    /// Users who should be told when `secret` was exposed; `None` when they cannot be
    /// listed now.
    async fn affected(&self, _secret: Secret) -> Option<Vec<Affected>> {
        Some(vec![])
    }
}

/// Rows that the trial reads.
const TRIAL: u32 = 1000;

impl Worker {
    /// Sessions, codes and keys that a hard rollover of `secret` makes invalid now.
    ///
    /// # Errors
    /// [`DriveError`] when the store does not answer.
    pub(crate) async fn invalidates(
        &self,
        secret: Secret,
    ) -> Result<Option<BTreeMap<String, u64>>, DriveError> {
        Ok(match &self.impact {
            Some(impact) => impact.invalidates(secret, &self.accepted(secret).await?).await,
            None => Some(BTreeMap::new()),
        })
    }

    /// The keys of `secret` that are accepted.
    async fn accepted(&self, secret: Secret) -> Result<Vec<KeyId>, DriveError> {
        let keys = self.replica.store().custody().await?.keys.into_iter();
        let accepted = keys.filter(|key| key.secret == secret && key.state.accepts());
        Ok(accepted.map(|key| key.id).collect())
    }

    /// The report of a dry run.
    pub(super) async fn rehearse(&self, rollover: &Rollover) -> Result<Value, DriveError> {
        let entry = rollover.secret.entry();
        let disruption = match rollover.mode {
            Mode::Graceful => entry.graceful_disruption,
            Mode::Hard => entry.hard_disruption,
        };
        let mut report = json!({
            "secret": rollover.secret,
            "mode": rollover.mode,
            "fromKey": rollover.from_key,
            "disruption": disruption,
            "drainsWhen": entry.drains_when,
            "elsewhere": entry.elsewhere,
        });
        let found = match entry.class {
            Class::Signing => self.rehearse_signing(rollover).await?,
            Class::Sealing => self.rehearse_sealing(rollover.secret).await?,
            Class::Pepper | Class::Issued => self.rehearse_counted(rollover).await?,
            Class::Shared => json!({ "graceSeconds": self.grace(rollover.secret).as_secs() }),
            Class::Provider => json!({ "providerKnown": self.provider(rollover.secret).is_some() }),
        };
        if let (Value::Object(report), Value::Object(found)) = (&mut report, found) {
            report.extend(found);
        }
        if rollover.mode == Mode::Hard {
            report["invalidates"] = json!(self.invalidates(rollover.secret).await?);
        }
        Ok(report)
    }

    async fn rehearse_signing(&self, rollover: &Rollover) -> Result<Value, DriveError> {
        let custody = self.replica.store().custody().await?;
        let lifetime = primary(&custody, rollover.secret).map(|key| key.longest_lifetime);
        let sessions = match &self.impact {
            Some(impact) => impact.live_sessions().await,
            None => None,
        };
        let logged_out = match rollover.mode {
            Mode::Graceful => Some(0),
            Mode::Hard => sessions,
        };
        Ok(json!({
            "liveSessions": sessions,
            "sessionsLoggedOut": logged_out,
            "drainSeconds": lifetime.unwrap_or_default().as_secs(),
        }))
    }

    async fn rehearse_counted(&self, rollover: &Rollover) -> Result<Value, DriveError> {
        let needed = match &self.counting {
            Some(counting) => {
                let keys = self.accepted(rollover.secret).await?;
                counting.what_needs(rollover.secret, &keys).await?
            }
            None => Reliance::Uncounted,
        };
        Ok(match needed {
            Reliance::Uncounted => json!({ "rowsThatNeedTheOldKey": null }),
            Reliance::Counted { rows, unknown } => {
                let listed = self.listed_at(rollover.secret);
                json!({
                    "rowsThatNeedTheOldKey": rows,
                    "rowsThatDoNotTell": unknown,
                    "listedAt": listed,
                })
            }
        })
    }

    async fn rehearse_sealing(&self, secret: Secret) -> Result<Value, DriveError> {
        let store = self.replica.store();
        let survey = store.survey(&self.concerned(secret)).await?;
        let unregistered = store.survey(&self.registry).await?.unregistered;
        let (mut columns, mut values, mut rows) = (vec![], 0, 0);
        for table in &survey.tables {
            rows += store.approximate_rows(table).await?;
            for column in store.census(table).await? {
                values += column.values.values().sum::<u64>();
                columns.push(column);
            }
        }
        let rate = self.trial(&survey.tables).await?;
        Ok(json!({
            "columns": columns,
            "valuesToRewrap": values,
            "rowsApproximately": rows,
            "quarantined": store.quarantined(TRIAL).await?.len(),
            "unseen": survey.faults.iter().filter(|f| f.blocks()).map(ToString::to_string).collect::<Vec<_>>(),
            "unregistered": unregistered,
            "trialRowsPerSecond": rate,
            "secondsAtLeast": rate.map(|rate| rows as f64 / rate),
        }))
    }

    /// Reads one page of the largest table and rewraps it in memory: rows a
    /// second without the writing, so a bound on the speed of a real pass.
    async fn trial(&self, tables: &[TableShape]) -> Result<Option<f64>, DriveError> {
        let store = self.replica.store();
        let mut largest = None;
        for table in tables {
            let rows = store.approximate_rows(table).await?;
            if rows > 0 && largest.is_none_or(|(most, _)| rows > most) {
                largest = Some((rows, table));
            }
        }
        let Some((_, table)) = largest else { return Ok(None) };
        let began = Instant::now();
        // Final under no prefix: every row that holds something is read.
        let none = vec![Aim { prefixes: vec![] }; table.columns().len()];
        let rows = store.stale(table, &none, Window::default(), TRIAL).await?;
        let read = rows.len();
        let keys = self.replica.opening_keychain();
        let now = self.replica.clock().now();
        drop(rewrap_rows(table, rows, &keys, Target::default(), now).map_err(RewrapError::Seal)?);
        let seconds = began.elapsed().as_secs_f64();
        Ok((read > 0 && seconds > 0.0).then(|| read as f64 / seconds))
    }
}
