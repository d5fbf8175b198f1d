//! Lazy rewrap: a stale value that a request opened is rewrapped soon after.
//!
//! 1. The request never waits: a full queue drops the offer and counts it.
//! 2. Offers of one row are coalesced, and rows are written in batches.
//! 3. The row is read again before it is rewrapped, and written by
//!    compare-and-set, as in the bulk pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::mpsc;

use super::{
    rewrap::{RewrapError, rewrap_rows},
    write::write,
};
use crate::{
    column::{Registry, RowKey},
    envelope::Target,
    layer::sealed::{StaleRow, StaleSink},
    replica::Replica,
    store::{TableShape, Written},
};

/// How many offers wait at most.
const QUEUE: usize = 8192;
/// How many rows are written at once.
const BATCH: usize = 256;
/// How long a batch waits for company.
const PATIENCE: Duration = Duration::from_millis(100);

/// What became of the offers of this process.
#[derive(Debug, Default)]
struct LazyCounts {
    rewrapped: AtomicU64,
    superseded: AtomicU64,
    dropped: AtomicU64,
}

/// What became of the offers of this process, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LazyTotals {
    /// Rows rewrapped after a read.
    pub rewrapped: u64,
    /// Rows that were edited meanwhile and kept the edit.
    pub superseded: u64,
    /// Offers dropped because the queue was full; the bulk pass comes by.
    pub dropped: u64,
}

/// Where the sealed layer offers stale rows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LazyRewrap {
    queue: mpsc::Sender<StaleRow>,
    counts: Arc<LazyCounts>,
}

/// The other end: what [`LazyWorker::run`] empties.
#[derive(Debug)]
pub struct LazyWorker {
    offers: mpsc::Receiver<StaleRow>,
    counts: Arc<LazyCounts>,
}

/// A bounded queue of stale rows: the end for the layer, and the end for the worker.
#[must_use]
pub fn lazy_rewrap() -> (LazyRewrap, LazyWorker) {
    let (queue, offers) = mpsc::channel(QUEUE);
    let counts = Arc::<LazyCounts>::default();
    (LazyRewrap { queue, counts: Arc::clone(&counts) }, LazyWorker { offers, counts })
}

impl LazyRewrap {
    /// What became of the offers so far.
    #[must_use]
    pub fn totals(&self) -> LazyTotals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LazyTotals {
            rewrapped: read(&self.counts.rewrapped),
            superseded: read(&self.counts.superseded),
            dropped: read(&self.counts.dropped),
        }
    }
}

impl StaleSink for LazyRewrap {
    fn offer(&self, stale: StaleRow) {
        if self.queue.try_send(stale).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl LazyWorker {
    /// Rewraps what is offered, until every [`LazyRewrap`] is dropped or `shutdown` is ready.
    pub async fn run(
        mut self,
        replica: Arc<Replica>,
        registry: Arc<Registry>,
        target: Target,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut shapes = Shapes::default();
        loop {
            let first = tokio::select! {
                () = &mut shutdown => return,
                first = self.offers.recv() => first,
            };
            let Some(first) = first else { return };
            tokio::time::sleep(PATIENCE).await;
            let mut batch = BTreeMap::<String, BTreeSet<RowKey>>::new();
            batch.entry(first.table).or_default().insert(first.row);
            for _ in 1..BATCH {
                let Ok(next) = self.offers.try_recv() else { break };
                batch.entry(next.table).or_default().insert(next.row);
            }
            for (table, keys) in batch {
                let keys: Vec<_> = keys.into_iter().collect();
                let done = async {
                    match shapes.of(&table, &replica, &registry).await? {
                        Some(shape) => self.rewrap(&replica, shape, &keys, target).await,
                        None => Ok(()),
                    }
                };
                if let Err(error) = done.await {
                    shapes = Shapes::default();
                    tracing::warn!(%error, table, "lazy rewrap failed; the bulk pass comes by");
                }
            }
        }
    }

    async fn rewrap(
        &self,
        replica: &Replica,
        table: &TableShape,
        keys: &[RowKey],
        target: Target,
    ) -> Result<(), RewrapError> {
        let keychain = replica.opening_keychain();
        let rows = replica.store().fetch(table, keys).await?;
        let now = replica.clock().now();
        let batch = rewrap_rows(table, rows, &keychain, target, now)?;
        if batch.updates.is_empty() {
            return Ok(());
        }
        let offered = batch.updates.len() as u64;
        if let Written::Done { rewrapped } =
            write(replica.store().as_ref(), table, batch.updates, None, now).await?
        {
            self.counts.rewrapped.fetch_add(rewrapped, Ordering::Relaxed);
            self.counts.superseded.fetch_add(offered - rewrapped, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The tables as the last survey found them. One that could not be rewrapped then is
/// looked at again after a while, whatever the requests read.
#[derive(Debug, Default)]
struct Shapes {
    surveyed_at: Option<Instant>,
    tables: BTreeMap<String, TableShape>,
}

/// How often missing tables are looked for.
const SURVEY: Duration = Duration::from_secs(60);

impl Shapes {
    async fn of(
        &mut self,
        table: &str,
        replica: &Replica,
        registry: &Registry,
    ) -> Result<Option<&TableShape>, RewrapError> {
        let is_fresh = self.surveyed_at.is_some_and(|at| at.elapsed() < SURVEY);
        if !self.tables.contains_key(table) && !is_fresh {
            let survey = replica.store().survey(registry).await?;
            let by_name = |shape: TableShape| (shape.table.name().to_owned(), shape);
            self.tables = survey.tables.into_iter().map(by_name).collect();
            self.surveyed_at = Some(Instant::now());
        }
        Ok(self.tables.get(table))
    }
}
