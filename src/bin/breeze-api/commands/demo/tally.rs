//! Counts requests by stage, and tells what came of them.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::Serialize;

use crate::commands::print;

/// A part of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Before,
    Sealing,
    Signing,
    After,
}

const NAMES: [&str; 4] = ["before", "during APP_ENCRYPTION_KEY", "during JWT_SECRET", "after"];

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Login,
    Refresh,
    Read,
    Edit,
}

#[derive(Debug, Default)]
struct Counts {
    /// In microseconds; logins apart, which hash a password for as long as it takes.
    latencies: Vec<u32>,
    logins: u64,
    refreshes: u64,
    reads: u64,
    edits: u64,
    failures: u64,
}

/// The counts of all connections.
#[derive(Debug, Default)]
pub(super) struct Tally {
    stage: AtomicUsize,
    counts: [Mutex<Counts>; 4],
    failures: Mutex<BTreeMap<String, u64>>,
}

impl Tally {
    pub(super) fn enter(&self, stage: Stage) {
        self.stage.store(stage as usize, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, kind: Kind, took: Duration) {
        let mut counts = self.present();
        match kind {
            Kind::Login => counts.logins += 1,
            Kind::Refresh => counts.refreshes += 1,
            Kind::Read => counts.reads += 1,
            Kind::Edit => counts.edits += 1,
        }
        if kind != Kind::Login {
            counts.latencies.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        }
    }

    pub(super) fn failed(&self, what: String) {
        self.present().failures += 1;
        *lock(&self.failures).entry(what).or_default() += 1;
    }

    pub(super) fn stages(&self) -> Vec<StageSummary> {
        NAMES
            .iter()
            .zip(&self.counts)
            .map(|(name, counts)| summary(name, &mut lock(counts)))
            .collect()
    }

    pub(super) fn failures(&self) -> BTreeMap<String, u64> {
        lock(&self.failures).clone()
    }

    fn present(&self) -> MutexGuard<'_, Counts> {
        lock(&self.counts[self.stage.load(Ordering::Relaxed)])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One stage, summed up.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StageSummary {
    stage: &'static str,
    requests: u64,
    logins: u64,
    refreshes: u64,
    reads: u64,
    edits: u64,
    failures: u64,
    p50_milliseconds: f64,
    p99_milliseconds: f64,
}

fn summary(stage: &'static str, counts: &mut Counts) -> StageSummary {
    counts.latencies.sort_unstable();
    let percentile = |percent: usize| {
        let index = counts.latencies.len().saturating_sub(1) * percent / 100;
        f64::from(counts.latencies.get(index).copied().unwrap_or_default()) / 1000.0
    };
    StageSummary {
        stage,
        requests: counts.logins + counts.refreshes + counts.reads + counts.edits + counts.failures,
        logins: counts.logins,
        refreshes: counts.refreshes,
        reads: counts.reads,
        edits: counts.edits,
        failures: counts.failures,
        p50_milliseconds: percentile(50),
        p99_milliseconds: percentile(99),
    }
}

/// What came of the demo.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    pub(super) stages: Vec<StageSummary>,
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) rows: u64,
    pub(super) rewrapped_in_bulk: u64,
    pub(super) rewrapped_lazily: u64,
    pub(super) edits: u64,
    pub(super) edits_that_won: u64,
    pub(super) rows_read_back: u64,
    pub(super) rows_on_the_new_key: u64,
    pub(super) lost_edits: u64,
    pub(super) seconds: f64,
}

impl Summary {
    /// No request failed, no edit was lost, and nothing is left on an old key.
    pub(super) fn is_clean(&self) -> bool {
        self.failures.is_empty() && self.lost_edits == 0 && self.rows_on_the_new_key == self.rows
    }

    pub(super) fn print(&self) {
        print("");
        print(&format!(
            "{:<26} {:>9} {:>8} {:>7} {:>8} {:>9} {:>9}",
            "", "requests", "failures", "logins", "edits", "p50 ms", "p99 ms"
        ));
        for stage in &self.stages {
            print(&format!(
                "{:<26} {:>9} {:>8} {:>7} {:>8} {:>9.2} {:>9.2}",
                stage.stage,
                stage.requests,
                stage.failures,
                stage.logins,
                stage.edits,
                stage.p50_milliseconds,
                stage.p99_milliseconds
            ));
        }
        print(
            "(p50 and p99 are of reads, edits and refreshes; a login hashes a password on purpose slowly)",
        );
        print("");
        for (what, count) in [
            ("rows rewrapped in bulk", self.rewrapped_in_bulk),
            ("rows rewrapped lazily, after a read", self.rewrapped_lazily),
            ("edits acknowledged", self.edits),
            ("edits that won over a rewrap", self.edits_that_won),
            ("rows read back at the end", self.rows_read_back),
            ("rows on the new key", self.rows_on_the_new_key),
            ("lost edits", self.lost_edits),
        ] {
            print(&format!("{what:<38} {count:>9}"));
        }
        for (what, count) in &self.failures {
            print(&format!("failed: {what} ({count} times)"));
        }
        print(&format!("{:<38} {:>8.1}s", "time, from the first row", self.seconds));
    }
}
