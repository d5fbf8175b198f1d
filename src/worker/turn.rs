//! Who is at a rollover: in one process, one task at a time.
//!
//! 1. Whoever comes while another has the turn leaves at once, and takes no room.
//! 2. The one that has it is told that somebody came, and looks once more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::ids::RolloverId;

/// The turns that are taken, and whether somebody came since.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<RolloverId, bool>>>);

/// A turn, for as long as this value is there.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    rollover: RolloverId,
    is_over: bool,
}

impl Turns {
    /// The turn at `rollover`, unless somebody has it.
    pub(super) fn take(&self, rollover: RolloverId) -> Option<Turn> {
        let mut taken = self.taken();
        if let Some(came) = taken.get_mut(&rollover) {
            *came = true;
            return None;
        }
        taken.insert(rollover, false);
        Some(Turn { turns: self.clone(), rollover, is_over: false })
    }

    /// Whether somebody has the turn at `rollover`.
    pub(super) fn is_taken(&self, rollover: RolloverId) -> bool {
        self.taken().contains_key(&rollover)
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<RolloverId, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The turn once more, if somebody came in vain; else it is over.
    pub(super) fn again(mut self) -> Option<Self> {
        let mut taken = self.turns.taken();
        if taken.get_mut(&self.rollover).is_some_and(std::mem::take) {
            drop(taken);
            return Some(self);
        }
        taken.remove(&self.rollover);
        drop(taken);
        self.is_over = true;
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.turns.taken().remove(&self.rollover);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_turn_and_looks_again_for_whoever_came_in_vain() {
        let (turns, rollover) = (Turns::default(), RolloverId::new());
        let turn = turns.take(rollover).unwrap();
        assert!(turns.take(RolloverId::new()).is_some(), "another rollover has a turn of its own");
        assert!(turns.take(rollover).is_none());
        let turn = turn.again().expect("somebody came");
        assert!(turn.again().is_none() && !turns.is_taken(rollover), "nobody came since");
        drop(turns.take(rollover));
        assert!(turns.take(rollover).is_some(), "a turn ends with its value");
    }
}
