//! What the layers cost a whole request: real HTTP/1.1 on loopback.
//!
//! `cargo bench --bench http --all-features`. Every app serves the same answer to the
//! same request; they differ in what stands before the handler. The apps run as the
//! API does, on every core; the clients take half of them, over connections that are
//! kept alive. All apps take
//! turns in each round; the table shows medians over the rounds of each round's
//! ratio to the bare app, so that a busy machine slows all of them alike.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::{
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::FromRef, routing::get};
use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    ids::{Epoch, KeyId},
    keyring::{AnyKeyring, Key, KeyState, Keychain, KeychainHandle, Keyring, Signing},
    layer::jwt::JwtLayer,
    material::Material,
    token::{NewToken, Scope, sign},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

const ROUNDS: usize = 40;
const ROUND: Duration = Duration::from_millis(150);
const CONNECTIONS: usize = 8;
const SECRET: &str = "a-signing-secret-0123456789abcdef012345";

fn main() {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let (serving, asking) = (runtime(cores), runtime(cores.div_ceil(2)));
    let token = token();
    // Once there is a sealed layer: the same app behind both, as a fourth row.
    let apps = [
        ("bare", bare(), false),
        ("JwtLayer", bare().layer(JwtLayer::new(keychain()).unwrap()), true),
        ("axum-jwt-auth", peer(), true),
    ];
    let mut contenders: Vec<Contender> = apps
        .into_iter()
        .map(|(name, app, guarded)| {
            let address = serve(&serving, app);
            asking.block_on(check(address, &token, guarded));
            let clients = (0..CONNECTIONS).map(|_| Client::connect(address, Some(&token)));
            let clients = clients.map(|client| asking.block_on(client)).collect();
            Contender { name, clients, rounds: Vec::new() }
        })
        .collect();
    for round in 0..=ROUNDS {
        for contender in &mut contenders {
            let measured = contender.run(&asking);
            // The first round warms up.
            if round > 0 {
                contender.rounds.push(measured);
            }
        }
    }
    let (bare, _) = contenders.split_first().unwrap();
    println!("{:24} {:>12} {:>10} {:>10} {:>10}", "", "requests/s", "of bare", "p99 µs", "of bare");
    for contender in &contenders {
        let ratio = |of: fn(&Round) -> f64| {
            let pairs = contender.rounds.iter().zip(&bare.rounds);
            median(pairs.map(|(own, bare)| of(own) / of(bare)))
        };
        println!(
            "{:24} {:12.0} {:10.3} {:10.0} {:10.3}",
            contender.name,
            median(contender.rounds.iter().map(|round| round.rate)),
            ratio(|round| round.rate),
            median(contender.rounds.iter().map(|round| round.p99 * 1e6)),
            ratio(|round| round.p99),
        );
    }
    println!("goals: JwtLayer ≥ 0.9 of bare and ahead of the peer; p99 ≤ 1.15 of bare");
}

// ---- The apps --------------------------------------------------------------------

#[derive(Serialize)]
struct Answer {
    id: u32,
    name: &'static str,
}

const fn answer() -> Json<Answer> {
    Json(Answer { id: 7, name: "a webhook of an organization" })
}

fn bare() -> Router {
    Router::new().route("/webhooks/7", get(|| async { answer() }))
}

/// The same behind axum-jwt-auth, which verifies in an extractor.
fn peer() -> Router {
    use axum_jwt_auth::{Claims, Decoder, LocalDecoder};
    use jsonwebtoken_10::{Algorithm, DecodingKey, Validation};

    #[derive(Clone, FromRef)]
    struct Peer {
        decoder: Decoder<PeerClaims>,
    }

    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&["breeze-api"]);
    validation.set_issuer(&["breeze"]);
    let keys = vec![DecodingKey::from_secret(SECRET.as_bytes())];
    let decoder = Arc::new(LocalDecoder::new(keys, validation).unwrap());
    Router::new()
        .route("/webhooks/7", get(|_: Claims<PeerClaims>| async { answer() }))
        .with_state(Peer { decoder })
}

/// The claims of Breeze's access tokens, as a peer would type them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PeerClaims {
    sub: String,
    email: Option<String>,
    role_id: Option<String>,
    org_id: Option<String>,
    partner_id: Option<String>,
    scope: Scope,
    mfa: bool,
    aep: Option<i64>,
    mep: Option<i64>,
    sid: Option<String>,
    iat: Option<i64>,
    exp: i64,
}

fn ring() -> Keyring<Signing> {
    let (id, material) = (KeyId::new("k3").unwrap(), Material::new(SECRET).unwrap());
    Keyring::new(vec![Key::signing(id, KeyState::Primary, false, &material)]).unwrap()
}

fn keychain() -> KeychainHandle {
    let chain = Keychain::new(Epoch(1)).with(Secret::JwtSecret, AnyKeyring::Signing(ring()));
    KeychainHandle::new(chain)
}

fn token() -> String {
    let token = NewToken::access("5f0c3b1e-0c7e-4c0a-9b36-3a6f1f0e7a11", Scope::Organization)
        .email("operator@example.test".to_owned())
        .org_id("7c0c3b1e-0c7e-4c0a-9b36-3a6f1f0e7a12".to_owned())
        .aep(3)
        .mep(1)
        .sid("sess-9d0c3b1e-0c".to_owned());
    sign(&ring(), &token, SystemClock.now()).unwrap().expose_secret().to_owned()
}

// ---- Serving and asking ----------------------------------------------------------

fn runtime(threads: usize) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .unwrap()
}

fn serve(runtime: &Runtime, app: Router) -> SocketAddr {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move { axum::serve(listener, app).await });
    address
}

/// A guarded app refuses a request without a token; every app answers one with it.
async fn check(address: SocketAddr, token: &str, guarded: bool) {
    let status = |client: Client| client.first[9..12].to_owned();
    let anonymous = status(Client::connect(address, None).await);
    assert_eq!(anonymous == b"200", !guarded);
    assert_eq!(status(Client::connect(address, Some(token)).await), b"200");
}

/// One connection that asks the same again and again. Its cost is next to nothing:
/// every answer has the length of the first.
struct Client {
    stream: TcpStream,
    request: String,
    first: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr, token: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let credentials =
            token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!("GET /webhooks/7 HTTP/1.1\r\nhost: localhost\r\n{credentials}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut first = vec![0; 4096];
        let len = stream.read(&mut first).await.unwrap();
        first.truncate(len);
        Self { stream, request, first }
    }

    /// Asks for as long as a round lasts; the seconds that each answer took.
    async fn ask(&mut self) -> Vec<f64> {
        let (start, mut times) = (Instant::now(), Vec::new());
        while start.elapsed() < ROUND {
            let asked = Instant::now();
            self.stream.write_all(self.request.as_bytes()).await.unwrap();
            self.stream.read_exact(&mut self.first).await.unwrap();
            times.push(asked.elapsed().as_secs_f64());
            assert!(self.first.starts_with(b"HTTP/1.1 200"));
        }
        times
    }
}

struct Contender {
    name: &'static str,
    clients: Vec<Client>,
    rounds: Vec<Round>,
}

struct Round {
    /// Requests a second.
    rate: f64,
    /// Seconds.
    p99: f64,
}

impl Contender {
    fn run(&mut self, runtime: &Runtime) -> Round {
        let start = Instant::now();
        let clients = std::mem::take(&mut self.clients).into_iter().map(|mut client| {
            runtime.spawn(async move {
                let times = client.ask().await;
                (client, times)
            })
        });
        let clients: Vec<_> = clients.collect();
        let mut times = Vec::new();
        for client in clients {
            let (client, own) = wait(runtime, client);
            self.clients.push(client);
            times.extend(own);
        }
        let rate = times.len() as f64 / start.elapsed().as_secs_f64();
        times.sort_by(f64::total_cmp);
        Round { rate, p99: times[times.len() * 99 / 100] }
    }
}

fn wait<T>(runtime: &Runtime, task: impl Future<Output = Result<T, tokio::task::JoinError>>) -> T {
    runtime.block_on(task).unwrap()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
