//! How long a provider is waited for, and what is asked again.

use std::time::Duration;

use rand::{RngExt, rng};

use super::ProviderError;

/// How long a provider is waited for, and how often it is asked.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until a connection is there.
    pub connect: Duration,
    /// Until an answer is there, whole; between two parts of one that is streamed.
    pub answer: Duration,
    /// How often a call is made that finds nobody, at most.
    pub tries: u32,
    /// Before the second time; twice as long before each further one, and up to as long
    /// again by chance.
    pub wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            answer: Duration::from_secs(10),
            tries: 3,
            wait: Duration::from_millis(200),
        }
    }
}

/// There was no answer in time.
pub(crate) fn in_vain() -> ProviderError {
    ProviderError::Unreachable("no answer in time".to_owned())
}

/// When a call that got no answer is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Never: whoever asks repeats it.
    Never,
    /// When it certainly had no effect: nobody was there, or it was turned away.
    WithoutEffect,
    /// Always: twice is as good as once.
    Always,
}

/// Why a call has no answer, and whether it may be made again.
pub(crate) struct Unanswered {
    pub(crate) told: ProviderError,
    /// Whether it certainly had none.
    pub(crate) had_no_effect: bool,
    /// How long the provider wants to be left alone.
    pub(crate) after: Option<Duration>,
}

impl Unanswered {
    /// None in time: who knows what it did.
    pub(crate) fn in_time() -> Self {
        Self::of(in_vain(), false)
    }

    pub(crate) const fn of(told: ProviderError, had_no_effect: bool) -> Self {
        Self { told, had_no_effect, after: None }
    }

    const fn allows(&self, again: Again) -> bool {
        match again {
            Again::Never => false,
            Again::WithoutEffect => self.had_no_effect,
            Again::Always => self.told.is_transient(),
        }
    }
}

impl Limits {
    /// The answer to a call that is made as often as `again` allows.
    pub(crate) async fn asked<T, F>(
        &self,
        again: Again,
        call: impl Fn() -> F,
    ) -> Result<T, ProviderError>
    where
        F: Future<Output = Result<T, Unanswered>>,
    {
        let mut wait = self.wait;
        for _ in 1..self.tries {
            match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) if !error.allows(again) => return Err(error.told),
                Err(Unanswered { told, after: Some(after), .. }) if after > self.answer => {
                    return Err(told);
                }
                Err(error) => {
                    let jitter = wait.mul_f64(rng().random());
                    tokio::time::sleep(error.after.unwrap_or(wait) + jitter).await;
                    wait *= 2;
                }
            }
        }
        call().await.map_err(|error| error.told)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    async fn calls(again: Again, had_no_effect: bool, after: Option<Duration>) -> u32 {
        let limits = Limits { wait: Duration::from_millis(1), ..Limits::default() };
        let calls = AtomicU32::new(0);
        let call = || {
            calls.fetch_add(1, Ordering::Relaxed);
            let told = ProviderError::Unreachable("nobody".to_owned());
            async move { Err::<(), _>(Unanswered { told, had_no_effect, after }) }
        };
        assert!(limits.asked(again, call).await.is_err());
        calls.into_inner()
    }

    #[tokio::test]
    async fn what_may_have_had_an_effect_is_asked_twice_only_where_twice_is_as_good() {
        assert_eq!(calls(Again::Never, true, None).await, 1);
        assert_eq!(calls(Again::WithoutEffect, false, None).await, 1);
        assert_eq!(calls(Again::WithoutEffect, true, None).await, 3);
        assert_eq!(calls(Again::Always, false, None).await, 3);
    }

    #[tokio::test]
    async fn who_wants_to_be_left_alone_for_long_is_not_waited_for() {
        let (soon, late) = (Duration::from_millis(1), Duration::from_secs(60));
        assert_eq!(calls(Again::Always, true, Some(soon)).await, 3);
        assert_eq!(calls(Again::Always, true, Some(late)).await, 1);
    }
}
