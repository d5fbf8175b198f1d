//! The daily look at the schedule, and rollovers that begin by themselves.
//!
//! 1. Once a day (UTC), whatever number of replicas: one audit entry of what is due.
//! 2. What is due is told by [`Notify`], if there is one: at most once a day, also when
//!    the process that tells it dies. That it was told, or was not and why, is an entry.
//!    What could not be told is due the next day still.
//! 3. By itself, only what needs nobody is rolled over, gracefully, one at a time, within
//!    a window, and not while something ails; what could not begin is tried again the
//!    next day. A credential that is only to be revoked yet by somebody outside is in the
//!    way of none.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;

use super::{Operator, Refusal, Request, SecretView};
use crate::{
    catalog::Secret,
    clock::Timestamp,
    envelope::Target,
    keyring::KeychainHandle,
    rollover::{Mode, Rollover},
    schedule::{Due, Window, command, rolls_by_itself},
    store::{Actor, AuditEntry, Claim, Outcome},
    worker::{Chore, DriveError, Worker},
};

/// What is told to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// One line.
    pub subject: String,
    /// Some lines.
    pub body: String,
}

/// Tells people: by mail, or otherwise.
#[async_trait]
pub trait Notify: fmt::Debug + Send + Sync + 'static {
    /// Tells them, with what credentials `keychain` has.
    ///
    /// # Errors
    /// [`NotifyError`]; it is not tried again before the next day.
    async fn tell(&self, notice: &Notice, keychain: &KeychainHandle) -> Result<(), NotifyError>;
}

/// People could not be told. Holds no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("people could not be told: {0}")]
pub struct NotifyError(pub String);

/// How long whoever does a day's job has it to itself.
const LEASE: Duration = Duration::from_secs(120);

const MINUTE: Duration = Duration::from_secs(60);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The daily look at the schedule.
#[derive(Debug)]
pub struct Review {
    notify: Option<Arc<dyn Notify>>,
    /// The last day that is known to be done.
    done: AtomicI64,
}

impl Review {
    /// Told to `notify`, if there is somebody.
    #[must_use]
    pub fn telling(notify: Option<Arc<dyn Notify>>) -> Self {
        Self { notify, done: AtomicI64::new(i64::MIN) }
    }

    async fn look(&self, operator: &Operator, day: i64) -> Result<bool, Refusal> {
        let replica = operator.worker().replica();
        let store = replica.store();
        match store.claim("review", day, LEASE).await? {
            Claim::Busy => return Ok(false),
            Claim::Done => return Ok(true),
            Claim::Taken => {}
        }
        let secrets = operator.secrets().await?;
        let names = |due| named(&secrets, due);
        let details = json!({
            "overdue": names(Due::Overdue),
            "now": names(Due::Now),
            "soon": names(Due::Soon),
        });
        let at = replica.clock().now();
        store.finish("review", day, at, &entry(at, "schedule.review", None, details)).await?;
        Ok(true)
    }

    async fn tell(&self, operator: &Operator, day: i64) -> Result<bool, Refusal> {
        let Some(notify) = &self.notify else { return Ok(true) };
        let replica = operator.worker().replica();
        let store = replica.store();
        let secrets = operator.secrets().await?;
        // For the whole day: when this process dies, nobody knows whether it has told.
        if store.claim("notice", day, DAY).await? != Claim::Taken {
            return Ok(true);
        }
        let told = match notice(&secrets) {
            None => Ok(false),
            Some(notice) => notify.tell(&notice, &replica.keychain()).await.map(|()| true),
        };
        let (outcome, details) = match told {
            Ok(told) => (Outcome::Success, json!({ "told": told })),
            Err(error) => {
                tracing::warn!(%error, "what is due was not told; the next day it is tried again");
                (Outcome::Failure, json!({ "told": false, "why": error.to_string() }))
            }
        };
        let at = replica.clock().now();
        let entry = AuditEntry { outcome, ..entry(at, "schedule.notice", None, details) };
        store.finish("notice", day, at, &entry).await?;
        Ok(true)
    }
}

#[async_trait]
impl Chore for Review {
    fn name(&self) -> &'static str {
        "review"
    }

    fn every(&self) -> Duration {
        MINUTE
    }

    async fn is_due(&self, worker: &Worker) -> Result<bool, DriveError> {
        Ok(self.done.load(Ordering::Relaxed) != today(worker))
    }

    async fn run(&self, worker: &Worker) -> Result<(), DriveError> {
        let (operator, day) = (Operator::new(worker.clone(), Duration::ZERO), today(worker));
        let is_done = self.look(&operator, day).await.map_err(driving)?
            & self.tell(&operator, day).await.map_err(driving)?;
        if is_done {
            self.done.store(day, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Begins rollovers by itself.
#[derive(Debug)]
pub struct Automatic {
    window: Window,
}

impl Automatic {
    /// Within `window`.
    #[must_use]
    pub const fn within(window: Window) -> Self {
        Self { window }
    }

    async fn begin(&self, operator: &Operator, day: i64) -> Result<(), Refusal> {
        let store = operator.worker().replica().store();
        let active = store.active_rollovers().await?;
        if !active.iter().all(Rollover::awaits_revocation) {
            return Ok(());
        }
        for secret in due_by_itself(&operator.secrets().await?) {
            let job = format!("automatic {secret}");
            if store.claim(&job, day, LEASE).await? != Claim::Taken {
                continue;
            }
            let begun = operator.begin(request(secret, !active.is_empty()), Actor::System).await;
            let (outcome, details) = match &begun {
                // Another one was first: this one has its turn when it is over.
                Err(Refusal::Busy(_) | Refusal::Drive(_)) => return begun.map(drop),
                Ok(rollover) => (Outcome::Success, json!({ "rollover": rollover.id })),
                Err(refusal) => (Outcome::Failure, json!({ "refused": refusal.to_string() })),
            };
            let at = operator.worker().replica().clock().now();
            let entry =
                AuditEntry { outcome, ..entry(at, "schedule.begin", Some(secret), details) };
            store.finish(&job, day, at, &entry).await?;
            if begun.is_ok() {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Chore for Automatic {
    fn name(&self) -> &'static str {
        "automatic"
    }

    fn every(&self) -> Duration {
        MINUTE
    }

    async fn is_due(&self, worker: &Worker) -> Result<bool, DriveError> {
        Ok(self.window.covers(worker.replica().clock().now()))
    }

    async fn run(&self, worker: &Worker) -> Result<(), DriveError> {
        // The task may have waited until after the window.
        if !self.is_due(worker).await? {
            return Ok(());
        }
        let operator = Operator::new(worker.clone(), Duration::ZERO);
        match self.begin(&operator, today(worker)).await {
            Err(Refusal::Busy(_)) => Ok(()),
            other => other.map_err(driving),
        }
    }
}

fn today(worker: &Worker) -> i64 {
    worker.replica().clock().now().as_seconds().div_euclid(24 * 60 * 60)
}

/// A store that does not answer; nothing else is refused to the process itself.
pub(super) fn driving(refusal: Refusal) -> DriveError {
    match refusal {
        Refusal::Drive(error) => error,
        other => DriveError::Chore(other.to_string()),
    }
}

fn request(secret: Secret, alongside: bool) -> Request {
    Request {
        secret,
        mode: Mode::Graceful,
        reason: "it is due, and begins by itself".to_owned(),
        dry_run: false,
        value: None,
        target: Target::default(),
        max_rows_per_second: None,
        alongside,
        supersede: None,
        force: BTreeSet::new(),
    }
}

/// What may be rolled over by itself and is due, the longest overdue first.
fn due_by_itself(secrets: &[SecretView]) -> Vec<Secret> {
    let mut due: Vec<_> = secrets
        .iter()
        .filter(|view| rolls_by_itself(view.secret) && view.due >= Some(Due::Now))
        .collect();
    due.sort_by(|a, b| b.overdue_days().total_cmp(&a.overdue_days()));
    due.into_iter().map(|view| view.secret).collect()
}

fn named(secrets: &[SecretView], due: Due) -> Vec<&'static str> {
    let due = secrets.iter().filter(|view| view.due == Some(due));
    due.map(|view| view.secret.name()).collect()
}

/// What is due, for people; `None` when nothing is.
fn notice(secrets: &[SecretView]) -> Option<Notice> {
    let told = [Due::Overdue, Due::Now, Due::Soon];
    let counts = told.map(|due| named(secrets, due).len());
    if counts.iter().all(|count| *count == 0) {
        return None;
    }
    let [overdue, now, soon] = counts;
    let line = |view: &SecretView| {
        let (when, is) =
            (view.due_at.as_deref().unwrap_or_default(), view.due.unwrap_or(Due::Soon));
        let when = if is == Due::Soon { format!("at {when}") } else { format!("since {when}") };
        let steps = view.secret.entry().elsewhere.iter().map(|step| format!("\n    ({step})"));
        let steps: String = steps.collect();
        format!("{}: {}, {when}\n    {}{steps}", is.as_str(), view.secret, command(view.secret))
    };
    let mut due: Vec<_> = secrets.iter().filter(|view| view.due > Some(Due::Later)).collect();
    due.sort_by_key(|view| std::cmp::Reverse(view.due));
    Some(Notice {
        subject: format!("Secrets due: {overdue} overdue, {now} now, {soon} soon"),
        body: due.into_iter().map(line).collect::<Vec<_>>().join("\n\n"),
    })
}

fn entry(
    at: Timestamp,
    action: &str,
    secret: Option<Secret>,
    details: serde_json::Value,
) -> AuditEntry {
    AuditEntry {
        at,
        actor: Actor::System,
        action: action.to_owned(),
        resource_type: "schedule",
        resource_id: None,
        resource_name: secret.map(|secret| secret.name().to_owned()),
        details,
        outcome: Outcome::Success,
    }
}
