//! Keys are used only while the lease of their process runs.
//!
//! 1. A fence shuts at the moment in which the lease certainly lasts no longer, by a
//!    clock that goes on while the process is stopped ([`Uptime`]).
//! 2. A fence that is shut stays shut. A lease that is taken up again has a new fence,
//!    and keychains that were read after it; whoever still holds an older keychain
//!    stays behind the old one.
//! 3. What is checked once it is made was made in time, wherever in between the
//!    process was stopped. So is what keys have accepted, or refused: [`Fence::in_time`].
//!
//! Keys without a lease behind them (a command that reads the environment alone, an
//! app that builds its own keychain) are never fenced, and no clock is read for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::clock::Uptime;

/// Until when the keys of one or more keychains may be used. Clones are one fence.
#[derive(Debug, Clone, Default)]
pub struct Fence(Option<Arc<AtomicU64>>);

impl Fence {
    /// One that never shuts: there is no lease. It is the default.
    #[must_use]
    pub const fn never() -> Self {
        Self(None)
    }

    /// One that shuts at `end`, if nobody moves that on.
    #[must_use]
    pub fn at(end: Uptime) -> Self {
        Self(Some(Arc::new(AtomicU64::new(end.as_nanos()))))
    }

    /// Whether keys may be used now.
    ///
    /// # Errors
    /// [`Fenced`] from the end of the lease on.
    #[inline]
    pub fn check(&self) -> Result<(), Fenced> {
        match &self.0 {
            Some(end) if Uptime::now().as_nanos() >= end.load(Ordering::Acquire) => Err(Fenced),
            _ => Ok(()),
        }
    }

    /// What came of using keys, if it came in time. Checked afterwards: from the end of the
    /// lease on, a key that has accepted something may count as cut off, and one that was
    /// missing may be what others make things with. Who `accepts` while fenced lets the
    /// former pass, and never the latter.
    ///
    /// # Errors
    /// [`Fenced`] in the place of an outcome that came too late.
    #[inline]
    pub fn in_time<T, E: From<Fenced>>(
        &self,
        outcome: Result<T, E>,
        accepts: bool,
    ) -> Result<T, E> {
        if !(accepts && outcome.is_ok()) {
            self.check()?;
        }
        outcome
    }

    /// Moves the end on to `end`: the lease was renewed before it ran out. Never moves
    /// it back.
    ///
    /// # Errors
    /// [`Fenced`] when the fence is shut. It stays so.
    pub fn extend(&self, end: Uptime) -> Result<(), Fenced> {
        let Some(present) = &self.0 else { return Ok(()) };
        let now = Uptime::now().as_nanos();
        present
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |present| {
                (now < present).then(|| present.max(end.as_nanos()))
            })
            .map_or(Err(Fenced), |_| Ok(()))
    }

    /// Shuts it for ever: the lease is given back.
    pub fn shut(&self) {
        if let Some(end) = &self.0 {
            end.store(Uptime::ZERO.as_nanos(), Ordering::Release);
        }
    }

    /// How long it will stay open if nobody moves its end: zero once it is shut, and
    /// nothing to wait for where it never shuts.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let end = self.0.as_ref()?.load(Ordering::Acquire);
        Some(Uptime::from_nanos(end).since(Uptime::now()))
    }
}

/// The lease of this process has run out: nothing is made with its keys, and others
/// wait for it no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process has lost its lease, and uses no key until it has read the keys anew; try again, on another process if there is one"
)]
pub struct Fenced;

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_fence_shuts_at_its_end_and_stays_shut() {
        let end = Uptime::now().plus(Duration::from_millis(20));
        let fence = Fence::at(end);
        let shared = fence.clone();
        while shared.check().is_ok() {}
        assert!(Uptime::now() >= end);
        assert_eq!(fence.left(), Some(Duration::ZERO));
        assert_eq!(fence.extend(Uptime::now().plus(LONG)), Err(Fenced));
        assert_eq!(shared.check(), Err(Fenced));
    }

    #[test]
    fn a_renewal_in_time_moves_the_end_on_and_never_back() {
        let fence = Fence::at(Uptime::now().plus(LONG));
        assert_eq!(fence.extend(Uptime::now().plus(2 * LONG)), Ok(()));
        assert_eq!(fence.extend(Uptime::ZERO), Ok(()));
        assert!(fence.left() > Some(LONG));
    }

    #[test]
    fn what_keys_accept_too_late_may_pass_and_what_they_refuse_does_not() {
        #[derive(Debug, PartialEq)]
        enum Refusal {
            TooLate,
            UnknownKey,
        }
        use Refusal::{TooLate, UnknownKey};
        impl From<Fenced> for Refusal {
            fn from(_: Fenced) -> Self {
                TooLate
            }
        }
        let (open, shut) = (Fence::at(Uptime::now().plus(LONG)), Fence::at(Uptime::ZERO));
        for (fence, accepts, accepted, refused) in [
            (&open, false, Ok(()), Err(UnknownKey)),
            (&open, true, Ok(()), Err(UnknownKey)),
            (&shut, false, Err(TooLate), Err(TooLate)),
            (&shut, true, Ok(()), Err(TooLate)),
        ] {
            assert_eq!(fence.in_time(Ok(()), accepts), accepted);
            assert_eq!(fence.in_time(Err::<(), _>(UnknownKey), accepts), refused);
        }
    }

    #[test]
    fn a_lease_that_is_given_back_is_not_renewed() {
        let fence = Fence::at(Uptime::now().plus(LONG));
        fence.shut();
        assert_eq!(fence.check(), Err(Fenced));
        assert_eq!(fence.extend(Uptime::now().plus(LONG)), Err(Fenced));
    }

    #[test]
    fn without_a_lease_nothing_is_fenced() {
        let fence = Fence::default();
        fence.shut();
        assert_eq!(
            (fence.check(), fence.extend(Uptime::ZERO), fence.left()),
            (Ok(()), Ok(()), None)
        );
    }
}
