//! One running API, and rollovers through its admin endpoint.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    breeze_api::{Process, breeze_api},
    deployment::{Db, KEYS, administrator},
    free_port,
    http::Client,
};

/// A running API on a database of its own, and its administrator.
pub(crate) struct Served {
    pub(crate) db: Db,
    pub(crate) process: Process,
    pub(crate) port: u16,
    pub(crate) anybody: Client,
    pub(crate) admin: Client,
}

impl Served {
    /// With `more` variables beside the keys.
    pub(crate) async fn on(db: Db, more: &[(&str, &str)]) -> Self {
        db.migrate().await;
        let url = db.url();
        Self::at(db, &url, more).await
    }

    /// On a database that is migrated, by a URL of the test's own.
    pub(crate) async fn at(db: Db, url: &str, more: &[(&str, &str)]) -> Self {
        let variables: Vec<_> = more.iter().copied().chain([("DATABASE_URL", url)]).collect();
        Self::with(db, &variables).await
    }

    /// On a database that is migrated, with these variables beside the keys.
    pub(crate) async fn with(db: Db, variables: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut process = serve(port, variables);
        process.listens_on(port).await;
        let anybody = Client::on(port);
        let admin = administrator(&anybody, &process.stdout()).await;
        Self { db, process, port, anybody, admin }
    }

    /// The same API after its process was killed, with these variables beside the keys.
    pub(crate) async fn killed_and_started(self, variables: &[(&str, &str)]) -> Self {
        let Self { db, process, port, anybody, admin } = self;
        process.kill().await;
        let mut process = serve(port, variables);
        process.listens_on(port).await;
        Self { db, process, port, anybody, admin }
    }

    /// Another process in its place, with `more` variables beside the keys.
    pub(crate) async fn again(self, more: &[(&str, &str)]) -> Self {
        let Self { db, process, port, anybody, admin } = self;
        assert_eq!(process.terminate().await.code, Some(0));
        let url = db.url();
        let variables: Vec<_> = more.iter().copied().chain([("DATABASE_URL", &*url)]).collect();
        let mut process = serve(port, &variables);
        process.listens_on(port).await;
        Self { db, process, port, anybody, admin }
    }

    /// Begins a rollover.
    pub(crate) async fn begin(&self, secret: &str, mode: &str, value: Option<&str>) -> Value {
        let mut body = json!({ "secret": secret, "mode": mode, "reason": "a test" });
        if let Some(value) = value {
            body["value"] = value.into();
        }
        self.admin.post("/admin/rollovers", body).await.expect(202)
    }

    /// The rollover once it is in `phase`.
    pub(crate) async fn reaches(&self, rollover: &Value, phase: &str) -> Value {
        self.becomes(rollover, phase, |rollover| rollover["phase"] == phase).await
    }

    /// The rollover once `what` keeps it from moving on.
    pub(crate) async fn blocked(&self, rollover: &Value, what: &str) -> Value {
        let is_blocked =
            |rollover: &Value| rollover["blockedBy"].as_str().is_some_and(|by| by.contains(what));
        self.becomes(rollover, what, is_blocked).await
    }

    /// The rollover once its old key is accepted nowhere.
    pub(crate) async fn is_cut_off(&self, rollover: &Value) -> Value {
        let is_cut_off = |rollover: &Value| !rollover["cutOff"]["at"].is_null();
        self.becomes(rollover, "a cut-off", is_cut_off).await
    }

    async fn becomes(&self, rollover: &Value, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let path = path_of(rollover);
        for _ in 0..1200 {
            let rollover = self.admin.get(&path).await.expect(200);
            if is(&rollover) {
                return rollover;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("{what} was not reached: {}", self.admin.get(&path).await.json());
    }
}

/// A process with these variables beside the keys.
pub(crate) fn serve(port: u16, variables: &[(&str, &str)]) -> Process {
    breeze_api(["serve"])
        .envs(KEYS)
        .envs(variables.iter().copied())
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .start()
}

/// Where a rollover is inspected.
pub(crate) fn path_of(rollover: &Value) -> String {
    format!("/admin/rollovers/{}", rollover["id"].as_str().unwrap())
}
