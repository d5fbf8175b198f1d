//! `breeze-api demo`: the main job, for a newcomer to watch.
//!
//! 1. It is real: another process of this program serves the API over HTTP on a
//!    fresh SQLite file, and knows nothing of the demo.
//! 2. Every answer is checked against what was acknowledged before it.
//! 3. At the end every row is read back and opened.

mod client;
mod fill;
mod server;
mod tally;
mod traffic;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use breeze_rollover::embed::Database;
use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use self::{
    client::Admin,
    fill::Rows,
    server::Server,
    tally::{Stage, Summary, Tally},
    traffic::Traffic,
};
use super::{Exit, bar, needs_people, print, print_json};

/// Watch both secrets of a fresh API roll over under real traffic.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Sealed rows, in Breeze's old formats.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    rows: u32,
    /// Connections that read, edit, refresh and log in.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=64))]
    connections: u32,
    /// Rows rewrapped a second, at most, so that there is something to watch.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    max_rows_per_second: u32,
    /// Seconds of traffic before and after.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    calm: u64,
    /// One JSON object on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// Shortened, so that a signing key drains while somebody watches.
const ACCESS: Duration = Duration::from_secs(5);
const REFRESH: Duration = Duration::from_secs(12);

pub(crate) async fn run(demo: &Demo) -> anyhow::Result<Exit> {
    let began = Instant::now();
    let say = |text: String| {
        if !demo.json {
            print(&text);
        }
    };
    let folder = Folder::new()?;
    let url = format!("sqlite://{}", folder.0.join("breeze.db").display());
    let keys = server::Keys::generate()?;

    let database = Database::connect(&url, 4).await?;
    database.migrate().await?;
    crate::data::migrate(&database).await?;
    let filling = bar(demo.json, u64::from(demo.rows), "sealing rows in old formats");
    let rows = Arc::new(fill::fill(&database, &keys, demo.rows, &filling).await?);
    filling.finish_and_clear();
    say(format!(
        "{} rows, sealed in Breeze's old formats: {}",
        demo.rows,
        fill::describe(&database).await?
    ));

    let server = Server::start(&url, &keys, &folder.0, ACCESS, REFRESH).await?;
    say(format!(
        "breeze-api serves on {} (access tokens live {} s and refresh tokens {} s here, so that \
         a signing key drains while you watch; Breeze's own live 15 min and 7 days)",
        server.address,
        ACCESS.as_secs(),
        REFRESH.as_secs(),
    ));
    let outcome = watch(demo, &server, &rows, &database, began, &say).await;
    server.stop().await?;
    let summary = outcome?;
    if demo.json {
        print_json(&summary)?;
    } else {
        summary.print();
    }
    ensure!(
        summary.is_clean(),
        "the demo found failed requests or lost edits; see the table above"
    );
    Ok(Exit::Complete)
}

async fn watch(
    demo: &Demo,
    server: &Server,
    rows: &Arc<Rows>,
    database: &Database,
    began: Instant,
    say: &impl Fn(String),
) -> anyhow::Result<Summary> {
    let mut admin = Admin::sign_in(server).await?;
    let tally = Arc::new(Tally::default());
    let traffic =
        Traffic::start(server, &mut admin, Arc::clone(rows), Arc::clone(&tally), demo.connections)
            .await?;

    let calm = Duration::from_secs(demo.calm);
    tally.enter(Stage::Before);
    tokio::time::sleep(calm).await;
    tally.enter(Stage::Sealing);
    let sealing = roll_over(
        &mut admin,
        json!({
            "secret": "APP_ENCRYPTION_KEY", "mode": "graceful", "reason": "demo",
            "maxRowsPerSecond": demo.max_rows_per_second,
        }),
        &bar(demo.json, u64::from(demo.rows), "APP_ENCRYPTION_KEY"),
    )
    .await?;
    say(format!("APP_ENCRYPTION_KEY rolled over: {}", told(&sealing)));
    tally.enter(Stage::Signing);
    let signing = roll_over(
        &mut admin,
        json!({ "secret": "JWT_SECRET", "mode": "graceful", "reason": "demo" }),
        &bar(demo.json, REFRESH.as_secs(), "JWT_SECRET"),
    )
    .await?;
    say(format!("JWT_SECRET rolled over: {}", told(&signing)));
    tally.enter(Stage::After);
    tokio::time::sleep(calm).await;
    let lazy = admin.get("/admin/lazy").await?;
    let edits = traffic.stop().await?;

    let reading = bar(demo.json, u64::from(demo.rows), "reading every row back");
    let verified = fill::verify(database, &server.keys, rows, &edits, &reading).await?;
    reading.finish_and_clear();
    Ok(Summary {
        stages: tally.stages(),
        failures: tally.failures(),
        rows: u64::from(demo.rows),
        rewrapped_in_bulk: number(&sealing, "rowsRewrapped"),
        rewrapped_lazily: lazy["rewrapped"].as_u64().unwrap_or_default(),
        edits: edits.acknowledged,
        edits_that_won: number(&sealing, "rowsThatKeptAnEdit")
            + lazy["superseded"].as_u64().unwrap_or_default(),
        rows_read_back: verified.read,
        rows_on_the_new_key: verified.on_the_new_key,
        lost_edits: verified.lost,
        seconds: began.elapsed().as_secs_f64(),
    })
}

fn number(rollover: &Value, name: &str) -> u64 {
    rollover["report"][name].as_u64().unwrap_or_default()
}

fn told(rollover: &Value) -> String {
    format!(
        "{} → {}, {}, {:.1} s",
        rollover["fromKey"].as_str().unwrap_or("?"),
        rollover["toKey"].as_str().unwrap_or("?"),
        rollover["phase"].as_str().unwrap_or("?"),
        rollover["report"]["seconds"].as_f64().unwrap_or_default()
    )
}

/// Begins a rollover at the admin endpoint, and watches it to its end.
async fn roll_over(admin: &mut Admin, request: Value, bar: &ProgressBar) -> anyhow::Result<Value> {
    let begun = admin.post("/admin/rollovers", &request).await?;
    let id = begun["id"].as_str().context("a rollover without an id")?.to_owned();
    let began = Instant::now();
    loop {
        let seen = admin.get(&format!("/admin/rollovers/{id}")).await?;
        let phase = seen["phase"].as_str().unwrap_or("?");
        match seen["progress"]["scanned"].as_u64() {
            Some(scanned) => bar.set_position(scanned),
            None => bar.set_position(began.elapsed().as_secs().min(bar.length().unwrap_or(0))),
        }
        bar.set_message(format!("{} {phase}", seen["secret"].as_str().unwrap_or("?")));
        match phase {
            "retired" => {
                bar.finish_and_clear();
                return Ok(seen);
            }
            "requested" | "staged" | "promoted" | "drained" => {}
            _ => anyhow::bail!("the rollover ended as {phase}: {seen}"),
        }
        let blocked = seen["blockedBy"].as_str().unwrap_or_default();
        ensure!(!needs_people(blocked), "the rollover waits for an operator: {blocked}");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let name = format!("breeze-demo-{}", uuid::Uuid::now_v7());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "the demo's folder stays behind");
        }
    }
}
