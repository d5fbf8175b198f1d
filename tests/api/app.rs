//! One running API, its administrator, and everything secret that was sent to it.

use std::{
    cell::{Cell, RefCell},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use totp_rs::Totp;

use crate::support::{
    breeze_api::{Process, breeze_api},
    free_port,
    http::{Answer, Client},
    postgres, sqlite,
};

/// Keys of the tests.
pub const KEYS: [(&str, &str); 4] = [
    ("JWT_SECRET", "test-jwt-secret-0123456789abcdef0123456789"),
    ("APP_ENCRYPTION_KEY", "test-app-encryption-key-0123456789abcdef"),
    ("MFA_ENCRYPTION_KEY", "test-mfa-encryption-key-0123456789abcdef"),
    ("BREEZE_ROOT_KEY", "test-root-key-0123456789abcdef0123456789"),
];

/// A database that outlives the processes on it.
pub enum Db {
    Sqlite(sqlite::File),
    Postgres(Box<postgres::Database>),
}

impl Db {
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(file) => file.url(),
            Self::Postgres(database) => database.url(),
        }
    }

    /// The text of the first column of every row.
    pub async fn texts(&self, sql: &'static str) -> Vec<String> {
        match self {
            Self::Sqlite(file) => sqlx::query_scalar(sql).fetch_all(&file.pool().await).await,
            Self::Postgres(db) => sqlx::query_scalar(sql).fetch_all(&db.pool().await).await,
        }
        .unwrap()
    }

    /// Runs one statement.
    pub async fn execute(&self, sql: &'static str) {
        match self {
            Self::Sqlite(file) => sqlx::query(sql).execute(&file.pool().await).await.map(drop),
            Self::Postgres(db) => sqlx::query(sql).execute(&db.pool().await).await.map(drop),
        }
        .unwrap();
    }
}

/// A running `breeze-api`.
pub struct Api {
    pub db: Db,
    pub client: Client,
    process: Process,
    secrets: RefCell<Vec<String>>,
    totp_step: Cell<u64>,
}

/// How an administrator logs in, as a first start tells it.
#[derive(Debug, Clone)]
pub struct Administrator {
    pub email: String,
    pub password: String,
    pub otpauth: String,
}

impl Api {
    pub async fn on_sqlite() -> Self {
        Self::on(Db::Sqlite(sqlite::file()), &KEYS).await
    }

    pub async fn on_postgres() -> Self {
        Self::on(Db::Postgres(Box::new(postgres::database().await)), &KEYS).await
    }

    /// Starts it on `db` with `variables`, telling everything at TRACE.
    pub async fn on(db: Db, variables: &[(&str, &str)]) -> Self {
        Self::with(db, variables, &[]).await
    }

    /// The same, with settings that may be logged.
    pub async fn with(db: Db, variables: &[(&str, &str)], settings: &[(&str, &str)]) -> Self {
        if let Db::Postgres(_) = db {
            let migrated = breeze_api(["migrate"]).env("DATABASE_URL", db.url()).finish().await;
            assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
        }
        let port = free_port();
        let mut process = breeze_api(["serve"])
            .env("DATABASE_URL", db.url())
            .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
            .env("RUST_LOG", "trace")
            .envs(variables.iter().chain(settings).copied())
            .start();
        process.listens_on(port).await;
        let secrets = variables.iter().map(|(_, value)| (*value).to_owned()).collect();
        let api = Self {
            db,
            client: Client::on(port),
            process,
            secrets: RefCell::new(secrets),
            totp_step: Cell::new(0),
        };
        if let Some(administrator) = api.administrator() {
            api.secret(&administrator.password);
            api.secret(seed(&administrator.otpauth));
        }
        api
    }

    /// The administrator that this process created, if it did.
    pub fn administrator(&self) -> Option<Administrator> {
        told(&self.process.stdout())
    }

    /// Notes what must never be logged, and returns it.
    pub fn secret<'a>(&self, text: &'a str) -> &'a str {
        self.secrets.borrow_mut().push(text.to_owned());
        text
    }

    /// A code that was not used yet, of this step or the next: either is still right
    /// when the step ends on the way. At most two in half a minute.
    pub fn code(&self, otpauth: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 30;
        let step = now.max(self.totp_step.get() + 1);
        assert!(step <= now + 1, "this test logs in too often");
        self.totp_step.set(step);
        Totp::from_url(otpauth).unwrap().generate(step * 30).to_string()
    }

    pub async fn log_in(&self, body: Value) -> Answer {
        let answer = self.client.post("/api/v1/auth/login", body).await;
        if answer.status == 200 {
            self.note_tokens(&answer);
        }
        answer
    }

    /// Notes the tokens of an answer as secrets.
    pub fn note_tokens(&self, answer: &Answer) {
        for token in ["accessToken", "refreshToken"] {
            // The signature alone, since a part of a token is as bad as the whole.
            let token = text(&answer.json()["tokens"][token]);
            self.secret(token.rsplit('.').next().unwrap());
        }
    }

    /// A client that bears the administrator's token.
    pub async fn as_administrator(&self) -> Client {
        let administrator = self.administrator().expect("this start was the first");
        let answer = self
            .log_in(json!({
                "email": administrator.email,
                "password": administrator.password,
                "mfaCode": self.code(&administrator.otpauth),
            }))
            .await;
        self.client.bearing(&text(&answer.expect(200)["tokens"]["accessToken"]))
    }

    /// Makes a user of `organization`, and logs them in.
    pub async fn user(&self, admin: &Client, email: &str, organization: &str) -> Value {
        let password = self.secret("correct horse battery staple").to_owned();
        let body = json!({
            "email": email, "name": "A User", "orgId": organization, "password": password,
        });
        admin.post("/api/v1/users", body).await.expect(201);
        self.log_in(json!({ "email": email, "password": password })).await.expect(200)
    }

    /// Kills it as it stands, and hands its database on.
    #[allow(dead_code, reason = "for the tests of operating it")]
    pub async fn kill(self) -> Db {
        self.process.signal("KILL").await;
        self.process.finish().await;
        self.db
    }

    /// Ends it, and hands its database on.
    #[allow(dead_code, reason = "for the tests of operating it")]
    pub async fn stop(self) -> Db {
        let ended = self.process.terminate().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        self.db
    }

    /// Ends it as an orchestrator does. Nothing secret is in its log.
    pub async fn end(self) {
        let ended = self.process.terminate().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        for secret in self.secrets.into_inner() {
            let base64 = base64_simd::STANDARD.encode_to_string(&secret);
            for form in [&secret, &base64, &base64.replace('=', "")] {
                assert!(!ended.stderr.contains(form.as_str()), "the log holds {secret}");
            }
        }
    }
}

/// The administrator that `stdout` tells of.
pub fn told(stdout: &str) -> Option<Administrator> {
    let field = |name: &str| {
        let line = stdout.lines().find(|line| line.starts_with(&format!("│ {name}")))?;
        Some(line.split_whitespace().last()?.to_owned())
    };
    Some(Administrator {
        email: field("e-mail")?,
        password: field("password")?,
        otpauth: field("TOTP")?,
    })
}

fn seed(otpauth: &str) -> &str {
    otpauth.split("secret=").nth(1).unwrap().split('&').next().unwrap()
}

/// The text of a JSON string.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Asserts that `answer` is a problem of `status` and `code`, and whole.
#[track_caller]
pub fn assert_problem(answer: &Answer, status: u16, code: &str) {
    let problem = answer.expect(status);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{problem}");
    assert!(answer.header("x-request-id").is_some(), "{problem}");
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["type"], format!("urn:breeze:problem:{code}"));
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
}

/// Runs a scenario of one name on both databases.
macro_rules! on_both_databases {
    ($($scenario:ident),* $(,)?) => {$(
        mod $scenario {
            use crate::app::Api;

            #[tokio::test]
            async fn on_sqlite() {
                let api = Api::on_sqlite().await;
                super::$scenario(&api).await;
                api.end().await;
            }

            #[tokio::test]
            #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
            async fn on_postgres() {
                let api = Api::on_postgres().await;
                super::$scenario(&api).await;
                api.end().await;
            }
        }
    )*};
}
pub(crate) use on_both_databases;
