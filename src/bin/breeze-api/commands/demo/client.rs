//! A client of the API: one connection that is kept, and tokens that are refreshed.

use std::{net::SocketAddr, time::Instant};

use anyhow::{Context, bail};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use totp_rs::Totp;

use super::{ACCESS, server::Server};

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    address: SocketAddr,
    sender: http1::SendRequest<Full<Bytes>>,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { address, sender })
    }

    /// Sends one request, and reads the whole answer.
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string());
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::from(body))?).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        let value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
        Ok((status, value))
    }
}

/// The tokens of one session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) access: String,
    pub(super) refresh: String,
    since: Instant,
}

impl Session {
    pub(super) fn of(answer: &Value) -> anyhow::Result<Self> {
        let token = |name: &str| {
            answer["tokens"][name].as_str().map(str::to_owned).context("an answer without tokens")
        };
        Ok(Self {
            access: token("accessToken")?,
            refresh: token("refreshToken")?,
            since: Instant::now(),
        })
    }

    /// Whether half of the access token's lifetime is over.
    pub(super) fn is_due(&self) -> bool {
        self.since.elapsed() > ACCESS / 2
    }
}

/// The operator.
#[derive(Debug)]
pub(super) struct Admin {
    connection: Connection,
    session: Session,
}

impl Admin {
    pub(super) async fn sign_in(server: &Server) -> anyhow::Result<Self> {
        let mut connection = Connection::open(server.address).await?;
        let totp = Totp::from_url(&server.admin.totp).context("the enrolment is no otpauth URI")?;
        let login = json!({
            "email": server.admin.email,
            "password": server.admin.password,
            "mfaCode": totp.generate_current().to_string(),
        });
        let (status, answer) =
            connection.send(Method::POST, "/api/v1/auth/login", None, Some(&login)).await?;
        anyhow::ensure!(status.is_success(), "the administrator cannot sign in: {answer}");
        Ok(Self { connection, session: Session::of(&answer)? })
    }

    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, None).await
    }

    pub(super) async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        if self.session.is_due() {
            let refresh = json!({ "refreshToken": self.session.refresh });
            let (status, answer) = self
                .connection
                .send(Method::POST, "/api/v1/auth/refresh", None, Some(&refresh))
                .await?;
            anyhow::ensure!(status.is_success(), "the administrator cannot refresh: {answer}");
            self.session = Session::of(&answer)?;
        }
        let access = Some(self.session.access.as_str());
        let (status, answer) = self.connection.send(method, path, access, body).await?;
        if !status.is_success() {
            bail!("{path} answered {status}: {answer}");
        }
        Ok(answer)
    }
}
