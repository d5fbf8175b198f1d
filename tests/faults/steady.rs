//! Clients that cost next to nothing, for many requests: each keeps a connection to
//! every replica and asks them in turn, as fast as they answer.
//!
//! One that retries asks another replica, once, where the first gave no good answer.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use super::{judge::Shared, traffic::User};

/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of so many requests one is an edit.
const READS: u64 = 20;

/// What became of all requests.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) requests: AtomicU64,
    /// Answered only by the second replica that was asked.
    pub(crate) retried: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
    pub(crate) totals: Arc<Totals>,
}

impl Steady {
    /// A client for each user. Each logs in and makes a row before this is ready.
    pub(crate) async fn start(shared: &Arc<Shared>, users: Vec<User>, retries: bool) -> Self {
        let (stop, totals) = (Arc::<AtomicBool>::default(), Arc::<Totals>::default());
        let mut clients = JoinSet::new();
        for user in users {
            let shared = Arc::clone(shared);
            let client = Client::begin(shared, &user, retries, Arc::clone(&totals)).await;
            clients.spawn(client.run(Arc::clone(&stop)));
        }
        Self { stop, clients, totals }
    }

    /// Ends; every client that saw a wrong value has panicked.
    pub(crate) async fn finish(mut self) -> Arc<Totals> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client reads what it was told");
        }
        self.totals
    }
}

/// A connection that is kept.
#[derive(Debug)]
struct Connection(BufReader<TcpStream>);

impl Connection {
    async fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request, and reads the status and the whole body of its answer.
    async fn ask(&mut self, request: &str) -> io::Result<(u16, Vec<u8>)> {
        self.0.get_mut().write_all(request.as_bytes()).await?;
        let (mut line, mut status, mut length) = (String::new(), None, 0);
        loop {
            line.clear();
            if self.0.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            } else if let Some(told) = line.strip_prefix("content-length: ") {
                length = told.parse().map_err(io::Error::other)?;
            } else if status.is_none() {
                let told = line.split(' ').nth(1).and_then(|told| told.parse().ok());
                status = Some(told.ok_or(io::ErrorKind::InvalidData)?);
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok((status.ok_or(io::ErrorKind::InvalidData)?, body))
    }
}

struct Client {
    shared: Arc<Shared>,
    connections: Vec<Option<Connection>>,
    /// The replica that was asked last.
    at: usize,
    retries: bool,
    totals: Arc<Totals>,
    access: String,
    refresh: String,
    renew_at: Instant,
    row: String,
    version: i64,
    value: String,
}

impl Client {
    async fn begin(shared: Arc<Shared>, user: &User, retries: bool, totals: Arc<Totals>) -> Self {
        let connections = shared.ports.iter().map(|_| None).collect();
        let mut client = Self {
            shared,
            connections,
            at: 0,
            retries,
            totals,
            access: String::new(),
            refresh: String::new(),
            renew_at: Instant::now(),
            row: String::new(),
            version: 0,
            value: "first".to_owned(),
        };
        let login = json!({ "email": user.email, "password": user.password });
        let answer = client.ask("POST", "/api/v1/auth/login", None, Some(&login)).await;
        client.bear(&answer.expect("a user may log in").1);
        let variable = json!({ "name": "steady", "value": client.value });
        let made = client.ask("POST", "/api/v1/tenant-variables", None, Some(&variable)).await;
        let made = made.expect("a user may make a variable").1;
        client.row = format!("/api/v1/tenant-variables/{}", made["id"].as_str().unwrap());
        client.version = made["version"].as_i64().unwrap();
        client
    }

    async fn run(mut self, stop: Arc<AtomicBool>) {
        for number in 1_u64.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if self.renew_at < Instant::now() {
                self.renew().await;
            } else if number.is_multiple_of(READS) {
                self.edit(format!("edit {number}")).await;
            } else {
                self.read().await;
            }
        }
    }

    async fn read(&mut self) {
        let row = self.row.clone();
        if let Some((_, read)) = self.ask("GET", &row, None, None).await {
            assert_eq!(
                (&read["value"], &read["version"]),
                (&json!(self.value), &json!(self.version))
            );
        }
    }

    /// An edit that is tried twice names the version both times. If it is refused, the
    /// first try was done.
    async fn edit(&mut self, value: String) {
        let (row, version) = (self.row.clone(), self.version);
        let edit = json!({ "value": value });
        if let Some((status, edited)) = self.ask("PATCH", &row, Some(version), Some(&edit)).await {
            assert!(status == 412 && self.retries || edited["version"] == version + 1, "{edited}");
            (self.version, self.value) = (version + 1, value);
        }
    }

    async fn renew(&mut self) {
        let refresh = json!({ "refreshToken": self.refresh });
        let answer = self.ask("POST", "/api/v1/auth/refresh", None, Some(&refresh)).await;
        if let Some((_, tokens)) = answer {
            self.bear(&tokens);
        }
    }

    fn bear(&mut self, answer: &Value) {
        let token = |name: &str| answer["tokens"][name].as_str().unwrap().to_owned();
        (self.access, self.refresh) = (token("accessToken"), token("refreshToken"));
        self.renew_at = Instant::now() + self.shared.terms.lifetimes.access / 2;
    }

    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        if_match: Option<i64>,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        if !self.access.is_empty() {
            request += &format!("authorization: Bearer {}\r\n", self.access);
        }
        if let Some(version) = if_match {
            request += &format!("if-match: \"{version}\"\r\n");
        }
        if let Some(body) = body.map(Value::to_string) {
            request += "content-type: application/json\r\n";
            request += &format!("content-length: {}\r\n\r\n{body}", body.len());
        } else {
            request += "\r\n";
        }
        self.totals.requests.fetch_add(1, Ordering::Relaxed);
        for is_last in if self.retries { &[false, true][..] } else { &[true][..] } {
            self.at = (self.at + 1) % self.connections.len();
            match self.once(&request).await {
                Ok((status, body)) if status < 300 || status == 412 => {
                    return Some((status, serde_json::from_slice(&body).unwrap()));
                }
                other if *is_last => {
                    let told =
                        other.map(|(status, body)| (status, body.escape_ascii().to_string()));
                    eprintln!("{method} {path} failed at replica {}: {told:?}", self.at);
                }
                _ => _ = self.totals.retried.fetch_add(1, Ordering::Relaxed),
            }
        }
        self.totals.failed.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Asks the replica of this turn. A connection on which it failed is not kept.
    async fn once(&mut self, request: &str) -> io::Result<(u16, Vec<u8>)> {
        let mut connection = match self.connections[self.at].take() {
            Some(connection) => connection,
            None => Connection::open(self.shared.ports[self.at]).await?,
        };
        let answer = timeout(PATIENCE, connection.ask(request)).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        self.connections[self.at] = Some(connection);
        Ok(answer)
    }
}
