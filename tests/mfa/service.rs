//! Two processes on one database, and an operator who rolls secrets over.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    device::Device,
    support::{
        breeze_api::{Process, breeze_api},
        deployment::{Db, KEYS, administrator_of},
        free_port,
        http::{Answer, Client},
    },
};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(100);

pub const PASSWORD: &str = "correct horse battery staple";

pub struct Service {
    pub db: Db,
    /// Bears a token that no user of the API has.
    pub operator: Client,
    /// One for each process.
    pub clients: [Client; 2],
    /// Of the first start.
    pub administrator: Option<Person>,
    pub processes: [Process; 2],
}

/// Who logs in with a password and, if they have one, a device.
#[derive(Debug)]
pub struct Person {
    pub email: String,
    pub password: String,
    pub device: Option<Device>,
}

impl Service {
    /// With the keys of the tests, and `more`.
    pub async fn start(db: Db, more: &[(&str, &str)]) -> Self {
        let all = KEYS.iter().chain(more);
        Self::under(db, all.map(|(name, value)| ((*name).into(), (*value).into())).collect()).await
    }

    /// With the variables of `environment`.
    pub async fn under(db: Db, environment: Vec<(String, String)>) -> Self {
        db.migrate().await;
        let (first, client) = serve(&db, &environment).await;
        let (second, other) = serve(&db, &environment).await;
        let token = db.open().await.operator_token(Duration::from_secs(900)).await;
        let administrator = first.stdout().contains("first start").then(|| {
            let told = administrator_of(&first.stdout());
            let device = Some(Device::new(told.seed()));
            Person { email: told.email, password: told.password, device }
        });
        let operator = client.bearing(&token);
        Self { db, operator, clients: [client, other], administrator, processes: [first, second] }
    }

    /// A user without a second factor.
    pub async fn person(&self, email: &str) -> Person {
        let body = json!({
            "email": email, "name": "A User", "orgId": Uuid::from_u128(7), "password": PASSWORD,
        });
        self.operator.post("/api/v1/users", body).await.expect(201);
        Person { email: email.into(), password: PASSWORD.into(), device: None }
    }

    /// Begins a rollover.
    pub async fn begin(&self, body: Value) -> String {
        let mut all = json!({ "mode": "graceful", "reason": "a test" });
        all.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let begun = self.operator.post("/admin/rollovers", all).await.expect(202);
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
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn reaches(&self, id: &str, phase: &str) -> Value {
        self.until(id, |rollover| rollover["phase"] == phase).await
    }

    /// Waits until it has ended in this phase, and no process accepts the key that it
    /// retired.
    pub async fn ends(&self, id: &str, phase: &str) -> Value {
        let has_ended =
            |rollover: &Value| rollover["phase"] == phase && !rollover["cutOff"]["at"].is_null();
        self.until(id, has_ended).await
    }

    /// Waits until it waits for something that is told in these words.
    pub async fn waits_for(&self, id: &str, words: &str) -> Value {
        let waits = |rollover: &Value| {
            rollover["blockedBy"].as_str().is_some_and(|blocked| blocked.contains(words))
        };
        self.until(id, waits).await
    }

    /// The id of the primary key of a secret.
    pub async fn primary(&self, secret: &str) -> String {
        let inventory = self.operator.get("/admin/secrets").await.expect(200);
        let secrets = inventory["secrets"].as_array().unwrap();
        let found = secrets.iter().find(|view| view["secret"] == secret).unwrap();
        let keys = found["keys"].as_array().unwrap();
        let primary = keys.iter().find(|key| key["state"] == "primary").unwrap();
        primary["id"].as_str().unwrap().to_owned()
    }
}

impl Person {
    /// Logs in with a code that was not used yet.
    pub async fn log_in(&mut self, client: &Client) -> Answer {
        let code = match &mut self.device {
            Some(device) => Some(device.code().await),
            None => None,
        };
        self.log_in_with(client, code).await
    }

    pub async fn log_in_with(&self, client: &Client, code: Option<String>) -> Answer {
        let body = json!({ "email": self.email, "password": self.password, "mfaCode": code });
        client.post("/api/v1/auth/login", body).await
    }

    /// The tokens of a new session.
    pub async fn session(&mut self, client: &Client) -> Value {
        self.log_in(client).await.expect(200)["tokens"].clone()
    }
}

/// A client that bears the access token of `tokens`.
pub fn bearing(client: &Client, tokens: &Value) -> Client {
    client.bearing(tokens["accessToken"].as_str().unwrap())
}

pub async fn refresh(client: &Client, tokens: &Value) -> Answer {
    let body = json!({ "refreshToken": tokens["refreshToken"] });
    client.post("/api/v1/auth/refresh", body).await
}

/// What a token says.
pub fn claims(token: &Value) -> Value {
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    serde_json::from_slice(&base64_simd::URL_SAFE_NO_PAD.decode_to_vec(payload).unwrap()).unwrap()
}

/// Asserts that `answer` is a problem of `status` and `code`.
#[track_caller]
pub fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.expect(status)["code"], code);
}

async fn serve(db: &Db, environment: &[(String, String)]) -> (Process, Client) {
    let port = free_port();
    let mut process = breeze_api(["serve"])
        .envs(environment.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .env("DATABASE_URL", db.url())
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .start();
    process.listens_on(port).await;
    (process, Client::on(port))
}
