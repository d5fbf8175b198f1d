//! A server of moto's, which speaks AWS's API, of a test's own. It checks every signature,
//! and what a user may do.

use std::sync::Arc;

use breeze_rollover::{
    keyring::sources::Environment,
    manager::{Manager, aws::SecretsManager},
    provider::Trust,
};
use http::Request;
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::{
    server::limits,
    support::{
        free_port,
        http::Answer,
        moto::{self, REGION, allowing, element},
    },
};

pub use crate::support::moto::Known;

/// What the README has as the policy of the API.
const ACTIONS: [&str; 3] = [
    "secretsmanager:GetSecretValue",
    "secretsmanager:PutSecretValue",
    "secretsmanager:UpdateSecretVersionStage",
];

/// A server, ended with this value.
#[derive(Debug)]
pub struct Moto {
    server: moto::Moto,
    /// Where processes reach it, while the road is open.
    open: u16,
    road: JoinHandle<()>,
    user: Known,
    operator: Known,
}

impl Moto {
    /// Users, and no secret yet. Everything is checked.
    pub async fn start() -> Self {
        let (server, open) = (moto::Moto::start().await, free_port());
        let road = road(open, server.port()).await;
        let user = server.user_who("breeze", &allowing(&json!(ACTIONS))).await;
        let operator = server.user_who("operator", &allowing(&json!("*"))).await;
        server.checks_after("0").await;
        Self { server, open, road, user, operator }
    }

    /// The credential of a role that may do what the API may, and its token.
    pub async fn role(&self) -> (Known, String) {
        let server = &self.server;
        server.checks_after("99").await;
        let policy = allowing(&json!(ACTIONS));
        let role = ("RoleName", "api");
        server.iam(&[("Action", "CreateRole"), role, ("AssumeRolePolicyDocument", "{}")]).await;
        let put = [("Action", "PutRolePolicy"), role, ("PolicyName", "it")];
        server.iam(&[&put[..], &[("PolicyDocument", &policy)]].concat()).await;
        let assume = [
            ("Action", "AssumeRole"),
            ("RoleArn", "arn:aws:iam::123456789012:role/api"),
            ("RoleSessionName", "session"),
        ];
        let made = server.form("sts", "Version=2011-06-15", &assume).await;
        server.checks_after("0").await;
        let known =
            Known { id: element(&made, "AccessKeyId"), secret: element(&made, "SecretAccessKey") };
        (known, element(&made, "SessionToken"))
    }

    /// The key of another user, who may do nothing.
    pub async fn stranger(&self) -> Known {
        self.server.checks_after("99").await;
        let policy = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Deny", "Action": "*", "Resource": "*" } ] });
        let known = self.server.user_who("stranger", &policy.to_string()).await;
        self.server.checks_after("0").await;
        known
    }

    /// An operator writes a version; the first makes the secret.
    pub async fn holds(&self, fields: &Value) {
        self.holds_text(&fields.to_string()).await;
    }

    pub async fn holds_text(&self, text: &str) {
        let put = json!({ "SecretId": "breeze/api", "SecretString": text });
        let make = json!({ "Name": "breeze/api", "SecretString": text });
        if self.asked_by_operator("PutSecretValue", &put).await.status != 200 {
            self.asked_by_operator("CreateSecret", &make).await.expect(200);
        }
    }

    async fn asked_by_operator(&self, action: &str, body: &Value) -> Answer {
        let request = Request::post("/")
            .header("X-Amz-Target", format!("secretsmanager.{action}"))
            .header("Content-Type", "application/x-amz-json-1.1")
            .body(body.to_string());
        self.server.asked_by(&self.operator, "secretsmanager", request.unwrap()).await
    }

    /// What an operator reads.
    pub async fn held(&self) -> (String, Value) {
        let body = json!({ "SecretId": "breeze/api", "VersionStage": "AWSCURRENT" });
        let read = self.asked_by_operator("GetSecretValue", &body).await.expect(200);
        let text = read["SecretString"].as_str().unwrap();
        (read["VersionId"].as_str().unwrap().to_owned(), serde_json::from_str(text).unwrap())
    }

    pub async fn delete(&self) {
        let body = json!({ "SecretId": "breeze/api" });
        self.asked_by_operator("DeleteSecret", &body).await.expect(200);
    }

    /// Nobody reaches it any more.
    pub fn goes_away(&mut self) {
        self.road.abort();
    }

    pub async fn comes_back(&mut self) {
        self.road = road(self.open, self.server.port()).await;
    }

    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// What names it to a process.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("BREEZE_AWS_SECRET", "breeze/api".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.address()),
            ("AWS_ACCESS_KEY_ID", self.user.id.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.user.secret.clone()),
        ]
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.open)
    }

    pub const fn user(&self) -> &Known {
        &self.user
    }

    pub fn manager(&self) -> Arc<dyn Manager> {
        self.known_as(&self.user)
    }

    pub fn known_as(&self, known: &Known) -> Arc<dyn Manager> {
        self.known_by([
            ("AWS_ACCESS_KEY_ID", known.id.clone()),
            ("AWS_SECRET_ACCESS_KEY", known.secret.clone()),
        ])
    }

    /// The manager, with another credential.
    pub fn known_by<const N: usize>(&self, credential: [(&str, String); N]) -> Arc<dyn Manager> {
        let (address, trust) = (self.address().parse().unwrap(), Trust::public());
        let local = Environment::given(credential);
        Arc::new(SecretsManager::new(address, &trust, limits(), REGION, "breeze/api", local))
    }
}

/// Takes connections on `open` through to `port`; all are cut when it is aborted.
async fn road(open: u16, port: u16) -> JoinHandle<()> {
    let listener = TcpListener::bind(("127.0.0.1", open)).await.unwrap();
    tokio::spawn(async move {
        let mut through = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            through.spawn(async move {
                if let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await {
                    drop(copy_bidirectional(&mut near, &mut far).await);
                }
            });
        }
    })
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.road.abort();
    }
}
