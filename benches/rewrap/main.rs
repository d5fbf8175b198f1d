//! What the bulk rewrap costs beside the bare updates that it cannot do without, and
//! what it costs the traffic beside it.
//!
//! `tests/postgres --durable cargo bench --bench rewrap` takes a few minutes. With
//! `BREEZE_BENCH_ROWS=100000,1000000` it measures both sizes of the README's table;
//! without a server, SQLite alone.
//!
//! The rows hold 64-byte secrets in `enc:v2` under the previous key, and become
//! `enc:v3` under the present one. The rewrap is the worker's own: survey, claims,
//! orders, stale rows, open, seal, compare-and-set, cursor, quarantine. The floor has
//! read and sealed everything beforehand: batches of 1,000 in the order of the key,
//! compared and set by one statement, each a transaction. All take turns on copies of
//! one table, so that a busy machine slows them alike; figures are medians of rounds.

#![allow(missing_docs, unreachable_pub, reason = "a benchmark")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

mod bulk;
mod foreground;
mod memory;
mod postgres;
mod scaling;
mod sqlite;
mod tables;

use std::{env, sync::Arc, time::Instant};

use bulk::Bulk;
use postgres::PostgresTables;
use sqlite::SqliteTables;
use tables::{Batch, FLOOR, REWRAPPED, Tables};

/// Rounds at one size: an odd number has a median.
const fn rounds(rows: usize) -> usize {
    if rows > 200_000 { 3 } else { 7 }
}

#[tokio::main]
async fn main() {
    if let Ok(orders) = env::var(scaling::ORDERS) {
        return scaling::work(&orders).await;
    }
    let sizes: Vec<usize> = env::var("BREEZE_BENCH_ROWS")
        .unwrap_or_else(|_| "100000".to_owned())
        .split(',')
        .map(|rows| rows.trim().parse().unwrap())
        .collect();
    let mut databases: Vec<Arc<dyn Tables>> = vec![Arc::new(SqliteTables::open().await)];
    match env::var("BREEZE_TEST_POSTGRES_URL") {
        Ok(url) => databases.insert(0, Arc::new(PostgresTables::open(&url).await)),
        Err(_) => println!("BREEZE_TEST_POSTGRES_URL is not set: PostgreSQL is not measured"),
    }
    let mut bulks = vec![];
    for tables in &databases {
        bulks.push(Bulk::begin(tables.database()).await);
    }
    let measured = databases.iter().zip(&mut bulks);
    // Before anything else: memory that was given back could be taken again unseen.
    let largest = sizes.iter().copied().max().unwrap_or_default();
    println!("\n{:12} {:>9}   memory grew by", "", "rows");
    for (tables, bulk) in measured {
        tables.fill(largest, bulk.previous()).await;
        tables.copy(REWRAPPED).await;
        let (growth, ()) = memory::growth_of(bulk.pass(bulk::TASKS, None)).await;
        println!("{:12} {largest:>9}   {growth:.1} MiB (goal < 64)", tables.name());
    }
    println!(
        "\n{:12} {:>9} {:>14} {:>14} {:>8} {:>14} {:>8}",
        "", "rows", "floor rows/s", "1 task rows/s", "ratio", "2 tasks rows/s", "ratio"
    );
    for (tables, bulk) in databases.iter().zip(&mut bulks) {
        for &rows in &sizes {
            speed(tables.as_ref(), bulk, rows).await;
        }
    }
    for (tables, bulk) in databases.iter().zip(&mut bulks) {
        scaling::with_processes(tables.as_ref(), bulk).await;
    }
    println!(
        "\n{:12} {:>9} {:>12} {:>12} {:>12} {:>8}",
        "", "op/s", "p99 without", "p99 with", "rewrap/s", "ratio"
    );
    for (tables, bulk) in databases.iter().zip(&mut bulks) {
        foreground::beside_a_paced_rewrap(Arc::clone(tables), bulk).await;
    }
}

/// Prints one row of the table.
async fn speed(tables: &dyn Tables, bulk: &mut Bulk, rows: usize) {
    tables.fill(rows, bulk.previous()).await;
    let batches = Batch::prepare(&tables.stored().await, bulk.present());
    let rate = |began: Instant| rows as f64 / began.elapsed().as_secs_f64();
    let (mut floor, mut one, mut two) = (vec![], vec![], vec![]);
    for round in 0..rounds(rows) {
        // Who goes first changes, so that no one always finds the disk busy.
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => {
                    tables.copy(FLOOR).await;
                    let began = Instant::now();
                    let written = tables.write(&batches).await;
                    floor.push(rate(began));
                    assert_eq!(written, rows as u64);
                }
                tasks => {
                    tables.copy(REWRAPPED).await;
                    let began = Instant::now();
                    bulk.pass(tasks as u32, None).await;
                    if tasks == 1 {
                        one.push(rate(began))
                    } else {
                        two.push(rate(began))
                    }
                    assert_eq!(bulk.rewrapped().await, rows as u64);
                }
            }
        }
    }
    let ratio = |ours: &[f64]| median(ours.iter().zip(&floor).map(|(o, f)| o / f).collect());
    println!(
        "{:12} {rows:>9} {:>14.0} {:>14.0} {:>8.2} {:>14.0} {:>8.2} (goal ≥ {})",
        tables.name(),
        median(floor.clone()),
        median(one.clone()),
        ratio(&one),
        median(two.clone()),
        ratio(&two),
        tables.goal(),
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
