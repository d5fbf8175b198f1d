//! What there is at one moment: the database, the processes, the operators, and what
//! is under way between them.

use std::collections::BTreeSet;

use breeze_rollover::{keyring::KeyState, store::Change};

use super::{
    course::CutOff,
    database::{Cell, Database, Key, Keys},
    decisions::Decision,
    rules::Bounds,
};

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub database: Database,
    pub processes: Vec<Process>,
    /// Leases of processes that crashed: they run on until they run out.
    pub orphans: Vec<Lease>,
    /// What workers and operators have decided, each on what it read, and what is not
    /// committed. It does not matter who decided it: whoever crashes commits nothing.
    pub decisions: BTreeSet<Decision>,
    pub asks: u8,
    pub crashes: u8,
    pub lapses: u8,
}

/// One process, a replica while it is up. A pause is nothing but a process that takes
/// no step for a while: every order in which its lease runs out meanwhile is explored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    pub is_up: bool,
    /// Its lease in the database, while that runs.
    pub lease: Option<Lease>,
    /// Whether its own count of the lease runs: its fence is open. Mirrors
    /// `keyring::Fence`.
    pub is_open: bool,
    /// The keychain that it has published.
    pub present: Snapshot,
    /// An older keychain that a request of it holds. One that holds the present
    /// keychain is as good as one that has not begun.
    pub held: Option<Snapshot>,
    /// The epoch in the answer to a renewal of the lease that ran out, on its way.
    /// An answer that comes in time changes nothing.
    pub answer: Option<u8>,
    /// What it has sealed and not written yet.
    pub writing: Option<Writing>,
}

/// A replica's lease, as the database knows it while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lease {
    pub applied: u8,
    pub settled: u8,
    /// The epoch that it must settle before an old key is said to be cut off.
    pub owes: Option<u8>,
}

/// A keychain: the keys of one epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Snapshot {
    pub epoch: u8,
    pub keys: Keys,
}

/// A value that is sealed and not written yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Writing {
    /// The epoch of the keychain that sealed it.
    pub epoch: u8,
    pub key: Key,
    /// What a rewrap has read, and expects to find; `None`: a user's edit.
    pub read: Option<Cell>,
    /// Whether the lease ran out since it was sealed.
    pub late: bool,
}

impl State {
    /// Every replica serves, and nothing has begun.
    pub fn new(bounds: &Bounds) -> Self {
        let database = Database::new();
        let lease = Lease { applied: database.epoch, settled: database.epoch, owes: None };
        let process = Process {
            is_up: true,
            lease: Some(lease),
            is_open: true,
            present: database.snapshot(),
            ..Process::default()
        };
        Self {
            database,
            processes: vec![process; bounds.replicas],
            orphans: vec![],
            decisions: BTreeSet::new(),
            asks: 0,
            crashes: 0,
            lapses: 0,
        }
    }

    /// Whether one more fault may happen.
    pub const fn may_fail(&self, bounds: &Bounds) -> bool {
        self.crashes + self.lapses < bounds.faults
    }

    /// Every lease that runs, by the database.
    pub fn leases(&self) -> Vec<Lease> {
        self.processes
            .iter()
            .filter_map(|it| it.lease)
            .chain(self.orphans.iter().copied())
            .collect()
    }

    /// Applies `change`, if its guards hold.
    pub fn commit(&mut self, change: &Change, one_at_a_time: bool) {
        let cut_off = |database: &Database| {
            database.courses.iter().filter(|it| it.cut_off == CutOff::Committed).count()
        };
        let before = cut_off(&self.database);
        if !self.database.commit(change, one_at_a_time) {
            return;
        }
        if cut_off(&self.database) > before {
            let owes = Some(self.database.epoch);
            let leases = self.processes.iter_mut().filter_map(|it| it.lease.as_mut());
            leases.chain(&mut self.orphans).for_each(|lease| lease.owes = owes);
        }
        // What was decided on another revision can only end in a conflict.
        let courses = &self.database.courses;
        self.decisions.retain(|decision| match *decision {
            Decision::Begin(_) => true,
            Decision::Step { course, revision, .. } => courses[course].revision == revision,
        });
    }

    /// The same state, whichever replica is called the first.
    pub fn sorted(&self) -> Self {
        let mut state = self.clone();
        state.processes.sort_unstable();
        state.orphans.sort_unstable();
        state
    }
}

impl Process {
    /// The newest epoch of which every older keychain is out of use.
    pub fn settled(&self) -> u8 {
        let held = self.held.map_or(u8::MAX, |held| held.epoch);
        let writing = self.writing.map_or(u8::MAX, |writing| writing.epoch);
        self.present.epoch.min(held).min(writing)
    }

    /// The keychains that its requests use.
    pub fn in_use(&self) -> impl Iterator<Item = Snapshot> {
        [Some(self.present), self.held].into_iter().flatten()
    }
}

impl Snapshot {
    pub fn accepts(&self, key: Key) -> bool {
        self.keys[key as usize].is_some_and(KeyState::accepts)
    }

    pub fn primary(&self) -> Option<Key> {
        let is_primary = |key: &Option<KeyState>| *key == Some(KeyState::Primary);
        self.keys.iter().position(is_primary).map(|key| key as Key)
    }
}
