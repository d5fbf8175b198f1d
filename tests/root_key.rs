//! The root key rolls over on all replicas: no request fails, and no replica is ever
//! left with keys that it cannot open.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, reason = "a test has no reader but its own")]

mod support;

use std::{
    fs,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use breeze_rollover::{catalog::Secret, material::Material, operator::RootKeyView};
use serde_json::{Value, json};
use support::{
    breeze_api::{Finished, Process, Run},
    deployment::{Db, Opened, administrator, on_both_databases},
    free_port,
    http::Client,
};
use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

const OLD: &str = "the first root key of the tests 0123456789";
const NEW: &str = "the second root key of the tests 0123456789";
const PATIENCE: Duration = Duration::from_secs(60);

fn fingerprint(root_key: &str) -> String {
    Material::new(root_key).unwrap().fingerprint().to_string()
}

/// Replaces a file whole, as orchestrators do.
fn write(path: &Path, text: &str) {
    use std::io::Write;
    let draft = path.with_extension("draft");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    writeln!(options.open(&draft).unwrap(), "{text}").unwrap();
    fs::rename(draft, path).unwrap();
}

/// Where a process has its root keys from.
#[derive(Debug, Clone, Copy)]
enum Given<'a> {
    /// Two files in this folder.
    Files(&'a Path),
    /// Variables: the root key, and previous ones.
    Variables(&'a str, &'a str),
    /// Nowhere: the file beside the SQLite database.
    Nothing,
}

/// Two ports on one database, and what a process on each is started with.
struct Deployment {
    db: Db,
    opened: Opened,
    ports: [u16; 2],
    folder: TempDir,
}

impl Deployment {
    async fn on(db: Db) -> Self {
        db.migrate().await;
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("root"), OLD);
        write(&folder.path().join("previous"), "[]");
        let opened = db.open().await;
        Self { db, opened, ports: [free_port(), free_port()], folder }
    }

    fn root_key_file(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn previous_file(&self) -> PathBuf {
        self.folder.path().join("previous")
    }

    fn prepare(&self, number: usize, given: Given<'_>) -> Run {
        let run = self
            .db
            .run(["serve"])
            .env("BREEZE_LISTEN", format!("127.0.0.1:{}", self.ports[number]))
            .env("BREEZE_LEASE_SECONDS", "2")
            .env("BREEZE_ROOT_KEY", "");
        match given {
            Given::Files(folder) => run
                .env("BREEZE_ROOT_KEY_FILE", folder.join("root"))
                .env("BREEZE_ROOT_KEY_PREVIOUS_FILE", folder.join("previous")),
            Given::Variables(root_key, previous) => {
                run.env("BREEZE_ROOT_KEY", root_key).env("BREEZE_ROOT_KEY_PREVIOUS", previous)
            }
            Given::Nothing => run,
        }
    }

    async fn start(&self, number: usize, given: Given<'_>) -> Process {
        let mut process = self.prepare(number, given).start();
        process.listens_on(self.ports[number]).await;
        process
    }

    async fn start_both(&self, given: Given<'_>) -> [Process; 2] {
        let first = self.start(0, given).await;
        [first, self.start(1, given).await]
    }

    /// What an operator is told now.
    async fn status(&self) -> Value {
        let view = RootKeyView::of(self.opened.store().as_ref()).await.unwrap();
        serde_json::to_value(view).unwrap()
    }

    /// Waits until every key is under `root_key`, and every live replica knows.
    async fn settles(&self, root_key: &str, live: usize, processes: &[Process]) -> Value {
        let settled = async {
            loop {
                let status = self.status().await;
                let is_it = status["isSettled"] == true
                    && status["rootKey"] == fingerprint(root_key)
                    && status["replicas"].as_array().unwrap().len() == live;
                if is_it {
                    return status;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        match timeout(PATIENCE, settled).await {
            Ok(status) => status,
            Err(_) => {
                let told: Vec<_> = processes.iter().map(Process::stderr).collect();
                panic!("{} and not settled: {told:#?}", self.status().await)
            }
        }
    }

    /// The root keys that keys are sealed under.
    async fn sealed_under(&self) -> Vec<String> {
        let status = self.status().await;
        status["sealed"].as_object().unwrap().keys().cloned().collect()
    }

    async fn audited(&self, action: &str) -> usize {
        let entries = self.opened.store().audit(None, 500).await.unwrap();
        entries.iter().filter(|entry| entry.action == action).count()
    }
}

async fn ends(processes: impl IntoIterator<Item = Process>) {
    for process in processes {
        let ended = process.terminate().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        tells_no_root_key(&ended);
    }
}

#[track_caller]
fn tells_no_root_key(ended: &Finished) {
    for root_key in [OLD, NEW] {
        assert!(!ended.stderr.contains(root_key) && !ended.stdout.contains(root_key));
    }
}

#[track_caller]
fn refused(ended: &Finished, says: &[&str]) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    tells_no_root_key(ended);
    for says in says {
        assert!(ended.stderr.contains(says), "`{says}` is not in {}", ended.stderr);
    }
}

/// Writes and reads sealed values on ports that are served, until it is stopped.
struct Traffic {
    is_over: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Traffic {
    fn of(admin: &Client, ports: &[u16]) -> Self {
        let (is_over, requests) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let clients = ports.iter().enumerate().map(|(number, port)| {
            let client = Client::on(*port).bearing(admin.bearer().unwrap());
            let (is_over, requests) = (Arc::clone(&is_over), Arc::clone(&requests));
            tokio::spawn(async move {
                for round in 0.. {
                    let value = format!("value {round} of client {number}");
                    let made = json!({ "name": format!("V{number}_{round}"), "value": value });
                    let path = "/api/v1/tenant-variables";
                    let made = client.post(path, made).await.expect(201);
                    let path = format!("{path}/{}", made["id"].as_str().unwrap());
                    assert_eq!(client.get(&path).await.expect(200)["value"], value);
                    requests.fetch_add(2, Ordering::Relaxed);
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    sleep(Duration::from_millis(20)).await;
                }
            })
        });
        let clients = clients.collect();
        Self { is_over, requests, clients }
    }

    /// None failed.
    async fn ends(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        assert!(self.requests.load(Ordering::Relaxed) > 20, "there was traffic");
    }
}

async fn a_changed_file_rolls_it_over_without_a_restart_or_a_failed_request(db: Db) {
    let deployment = Deployment::on(db).await;
    let files = Given::Files(deployment.folder.path());
    let processes = deployment.start_both(files).await;
    let admin = administrator(&Client::on(deployment.ports[0]), &processes[0].stdout()).await;
    assert_eq!(deployment.settles(OLD, 2, &processes).await["mayBeTakenAway"], json!([]));
    let traffic = Traffic::of(&admin, &deployment.ports);

    write(&deployment.root_key_file(), NEW);
    // As the README has it: at once, before any replica has noticed.
    let waiting = deployment.db.run(["root-key", "--wait"]).env("BREEZE_ROOT_KEY", "");
    let waited = waiting.env("BREEZE_ROOT_KEY_FILE", deployment.root_key_file()).finish().await;
    assert_eq!(waited.code, Some(0), "{waited:?}");
    let may = format!("root key {} may be taken away", fingerprint(OLD));
    assert!(waited.stdout.contains(&may), "{}", waited.stdout);
    let settled = deployment.settles(NEW, 2, &processes).await;
    assert_eq!(settled["mayBeTakenAway"], json!([fingerprint(OLD)]));
    assert_eq!(deployment.sealed_under().await, [fingerprint(NEW)]);
    assert_eq!(deployment.audited("root_key.reseal").await, 1, "one of two has done it");
    assert_eq!(deployment.audited("root_key.notice").await, 2);
    assert_eq!(admin.get("/admin/root-key").await.expect(200), settled);
    // No root key is needed to ask, only to say which one to wait for.
    let ask = async |arguments: &[&str], root_key: &str| {
        let run = deployment.db.run(["root-key", "--json"].iter().chain(arguments).copied());
        run.env("BREEZE_ROOT_KEY", root_key).finish().await
    };
    for asked in [ask(&[], "").await, ask(&["--wait"], NEW).await] {
        assert_eq!((asked.code, asked.json()), (Some(0), settled.clone()));
    }
    assert_eq!(ask(&[], OLD).await.code, Some(2), "settled, and not on that one");
    refused(&ask(&["--wait"], "").await, &["--wait needs the new root key"]);

    // What is made from now on is sealed under it, too, and opens on both.
    let body = json!({ "secret": "MFA_ENCRYPTION_KEY", "reason": "a test" });
    let begun = admin.post("/admin/rollovers", body).await.expect(202);
    let path = format!("/admin/rollovers/{}", begun["id"].as_str().unwrap());
    is_retired(&admin, &path).await;
    assert_eq!(deployment.sealed_under().await, [fingerprint(NEW)]);
    traffic.ends().await;
    ends(processes).await;

    // The previous one is not needed any more, and the old one alone does not do.
    let processes = deployment.start_both(files).await;
    ends(processes).await;
    let late = deployment.prepare(0, Given::Variables(OLD, "")).finish().await;
    let needed = format!("is sealed under root key {}", fingerprint(NEW));
    refused(&late, &[&needed, "set BREEZE_ROOT_KEY to it if it is the newer one"]);
}

/// Waits until the rollover at `path` has retired its key.
async fn is_retired(admin: &Client, path: &str) {
    let retired = async {
        while admin.get(path).await.expect(200)["phase"] != "retired" {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, retired).await.unwrap();
}

async fn a_rolling_restart_with_the_previous_one_beside_it_rolls_it_over(db: Db) {
    let deployment = Deployment::on(db).await;
    let [first, second] = deployment.start_both(Given::Variables(OLD, "")).await;
    let admin = administrator(&Client::on(deployment.ports[0]), &first.stdout()).await;
    let (one, other) = deployment.ports.split_at(1);

    // The new one alone is too early: it opens nothing, and leaves nothing behind.
    let early = deployment.prepare(0, Given::Variables(NEW, ""));
    let more = early.env("MFA_ENCRYPTION_KEY_PREVIOUS", "a key that nobody has declared so far");
    ends([first]).await;
    let needed = format!("is sealed under root key {}", fingerprint(OLD));
    refused(&more.finish().await, &[&needed, "BREEZE_ROOT_KEY_PREVIOUS if it was replaced"]);

    let traffic = Traffic::of(&admin, other);
    let first = deployment.start(0, Given::Variables(NEW, OLD)).await;
    let status = deployment.status().await;
    assert_eq!((&status["isSettled"], &status["rootKey"]), (&json!(false), &Value::Null));
    let blocked = status["blockedBy"].as_str().unwrap();
    assert!(blocked.contains("give both the same BREEZE_ROOT_KEY"), "{blocked}");
    // A key that is made meanwhile is one that both open.
    let body = json!({ "secret": "MFA_ENCRYPTION_KEY", "reason": "a test" });
    let begun = Client::on(one[0]).bearing(admin.bearer().unwrap());
    let begun = begun.post("/admin/rollovers", body).await.expect(202);
    let path = format!("/admin/rollovers/{}", begun["id"].as_str().unwrap());
    let watching = Client::on(other[0]).bearing(admin.bearer().unwrap());
    is_retired(&watching, &path).await;
    assert_eq!(deployment.sealed_under().await, [fingerprint(OLD)]);
    traffic.ends().await;

    let traffic = Traffic::of(&admin, one);
    ends([second]).await;
    let second = deployment.start(1, Given::Variables(NEW, OLD)).await;
    let processes = [first, second];
    let settled = deployment.settles(NEW, 2, &processes).await;
    assert_eq!(settled["mayBeTakenAway"], json!([fingerprint(OLD)]));
    traffic.ends().await;
    let [first, second] = processes;
    ends([first]).await;
    let first = deployment.start(0, Given::Variables(NEW, "")).await;
    ends([second]).await;
    let second = deployment.start(1, Given::Variables(NEW, "")).await;
    let processes = [first, second];
    assert_eq!(deployment.settles(NEW, 2, &processes).await["mayBeTakenAway"], json!([]));
    ends(processes).await;
}

/// While the gate is shut, no key is sealed anew.
const GATE_ON_POSTGRES: &str = "
    CREATE TABLE gate (shut boolean);
    INSERT INTO gate VALUES (true);
    CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF EXISTS (SELECT FROM gate) THEN RAISE EXCEPTION 'the gate is shut'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER gate BEFORE UPDATE OF sealed ON rollover.key
        FOR EACH ROW EXECUTE FUNCTION gate();";
const GATE_ON_SQLITE: &str = "
    CREATE TABLE gate (shut INTEGER);
    INSERT INTO gate VALUES (1);
    CREATE TRIGGER gate_trigger BEFORE UPDATE OF sealed ON rollover_key
    WHEN EXISTS (SELECT 1 FROM gate) BEGIN SELECT RAISE(ABORT, 'the gate is shut'); END;";

async fn processes_that_are_killed_before_it_is_done_leave_every_key_as_it_was(db: Db) {
    let deployment = Deployment::on(db).await;
    let files = Given::Files(deployment.folder.path());
    let [first, second] = deployment.start_both(files).await;
    deployment.db.execute(GATE_ON_POSTGRES, GATE_ON_SQLITE).await;
    write(&deployment.previous_file(), OLD);
    write(&deployment.root_key_file(), NEW);
    let tried = async {
        while !first.stderr().contains("the gate is shut")
            || !second.stderr().contains("the gate is shut")
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, tried).await.unwrap();
    for process in [first, second] {
        assert_eq!(process.kill().await.code, None, "both go on serving");
    }
    assert_eq!(deployment.sealed_under().await, [fingerprint(OLD)]);
    assert_eq!(deployment.audited("root_key.reseal").await, 0);

    let processes = deployment.start_both(files).await;
    assert_eq!(deployment.sealed_under().await, [fingerprint(OLD)]);
    deployment.opened.execute("DELETE FROM gate").await;
    deployment.settles(NEW, 2, &processes).await;
    assert_eq!(deployment.sealed_under().await, [fingerprint(NEW)]);
    assert_eq!(deployment.audited("root_key.reseal").await, 1);
    ends(processes).await;
}

/// Moments that look random, and are the same in each run.
struct Moments(u64);

impl Moments {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

async fn processes_that_are_killed_while_it_rolls_over_again_and_again_finish_it(db: Db) {
    let deployment = Deployment::on(db).await;
    let files = Given::Files(deployment.folder.path());
    let mut moments = Moments(0x5eed_0003);
    let [mut first, mut second] = deployment.start_both(files).await;
    let mut root_keys = vec![OLD.to_owned()];
    for round in 1..=5 {
        let next = format!("the root key of round {round} 0123456789abcdef");
        write(&deployment.previous_file(), &serde_json::to_string(&root_keys).unwrap());
        write(&deployment.root_key_file(), &next);
        root_keys.insert(0, next.clone());
        // It is noticed and done within about this time.
        sleep(Duration::from_millis(moments.below(1600))).await;
        if round % 2 == 1 {
            assert_eq!(first.kill().await.code, None);
            first = deployment.start(0, files).await;
        } else {
            let (one, two) = (first.kill().await, second.kill().await);
            assert_eq!((one.code, two.code), (None, None));
            [first, second] = deployment.start_both(files).await;
        }
        // Half of the time the next one comes before this one is at its end.
        if round % 2 == 0 {
            let processes = [first, second];
            deployment.settles(&next, 2, &processes).await;
            [first, second] = processes;
        }
    }
    let processes = [first, second];
    deployment.settles(&root_keys[0], 2, &processes).await;
    ends(processes).await;
    write(&deployment.previous_file(), "[]");
    let processes = deployment.start_both(files).await;
    assert_eq!(deployment.opened.primaries(Secret::JwtSecret).await.len(), 1);
    ends(processes).await;
}

#[tokio::test]
async fn the_root_key_of_a_development_machine_rolls_over_beside_its_database() {
    let deployment = Deployment::on(Db::on_sqlite()).await;
    let Db::Sqlite(file) = &deployment.db else { unreachable!("it is SQLite") };
    let root_key_file = PathBuf::from(format!("{}.root-key", file.path().display()));
    let processes = deployment.start_both(Given::Nothing).await;
    let made = fs::read_to_string(&root_key_file).unwrap();
    deployment.settles(made.trim(), 2, &processes).await;

    // A file that is gone is no wish for another root key, nor is one for all to read.
    fs::copy(&root_key_file, deployment.root_key_file()).unwrap();
    fs::remove_file(&root_key_file).unwrap();
    sleep(Duration::from_millis(1500)).await;
    assert!(!root_key_file.exists(), "only a start makes one");
    write(&root_key_file, NEW);
    deployment.settles(NEW, 2, &processes).await;
    ends(processes).await;
    let processes = deployment.start_both(Given::Nothing).await;
    assert_eq!(deployment.sealed_under().await, [fingerprint(NEW)]);
    ends(processes).await;
}

on_both_databases!(
    a_changed_file_rolls_it_over_without_a_restart_or_a_failed_request,
    a_rolling_restart_with_the_previous_one_beside_it_rolls_it_over,
    processes_that_are_killed_before_it_is_done_leave_every_key_as_it_was,
    processes_that_are_killed_while_it_rolls_over_again_and_again_finish_it,
);
