//! All replicas share one bulk rewrap, and a dead one's share is taken over.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what it measured")]
#![allow(missing_docs, reason = "a test has no reader but its own")]

mod support;

use std::time::Duration;

use breeze_rollover::{
    catalog::Secret,
    ids::RolloverId,
    rollover::{Phase, Rollover},
};
use serde_json::{Value, json};
use support::{
    breeze_api::Process,
    deployment::{Db, Opened, Plaintexts, administrator, on_postgres},
    free_port,
    http::Client,
};
use tokio::time::{sleep, timeout};

/// Rows of all tables; each has a quarter.
const ROWS: i64 = 12_000;

/// Of a range, with [`LEASE_SECONDS`].
const RANGE_LEASE_MS: i64 = 2000;
const LEASE_SECONDS: &str = "3";

/// Within which a range goes on after its lease.
const GOAL_MS: i64 = 1000;

/// What a busy machine may add to it.
const ALLOWANCE_MS: i64 = 4000;

/// Tells, of each range that a replica took from another, when its lease had ended, when
/// it was taken, and when its first batch was committed: by the database's clock.
const WATCH: &str = "
    CREATE TABLE taken (position bigint, lease_ended bigint, claimed bigint, advanced bigint);
    CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.holder <> OLD.holder THEN
            INSERT INTO taken VALUES (NEW.position, OLD.lease_until, rollover.now_ms(), NULL);
        ELSIF NEW.cursor IS DISTINCT FROM OLD.cursor OR NEW.finished THEN
            UPDATE taken SET advanced = rollover.now_ms()
            WHERE position = NEW.position AND advanced IS NULL;
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER watch AFTER UPDATE ON rollover.range
        FOR EACH ROW EXECUTE FUNCTION watch();";

/// Several processes on one PostgreSQL database full of old values.
struct Fleet {
    _db: Db,
    opened: Opened,
    plaintexts: Plaintexts,
    processes: Vec<(u16, Process)>,
    admin: Client,
}

impl Fleet {
    async fn of(db: Db, count: usize) -> Self {
        db.migrate().await;
        let opened = db.open().await;
        let plaintexts = opened.fill(ROWS as u128).await;
        db.execute(WATCH, "").await;
        let mut processes = Vec::new();
        for _ in 0..count {
            let port = free_port();
            let mut process = db
                .run(["serve"])
                .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
                .env("BREEZE_LEASE_SECONDS", LEASE_SECONDS)
                .start();
            process.listens_on(port).await;
            processes.push((port, process));
        }
        let (port, first) = &processes[0];
        let admin = administrator(&Client::on(*port), &first.stdout()).await;
        Self { _db: db, opened, plaintexts, processes, admin }
    }

    async fn begin(&self, max_rows_per_second: u32) -> RolloverId {
        let body = json!({
            "secret": Secret::AppEncryptionKey.name(), "mode": "graceful", "reason": "a test",
            "maxRowsPerSecond": max_rows_per_second,
        });
        let begun = self.admin.post("/admin/rollovers", body).await.expect(202);
        begun["id"].as_str().unwrap().parse().unwrap()
    }

    async fn reaches(&self, id: RolloverId, phase: Phase) -> Rollover {
        let reached = async {
            loop {
                let rollover = self.opened.store().rollover(id).await.unwrap().unwrap();
                if rollover.phase == phase {
                    return rollover;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(120), reached).await.expect("it stands still")
    }

    /// The ports of those who hold an unfinished range, by the names of their replicas.
    async fn at_work(&self) -> Vec<u16> {
        const HOLDERS: &str = "SELECT DISTINCT name FROM rollover.range JOIN rollover.replica
            ON id = holder WHERE NOT finished AND range.lease_until > rollover.now_ms()";
        let names = self.opened.texts(HOLDERS).await;
        names.iter().map(|name| name.rsplit_once(':').unwrap().1.parse().unwrap()).collect()
    }

    /// Waits until `count` processes hold ranges.
    async fn share(&self, count: usize) -> Vec<u16> {
        let shared = async {
            loop {
                let at_work = self.at_work().await;
                if at_work.len() >= count {
                    return at_work;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), shared).await.expect("they do not share the work")
    }

    /// Each row was rewrapped once, and holds what it held.
    async fn is_whole(&self, report: &Value) {
        assert_eq!(report["passes"], 1, "{report}");
        assert_eq!(report["rowsRewrapped"], ROWS, "{report}");
        assert_eq!(report["rowsThatKeptAnEdit"], 0, "{report}");
        let ranges = "SELECT sum(rewrapped)::bigint FROM rollover.range";
        assert_eq!(self.opened.number(ranges).await, ROWS);
        assert!(self.opened.plaintexts().await == self.plaintexts, "every plaintext is right");
    }
}

async fn every_replica_has_a_share_of_one_table(db: Db) {
    let fleet = Fleet::of(db, 3).await;
    let id = fleet.begin(6000).await;
    assert_eq!(fleet.share(3).await.len(), 3);
    let report = fleet.reaches(id, Phase::Retired).await.report.unwrap();
    fleet.is_whole(&report).await;
    let hands = "SELECT max(hands) FROM (SELECT count(DISTINCT holder) AS hands
        FROM rollover.range GROUP BY table_name) AS tables";
    assert_eq!(fleet.opened.number(hands).await, 3, "one table, all hands");
}

async fn the_range_of_a_worker_that_is_killed_goes_on_within_a_second_of_its_lease(db: Db) {
    let mut fleet = Fleet::of(db, 3).await;
    // So slow that nobody is through with a range for many seconds: room is there for none.
    let id = fleet.begin(300).await;
    let victim = fleet.share(3).await[2];
    let at = fleet.processes.iter().position(|(port, _)| *port == victim).unwrap();
    let (_, process) = fleet.processes.remove(at);
    assert_eq!(process.kill().await.code, None);
    let death = fleet.opened.number("SELECT rollover.now_ms()").await;

    let goes_on = async {
        const LEFT: &str = "SELECT count(*) FROM rollover.range r JOIN rollover.replica p
            ON p.id = r.holder WHERE NOT r.finished AND NOT p.lease_until > rollover.now_ms()";
        while fleet.opened.number("SELECT count(advanced) FROM taken").await == 0
            || fleet.opened.number(LEFT).await > 0
        {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), goes_on).await.expect("nobody takes it over");
    let of = async |what| fleet.opened.number(what).await;
    let ranges = of("SELECT count(*) FROM taken").await;
    let claimed = of("SELECT max(claimed - lease_ended) FROM taken").await;
    let advanced = of("SELECT max(advanced - lease_ended) FROM taken").await;
    let late = of("SELECT max(advanced) FROM taken").await - death;
    eprintln!(
        "{ranges} ranges of a dead worker: taken {claimed} ms and going on {advanced} ms after \
         their leases, {late} ms after its death"
    );
    let early = of("SELECT min(claimed - lease_ended) FROM taken").await;
    assert!(early >= 0, "{early} ms: its lease had not ended");
    assert!(advanced <= GOAL_MS + ALLOWANCE_MS, "{advanced} ms after the lease");
    assert!(late <= RANGE_LEASE_MS + GOAL_MS + ALLOWANCE_MS, "{late} ms after the death");

    let unhindered = json!({ "maxRowsPerSecond": null });
    let (port, _) = fleet.processes[0];
    let admin = Client::on(port).bearing(fleet.admin.bearer().unwrap());
    admin.patch(&format!("/admin/rollovers/{id}"), unhindered).await.expect(200);
    let report = fleet.reaches(id, Phase::Retired).await.report.unwrap();
    fleet.is_whole(&report).await;
}

on_postgres!(
    every_replica_has_a_share_of_one_table,
    the_range_of_a_worker_that_is_killed_goes_on_within_a_second_of_its_lease,
);
