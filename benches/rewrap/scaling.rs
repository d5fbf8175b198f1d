//! How the bulk rewrap grows with processes, each a replica of its own with one task.

use std::{env, process::Stdio, time::Instant};

use breeze_rollover::{embed::Database, ids::RolloverId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

use crate::{
    bulk::{self, Bulk},
    median,
    tables::{Batch, FLOOR, REWRAPPED, Tables},
};

/// By this a process knows that it is a worker: the URL, the rollover and its pass.
pub const ORDERS: &str = "BREEZE_BENCH_WORKER_OF";

const ROWS: usize = 100_000;
const ROUNDS: usize = 5;
const PROCESSES: [u32; 3] = [1, 2, 4];
/// Ranges of the table: some for each process.
const RANGES: u32 = 16;

/// Prints one row of the table: the floor and each number of processes take turns.
pub async fn with_processes(tables: &dyn Tables, bulk: &mut Bulk) {
    let Some(url) = tables.url() else { return };
    tables.fill(ROWS, bulk.previous()).await;
    let batches = Batch::prepare(&tables.stored().await, bulk.present());
    let mut rates = vec![vec![]; PROCESSES.len() + 1];
    for round in 0..ROUNDS {
        for turn in 0..rates.len() {
            let who = (round + turn) % rates.len();
            let rate = match PROCESSES.get(who) {
                None => {
                    tables.copy(FLOOR).await;
                    let began = Instant::now();
                    assert_eq!(tables.write(&batches).await, ROWS as u64);
                    ROWS as f64 / began.elapsed().as_secs_f64()
                }
                Some(&processes) => {
                    tables.copy(REWRAPPED).await;
                    let (rollover, pass) = bulk.begin_pass(RANGES, None).await;
                    let orders = format!("{url} {rollover} {pass}");
                    let seconds = run(&orders, processes).await;
                    assert_eq!(bulk.rewrapped().await, ROWS as u64);
                    ROWS as f64 / seconds
                }
            };
            rates[who].push(rate);
        }
    }
    let floor = rates.pop().unwrap();
    let told: Vec<_> = rates
        .iter()
        .map(|rates| {
            let ratio = rates.iter().zip(&floor).map(|(own, floor)| own / floor).collect();
            format!("{:.0} ({:.2})", median(rates.clone()), median(ratio))
        })
        .collect();
    println!(
        "\nrows/s (of the floor's {:.0}) in 1, 2, 4 processes: {} (goal: never slower than 1)",
        median(floor),
        told.join(", ")
    );
}

/// The seconds from the word to go until the last process is done.
async fn run(orders: &str, processes: u32) -> f64 {
    let mut workers: Vec<Child> = (0..processes).map(|_| start(orders)).collect();
    for worker in &mut workers {
        let ready = worker.stdout.as_mut().unwrap().read_u8().await;
        ready.unwrap();
    }
    let began = Instant::now();
    for worker in &mut workers {
        worker.stdin.as_mut().unwrap().write_all(b"go\n").await.unwrap();
    }
    for worker in &mut workers {
        // What it says when it is done, so that its leaving is not counted.
        worker.stdout.as_mut().unwrap().read_u8().await.unwrap();
    }
    let seconds = began.elapsed().as_secs_f64();
    for worker in &mut workers {
        assert!(worker.wait().await.unwrap().success());
    }
    seconds
}

fn start(orders: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .env(ORDERS, orders)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The life of a worker process.
pub async fn work(orders: &str) {
    let orders: Vec<_> = orders.split(' ').collect();
    let [url, rollover, pass] = orders.as_slice() else { panic!("{orders:?}") };
    let (rollover, pass): (RolloverId, u32) = (rollover.parse().unwrap(), pass.parse().unwrap());
    let database = Database::connect(url, 4).await.unwrap();
    let replica = bulk::join(&database).await;
    let worker = bulk::worker(&replica, 1);
    print!("r");
    flush();
    std::io::stdin().read_line(&mut String::new()).unwrap();
    worker.rewrap(rollover, pass).await.unwrap();
    print!("d");
    flush();
    replica.store().deregister(replica.id()).await.unwrap();
}

fn flush() {
    std::io::Write::flush(&mut std::io::stdout()).unwrap();
}
