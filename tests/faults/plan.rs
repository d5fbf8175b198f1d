//! What is struck when: everything follows from one seed.
//!
//! A course is one rollover with its strikes, at most one a phase. Each phase of each
//! secret draws its faults from a deck of its own, so that every fault strikes every
//! phase before one strikes twice.

use std::{collections::HashMap, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    rollover::{Event, Phase},
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::fault::Fault;

/// How long a strike lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    /// The rollover moves on after the first time; the fault is over after the second.
    Over(Duration, Duration),
    /// The rollover moves on after this time, and comes to its end meanwhile.
    ToTheEnd(Duration),
}

/// One fault in one phase.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strike {
    pub(crate) fault: Fault,
    /// Which replica it strikes, if it strikes one.
    pub(crate) victim: usize,
    pub(crate) length: Length,
}

/// One rollover: the phases that it goes through, and the strikes in them.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) secret: Secret,
    /// Where the operator wants the old key back, if anywhere.
    pub(crate) back_from: Option<Phase>,
    pub(crate) legs: Vec<(Phase, Option<Strike>)>,
}

impl Course {
    /// One replica is stopped in the middle of the way to the end, and continued there.
    pub(crate) fn slept_through(secret: Secret) -> Self {
        let length = Length::ToTheEnd(Duration::from_millis(500));
        let strike = Strike { fault: Fault::Pause, victim: 1, length };
        let strikes = |phase| (phase == Phase::Staged).then_some(strike);
        let legs = path(None).into_iter().map(|phase| (phase, strikes(phase)));
        Self { secret, back_from: None, legs: legs.collect() }
    }
}

/// The event that leads on from an active phase, where nobody rolls back.
const fn onward(phase: Phase) -> Event {
    match phase {
        Phase::Requested => Event::Staged,
        Phase::Staged => Event::AllReplicasRead,
        Phase::Drained => Event::Retired,
        _ => Event::NothingLeft,
    }
}

/// The phase that a rollover which is held in `phase` must not reach.
pub(crate) fn beyond(phase: Phase) -> Option<Phase> {
    phase.is_active().then(|| phase.next(onward(phase)).unwrap())
}

/// The phases from the first to the last.
pub(crate) fn path(back_from: Option<Phase>) -> Vec<Phase> {
    let mut path = vec![Phase::Requested];
    while let Some(phase) = path.last().copied().filter(|phase| phase.is_active()) {
        let is_back = back_from == Some(phase);
        let event = if is_back { Event::RollBack } else { onward(phase) };
        path.push(phase.next(event).unwrap());
    }
    path
}

/// Every way through: to the end, and back from wherever the phases allow it.
pub(crate) fn ways() -> Vec<Option<Phase>> {
    let back = Phase::ALL.into_iter().filter(|phase| phase.next(Event::RollBack).is_ok());
    std::iter::once(None).chain(back.map(Some)).collect()
}

/// The two secrets of which each is rolled over.
pub(crate) const SECRETS: [Secret; 2] = [Secret::JwtSecret, Secret::AppEncryptionKey];

/// Deals out courses without end.
#[derive(Debug)]
pub(crate) struct Dealer {
    faults: &'static [Fault],
    replicas: usize,
    lease: Duration,
    /// How long a strike lasts at most; only a pause must outlast the lease.
    longest: Duration,
    random: StdRng,
    decks: HashMap<(Secret, Phase), Vec<Fault>>,
    ways: Vec<(Secret, Option<Phase>)>,
}

impl Dealer {
    pub(crate) fn new(
        seed: u64,
        faults: &'static [Fault],
        replicas: usize,
        lease: Duration,
    ) -> Self {
        let random = StdRng::seed_from_u64(seed);
        let (decks, ways, longest) = (HashMap::new(), Vec::new(), Duration::MAX);
        Self { faults, replicas, lease, longest, random, decks, ways }
    }

    /// Strikes that last no longer than this, where there is little time.
    pub(crate) const fn briefly(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// The next course, by any way.
    pub(crate) fn deal(&mut self) -> Course {
        if self.ways.is_empty() {
            self.ways =
                SECRETS.into_iter().flat_map(|s| ways().into_iter().map(move |w| (s, w))).collect();
            self.ways.shuffle(&mut self.random);
        }
        let (secret, back_from) = self.ways.pop().expect("dealt anew");
        let mut course = Course { secret, back_from, legs: Vec::new() };
        for phase in path(back_from) {
            let fault = self.draw(secret, phase);
            let strike = self.strike(fault, phase.is_active());
            course.legs.push((phase, Some(strike)));
            if matches!(strike.length, Length::ToTheEnd(_)) {
                break;
            }
        }
        self.complete(course)
    }

    /// One course by this way, each phase struck by the next of `faults`.
    pub(crate) fn course(
        &mut self,
        secret: Secret,
        back_from: Option<Phase>,
        faults: &mut impl Iterator<Item = Fault>,
    ) -> Course {
        let legs = path(back_from).into_iter();
        let legs = legs.map(|phase| (phase, faults.next().map(|fault| self.strike(fault, false))));
        Course { secret, back_from, legs: legs.collect() }
    }

    /// All faults, in this seed's order.
    pub(crate) fn shuffled(&mut self) -> Vec<Fault> {
        let mut faults = self.faults.to_vec();
        faults.shuffle(&mut self.random);
        faults
    }

    /// Adds the phases that are passed while the last strike goes on.
    fn complete(&self, mut course: Course) -> Course {
        let rest = path(course.back_from).into_iter().skip(course.legs.len());
        course.legs.extend(rest.map(|phase| (phase, None)));
        course
    }

    fn draw(&mut self, secret: Secret, phase: Phase) -> Fault {
        let deck = self.decks.entry((secret, phase)).or_default();
        if deck.is_empty() {
            deck.extend(self.faults);
            deck.shuffle(&mut self.random);
        }
        deck.pop().expect("filled anew")
    }

    fn strike(&mut self, fault: Fault, may_last: bool) -> Strike {
        let mut length = fault.length(self.lease, &mut self.random);
        if fault != Fault::Pause {
            length = length.min(self.longest);
        }
        let until = length.mul_f64(self.random.random_range(0.0..1.2)).min(length);
        let lasts = may_last && fault.can_last() && self.random.random_bool(0.2);
        Strike {
            fault,
            victim: self.random.random_range(0..self.replicas),
            length: if lasts { Length::ToTheEnd(until) } else { Length::Over(until, length) },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn dealer(seed: u64) -> Dealer {
        Dealer::new(seed, &Fault::ALL, 3, Duration::from_secs(3))
    }

    #[test]
    fn a_seed_says_everything() {
        let courses = |seed| {
            let mut dealer = dealer(seed);
            (0..20).map(|_| format!("{:?}", dealer.deal())).collect::<Vec<_>>()
        };
        assert_eq!(courses(7), courses(7));
        assert_ne!(courses(7), courses(8));
    }

    #[test]
    fn every_way_ends_and_every_phase_of_a_rollover_is_on_one() {
        let passed: HashSet<_> = ways().into_iter().flat_map(path).collect();
        let unreached = [Phase::Destroyed, Phase::Refused, Phase::Rehearsed];
        for phase in Phase::ALL {
            assert_eq!(passed.contains(&phase), !unreached.contains(&phase), "{phase}");
        }
    }

    #[test]
    fn every_fault_strikes_every_phase_of_both_secrets() {
        let mut dealer = dealer(1);
        let mut struck = HashSet::new();
        for _ in 0..400 {
            let Course { secret, legs, .. } = dealer.deal();
            struck.extend(
                legs.into_iter().filter_map(|(phase, strike)| {
                    strike.map(|strike| (secret, phase, strike.fault))
                }),
            );
        }
        let phases: HashSet<_> = ways().into_iter().flat_map(path).collect();
        assert_eq!(struck.len(), SECRETS.len() * phases.len() * Fault::ALL.len());
    }
}
