//! Serving, and clients that ask the same again and again.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::Router;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

const CONNECTIONS: usize = 8;
/// How often a client refreshes its token.
const REFRESH: Duration = Duration::from_millis(500);

/// Where clients get their tokens from.
pub(crate) type Mint = Arc<dyn Fn() -> String + Send + Sync>;

pub(crate) fn serve(runtime: &Runtime, app: Router) -> SocketAddr {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move { axum::serve(listener, app).await });
    address
}

/// A guarded app refuses a request without a token; every app answers one with it.
pub(crate) async fn check(address: SocketAddr, mint: &Mint, guarded: bool) {
    let nobody: Mint = Arc::new(|| "nobody".to_owned());
    assert_eq!(Client::connect(address, &nobody).await.is_none(), guarded);
    assert!(Client::connect(address, mint).await.is_some());
}

/// What happened in some time.
pub(crate) struct Round {
    pub(crate) requests: usize,
    /// Anything but a 200.
    pub(crate) failures: usize,
    /// Requests a second.
    pub(crate) rate: f64,
    /// Seconds.
    pub(crate) p99: f64,
}

/// Connections to one app, each with one request under way.
pub(crate) struct Load(Vec<Client>);

impl Load {
    pub(crate) async fn connect(address: SocketAddr, mint: &Mint) -> Self {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(Client::connect(address, mint).await.unwrap());
        }
        Self(clients)
    }

    /// Asks until `period` is over. The p99 is that of all its requests together, so
    /// that a short stall shows.
    pub(crate) async fn during<T>(&mut self, period: impl Future<Output = T>) -> (T, Round) {
        let (start, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let clients: Vec<_> = std::mem::take(&mut self.0)
            .into_iter()
            .map(|client| tokio::spawn(client.ask(Arc::clone(&stop))))
            .collect();
        let ended = period.await;
        stop.store(true, Ordering::Relaxed);
        let (mut times, mut failures) = (Vec::new(), 0);
        for client in clients {
            let (client, own, failed) = client.await.unwrap();
            self.0.push(client);
            times.extend(own);
            failures += failed;
        }
        let rate = times.len() as f64 / start.elapsed().as_secs_f64();
        times.sort_by(f64::total_cmp);
        let p99 = times[times.len() * 99 / 100];
        (ended, Round { requests: times.len() + failures, failures, rate, p99 })
    }
}

/// One connection. Its cost is next to nothing: every answer has the length of the first.
struct Client {
    address: SocketAddr,
    stream: TcpStream,
    mint: Mint,
    request: String,
    refreshed: Instant,
    answer: Vec<u8>,
    len: usize,
}

impl Client {
    /// `None` when the first answer is no 200.
    async fn connect(address: SocketAddr, mint: &Mint) -> Option<Self> {
        let mut client = Self {
            address,
            stream: TcpStream::connect(address).await.unwrap(),
            mint: Arc::clone(mint),
            request: String::new(),
            refreshed: Instant::now(),
            answer: vec![0; 4096],
            len: 0,
        };
        client.stream.set_nodelay(true).unwrap();
        client.refresh();
        client.stream.write_all(client.request.as_bytes()).await.unwrap();
        client.len = client.stream.read(&mut client.answer).await.unwrap();
        client.is_ok().then_some(client)
    }

    fn refresh(&mut self) {
        self.request = format!(
            "GET /webhooks/7 HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
            (self.mint)()
        );
        self.refreshed = Instant::now();
    }

    fn is_ok(&self) -> bool {
        self.answer.starts_with(b"HTTP/1.1 200")
    }

    /// Asks until `stop`; the seconds that each answer took, and the failures.
    async fn ask(mut self, stop: Arc<AtomicBool>) -> (Self, Vec<f64>, usize) {
        let (mut times, mut failures) = (Vec::new(), 0);
        while !stop.load(Ordering::Relaxed) {
            if self.refreshed.elapsed() > REFRESH {
                self.refresh();
            }
            let asked = Instant::now();
            if self.once().await {
                times.push(asked.elapsed().as_secs_f64());
            } else {
                failures += 1;
                self.stream = TcpStream::connect(self.address).await.unwrap();
                self.stream.set_nodelay(true).unwrap();
            }
        }
        (self, times, failures)
    }

    /// Whether one request was answered with a 200.
    async fn once(&mut self) -> bool {
        if self.stream.write_all(self.request.as_bytes()).await.is_err() {
            return false;
        }
        let mut read = 0;
        while read < self.len {
            match self.stream.read(&mut self.answer[read..]).await {
                Ok(more) if more > 0 => read += more,
                _ => return false,
            }
            if !self.is_ok() {
                return false;
            }
        }
        true
    }
}
