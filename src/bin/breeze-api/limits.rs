//! How often something may be tried: counted in Redis, for all processes together.
//!
//! 1. Without Redis, or while it is away, each process counts by itself: service is
//!    limited a little less, and never ends. An outage is told once, and so is its end.
//!    A Redis that hangs delays who finds it out, by a quarter of a second, and nobody
//!    else.
//! 2. A count is of one window of time, and begins anew with the next.
//! 3. What is counted is named by its SHA-256: Redis learns no address of anybody.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use breeze_rollover::{
    clock::Timestamp,
    problem::Problem,
    provider::{RedisAway, RedisConnections},
    token::Claims,
};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use sha2::{Digest, Sha256};

use crate::{data::RowId, state::App};

/// Failed logins of one account in a window, at most.
const FAILURES: u64 = 10;

/// Wrong one-time codes of one user in a window, at most.
const WRONG_CODES: u64 = 10;

/// The window of failed logins, and of wrong codes.
const LOGIN_WINDOW: Duration = Duration::from_secs(15 * 60);

/// The window of requests.
const MINUTE: Duration = Duration::from_secs(60);

/// How long a count may take before this process counts by itself.
const PATIENCE: Duration = Duration::from_millis(250);

/// Counts of a process without Redis, at most. Beyond them windows that are over go.
const MOST: usize = 100_000;

/// What is counted, and where.
#[derive(Debug)]
pub(crate) struct Limits {
    redis: Option<RedisConnections>,
    is_away: AtomicBool,
    own: Mutex<HashMap<String, (u64, Timestamp)>>,
    /// Of one caller in a minute.
    requests: Option<u64>,
}

impl Limits {
    /// Counts in `redis`, and lets each caller make `requests` a minute, if limited.
    pub(crate) fn new(redis: Option<RedisConnections>, requests: Option<u64>) -> Self {
        Self { redis, is_away: AtomicBool::new(false), own: Mutex::default(), requests }
    }

    /// Whether somebody may try to log in as `account`.
    pub(crate) async fn may_log_in(&self, account: &str, now: Timestamp) -> Result<(), Problem> {
        let failures = self.count(&login(account), 0, LOGIN_WINDOW, now).await;
        if failures < FAILURES {
            return Ok(());
        }
        Err(too_many(
            "login_throttled",
            "too many wrong logins of this account; wait, or have the password reset",
            left(LOGIN_WINDOW, now),
        ))
    }

    /// A login as `account` has failed.
    pub(crate) async fn login_failed(&self, account: &str, now: Timestamp) {
        self.count(&login(account), 1, LOGIN_WINDOW, now).await;
    }

    /// Whether somebody may try a one-time code of `user`. The try counts before it is
    /// judged, so that many at once are many.
    pub(crate) async fn may_try_code(&self, user: RowId, now: Timestamp) -> Result<(), Problem> {
        if self.count(&codes(user), 1, LOGIN_WINDOW, now).await <= WRONG_CODES {
            return Ok(());
        }
        let detail = "too many wrong codes of this user; wait, and check the device's clock";
        Err(too_many("mfa_throttled", detail, left(LOGIN_WINDOW, now)))
    }

    /// The code that was tried is right: it does not count.
    pub(crate) async fn code_was_right(&self, user: RowId, now: Timestamp) {
        self.count(&codes(user), -1, LOGIN_WINDOW, now).await;
    }

    /// How often `what` was counted in the present window, `more` times more now.
    async fn count(&self, what: &str, more: i64, window: Duration, now: Timestamp) -> u64 {
        let number = now.as_millis() / window.as_millis() as i64;
        let key = format!("breeze:limit:{what}:{number}");
        if let Some(redis) = &self.redis {
            match count_in(redis, &key, more, window).await {
                Ok(count) => {
                    if self.is_away.swap(false, Ordering::Relaxed) {
                        tracing::info!("limits are counted in Redis again");
                    }
                    return count;
                }
                Err(error) => {
                    if !self.is_away.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "Redis is away; this process counts limits by itself");
                    }
                }
            }
        }
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() >= MOST {
            own.retain(|_, (_, until)| *until > now);
        }
        let (count, _) = own.entry(key).or_insert((0, now.plus(window)));
        *count = count.saturating_add_signed(more);
        *count
    }
}

async fn count_in(
    redis: &RedisConnections,
    key: &str,
    more: i64,
    window: Duration,
) -> Result<u64, RedisAway> {
    let mut what = redis::pipe();
    let count = if more == 0 {
        let (count,): (Option<i64>,) = redis.ask(what.cmd("GET").arg(key), PATIENCE).await?;
        count.unwrap_or(0)
    } else {
        what.atomic().cmd("INCRBY").arg(key).arg(more);
        what.cmd("EXPIRE").arg(key).arg(window.as_secs()).ignore();
        let (count,): (i64,) = redis.ask(&what, PATIENCE).await?;
        count
    };
    // A try that is taken back in the next window than its own leaves less than nothing.
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Lets a caller make so many requests a minute, and no more.
pub(crate) async fn limit_requests(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if let Some(most) = app.limits.requests
        && let Some(claims) = request.extensions().get::<std::sync::Arc<Claims>>()
    {
        let now = app.clock.now();
        let made = app.limits.count(&named("requests", &claims.sub), 1, MINUTE, now).await;
        if made > most {
            let detail = "more requests than a minute allows; wait for the next one";
            return Err(too_many("rate_limited", detail, left(MINUTE, now)));
        }
    }
    Ok(next.run(request).await)
}

fn login(account: &str) -> String {
    named("login", &account.trim().to_lowercase())
}

fn codes(user: RowId) -> String {
    named("code", &user.to_string())
}

fn named(kind: &str, who: &str) -> String {
    let digest = Sha256::digest(who.as_bytes());
    let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{kind}:{name}")
}

/// How long the present window lasts still.
fn left(window: Duration, now: Timestamp) -> Duration {
    let window = window.as_millis() as i64;
    Duration::from_millis((window - now.as_millis().rem_euclid(window)) as u64)
}

fn too_many(code: &'static str, detail: &str, wait: Duration) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, code, "Too many requests", detail)
        .with_header(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_account_is_throttled_for_a_window_and_others_are_not() {
        let limits = Limits::new(None, None);
        let now = Timestamp::from_seconds(1_790_000_000);
        for _ in 0..FAILURES {
            assert_eq!(limits.may_log_in("a@example.com", now).await, Ok(()));
            limits.login_failed(" A@Example.com ", now).await;
        }
        let refused = limits.may_log_in("a@example.com", now).await.unwrap_err();
        assert!(serde_json::to_string(&refused).unwrap().contains("login_throttled"));
        assert_eq!(limits.may_log_in("b@example.com", now).await, Ok(()));
        let later = now.plus(LOGIN_WINDOW);
        assert_eq!(limits.may_log_in("a@example.com", later).await, Ok(()));
    }

    #[tokio::test]
    async fn tries_of_codes_count_before_they_are_judged_and_right_ones_do_not() {
        let limits = Limits::new(None, None);
        let (user, now) = (RowId::new(), Timestamp::from_seconds(1_790_000_000));
        for _ in 0..100 {
            assert_eq!(limits.may_try_code(user, now).await, Ok(()));
            limits.code_was_right(user, now).await;
        }
        for _ in 0..WRONG_CODES {
            assert_eq!(limits.may_try_code(user, now).await, Ok(()));
        }
        let refused = limits.may_try_code(user, now).await.unwrap_err();
        assert!(serde_json::to_string(&refused).unwrap().contains("mfa_throttled"));
        assert_eq!(limits.may_try_code(RowId::new(), now).await, Ok(()));
        assert_eq!(limits.may_try_code(user, now.plus(LOGIN_WINDOW)).await, Ok(()));
    }

    #[test]
    fn what_is_left_of_a_window_is_never_more_than_it() {
        let now = Timestamp::from_millis(1_790_000_000_123);
        assert!(left(MINUTE, now) <= MINUTE);
        assert_eq!(named("login", "a@example.com").len(), "login:".len() + 32);
    }
}
