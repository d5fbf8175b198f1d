//! When which fault was on, so that a failure can be told from a failure that need not
//! have been.

use std::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

/// Whom a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Struck {
    /// One replica, by its number.
    Replica(usize),
    /// The database, and so every replica.
    Database,
}

#[derive(Debug)]
struct Window {
    struck: Struck,
    from: Instant,
    /// Open while the fault is on, and until what it struck serves again.
    until: Option<Instant>,
}

/// All windows of a run.
#[derive(Debug, Default)]
pub(crate) struct Windows(Mutex<Vec<Window>>);

/// A window that is open.
#[derive(Debug)]
#[must_use]
pub(crate) struct Open(usize);

impl Windows {
    /// A fault begins.
    pub(crate) fn open(&self, struck: Struck) -> Open {
        let mut windows = self.lock();
        windows.push(Window { struck, from: Instant::now(), until: None });
        Open(windows.len() - 1)
    }

    /// What it struck serves again.
    #[expect(clippy::needless_pass_by_value, reason = "a window is closed once")]
    pub(crate) fn close(&self, open: Open) {
        self.lock()[open.0].until = Some(Instant::now());
    }

    /// Whether a request to `replica`, under way from `began` until now, met a fault.
    pub(crate) fn excuse(&self, replica: usize, began: Instant) -> bool {
        self.lock().iter().any(|window| {
            matches!(window.struck, Struck::Database) || window.struck == Struck::Replica(replica)
        } && window.until.is_none_or(|until| until >= began)
            && window.from <= Instant::now())
    }

    /// Whether `replica` is under a fault of its own.
    pub(crate) fn is_struck(&self, replica: usize) -> bool {
        self.lock()
            .iter()
            .any(|window| window.struck == Struck::Replica(replica) && window.until.is_none())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Window>> {
        self.0.lock().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_fault_excuses_what_met_it_and_nothing_else() {
        let windows = Windows::default();
        let before = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        let open = windows.open(Struck::Replica(1));
        assert!(windows.excuse(1, before), "it was under way when the fault began");
        assert!(!windows.excuse(0, before), "another replica");
        assert!(windows.is_struck(1) && !windows.is_struck(0));
        windows.close(open);
        assert!(windows.excuse(1, before), "it began before the end");
        std::thread::sleep(Duration::from_millis(2));
        assert!(!windows.excuse(1, Instant::now()), "the fault was over");
        let open = windows.open(Struck::Database);
        assert!(windows.excuse(0, Instant::now()), "the database is everybody's");
        windows.close(open);
    }
}
