//! What the layers cost a whole request, and what a rollover costs the requests that
//! run meanwhile: real HTTP/1.1 on loopback.
//!
//! `cargo bench --bench http --all-features`. The apps run as the API does, on every
//! core; the clients take half of them, over connections that are kept alive, and ask
//! as fast as they are answered.
//!
//! In the first table every app serves the same answer to the same request; they
//! differ in what stands before the handler. All apps take turns in each round, and a
//! ratio is the median of the rounds' own ratios to the bare app, so that a busy
//! machine slows all of them alike. [`rollover`] makes the second table.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

mod apps;
mod load;
mod rollover;

use std::{sync::Arc, time::Duration};

use load::{Load, Mint, Round, serve};
use tokio::runtime::Runtime;

const ROUNDS: usize = 40;
const ROUND: Duration = Duration::from_millis(150);

fn main() {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let (serving, asking) = (runtime(cores), runtime(cores.div_ceil(2)));
    layers(&serving, &asking);
    rollover::both(&serving, &asking);
}

fn runtime(threads: usize) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .unwrap()
}

struct Contender {
    name: &'static str,
    load: Load,
    rounds: Vec<Round>,
}

/// The first is what the others are measured against.
fn layers(serving: &Runtime, asking: &Runtime) {
    let mint: Mint = Arc::new(apps::token);
    let apps = [
        ("bare", apps::bare(), false),
        ("both layers", apps::both_layers(), true),
        ("JwtLayer alone", apps::jwt_alone(), true),
        ("axum-jwt-auth", apps::peer(), true),
    ];
    let mut contenders = apps.map(|(name, app, guarded)| {
        let address = serve(serving, app);
        asking.block_on(load::check(address, &mint, guarded));
        Contender { name, load: asking.block_on(Load::connect(address, &mint)), rounds: vec![] }
    });
    for round in 0..=ROUNDS {
        for contender in &mut contenders {
            let round_ends = tokio::time::sleep;
            let ((), measured) =
                asking.block_on(async { contender.load.during(round_ends(ROUND)).await });
            assert_eq!(measured.failures, 0, "{}", contender.name);
            // The first round warms up.
            if round > 0 {
                contender.rounds.push(measured);
            }
        }
    }
    println!("{:24} {:>12} {:>10} {:>10} {:>10}", "", "requests/s", "of bare", "p99 µs", "of bare");
    for contender in &contenders {
        let ratio = |of: fn(&Round) -> f64| {
            let pairs = contender.rounds.iter().zip(&contenders[0].rounds);
            median(pairs.map(|(own, bare)| of(own) / of(bare)))
        };
        println!(
            "{:24} {:12.0} {:10.3} {:10.0} {:10.3}",
            contender.name,
            median(contender.rounds.iter().map(|round| round.rate)),
            ratio(|round| round.rate),
            median(contender.rounds.iter().map(|round| round.p99 * 1e6)),
            ratio(|round| round.p99),
        );
    }
    println!("goals of both layers: ≥ 0.9 of bare and ahead of the peer; p99 ≤ 1.15 of bare\n");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
