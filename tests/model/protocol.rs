//! Every step that can happen next, in whatever order: the protocol as a model.
//!
//! There is no clock. What runs out may run out at any moment, as long as cause
//! precedes effect:
//!
//! 1. The database counts a lease at least as long as its replica does, since the
//!    replica counts from before the renewal was sent.
//! 2. A token expires no later than the longest lifetime after its signing.
//! 3. The backup horizon is longer than any write that is on its way.

use breeze_rollover::{catalog::Class, keyring::KeyState};
use stateright::{Model, Property};

use super::{
    course::CutOff,
    database::{Key, Tokens},
    decisions::Decision,
    properties,
    rules::{Bounds, Rule},
    state::{Process, Snapshot, State, Writing},
};

/// The protocol, with every rule kept or one of them broken.
#[derive(Debug, Clone)]
pub struct Protocol {
    pub bounds: Bounds,
    pub broken: Option<Rule>,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happens {
    /// A process crashes, and with it whatever it holds in memory.
    Crash(usize),
    /// A crashed process starts again: it reads the keys, and has no lease yet.
    Start(usize),
    /// A replica's renewal of its lease reaches the database, with its epochs. One that
    /// was sent long before says less than is so, and is explored by sending it later.
    Renew(usize),
    /// The answer is lost, or given up.
    Lose(usize),
    /// The answer reaches the replica.
    Receive(usize),
    /// A replica's own count of its lease runs out.
    Fence(usize),
    /// The database's count of a replica's lease runs out.
    Expire(usize),
    /// The database's count of a crashed process's lease runs out.
    ExpireOrphan(usize),
    /// A replica applies the present epoch, pushed or polled. A request holds on to the
    /// keychain of before, or none does.
    Apply { replica: usize, is_held: bool },
    /// The request that held an older keychain ends.
    EndRequest(usize),
    /// A request signs a token.
    Sign(usize, Key),
    /// A request seals a user's edit, under the primary key of a keychain in use.
    Seal(usize, Snapshot),
    /// A rewrap reads the row and seals it anew.
    Rewrap(usize),
    /// What was sealed is written.
    Write(usize),
    /// A worker or an operator looks, and decides on a change.
    Decide(Decision),
    /// The change is committed, if what was read still holds.
    Commit(Decision),
    /// Whatever was signed before this rollover settled expires.
    LifetimeEnds(usize),
    /// The report of this rollover says that the old key is cut off.
    TellCutOff(usize),
}

impl Protocol {
    pub fn keeps(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    pub fn class(&self) -> Class {
        self.bounds.secret.entry().class
    }

    /// Whether a process serves requests.
    pub fn serves(&self, process: &Process) -> bool {
        process.is_up && process.is_open
    }

    fn process(&self, state: &State, number: usize, happens: &mut Vec<Happens>) {
        use Happens::{
            Apply, Crash, EndRequest, Expire, Fence, Lose, Receive, Renew, Rewrap, Seal, Sign,
            Start, Write,
        };
        let (process, database) = (&state.processes[number], &state.database);
        if !process.is_up {
            happens.push(Start(number));
            return;
        }
        if state.may_fail(&self.bounds) {
            happens.push(Crash(number));
        }
        match process.answer {
            Some(_) => happens.extend([Receive(number), Lose(number)]),
            None if self.has_news(process) => happens.push(Renew(number)),
            None => {}
        }
        let fences = self.keeps(Rule::Fence);
        if process.is_open && fences && state.may_fail(&self.bounds) {
            happens.push(Fence(number));
        }
        let may_expire = !process.is_open || (!fences && state.may_fail(&self.bounds));
        if process.lease.is_some() && may_expire {
            happens.push(Expire(number));
        }
        if process.present.epoch < database.epoch {
            happens.push(Apply { replica: number, is_held: false });
            if process.held.is_none() && process.is_open {
                happens.push(Apply { replica: number, is_held: true });
            }
        }
        if process.held.is_some() {
            happens.push(EndRequest(number));
        }
        if self.serves(process) {
            match self.class() {
                Class::Signing => {
                    for key in process.in_use().filter_map(|keys| keys.primary()) {
                        if database.tokens[key as usize] != Tokens::Newer {
                            happens.push(Sign(number, key));
                        }
                    }
                }
                Class::Sealing if process.writing.is_none() => {
                    if database.edits < self.bounds.edits {
                        happens.extend(process.in_use().map(|keys| Seal(number, keys)));
                    }
                    if self.rewrapped(state, process).is_some() {
                        happens.push(Rewrap(number));
                    }
                }
                _ => {}
            }
        }
        if process.writing.is_some() {
            happens.push(Write(number));
        }
    }

    /// Whether a renewal would change anything: others are explored by leaving it out.
    fn has_news(&self, process: &Process) -> bool {
        let reported = process.lease.map(|lease| (lease.applied, lease.settled));
        !process.is_open || reported != Some((process.present.epoch, process.settled()))
    }

    /// What a rewrap makes of the row: `None` when it is final or does not open.
    pub fn rewrapped(&self, state: &State, process: &Process) -> Option<Writing> {
        let cell = state.database.cell;
        let keys = process.present;
        let opens = keys.accepts(cell.key) || self.is_reopened(state, cell.key);
        let key = keys.primary().filter(|&key| key != cell.key && opens)?;
        Some(Writing { epoch: keys.epoch, key, read: Some(cell), late: false })
    }

    /// Whether a rollover in progress still opens values under a key that it retired.
    pub fn is_reopened(&self, state: &State, key: Key) -> bool {
        let retired = state.database.state(key) == Some(KeyState::Retired);
        retired && state.database.courses.iter().any(|it| it.phase.is_active() && it.from == key)
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Happens;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(&self.bounds)]
    }

    fn actions(&self, state: &State, happens: &mut Vec<Happens>) {
        for number in 0..state.processes.len() {
            self.process(state, number, happens);
        }
        happens.extend((0..state.orphans.len()).map(Happens::ExpireOrphan));
        happens.extend(self.decisions(state).into_iter().map(Happens::Decide));
        happens.extend(state.decisions.iter().copied().map(Happens::Commit));
        let leases = state.leases();
        for (number, course) in state.database.courses.iter().enumerate() {
            if course.settled && !course.lifetime_over && self.class() == Class::Signing {
                happens.push(Happens::LifetimeEnds(number));
            }
            let is_so = leases.iter().all(|lease| lease.owes.is_none());
            if course.cut_off == CutOff::Committed && (is_so || !self.keeps(Rule::SayWhatIsSo)) {
                happens.push(Happens::TellCutOff(number));
            }
        }
    }

    fn next_state(&self, state: &State, happens: Happens) -> Option<State> {
        let mut next = state.clone();
        self.happen(&mut next, happens);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(self)
    }
}
