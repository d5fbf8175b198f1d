//! Killed with SIGKILL at any point and started again, it finishes, and nothing is
//! lost or done twice.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, reason = "a test has no reader but its own")]

mod support;

use std::time::Duration;

use breeze_rollover::{
    catalog::Secret,
    ids::RolloverId,
    rollover::{Phase, Rollover},
};
use serde_json::json;
use support::{
    breeze_api::Process,
    deployment::{Db, Opened, Plaintexts, administrator, on_both_databases},
    free_port,
    http::Client,
};
use tokio::time::{sleep, timeout};

const ROWS: i64 = 5000;
const SEED: u64 = 0x5eed_0002;

/// Moments that look random, and are the same in each run.
struct Moments(u64);

impl Moments {
    /// Waits for 0 to `most` milliseconds.
    async fn pass(&mut self, most: u64) {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        sleep(Duration::from_millis(self.0 % most)).await;
    }
}

/// Notes every row that is written, in the transaction that writes it, and holds a
/// rollover in its phase while the gate is shut for the next one.
async fn watch(db: &Db) {
    let tables = ["sso_providers", "webhooks", "discovery_profiles", "tenant_variables"];
    let mut postgres = "
        CREATE TABLE gate (phase text);
        CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.phase <> OLD.phase AND EXISTS (SELECT FROM gate WHERE phase = NEW.phase) THEN
                RAISE EXCEPTION 'the gate is shut';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER gate BEFORE UPDATE ON rollover.rollover
            FOR EACH ROW EXECUTE FUNCTION gate();
        CREATE TABLE written (id text);
        CREATE FUNCTION written() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO written VALUES (NEW.id);
            RETURN NULL;
        END $$;"
        .to_owned();
    let mut sqlite = "
        CREATE TABLE gate (phase TEXT);
        CREATE TRIGGER gate_trigger BEFORE UPDATE ON rollover_rollover
        WHEN NEW.phase <> OLD.phase AND EXISTS (SELECT 1 FROM gate WHERE phase = NEW.phase)
        BEGIN SELECT RAISE(ABORT, 'the gate is shut'); END;
        CREATE TABLE written (id TEXT);"
        .to_owned();
    for table in tables {
        postgres += &format!(
            "CREATE TRIGGER written AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION written();"
        );
        sqlite += &format!(
            "CREATE TRIGGER {table}_written AFTER UPDATE ON {table}
             BEGIN INSERT INTO written VALUES (NEW.id); END;"
        );
    }
    db.execute(&postgres, &sqlite).await;
}

/// How many rows are written so far, each once.
async fn written(opened: &Opened) -> i64 {
    let sql =
        "SELECT CASE WHEN count(*) = count(DISTINCT id) THEN count(*) ELSE -1 END FROM written";
    let rows = opened.number(sql).await;
    assert_ne!(rows, -1, "a row was written twice");
    rows
}

/// Waits until more than `done` rows are written.
async fn goes_on(opened: &Opened, done: i64, process: &Process) {
    let more = async {
        while written(opened).await == done {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(Duration::from_secs(60), more).await.is_err() {
        panic!("it stands still after {done} rows: {}", process.stderr());
    }
}

/// Rows on a fresh database, which is watched.
async fn filled(db: &Db) -> (Opened, Plaintexts) {
    db.migrate().await;
    let opened = db.open().await;
    let plaintexts = opened.fill(ROWS as u128).await;
    watch(db).await;
    (opened, plaintexts)
}

/// What is killed and started again, on one database.
struct Deployment {
    db: Db,
    opened: Opened,
    plaintexts: Plaintexts,
    moments: Moments,
    port: u16,
}

impl Deployment {
    async fn on(db: Db) -> Self {
        let (opened, plaintexts) = filled(&db).await;
        Self { db, opened, plaintexts, moments: Moments(SEED), port: free_port() }
    }

    async fn start(&self) -> Process {
        let mut process = self
            .db
            .run(["serve"])
            .env("BREEZE_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("BREEZE_LEASE_SECONDS", "3")
            .start();
        process.listens_on(self.port).await;
        process
    }

    /// Shuts the gate to `phase`, and opens all others.
    async fn hold_back(&self, phase: &str) {
        self.opened
            .execute(&format!("DELETE FROM gate; INSERT INTO gate VALUES ('{phase}')"))
            .await;
    }

    async fn rollover(&self, id: RolloverId) -> Rollover {
        self.opened.store().rollover(id).await.unwrap().unwrap()
    }

    async fn reaches(&self, id: RolloverId, phase: Phase, process: &Process) -> Rollover {
        let reached = async {
            loop {
                let rollover = self.rollover(id).await;
                if rollover.phase == phase {
                    return rollover;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        match timeout(Duration::from_secs(60), reached).await {
            Ok(rollover) => rollover,
            Err(_) => panic!("{:?} and not {phase}: {}", self.rollover(id).await, process.stderr()),
        }
    }

    /// Kills it some time soon; what it was at is whole.
    async fn kill(&mut self, process: Process, soon: u64) {
        self.moments.pass(soon).await;
        assert_eq!(process.kill().await.code, None, "it did not end by itself");
        self.opened.settles().await;
        self.is_whole().await;
    }

    async fn is_whole(&self) {
        assert_eq!(self.opened.primaries(Secret::AppEncryptionKey).await.len(), 1);
        assert!(self.opened.plaintexts().await == self.plaintexts, "every plaintext is right");
        written(&self.opened).await;
    }
}

async fn a_rollover_that_is_killed_in_every_phase_finishes(db: Db) {
    let mut deployment = Deployment::on(db).await;
    deployment.hold_back("staged").await;
    let process = deployment.start().await;
    let client = Client::on(deployment.port);
    let admin = administrator(&client, &process.stdout()).await;
    let body = json!({
        "secret": "APP_ENCRYPTION_KEY", "mode": "graceful", "reason": "a test",
        "maxRowsPerSecond": 1000,
    });
    let begun = admin.post("/admin/rollovers", body).await.expect(202);
    let id: RolloverId = begun["id"].as_str().unwrap().parse().unwrap();
    deployment.kill(process, 400).await;
    assert_eq!(deployment.rollover(id).await.phase, Phase::Requested);

    deployment.hold_back("promoted").await;
    let process = deployment.start().await;
    deployment.reaches(id, Phase::Staged, &process).await;
    deployment.kill(process, 400).await;
    assert_eq!(deployment.rollover(id).await.phase, Phase::Staged);
    assert_eq!(written(&deployment.opened).await, 0, "it is promoted first");

    deployment.hold_back("drained").await;
    let process = deployment.start().await;
    deployment.reaches(id, Phase::Promoted, &process).await;
    deployment.kill(process, 400).await;
    let mut done = written(&deployment.opened).await;
    for _ in 0..3 {
        let process = deployment.start().await;
        goes_on(&deployment.opened, done, &process).await;
        deployment.kill(process, 700).await;
        done = written(&deployment.opened).await;
        assert!((1..ROWS).contains(&done), "half-way is not after {done} rows");
    }
    assert_eq!(deployment.rollover(id).await.phase, Phase::Promoted);

    deployment.hold_back("retired").await;
    let process = deployment.start().await;
    deployment.reaches(id, Phase::Drained, &process).await;
    deployment.kill(process, 400).await;
    assert_eq!(deployment.rollover(id).await.phase, Phase::Drained);

    deployment.hold_back("nothing").await;
    let process = deployment.start().await;
    let report = deployment.reaches(id, Phase::Retired, &process).await.report.unwrap();
    assert_eq!(report["rowsRewrapped"], ROWS, "{report}");
    assert_eq!(report["rowsThatKeptAnEdit"], 0, "{report}");
    deployment.kill(process, 400).await;
    assert_eq!(written(&deployment.opened).await, ROWS);

    // At its end it stays there, and what it left serves.
    let process = deployment.start().await;
    let view = admin.get(&format!("/admin/rollovers/{id}")).await.expect(200);
    assert_eq!(view["phase"], "retired");
    let census = admin.get("/admin/census").await.expect(200);
    assert_eq!(census["stale"], 0, "{census}");
    assert_eq!(process.terminate().await.code, Some(0));
}

async fn a_rewrap_that_is_killed_is_finished_by_the_next_one(db: Db) {
    let mut moments = Moments(SEED);
    let (opened, plaintexts) = filled(&db).await;
    let mut done = 0;
    for _ in 0..3 {
        let process = db.run(["rewrap", "--apply", "--max-rows-per-second", "2000"]).start();
        goes_on(&opened, done, &process).await;
        moments.pass(500).await;
        assert_eq!(process.kill().await.code, None, "it did not end by itself");
        opened.settles().await;
        done = written(&opened).await;
        assert!((1..ROWS).contains(&done), "{done} rows");
        assert!(opened.plaintexts().await == plaintexts, "every plaintext is right");
    }
    let last = db.run(["rewrap", "--apply", "--json"]).finish().await;
    assert_eq!(last.code, Some(0), "{last:?}");
    assert_eq!(last.json()["rowsRewrapped"], ROWS - done);
    assert_eq!(written(&opened).await, ROWS);
    assert!(opened.plaintexts().await == plaintexts, "every plaintext is right");
}

on_both_databases!(
    a_rollover_that_is_killed_in_every_phase_finishes,
    a_rewrap_that_is_killed_is_finished_by_the_next_one,
);
