//! `breeze-api rewrap`: moves every value that a key opens to the primary key.
//! A dry run unless `--apply`. Needs a database and the environment's keys, and
//! neither a server nor control tables.

use std::time::{Duration, Instant};

use breeze_rollover::{
    clock::{Clock, SystemClock},
    envelope::Target,
    keyring::sources::Environment,
    worker::{
        Pace,
        sweep::{Sweep, Swept},
    },
};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Exit, bar, connect, environment_keychain, print, print_json};
use crate::{data, settings::DatabaseUrl};

/// Rewrap every sealed value onto the primary key (a dry run unless --apply).
#[derive(Debug, Args)]
pub(crate) struct Rewrap {
    /// Write; without it, only count what would be written.
    #[arg(long)]
    apply: bool,
    /// What to rewrap to: bound to column or row, or readable by Breeze's own services.
    #[arg(long, value_enum, default_value = "bound")]
    target: To,
    /// Rows of a batch, at most.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch_size: u32,
    /// Rows a second, at most.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    max_rows_per_second: Option<u32>,
    /// One JSON object on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum To {
    Bound,
    Compatible,
}

/// What the command prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    applied: bool,
    target: Target,
    rows_stale: u64,
    rows_rewrapped: u64,
    rows_still_stale: u64,
    rows_unopenable: u64,
    seconds: f64,
    #[serde(flatten)]
    swept: Swept,
}

/// How often rows that were edited during the walk are walked again.
const ROUNDS: u32 = 5;

pub(crate) async fn run(
    url: &DatabaseUrl,
    environment: &Environment,
    rewrap: &Rewrap,
) -> anyhow::Result<Exit> {
    let database = connect(url).await?;
    let keys = environment_keychain(&database, environment).await?;
    let store = database.store();
    let registry = data::registry();
    let target = match rewrap.target {
        To::Bound => Target::Bound,
        To::Compatible => Target::Compatible,
    };
    let sweep = Sweep {
        rows: store.as_ref(),
        registry: &registry,
        keys: &keys,
        target,
        apply: rewrap.apply,
        max_rows_per_second: rewrap.max_rows_per_second,
    };
    let began = Instant::now();
    let progress = bar(rewrap.json, registry.tables().len() as u64, "tables");
    let mut pace = Pace::new(Duration::from_millis(200), rewrap.batch_size);
    let (mut stale, mut rewrapped) = (0, 0);
    let mut round = 0;
    let swept = loop {
        let mut table = String::new();
        let swept = sweep
            .run(&mut pace, SystemClock.now(), |count| {
                if table != count.table {
                    table.clone_from(&count.table);
                    progress.inc(1);
                    progress.set_message(count.table.clone());
                }
            })
            .await?;
        round += 1;
        if round == 1 {
            stale = swept.tables.iter().map(|table| table.stale).sum();
        }
        rewrapped += swept.tables.iter().map(|table| table.rewrapped).sum::<u64>();
        if !rewrap.apply || swept.still_stale() == 0 || round == ROUNDS {
            break swept;
        }
    };
    progress.finish_and_clear();
    let report = Report {
        applied: rewrap.apply,
        target,
        rows_stale: stale,
        rows_rewrapped: rewrapped,
        rows_still_stale: swept.still_stale(),
        rows_unopenable: swept.unopenable_rows(),
        seconds: began.elapsed().as_secs_f64(),
        swept,
    };
    let left = report.rows_still_stale + report.rows_unopenable + report.swept.unseen.len() as u64;
    if rewrap.json {
        print_json(&report)?;
    } else {
        tell(&report);
    }
    Ok(if left == 0 { Exit::Complete } else { Exit::Incomplete })
}

fn tell(report: &Report) {
    let verb = if report.applied { "rewrapped" } else { "to rewrap (dry run; --apply writes)" };
    for table in report.swept.tables.iter().filter(|table| table.stale + table.unopenable > 0) {
        let rows = if report.applied { table.rewrapped } else { table.stale };
        print(&format!("{:<44} {rows:>9} {verb}", table.table));
    }
    for bad in &report.swept.unopenable {
        let path = if bad.path.is_empty() { String::new() } else { format!(" at {}", bad.path) };
        print(&format!(
            "left as it is: {}.{} of row {}{path}: {}",
            bad.table, bad.column, bad.row, bad.error
        ));
    }
    for fault in &report.swept.unseen {
        print(&format!("not looked at: {fault}"));
    }
    for column in &report.swept.unregistered {
        print(&format!("not registered, and holds envelopes: {column}"));
    }
    let done = if report.applied {
        format!(
            "{} row(s) rewrapped, {} still stale",
            report.rows_rewrapped, report.rows_still_stale
        )
    } else {
        format!("{} row(s) to rewrap", report.rows_stale)
    };
    print(&format!(
        "{done}, {} with a value that no key opens, {:.1} s",
        report.rows_unopenable, report.seconds
    ));
}
