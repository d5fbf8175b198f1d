//! Two processes on one database, and an operator who rolls secrets over.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    breeze_api::Process,
    deployment::{Db, Opened},
    free_port,
    http::{Answer, Client},
};

/// The pepper of Breeze's own vectors, as the environment sets it: Breeze trims it.
pub const PEPPER: &str = " kit-recovery-pepper-0123456789abcdef";

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(100);

pub struct Replicas {
    pub db: Db,
    pub operator: Client,
    /// One for each process.
    pub clients: [Client; 2],
    pub processes: [Process; 2],
}

impl Replicas {
    pub async fn start(db: Db) -> Self {
        Self::with(db, &[]).await
    }

    /// With `more` variables.
    pub async fn with(db: Db, more: &[(&str, &str)]) -> Self {
        db.migrate().await;
        let (first, client) = serve(&db, more).await;
        let (second, other) = serve(&db, more).await;
        let token = db.open().await.operator_token(Duration::from_secs(900)).await;
        let operator = client.bearing(&token);
        Self { db, operator, clients: [client, other], processes: [first, second] }
    }

    pub async fn database(&self) -> Opened {
        self.db.open().await
    }

    /// Begins a rollover, and answers its path.
    pub async fn begin(&self, secret: &str, mode: &str) -> String {
        self.begin_as(json!({ "secret": secret, "mode": mode, "reason": "a test" })).await
    }

    pub async fn begin_as(&self, body: Value) -> String {
        let begun = self.operator.post("/admin/rollovers", body).await.expect(202);
        format!("/admin/rollovers/{}", begun["id"].as_str().unwrap())
    }

    /// Has the operator `retire` it and the like.
    pub async fn tell(&self, path: &str, what: &str, body: Value) -> Answer {
        self.operator.post(&format!("{path}/{what}"), body).await
    }

    /// Waits until what stands at `path` is as `is` says.
    pub async fn until(&self, path: &str, is: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let now = self.operator.get(path).await.expect(200);
            if is(&now) {
                return now;
            }
            assert!(began.elapsed() < PATIENCE, "it is still {now}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the rollover has ended in this phase, and no process accepts the key
    /// that it retired.
    pub async fn ends(&self, path: &str, phase: &str) -> Value {
        let has_ended =
            |rollover: &Value| rollover["phase"] == phase && !rollover["cutOff"]["at"].is_null();
        self.until(path, has_ended).await
    }

    /// Waits until the rollover waits for something that is told in these words.
    pub async fn waits_for(&self, path: &str, words: &str) -> Value {
        let waits = |rollover: &Value| {
            rollover["blockedBy"].as_str().is_some_and(|blocked| blocked.contains(words))
        };
        self.until(path, waits).await
    }

    /// Ends both processes. Their logs, at DEBUG, hold none of `secrets`.
    pub async fn end<'a>(self, secrets: impl IntoIterator<Item = &'a String>) {
        let mut logs = String::new();
        for process in self.processes {
            let ended = process.terminate().await;
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            logs += &ended.stderr;
        }
        for secret in secrets {
            assert!(!logs.contains(secret), "a log holds {secret}");
        }
    }
}

async fn serve(db: &Db, more: &[(&str, &str)]) -> (Process, Client) {
    let port = free_port();
    let mut process = db
        .run(["serve"])
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .env("MFA_RECOVERY_CODE_PEPPER", PEPPER)
        .env("RUST_LOG", "debug")
        .envs(more.iter().copied())
        .start();
    process.listens_on(port).await;
    (process, Client::on(port))
}
