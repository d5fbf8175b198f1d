//! What a paced bulk rewrap costs the traffic on the same table.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use breeze_rollover::envelope::Target;
use tokio::time::MissedTickBehavior;

use crate::{
    bulk::Bulk,
    median,
    tables::{REWRAPPED, Tables, seal},
};

const ROWS: usize = 100_000;
/// The ceiling of the rewrap, in rows a second.
const CEILING: u32 = 2000;
/// Clients, each with one request at a time, every [`EVERY`].
const CLIENTS: usize = 4;
const EVERY: Duration = Duration::from_millis(5);
/// Every so many requests of a client is an edit.
const EDIT: usize = 5;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_secs(3);
/// Each round is a pass of its own here, and a pass first goes over the rows that those
/// before it rewrapped: a rewrap does that once, and is measured after it.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Prints one row of the table: rounds without and with a rewrap take turns.
pub async fn beside_a_paced_rewrap(tables: Arc<dyn Tables>, bulk: &mut Bulk) {
    tables.fill(ROWS, bulk.previous()).await;
    tables.copy(REWRAPPED).await;
    let rows: Vec<_> = tables
        .stored()
        .await
        .into_iter()
        .map(|(id, _)| {
            let edit = seal(bulk.present(), &id, Target::Bound);
            (id, edit)
        })
        .collect();
    let rows = Arc::new(rows);
    drive(&tables, &rows, 0).await;
    let (mut without, mut with, mut rewrapped) = (vec![], vec![], 0);
    for round in 1..=ROUNDS {
        without.push(p99(drive(&tables, &rows, round).await));
        let worker = bulk.paced(CEILING).await;
        tokio::time::sleep(UNDER_WAY).await;
        with.push(p99(drive(&tables, &rows, round).await));
        worker.shut_down();
        tokio::time::sleep(Duration::from_secs(1)).await;
        rewrapped += bulk.rewrapped().await;
    }
    let ratio = median(with.iter().zip(&without).map(|(with, without)| with / without).collect());
    println!(
        "{:12} {:>9} {:>9.2} ms {:>9.2} ms {:>12.0} {ratio:>8.2} (goal ≤ 1.25)",
        tables.name(),
        CLIENTS as u128 * 1000 / EVERY.as_millis(),
        median(without),
        median(with),
        rewrapped as f64 / ((ROUND + UNDER_WAY).as_secs_f64() * ROUNDS as f64),
    );
}

type Rows = Arc<Vec<(String, String)>>;

/// The latencies of one round, in milliseconds.
async fn drive(tables: &Arc<dyn Tables>, rows: &Rows, round: usize) -> Vec<f64> {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let seed = round * CLIENTS + client;
            tokio::spawn(requests(Arc::clone(tables), Arc::clone(rows), seed))
        })
        .collect();
    let mut latencies = vec![];
    for client in clients {
        latencies.extend(client.await.unwrap());
    }
    latencies
}

async fn requests(tables: Arc<dyn Tables>, rows: Rows, seed: usize) -> Vec<f64> {
    let mut due = tokio::time::interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (began, mut latencies) = (Instant::now(), vec![]);
    for request in 0.. {
        due.tick().await;
        if began.elapsed() > ROUND {
            break;
        }
        // A stride over the keys that no two clients share.
        let (id, edit) = &rows[(seed * 7919 + request * 104_729) % rows.len()];
        let sent = Instant::now();
        if request % EDIT == 0 {
            tables.edit(id, edit).await;
        } else {
            tables.read(id).await;
        }
        latencies.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    latencies
}

fn p99(mut latencies: Vec<f64>) -> f64 {
    latencies.sort_by(f64::total_cmp);
    latencies[latencies.len() * 99 / 100]
}
