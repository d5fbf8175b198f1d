//! When each secret is due, from how long its key has served.
//!
//! 1. The interval is the catalog's, unless an operator has set another.
//! 2. A secret is due soon a margin before its time, and overdue a margin after it: 14
//!    days, or a quarter of the interval where that is less.
//! 3. Nothing is stored but the operator's intervals: all else follows from the keys.

mod window;

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

pub use window::{Window, WindowFault};

use crate::{
    catalog::{Class, Secret},
    clock::Timestamp,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How a secret stands to its schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Due {
    /// Its key may serve for a good while.
    Later,
    /// Its time comes within the margin.
    Soon,
    /// Its time has come.
    Now,
    /// Its time has passed by more than the margin.
    Overdue,
}

impl Due {
    /// Every one, in the order of time.
    pub const ALL: [Self; 4] = [Self::Later, Self::Soon, Self::Now, Self::Overdue];

    /// Its name in JSON and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Later => "later",
            Self::Soon => "soon",
            Self::Now => "now",
            Self::Overdue => "overdue",
        }
    }

    /// Of a key that has served since `since`, at `now`.
    #[must_use]
    pub fn of(since: Timestamp, interval: Duration, now: Timestamp) -> Self {
        let margin = (14 * DAY).min(interval / 4);
        let served = now.since(since);
        match () {
            () if served >= interval + margin => Self::Overdue,
            () if served >= interval => Self::Now,
            () if served + margin >= interval => Self::Soon,
            () => Self::Later,
        }
    }
}

/// How long one key of each secret should serve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    set: BTreeMap<Secret, Duration>,
}

impl Schedule {
    /// The fewest days that an operator may set.
    pub const MIN_DAYS: u32 = 1;
    /// The most days that an operator may set: ten years.
    pub const MAX_DAYS: u32 = 3650;

    /// The catalog's, but for what an operator has set.
    #[must_use]
    pub const fn with(set: BTreeMap<Secret, Duration>) -> Self {
        Self { set }
    }

    /// How long one key of `secret` should serve.
    #[must_use]
    pub fn interval(&self, secret: Secret) -> Duration {
        self.set.get(&secret).copied().unwrap_or(secret.entry().interval)
    }

    /// Whether an operator has set it.
    #[must_use]
    pub fn is_set(&self, secret: Secret) -> bool {
        self.set.contains_key(&secret)
    }
}

/// `days` as an interval, if an operator may set it.
#[must_use]
pub fn interval_of(days: u32) -> Option<Duration> {
    (Schedule::MIN_DAYS..=Schedule::MAX_DAYS).contains(&days).then(|| DAY * days)
}

/// Whether a rollover of `secret` needs nobody: its value is made here, nobody outside has
/// to be told, and it ends by itself.
#[must_use]
pub fn rolls_by_itself(secret: Secret) -> bool {
    let entry = secret.entry();
    let is_made_here = matches!(entry.class, Class::Signing | Class::Sealing | Class::Pepper);
    is_made_here && entry.elsewhere.is_empty() && !entry.waits_for_people
}

/// The command that rolls `secret` over when it is due. Its value is in a file where a
/// person has to make it.
#[must_use]
pub fn command(secret: Secret) -> String {
    let entry = secret.entry();
    let is_made_elsewhere = entry.class == Class::Provider || !entry.elsewhere.is_empty();
    let value = if is_made_elsewhere { " --value-file FILE" } else { "" };
    format!("breeze-api rollover {secret} --mode graceful --reason 'it is due'{value} --wait")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_due_soon_then_due_then_overdue() {
        let since = Timestamp::from_seconds(1_790_000_000);
        let after = |days: u32| Due::of(since, 90 * DAY, since.plus(DAY * days));
        let told = [0, 75, 76, 89, 90, 103, 104, 1000].map(after);
        use Due::{Later, Now, Overdue, Soon};
        assert_eq!(told, [Later, Later, Soon, Soon, Now, Now, Overdue, Overdue]);
        // A short interval has a short margin.
        assert_eq!(Due::of(since, 4 * DAY, since.plus(2 * DAY)), Later);
        assert_eq!(Due::of(since, 4 * DAY, since.plus(3 * DAY)), Soon);
        assert_eq!(Due::of(since, 4 * DAY, since.plus(5 * DAY)), Overdue);
    }

    #[test]
    fn what_others_must_be_given_is_no_process_s_to_make() {
        let by_itself: Vec<_> = Secret::all().filter(|secret| rolls_by_itself(*secret)).collect();
        assert!(by_itself.contains(&Secret::JwtSecret));
        for secret in Secret::all() {
            let asks_for_a_value = command(secret).contains(" --value-file FILE ");
            assert!(!asks_for_a_value || !by_itself.contains(&secret), "{secret}");
            let class = secret.entry().class;
            let is_others = matches!(class, Class::Shared | Class::Provider);
            assert_eq!(asks_for_a_value, is_others, "{secret}");
        }
    }

    #[test]
    fn an_operator_may_set_days_within_bounds() {
        assert_eq!(interval_of(0), None);
        assert_eq!(interval_of(3651), None);
        let set = BTreeMap::from([(Secret::JwtSecret, interval_of(30).unwrap())]);
        let schedule = Schedule::with(set);
        assert_eq!(schedule.interval(Secret::JwtSecret), 30 * DAY);
        assert_eq!(schedule.interval(Secret::SessionSecret), 90 * DAY);
    }
}
