//! A real process that speaks AWS's APIs, moto, of a test's own. It knows users, and checks
//! every signature and what its sender may do.
//!
//! A test that uses it begins with
//! `#[cfg_attr(not(managers_tests), ignore = "needs moto; tests/run installs it")]`.

use std::{path::PathBuf, process::Stdio, time::Duration};

use http::{Method, Request};
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::{Context, SignRequest};
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use super::{
    free_port,
    http::{Answer, Client},
};

pub const REGION: &str = "eu-central-1";

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
}

impl Moto {
    /// A server of which nothing is checked yet.
    pub async fn start() -> Self {
        let port = free_port();
        let process = Command::new(program("moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let moto = Self { port, process };
        while moto.send(Method::POST, "/moto-api/", "iam", "").await.is_none() {
            sleep(Duration::from_millis(50)).await;
        }
        moto
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// So many calls are not checked yet.
    pub async fn checks_after(&self, calls: &str) {
        let reset = self.send(Method::POST, "/moto-api/reset-auth", "iam", calls).await;
        reset.unwrap().expect(200);
    }

    /// A call of nobody, while nothing is checked.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        service: &str,
        body: &str,
    ) -> Option<Answer> {
        let form = if path == "/" { "application/x-www-form-urlencoded" } else { "text/plain" };
        let credential = format!("Credential=nobody/20260101/{REGION}/{service}/aws4_request");
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", form)
            .header("Authorization", format!("AWS4-HMAC-SHA256 {credential}, Signature=none"))
            .body(body.to_owned());
        Client::on(self.port).send(request.unwrap()).await.ok()
    }

    pub async fn iam(&self, form: &[(&str, &str)]) -> String {
        self.form("iam", "Version=2010-05-08", form).await
    }

    pub async fn form(&self, service: &str, version: &str, form: &[(&str, &str)]) -> String {
        let answer = self.send(Method::POST, "/", service, &encoded(version, form)).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    /// A user whose policy is this; before everything is checked, or not any more.
    pub async fn user_who(&self, name: &str, policy: &str) -> Known {
        self.iam(&[("Action", "CreateUser"), ("UserName", name)]).await;
        self.iam(&[
            ("Action", "PutUserPolicy"),
            ("UserName", name),
            ("PolicyName", "it"),
            ("PolicyDocument", policy),
        ])
        .await;
        self.key_of(name).await
    }

    /// One more key of a user.
    pub async fn key_of(&self, name: &str) -> Known {
        let made = self.iam(&[("Action", "CreateAccessKey"), ("UserName", name)]).await;
        Known { id: element(&made, "AccessKeyId"), secret: element(&made, "SecretAccessKey") }
    }

    /// The answer to a call of `known`, signed.
    pub async fn asked_by(&self, known: &Known, service: &str, request: Request<String>) -> Answer {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().unwrap().to_string();
        parts.uri = format!("http://127.0.0.1:{}{path}", self.port).parse().unwrap();
        let credential = Credential {
            access_key_id: known.id.clone(),
            secret_access_key: known.secret.clone(),
            ..Credential::default()
        };
        let (signer, context) = (RequestSigner::new(service, REGION), Context::new());
        signer.sign_request(&context, &mut parts, Some(&credential), None).await.unwrap();
        parts.uri = path.parse().unwrap();
        Client::on(self.port).send(Request::from_parts(parts, body)).await.unwrap()
    }

    /// The same to IAM.
    pub async fn iam_asked_by(&self, known: &Known, form: &[(&str, &str)]) -> Answer {
        let request = Request::post("/")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(encoded("Version=2010-05-08", form))
            .unwrap();
        self.asked_by(known, "iam", request).await
    }
}

/// Where `tests/servers` has put a program.
pub fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("BREEZE_TEST_MANAGERS_BIN").expect("tests/run names it");
    PathBuf::from(folder).join(name)
}

/// A policy that allows `actions`.
pub fn allowing(actions: &Value) -> String {
    let statement = json!({ "Effect": "Allow", "Action": actions, "Resource": "*" });
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

/// The text of the first element of this name.
pub fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap();
    rest.split_once('<').unwrap().0.to_owned()
}

fn encoded(version: &str, form: &[(&str, &str)]) -> String {
    let mut body = version.to_owned();
    for (name, value) in form {
        let value =
            percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
        body += &format!("&{name}={value}");
    }
    body
}
