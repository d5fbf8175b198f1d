//! What a run counts, and what it must not find.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// What must not be. Each is told with its circumstances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    /// A value was read that is not the one that was acknowledged.
    Lost,
    /// A token that lives was refused.
    TokenRefused,
    /// A request failed, and nothing was wrong with its replica or the database.
    Needless,
    /// Something did not come to where it must.
    Stuck,
}

/// After so many, a run ends: the first ones tell enough.
const ENOUGH: usize = 20;

/// The counts of one run.
#[derive(Debug)]
pub(crate) struct Figures {
    began: Instant,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default, Clone)]
struct Counts {
    faults: BTreeMap<&'static str, u64>,
    struck: BTreeSet<String>,
    awaited: BTreeSet<String>,
    rollovers: BTreeMap<String, u64>,
    requests: u64,
    failures: BTreeMap<String, u64>,
    edits: u64,
    edits_in_doubt: u64,
    rows_checked: u64,
    tokens_presented: u64,
    longest_wait: Duration,
    wrongs: Vec<(Wrong, String)>,
}

impl Figures {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), counts: Mutex::default() }
    }

    /// Every kind of strike of which the run should have one: those that it has not are told.
    pub(crate) fn awaits(&self, kinds: impl Iterator<Item = String>) {
        self.counts().awaited.extend(kinds);
    }

    pub(crate) fn struck(&self, fault: &'static str, kind: String) {
        let mut counts = self.counts();
        *counts.faults.entry(fault).or_default() += 1;
        counts.struck.insert(kind);
    }

    pub(crate) fn rolled_over(&self, how: String) {
        *self.counts().rollovers.entry(how).or_default() += 1;
    }

    pub(crate) fn request(&self) {
        self.counts().requests += 1;
    }

    pub(crate) fn failure(&self, cause: &str) {
        *self.counts().failures.entry(cause.to_owned()).or_default() += 1;
    }

    pub(crate) fn edit(&self, is_sure: bool) {
        let mut counts = self.counts();
        if is_sure { counts.edits += 1 } else { counts.edits_in_doubt += 1 }
    }

    pub(crate) fn row_checked(&self, many: u64) {
        self.counts().rows_checked += many;
    }

    pub(crate) fn token_presented(&self) {
        self.counts().tokens_presented += 1;
    }

    /// How long a phase was waited for.
    pub(crate) fn waited(&self, wait: Duration) {
        let mut counts = self.counts();
        counts.longest_wait = counts.longest_wait.max(wait);
    }

    /// Notes what must not be.
    pub(crate) fn wrong(&self, wrong: Wrong, what: impl fmt::Display) {
        let told = format!("at {:.1} s: {what}", self.began.elapsed().as_secs_f64());
        eprintln!("{wrong:?} {told}");
        self.counts().wrongs.push((wrong, told));
    }

    /// Whether more would tell nothing new.
    pub(crate) fn is_enough(&self) -> bool {
        self.counts().wrongs.len() >= ENOUGH
    }

    /// How long the run takes so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What was wrong, a line each; nothing in a good run.
    pub(crate) fn wrongs(&self) -> Vec<String> {
        self.counts().wrongs.iter().map(|(wrong, told)| format!("{wrong:?} {told}")).collect()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts().clone();
        let count =
            |of: Wrong| counts.wrongs.iter().filter(|(wrong, _)| *wrong == of).count() as u64;
        let mut line = |what: &str, number: u64| writeln!(f, "{what:<58} {number:>9}");
        line("seconds", self.began.elapsed().as_secs())?;
        line("faults injected", counts.faults.values().sum())?;
        for (fault, number) in &counts.faults {
            line(&format!("  {fault}"), *number)?;
        }
        line("  different by secret, phase and fault", counts.struck.len() as u64)?;
        let missed: Vec<_> = counts.awaited.difference(&counts.struck).collect();
        if !counts.awaited.is_empty() {
            line(
                &format!("  of {} that were awaited, not struck", counts.awaited.len()),
                missed.len() as u64,
            )?;
        }
        for kind in missed {
            line(&format!("    {kind}"), 0)?;
        }
        line("rollovers", counts.rollovers.values().sum())?;
        for (how, number) in &counts.rollovers {
            line(&format!("  {how}"), *number)?;
        }
        line("  longest wait for a phase, in seconds", counts.longest_wait.as_secs())?;
        line("requests", counts.requests)?;
        line("  failed", counts.failures.values().sum())?;
        for (cause, number) in &counts.failures {
            line(&format!("    {cause}"), *number)?;
        }
        line("  failed, and need not have", count(Wrong::Needless))?;
        line("tokens presented to other replicas", counts.tokens_presented)?;
        line("  refused while they lived", count(Wrong::TokenRefused))?;
        line("edits acknowledged", counts.edits)?;
        line("edits whose answer was lost", counts.edits_in_doubt)?;
        line("rows checked", counts.rows_checked)?;
        line("  lost, or written twice", count(Wrong::Lost))?;
        line("what did not come to its end", count(Wrong::Stuck))
    }
}
