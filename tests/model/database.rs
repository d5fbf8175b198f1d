//! The database, as far as the protocol depends on it.
//!
//! A change is the product's own [`Change`], applied whole or not at all. The guards are
//! those of `store/{postgres,sqlite}/commit.rs`, which the store suite holds both
//! databases to.

use breeze_rollover::{
    keyring::KeyState,
    store::{Change, KeyChange, RolloverChange},
};

use super::{
    course::{Course, CutOff, key_of},
    state::Snapshot,
};

/// A key, by its number: 0 is there from the beginning, each rollover stages the next.
pub type Key = u8;

/// As many keys as two rollovers need.
pub const KEYS: usize = 3;

/// The state of every key that there is.
pub type Keys = [Option<KeyState>; KEYS];

/// Everything durable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Database {
    pub epoch: u8,
    pub keys: Keys,
    pub courses: Vec<Course>,
    /// The one sealed row (sealing secrets).
    pub cell: Cell,
    /// How many edits were committed.
    pub edits: u8,
    /// What each key signed and is not expired (signing secrets).
    pub tokens: [Tokens; KEYS],
}

/// A sealed value: under which key, and which edit it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    pub key: Key,
    pub text: u8,
    /// Written by a process that was stopped past its lease between sealing and
    /// writing. Such a value is opened on the slow path, from custody.
    pub late: bool,
}

/// What a key signed and is not expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tokens {
    None,
    /// All signed before a rollover settled: they expire with its longest lifetime.
    Older,
    /// Some signed since.
    Newer,
}

impl Database {
    /// One primary key, one row sealed under it.
    pub const fn new() -> Self {
        Self {
            epoch: 1,
            keys: [Some(KeyState::Primary), None, None],
            courses: vec![],
            cell: Cell { key: 0, text: 0, late: false },
            edits: 0,
            tokens: [Tokens::None; KEYS],
        }
    }

    pub fn state(&self, key: Key) -> Option<KeyState> {
        self.keys[key as usize]
    }

    pub fn accepts(&self, key: Key) -> bool {
        self.state(key).is_some_and(KeyState::accepts)
    }

    /// The present keychain.
    pub const fn snapshot(&self) -> Snapshot {
        Snapshot { epoch: self.epoch, keys: self.keys }
    }

    /// Applies `change` whole, or not at all.
    pub fn commit(&mut self, change: &Change, one_at_a_time: bool) -> bool {
        let mut next = self.clone();
        let applied = next.apply(change, one_at_a_time).is_some();
        if applied {
            *self = next;
        }
        applied
    }

    /// `None` when a guard does not hold.
    fn apply(&mut self, change: &Change, one_at_a_time: bool) -> Option<()> {
        match change.rollover.as_ref()? {
            RolloverChange::Begin { rollover, .. } => {
                if one_at_a_time && self.courses.iter().any(|it| it.phase.is_active()) {
                    return None;
                }
                self.courses.push(Course::of(rollover, None));
            }
            RolloverChange::Move(rollover) => {
                let course = &mut self.courses[rollover.id.0.as_u128() as usize];
                (u64::from(course.revision) + 1 == rollover.revision).then_some(())?;
                let settles = !course.settled && rollover.settled_at.is_some();
                *course = Course::of(rollover, Some(course));
                if settles {
                    self.tokens = self.tokens.map(Tokens::older);
                }
            }
        }
        for key in &change.keys {
            match key {
                KeyChange::Add(record) => {
                    let slot = &mut self.keys[key_of(&record.id) as usize];
                    slot.is_none().then(|| *slot = Some(record.state))?;
                }
                KeyChange::Move { key, from, to, .. } => {
                    let key = key_of(key);
                    let slot = &mut self.keys[key as usize];
                    (*slot == Some(*from)).then(|| *slot = Some(*to))?;
                    for course in self.courses.iter_mut().filter(|course| course.from == key) {
                        course.cut_off = match to {
                            KeyState::Retired => CutOff::Committed,
                            KeyState::Destroyed => course.cut_off,
                            _ => CutOff::Not,
                        };
                    }
                }
                KeyChange::Compromise { .. } => {}
                KeyChange::Reseal { .. } => return None,
            }
        }
        if !change.keys.is_empty() {
            let primaries = self.keys.iter().filter(|&&key| key == Some(KeyState::Primary));
            (primaries.count() == 1).then_some(())?;
            self.epoch += 1;
        }
        Some(())
    }
}

impl Tokens {
    fn older(self) -> Self {
        if self == Self::None { Self::None } else { Self::Older }
    }
}
