//! Two processes on one database, and an operator who rolls secrets over.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    agent::Agent,
    support::{
        breeze_api::Process,
        deployment::Db,
        free_port,
        http::{Answer, Client},
    },
};

/// The enrolment secret that the environment sets.
pub const SECRET: &str = "an enrolment secret of the tests 0123456789";
/// The pepper that the environment sets.
pub const PEPPER: &str = "a pepper for enrolment keys of the tests 0123";

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(100);

pub struct Service {
    pub db: Db,
    pub operator: Client,
    /// One for each process.
    pub clients: [Client; 2],
    _processes: [Process; 2],
}

impl Service {
    /// Tokens overlap for a second, and the enrolment secret has two seconds of grace.
    pub async fn start(db: Db) -> Self {
        db.migrate().await;
        let (first, client) = serve(&db).await;
        let (second, other) = serve(&db).await;
        let token = db.open().await.operator_token(Duration::from_secs(900)).await;
        let operator = client.bearing(&token);
        Self { db, operator, clients: [client, other], _processes: [first, second] }
    }

    /// Asks for a rollover.
    pub async fn begin(&self, secret: &str, mode: &str) -> String {
        self.begin_as(json!({ "secret": secret, "mode": mode, "reason": "a test" })).await
    }

    pub async fn begin_as(&self, body: Value) -> String {
        let begun = self.operator.post("/admin/rollovers", body).await.expect(202);
        begun["id"].as_str().unwrap().to_owned()
    }

    pub async fn rollover(&self, id: &str) -> Value {
        self.operator.get(&format!("/admin/rollovers/{id}")).await.expect(200)
    }

    /// Has the operator `pause`, `retire` and the like.
    pub async fn tell(&self, id: &str, what: &str, body: Value) -> Answer {
        self.operator.post(&format!("/admin/rollovers/{id}/{what}"), body).await
    }

    /// Waits until the rollover is as `is` says.
    pub async fn until(&self, id: &str, is: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let now = self.rollover(id).await;
            if is(&now) {
                return now;
            }
            assert!(began.elapsed() < PATIENCE, "it is still {now}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn reaches(&self, id: &str, phase: &str) -> Value {
        self.until(id, |rollover| rollover["phase"] == phase).await
    }

    /// Waits until it has ended in this phase, and no process accepts the key that it
    /// retired: the processes hear of that one after the other.
    pub async fn ends(&self, id: &str, phase: &str) -> Value {
        let has_ended =
            |rollover: &Value| rollover["phase"] == phase && !rollover["cutOff"]["at"].is_null();
        self.until(id, has_ended).await
    }

    /// Waits until the rollover waits for something that is told in these words.
    pub async fn waits_for(&self, id: &str, words: &str) -> Value {
        let waits = |rollover: &Value| {
            rollover["blockedBy"].as_str().is_some_and(|blocked| blocked.contains(words))
        };
        self.until(id, waits).await
    }

    /// The keys of a secret, as the inventory tells of them.
    pub async fn keys(&self, secret: &str) -> Vec<Value> {
        let inventory = self.operator.get("/admin/secrets").await.expect(200);
        let secrets = inventory["secrets"].as_array().unwrap().clone();
        let found = secrets.into_iter().find(|view| view["secret"] == secret).unwrap();
        found["keys"].as_array().unwrap().clone()
    }

    /// The id of the primary key of a secret.
    pub async fn primary(&self, secret: &str) -> Value {
        let keys = self.keys(secret).await;
        keys.into_iter().find(|key| key["state"] == "primary").unwrap()["id"].clone()
    }

    /// Creates an enrolment key for any number of agents, and answers it.
    pub async fn enrolment_key(&self, name: &str) -> String {
        let body = json!({ "name": name, "orgId": Uuid::from_u128(7) });
        self.enrolment_key_as(body).await["key"].as_str().unwrap().to_owned()
    }

    pub async fn enrolment_key_as(&self, body: Value) -> Value {
        self.operator.post("/api/v1/enrollment-keys", body).await.expect(201)
    }

    /// Enrols an agent at the first process.
    pub async fn enrol(&self, key: &str) -> Result<Agent, Answer> {
        Agent::enrol(&self.clients, key, Some(SECRET)).await
    }

    /// Asserts that the graceful rollover `id` can neither be retired yet nor, with
    /// what needs it, be forgotten: the refusal says `words`.
    pub async fn refuses_to_retire(&self, id: &str, words: &str) {
        let refused = self.tell(id, "retire", json!({ "reason": "a test" })).await;
        let problem = refused.expect(409);
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
    }

    /// Asserts that a dry run reports, and changes nothing.
    pub async fn rehearses(&self, secret: &str) {
        let before = self.keys(secret).await;
        let body = json!({ "secret": secret, "reason": "a test", "dryRun": true });
        let id = self.begin_as(body).await;
        let rehearsed = self.reaches(&id, "rehearsed").await;
        assert!(rehearsed["report"].is_object(), "{rehearsed}");
        let ids = |keys: &[Value]| {
            keys.iter().map(|key| (key["id"].clone(), key["state"].clone())).collect::<Vec<_>>()
        };
        assert_eq!(ids(&self.keys(secret).await), ids(&before));
    }
}

async fn serve(db: &Db) -> (Process, Client) {
    let port = free_port();
    let mut process = db
        .run(["serve"])
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .env("AGENT_ENROLLMENT_SECRET", SECRET)
        .env("ENROLLMENT_KEY_PEPPER", PEPPER)
        .env("AGENT_TOKEN_OVERLAP_SECONDS", "1")
        .env("AGENT_ENROLLMENT_SECRET_GRACE_SECONDS", "2")
        .start();
    process.listens_on(port).await;
    (process, Client::on(port))
}
