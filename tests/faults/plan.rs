//! What is struck when: everything follows from one seed.
//!
//! A course is one rollover with its strikes, at most one a phase. Each phase of each
//! secret draws its faults from a deck of its own, and no deck is filled anew before all
//! are empty: every fault strikes every phase of both secrets before one strikes twice
//! anywhere, and no course is gone for nothing.

use std::{collections::HashMap, iter, time::Duration};

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
    iter::once(None).chain(back.map(Some)).collect()
}

/// The two secrets of which each is rolled over.
pub(crate) const SECRETS: [Secret; 2] = [Secret::JwtSecret, Secret::AppEncryptionKey];

/// Every phase that some way goes through, of both secrets.
fn places() -> impl Iterator<Item = (Secret, Phase)> {
    let is_passed = |phase: &Phase| ways().into_iter().any(|way| path(way).contains(phase));
    let phases: Vec<_> = Phase::ALL.into_iter().filter(is_passed).collect();
    SECRETS.into_iter().flat_map(move |secret| phases.clone().into_iter().map(move |p| (secret, p)))
}

/// A strike by its kind, as the figures name it.
pub(crate) fn kind(secret: Secret, phase: Phase, fault: Fault) -> String {
    format!("{secret} {phase} {fault:?}")
}

/// Every kind of strike that there is with these faults.
pub(crate) fn kinds(faults: &[Fault]) -> impl Iterator<Item = String> {
    places().flat_map(|(secret, phase)| faults.iter().map(move |fault| kind(secret, phase, *fault)))
}

/// Deals out courses without end.
#[derive(Debug)]
pub(crate) struct Dealer {
    faults: &'static [Fault],
    replicas: usize,
    lease: Duration,
    /// How long a strike lasts at most; only a pause must outlast the lease.
    longest: Duration,
    random: StdRng,
    /// What has still to strike there.
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

    /// The next course, by any way on which something has still to strike.
    pub(crate) fn deal(&mut self) -> Course {
        if self.decks.values().all(Vec::is_empty) {
            for place in places() {
                let deck = self.shuffled();
                self.decks.insert(place, deck);
            }
            self.ways.clear();
        }
        let (secret, back_from) = loop {
            let Some((secret, way)) = self.ways.pop() else {
                let each = |secret| ways().into_iter().map(move |way| (secret, way));
                self.ways = SECRETS.into_iter().flat_map(each).collect();
                self.ways.shuffle(&mut self.random);
                continue;
            };
            if self.is_awaited(secret, &path(way)) {
                break (secret, way);
            }
        };
        let mut course = Course { secret, back_from, legs: Vec::new() };
        let phases = path(back_from);
        for (leg, phase) in phases.iter().enumerate() {
            let fault = self.decks.get_mut(&(secret, *phase)).and_then(Vec::pop);
            // Where it lasts, the phases that follow are not struck.
            let may_last = phase.is_active() && !self.is_awaited(secret, &phases[leg + 1..]);
            let strike = fault.map(|fault| self.strike(fault, may_last));
            course.legs.push((*phase, strike));
        }
        course
    }

    /// Whether something has still to strike in one of `phases`.
    fn is_awaited(&self, secret: Secret, phases: &[Phase]) -> bool {
        let deck = |phase: &Phase| self.decks.get(&(secret, *phase));
        phases.iter().filter_map(deck).any(|deck| !deck.is_empty())
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
    fn every_fault_strikes_every_phase_of_both_secrets_before_one_strikes_twice() {
        for seed in 0..20 {
            let mut dealer = dealer(seed);
            let all: HashSet<_> = kinds(&Fault::ALL).collect();
            for _ in 0..3 {
                let (mut struck, mut courses) = (HashSet::new(), 0);
                while struck.len() < all.len() {
                    let Course { secret, legs, .. } = dealer.deal();
                    let lasts = |(_, strike): &(Phase, Option<Strike>)| {
                        strike.is_some_and(|it| matches!(it.length, Length::ToTheEnd(_)))
                    };
                    let after = legs.iter().skip_while(|leg| !lasts(leg)).skip(1);
                    assert_eq!(after.filter(|(_, strike)| strike.is_some()).count(), 0);
                    let strikes = legs.iter().filter_map(|(phase, s)| Some((phase, s.as_ref()?)));
                    let before = struck.len();
                    for (phase, strike) in strikes {
                        let kind = kind(secret, *phase, strike.fault);
                        assert!(struck.insert(kind.clone()), "{kind} twice");
                    }
                    assert!(struck.len() > before, "a course is gone for nothing");
                    courses += 1;
                }
                assert_eq!(struck, all);
                // A course has one end, in which each fault strikes: of three ends, two
                // secrets and eleven faults.
                assert!(courses <= 3 * 2 * 11 + 10, "{courses} courses");
            }
        }
    }
}
