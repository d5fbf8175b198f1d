//! A server of moto's, which speaks AWS's API, of a test's own. It checks every signature,
//! and what a user may do.

use std::{process::Stdio, sync::Arc, time::Duration};

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
    process::{Child, Command},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::{
    server::{limits, program},
    support::{
        free_port,
        http::{Answer, Client},
    },
};

pub const REGION: &str = "eu-central-1";

/// What the README has as the policy of the API.
const ACTIONS: [&str; 3] = [
    "secretsmanager:GetSecretValue",
    "secretsmanager:PutSecretValue",
    "secretsmanager:UpdateSecretVersionStage",
];

/// The key of a user.
#[derive(Debug, Clone)]
pub struct Known {
    pub id: String,
    pub secret: String,
}

/// A server, ended with this value.
#[derive(Debug)]
pub struct Moto {
    port: u16,
    process: Child,
    /// Where processes reach it, while the road is open.
    open: u16,
    road: JoinHandle<()>,
    user: Known,
    operator: Known,
}

impl Moto {
    pub async fn start() -> Self {
        let (port, open) = (free_port(), free_port());
        let none = || Known { id: String::new(), secret: String::new() };
        let (process, road) = (spawn(port), road(open, port).await);
        let mut moto = Self { port, process, open, road, user: none(), operator: none() };
        moto.furnish().await;
        moto
    }

    /// Users, and no secret yet. From then on, everything is checked.
    async fn furnish(&mut self) {
        while self.send("/moto-api/", "iam", "").await.is_none() {
            sleep(Duration::from_millis(50)).await;
        }
        self.user = self.user_who("breeze", &allowing(&json!(ACTIONS))).await;
        self.operator = self.user_who("operator", &allowing(&json!("*"))).await;
        self.checks_after("0").await;
    }

    /// So many calls are not checked yet.
    async fn checks_after(&self, calls: &str) {
        self.send("/moto-api/reset-auth", "iam", calls).await.unwrap().expect(200);
    }

    /// A call of nobody, while nothing is checked.
    async fn send(&self, path: &str, service: &str, body: &str) -> Option<Answer> {
        let form = if path == "/" { "application/x-www-form-urlencoded" } else { "text/plain" };
        let credential = format!("Credential=nobody/20260101/{REGION}/{service}/aws4_request");
        let request = Request::post(path)
            .header("Content-Type", form)
            .header("Authorization", format!("AWS4-HMAC-SHA256 {credential}, Signature=none"))
            .body(body.to_owned());
        Client::on(self.port).send(request.unwrap()).await.ok()
    }

    async fn iam(&self, form: &[(&str, &str)]) -> String {
        self.form("iam", "Version=2010-05-08", form).await
    }

    async fn form(&self, service: &str, version: &str, form: &[(&str, &str)]) -> String {
        let mut body = version.to_owned();
        for (name, value) in form {
            let value =
                percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            body += &format!("&{name}={value}");
        }
        let answer = self.send("/", service, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    /// A user whose policy is this; before everything is checked, or not any more.
    async fn user_who(&self, name: &str, policy: &str) -> Known {
        self.iam(&[("Action", "CreateUser"), ("UserName", name)]).await;
        self.iam(&[
            ("Action", "PutUserPolicy"),
            ("UserName", name),
            ("PolicyName", "it"),
            ("PolicyDocument", policy),
        ])
        .await;
        let made = self.iam(&[("Action", "CreateAccessKey"), ("UserName", name)]).await;
        Known { id: element(&made, "AccessKeyId"), secret: element(&made, "SecretAccessKey") }
    }

    /// The credential of a role that may do what the API may, and its token.
    pub async fn role(&self) -> (Known, String) {
        self.checks_after("99").await;
        let policy = allowing(&json!(ACTIONS));
        let role = ("RoleName", "api");
        self.iam(&[("Action", "CreateRole"), role, ("AssumeRolePolicyDocument", "{}")]).await;
        let put = [("Action", "PutRolePolicy"), role, ("PolicyName", "it")];
        self.iam(&[&put[..], &[("PolicyDocument", &policy)]].concat()).await;
        let assume = [
            ("Action", "AssumeRole"),
            ("RoleArn", "arn:aws:iam::123456789012:role/api"),
            ("RoleSessionName", "session"),
        ];
        let made = self.form("sts", "Version=2011-06-15", &assume).await;
        self.checks_after("0").await;
        let known =
            Known { id: element(&made, "AccessKeyId"), secret: element(&made, "SecretAccessKey") };
        (known, element(&made, "SessionToken"))
    }

    /// The key of another user, who may do nothing.
    pub async fn stranger(&self) -> Known {
        self.checks_after("99").await;
        let policy = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Deny", "Action": "*", "Resource": "*" } ] });
        let known = self.user_who("stranger", &policy.to_string()).await;
        self.checks_after("0").await;
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

    /// A call of an operator, signed as AWS's own tools sign it.
    async fn asked_by_operator(&self, action: &str, body: &Value) -> Answer {
        use hmac::{Hmac, KeyInit, Mac};
        use sha2::{Digest, Sha256};
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let mac = |key: &[u8], text: &str| {
            let mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
            mac.chain_update(text).finalize().into_bytes().to_vec()
        };
        let body = body.to_string();
        let (host, date) = (format!("127.0.0.1:{}", self.port), "20260101T000000Z");
        let target = format!("secretsmanager.{action}");
        let canonical = format!(
            "POST\n/\n\nhost:{host}\nx-amz-date:{date}\nx-amz-target:{target}\n\n\
             host;x-amz-date;x-amz-target\n{}",
            hex(&Sha256::digest(&body))
        );
        let scope = format!("20260101/{REGION}/secretsmanager/aws4_request");
        let text =
            format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(&canonical)));
        let key = ["20260101", REGION, "secretsmanager", "aws4_request"]
            .iter()
            .fold(format!("AWS4{}", self.operator.secret).into_bytes(), |key, part| {
                mac(&key, part)
            });
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=host;x-amz-date;x-amz-target, \
             Signature={}",
            self.operator.id,
            hex(&mac(&key, &text))
        );
        let request = Request::post("/")
            .header("Host", host)
            .header("X-Amz-Date", date)
            .header("X-Amz-Target", target)
            .header("Content-Type", "application/x-amz-json-1.1")
            .header("Authorization", authorization)
            .body(body);
        Client::on(self.port).send(request.unwrap()).await.unwrap()
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
        self.road = road(self.open, self.port).await;
    }

    pub fn pid(&self) -> u32 {
        self.process.id().unwrap()
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

/// A policy that allows `actions`.
fn allowing(actions: &Value) -> String {
    let statement = json!({ "Effect": "Allow", "Action": actions, "Resource": "*" });
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

/// The text of the first element of this name.
fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap();
    rest.split_once('<').unwrap().0.to_owned()
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

fn spawn(port: u16) -> Child {
    Command::new(program("moto_server"))
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.road.abort();
    }
}
