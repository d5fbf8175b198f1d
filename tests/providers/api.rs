//! `breeze-api` as operators and users meet it: the compiled binary, over real HTTP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use breeze_rollover::rollover::Phase;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep};

use crate::support::{
    breeze_api::{Finished, Process},
    deployment::{Db, administrator},
    free_port,
    http::Client,
};

/// One process on a database that outlives it.
pub struct Api {
    pub db: Db,
    pub admin: Client,
    process: Process,
    port: u16,
    variables: Vec<(&'static str, String)>,
}

impl Api {
    pub async fn start(db: Db, variables: Vec<(&'static str, String)>) -> Self {
        if let Db::Postgres(_) = db {
            db.migrate().await;
        }
        let port = free_port();
        let process = serve(&db, port, &variables).await;
        let admin = administrator(&Client::on(port), &process.stdout()).await;
        Self { db, admin, process, port, variables }
    }

    /// Kills it, wherever it is, and starts another in its place.
    pub async fn kill_and_start_again(mut self) -> Self {
        self.process.kill().await;
        self.process = serve(&self.db, self.port, &self.variables).await;
        self
    }

    pub async fn begin(&self, secret: &str, value: Option<String>) -> String {
        let mut body = json!({ "secret": secret, "mode": "graceful", "reason": "a test" });
        if let Some(value) = value {
            body["value"] = value.into();
        }
        let begun = self.admin.post("/admin/rollovers", body).await.expect(202);
        begun["id"].as_str().unwrap().to_owned()
    }

    pub async fn rollover(&self, id: &str) -> Value {
        self.admin.get(&format!("/admin/rollovers/{id}")).await.expect(200)
    }

    /// The rollover once `is` holds of it.
    pub async fn waits(&self, id: &str, is: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..2400 {
            let rollover = self.rollover(id).await;
            if is(&rollover) {
                return rollover;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("it never came so far: {}", self.rollover(id).await);
    }

    pub async fn is_retired(&self, id: &str) -> Value {
        self.waits(id, |rollover| rollover["phase"] == "retired").await
    }

    /// The operator has another token, of the present key, that lives for an hour.
    pub async fn bears_an_operators_token(&mut self) {
        let token = self.db.open().await.operator_token(Duration::from_secs(60 * 60)).await;
        self.admin = self.admin.bearing(&token);
    }

    /// Waits for the end of a rollover that takes the operator's token with it.
    pub async fn is_retired_at_the_database(&self, id: &str) {
        let (database, id) = (self.db.open().await, id.parse().unwrap());
        for _ in 0..2400 {
            let rollover = database.store().rollover(id).await.unwrap().unwrap();
            if rollover.phase == Phase::Retired {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("it never came so far");
    }

    /// Waits until the old credential is to be revoked by hand, has it revoked, says so,
    /// and waits for the end.
    pub async fn revoked_by_hand(&self, id: &str, revoke: impl AsyncFnOnce()) {
        let asks = |rollover: &Value| {
            rollover["blockedBy"].as_str().is_some_and(|by| by.contains("/revoked"))
        };
        self.waits(id, asks).await;
        revoke().await;
        let path = format!("/admin/rollovers/{id}/revoked");
        self.admin.post(&path, json!({ "reason": "deleted in the console" })).await.expect(200);
        self.is_retired(id).await;
    }

    /// Sends the same request over and over, until it is asked how that went.
    pub fn traffic(&self, path: &'static str, body: Value) -> Traffic {
        let (client, stop) = (self.admin.clone(), Arc::<AtomicBool>::default());
        let sent = Arc::<AtomicU64>::default();
        let (stopping, counting) = (Arc::clone(&stop), Arc::clone(&sent));
        let task = tokio::spawn(async move {
            while !stopping.load(Ordering::Relaxed) {
                let answer = client.post(path, body.clone()).await;
                assert!(answer.status.is_success(), "{}", answer.body.escape_ascii());
                counting.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(5)).await;
            }
        });
        Traffic { task, stop, sent }
    }

    /// Ends it. Its log, at TRACE, holds none of `secrets`.
    pub async fn end(self, secrets: &[&str]) {
        let Finished { code, stderr, .. } = self.process.terminate().await;
        assert_eq!(code, Some(0), "{stderr}");
        for secret in secrets {
            let base64 = base64_simd::STANDARD.encode_to_string(secret);
            for form in [*secret, base64.trim_end_matches('=')] {
                assert!(!stderr.contains(form), "the log holds {secret}");
            }
        }
    }
}

async fn serve(db: &Db, port: u16, variables: &[(&'static str, String)]) -> Process {
    let mut process = db
        .run(["serve"])
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .env("BREEZE_LEASE_SECONDS", "5")
        .env("RUST_LOG", "trace")
        .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
        .start();
    process.listens_on(port).await;
    process
}

/// Requests that go out all the time; the first that fails ends the test.
pub struct Traffic {
    task: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Traffic {
    /// Waits for `more` answers.
    pub async fn goes_on_for(&self, more: u64) {
        let until = self.sent.load(Ordering::Relaxed) + more;
        while self.sent.load(Ordering::Relaxed) < until && !self.task.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it: nothing has failed.
    pub async fn none_failed(self) {
        self.goes_on_for(3).await;
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}
