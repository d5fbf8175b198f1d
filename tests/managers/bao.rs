//! A real OpenBao server, in memory, of a test's own.

use std::{process::Stdio, sync::Arc, time::Duration};

use breeze_rollover::{
    keyring::sources::Environment,
    manager::{
        Manager,
        vault::{Login, Vault},
    },
    provider::Trust,
};
use http::{Method, Request};
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use crate::{
    server::{limits, program},
    support::{
        free_port,
        http::{Answer, Client},
    },
};

/// What an operator is known by.
pub const ROOT: &str = "a-root-token-of-the-tests";

/// What the README has as the policy of the API.
pub const POLICY: &str = r#"
path "secret/data/breeze/api" { capabilities = ["read", "update"] }
"#;

/// A server, ended with this value.
#[derive(Debug)]
pub struct Bao {
    pub port: u16,
    process: Child,
    token: String,
    unseal: String,
}

impl Bao {
    pub async fn start() -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let process = Command::new(program("bao"))
            .args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id", ROOT])
            .args(["-dev-listen-address", &format!("127.0.0.1:{port}")])
            .env_clear()
            .env("HOME", folder.path())
            .stdout(std::fs::File::create(&log).unwrap())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // It tells the key last, once it serves.
        let unseal = loop {
            let told = std::fs::read_to_string(&log).unwrap();
            if let Some((_, key)) = told.split_once("Unseal Key: ")
                && let Some((key, _)) = key.split_once('\n')
            {
                break key.trim().to_owned();
            }
            sleep(Duration::from_millis(20)).await;
        };
        let mut bao = Self { port, process, token: String::new(), unseal };
        while bao.ask(Method::GET, "sys/mounts", None).await.status != 200 {
            sleep(Duration::from_millis(20)).await;
        }
        bao.allows("breeze", POLICY).await;
        bao.token = bao.token_with(json!({ "policies": ["breeze"], "ttl": "1h" })).await;
        bao
    }

    /// A call as an operator makes it.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/{path}"))
            .header("X-Vault-Token", ROOT)
            .body(body.map(|body| body.to_string()).unwrap_or_default());
        loop {
            match Client::on(self.port).send(request.as_ref().unwrap().clone()).await {
                Ok(answer) => return answer,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let mut answer = self.ask(Method::POST, path, Some(body.clone())).await;
        // A KV engine that was mounted a moment ago.
        while answer.body.escape_ascii().to_string().contains("Upgrading from non-versioned") {
            sleep(Duration::from_millis(50)).await;
            answer = self.ask(Method::POST, path, Some(body.clone())).await;
        }
        assert!(answer.status.is_success(), "{path}: {}", answer.body.escape_ascii());
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    pub async fn allows(&self, policy: &str, rules: &str) {
        self.post(&format!("sys/policies/acl/{policy}"), json!({ "policy": rules })).await;
    }

    pub async fn token_with(&self, what: Value) -> String {
        let made = self.post("auth/token/create", what).await;
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// An operator writes a version.
    pub async fn holds(&self, fields: &Value) {
        self.post("secret/data/breeze/api", json!({ "data": fields })).await;
    }

    /// What an operator reads.
    pub async fn held(&self) -> (String, Value) {
        let read = self.ask(Method::GET, "secret/data/breeze/api", None).await.expect(200);
        (read["data"]["metadata"]["version"].to_string(), read["data"]["data"].clone())
    }

    pub async fn delete(&self) {
        self.ask(Method::DELETE, "secret/data/breeze/api", None).await.expect(204);
    }

    pub async fn seal(&self) {
        self.ask(Method::PUT, "sys/seal", None).await.expect(204);
    }

    pub async fn unseal(&self) {
        self.ask(Method::PUT, "sys/unseal", Some(json!({ "key": self.unseal }))).await.expect(200);
    }

    pub fn pid(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// What names it to a process.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("BREEZE_VAULT_SECRET", "breeze/api".to_owned()),
            ("VAULT_ADDR", format!("http://127.0.0.1:{}", self.port)),
            ("VAULT_TOKEN", self.token.clone()),
        ]
    }

    pub fn manager(&self) -> Arc<dyn Manager> {
        self.known_by([("VAULT_TOKEN", self.token.clone())])
    }

    /// The manager, with another login.
    pub fn known_by<const N: usize>(&self, login: [(&str, String); N]) -> Arc<dyn Manager> {
        Arc::new(self.vault(login))
    }

    pub fn vault<const N: usize>(&self, login: [(&str, String); N]) -> Vault {
        let address = format!("http://127.0.0.1:{}", self.port).parse().unwrap();
        let login = Login::of(Environment::given(login)).unwrap();
        Vault::new(address, &Trust::public(), limits(), login, "breeze/api")
    }
}
