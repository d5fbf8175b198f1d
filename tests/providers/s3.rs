//! A real S3 server, a process of its own: moto, which verifies every signature and knows
//! two pairs of one user. Before it is a road that notes whose each request is, and that
//! can lose an answer.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    material::Material,
    provider::{
        Connect, Current, Limits, Provider, Trust,
        s3::{BrokenOff, S3, Style},
    },
    rollover::{Mode, Phase},
    store::Actor,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Method, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpStream, time::sleep};

use crate::{
    promises::{rollover, start},
    site::{OF_HTTP, Site, World, limits, locked},
    support::{
        app::{on_both_databases, request},
        moto::{Known, Moto, allowing},
    },
};

pub const BUCKET: &str = "breeze";
const USER: &str = "files";

pub fn value(pair: &Known) -> String {
    json!({ "S3_ACCESS_KEY": pair.id, "S3_SECRET_KEY": pair.secret }).to_string()
}

/// A server with an empty bucket; it is gone with this value.
pub struct Server {
    pub site: Arc<Site>,
    pub old: Known,
    pub new: Known,
    pub seen: Arc<Seen>,
    moto: Moto,
    operator: Known,
}

/// A request: whose, and for what.
#[derive(Debug, Clone)]
pub struct Use {
    pub signer: String,
    method: Method,
    path: String,
}

/// What has come by.
#[derive(Debug, Default)]
pub struct Seen {
    pub used: Mutex<Vec<Use>>,
    /// So many requests of this method are still to be turned away.
    turned_away: Mutex<Option<Method>>,
    times: AtomicU32,
}

impl Seen {
    /// Whose the last request for a file was.
    pub fn last(&self) -> String {
        let used = locked(&self.used);
        let is_file = |used: &&Use| used.path.starts_with(&format!("/{BUCKET}/files/"));
        used.iter().rfind(is_file).unwrap().signer.clone()
    }

    fn turns_away(&self, method: Method, times: u32) {
        *locked(&self.turned_away) = Some(method);
        self.times.store(times, Ordering::Relaxed);
    }

    fn is_turned_away(&self, method: &Method) -> bool {
        locked(&self.turned_away).as_ref() == Some(method)
            && self
                .times
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
    }

    fn of(&self, method: &Method) -> usize {
        locked(&self.used).iter().filter(|used| used.method == *method).count()
    }
}

impl Server {
    pub async fn start() -> Self {
        let moto = Moto::start().await;
        moto.send(Method::PUT, &format!("/{BUCKET}"), "s3", LOCATION).await.unwrap();
        let old = moto.user_who(USER, &allowing(&json!("s3:*"))).await;
        let new = moto.key_of(USER).await;
        let operator = moto.user_who("operator", &allowing(&json!("*"))).await;
        moto.checks_after("0").await;
        let seen = Arc::<Seen>::default();
        let road = Router::new().fallback(pass).with_state((moto.port(), Arc::clone(&seen)));
        let site = Arc::new(Site::start(road).await);
        Self { site, old, new, seen, moto, operator }
    }

    /// Deletes a pair of the user's.
    pub async fn revoke(&self, pair: &Known) {
        let delete =
            [("Action", "DeleteAccessKey"), ("UserName", USER), ("AccessKeyId", pair.id.as_str())];
        let deleted = self.moto.iam_asked_by(&self.operator, &delete).await;
        assert_eq!(deleted.status, 200, "{}", deleted.body.escape_ascii());
    }

    fn s3(&self) -> S3 {
        let (address, trust) = (self.site.address.parse().unwrap(), Trust::public());
        S3::new(address, &trust, patient(), "us-east-1", BUCKET, Style::Path).unwrap()
    }

    /// What the API is set up with.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("S3_ACCESS_KEY", self.old.id.clone()),
            ("S3_SECRET_KEY", self.old.secret.clone()),
            ("S3_ENDPOINT", self.site.address.clone()),
            ("S3_BUCKET", BUCKET.to_owned()),
        ]
    }

    /// Whether the bucket is empty.
    async fn is_empty(&self) -> bool {
        let list = http::Request::get(format!("/{BUCKET}?list-type=2")).body(String::new());
        let listed = self.moto.asked_by(&self.operator, "s3", list.unwrap()).await;
        let text = String::from_utf8(listed.body.to_vec()).unwrap();
        assert!(text.contains("<ListBucketResult"), "{text}");
        !text.contains("<Key>")
    }
}

/// Longer than moto takes on a busy machine.
fn patient() -> Limits {
    let (connect, answer) = (Duration::from_secs(3), Duration::from_secs(4));
    Limits { connect, answer, ..limits() }
}

/// Where the bucket is made.
const LOCATION: &str = "<CreateBucketConfiguration><LocationConstraint>eu-central-1\
    </LocationConstraint></CreateBucketConfiguration>";

async fn pass(State((port, seen)): State<(u16, Arc<Seen>)>, request: Request) -> Response {
    let signed = request.headers()["authorization"].to_str().unwrap();
    let (_, signer) = signed.split_once("Credential=").unwrap();
    let signer = signer.split('/').next().unwrap().to_owned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let is_turned_away = seen.is_turned_away(&method);
    locked(&seen.used).push(Use { signer, method, path });
    if is_turned_away {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    match sender.send_request(request).await {
        Ok(answer) => answer.map(Body::new),
        // Whoever sent it has gone.
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

pub async fn world() -> World {
    world_of(&Arc::new(Server::start().await))
}

fn world_of(server: &Arc<Server>) -> World {
    World {
        provider: Arc::new(server.s3()),
        site: Arc::clone(&server.site),
        variables: server.variables().into_iter().take(2).collect(),
        new: value(&server.new),
        unknown: |number| {
            let id = format!("AKIAUNKNOWN{number:09}");
            value(&Known { id, secret: "an-unknown-secret".to_owned() })
        },
        malformed: "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI",
        secrets: vec![
            server.old.secret.clone(),
            server.new.secret.clone(),
            "an-unknown-secret".into(),
        ],
        revokes: false,
        moods: OF_HTTP,
        kept: Box::new(Arc::clone(server)),
    }
}

on_both_databases!(
    with managers_tests, "needs moto; tests/run installs it":
    an_upload_in_flight_finishes_on_the_pair_that_it_began_with,
    a_file_that_nobody_reads_keeps_its_own_rollover_waiting_and_no_other,
);

async fn an_upload_in_flight_finishes_on_the_pair_that_it_began_with(database: Database) {
    let server = Arc::new(Server::start().await);
    let world = world_of(&server);
    let app = start(database, &world).await;
    let files = Current::new(Arc::new(server.s3()), app.rollovers.replica().keychain());

    // Half of it is sent, and the rest when it is asked for.
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let content = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|part| (Ok::<_, std::io::Error>(part), receiver))
    });
    let held = files.client().unwrap();
    let upload = tokio::spawn(async move {
        let body = reqwest::Body::wrap_stream(content);
        let done = held.put("files/x", 8, None, body).await;
        drop(held);
        done
    });
    sender.send(Bytes::from_static(b"half")).await.unwrap();
    while locked(&server.seen.used).is_empty() {
        tokio::task::yield_now().await;
    }

    let begun = app.begin(rollover(&world, &world.new)).await.unwrap();
    app.blocked(begun.id, "in flight").await;
    // A file may take longer than an answer.
    sleep(patient().answer * 2).await;
    sender.send(Bytes::from_static(b"half")).await.unwrap();
    drop(sender);
    upload.await.unwrap().unwrap();
    app.blocked(begun.id, "/revoked").await;
    server.revoke(&server.old).await;
    let operator = app.rollovers.operator();
    operator.revoked(begun.id, Actor::System, "deleted in the console").await.unwrap();
    app.reaches(begun.id, Phase::Retired).await;

    locked(&server.seen.used).clear();
    let file = files.client().unwrap().get("files/x").await.unwrap().unwrap();
    let read: Vec<Bytes> = file.content(()).try_collect().await.unwrap();
    assert_eq!(read.concat(), b"halfhalf");
    assert_eq!(server.seen.last(), server.new.id);
    assert!(files.client().unwrap().get("files/y").await.unwrap().is_none());
}

async fn a_file_that_nobody_reads_keeps_its_own_rollover_waiting_and_no_other(database: Database) {
    let server = Arc::new(Server::start().await);
    let world = world_of(&server);
    let app = start(database, &world).await;
    let files = Current::new(Arc::new(server.s3()), app.rollovers.replica().keychain());
    let large = vec![b'x'; LARGE];
    files.client().unwrap().put("files/x", LARGE as u64, None, large).await.unwrap();
    let held = files.for_transfer().unwrap();
    let file = held.get("files/x").await.unwrap().unwrap();
    let mut content = Box::pin(file.content(held));
    content.next().await.unwrap().unwrap();
    let stopped = Instant::now();

    let other = app.begin(request(Secret::JwtSecret, Mode::Hard)).await.unwrap();
    app.reaches(other.id, Phase::Retired).await;
    let begun = app.begin(rollover(&world, &world.new)).await.unwrap();
    app.reaches(begun.id, Phase::Promoted).await;
    // Nobody asks for the next part, and yet the file ends.
    app.blocked(begun.id, "/revoked").await;
    assert!(stopped.elapsed() > patient().answer * 3, "it waited for the file");
    let rest: Vec<_> = content.collect().await;
    assert_eq!(rest.last(), Some(&Err(BrokenOff)), "it is not taken for a whole one");
}

/// More than what is under way between two processes.
const LARGE: usize = 24 << 20;

#[tokio::test]
#[cfg_attr(not(managers_tests), ignore = "needs moto; tests/run installs it")]
async fn a_file_ends_although_its_reader_goes_on_slowly() {
    let server = Server::start().await;
    let pair = Material::new(value(&server.old)).unwrap();
    let files = server.s3().client(&pair).unwrap();
    files.put("files/x", LARGE as u64, None, vec![b'x'; LARGE]).await.unwrap();
    let longest = Duration::from_secs(2);
    let files = server.s3().transfers_within(longest).client(&pair).unwrap();
    let (dropped, is_dropped) = tokio::sync::oneshot::channel::<()>();
    let (begun, file) = (Instant::now(), files.get("files/x").await.unwrap().unwrap());
    let slowly = tokio::spawn(file.content(dropped).for_each(move |_| sleep(longest / 10)));
    is_dropped.await.unwrap_err();
    assert!(begun.elapsed() >= longest && begun.elapsed() < longest * 2, "{:?}", begun.elapsed());
    slowly.await.unwrap();
}

/// A probe of the pair.
async fn probed(server: &Server, pair: &Known) -> Result<String, String> {
    let pair = Material::new(value(pair)).unwrap();
    server.s3().probe(&pair).await.map_err(|error| error.to_string())
}

#[tokio::test]
#[cfg_attr(not(managers_tests), ignore = "needs moto; tests/run installs it")]
async fn a_probe_leaves_nothing_behind_whatever_came_of_it() {
    let server = Server::start().await;
    assert!(server.is_empty().await);
    let well = Ok("the pair wrote, read and deleted an object".to_owned());
    assert_eq!(probed(&server, &server.new).await, well);
    assert!(server.is_empty().await);

    let other =
        Known { secret: "another-secret-of-a-pair-that-is-known".into(), ..server.new.clone() };
    let refused = probed(&server, &other).await.unwrap_err();
    assert!(refused.contains("SignatureDoesNotMatch"), "{refused}");
    server.revoke(&server.new).await;
    let refused = probed(&server, &server.new).await.unwrap_err();
    assert!(refused.contains("InvalidAccessKeyId"), "{refused}");
    assert!(server.is_empty().await);

    // Written, and not read.
    server.seen.turns_away(Method::GET, 1000);
    let unread = probed(&server, &server.old).await.unwrap_err();
    assert!(unread.contains("503"), "{unread}");
    assert!(server.is_empty().await);
    // Written, and not told in time; within what the worker waits for.
    server.site.gate.shut_for("PUT");
    let begun = Instant::now();
    let untold = probed(&server, &server.old).await.unwrap_err();
    assert!(untold.contains("no answer in time"), "{untold}");
    assert!(begun.elapsed() < patient().answer + patient().connect, "{:?}", begun.elapsed());
    assert!(server.is_empty().await);
}

#[tokio::test]
#[cfg_attr(not(managers_tests), ignore = "needs moto; tests/run installs it")]
async fn what_may_be_asked_twice_is_asked_again_and_a_file_is_sent_once() {
    let server = Server::start().await;
    let pair = Material::new(value(&server.old)).unwrap();
    let files = server.s3().client(&pair).unwrap();
    server.seen.turns_away(Method::PUT, 1);
    let content = || reqwest::Body::from("content");
    assert!(files.put("files/x", 7, None, content()).await.unwrap_err().is_transient());
    assert_eq!(server.seen.of(&Method::PUT), 1);
    files.put("files/x", 7, None, content()).await.unwrap();

    server.seen.turns_away(Method::GET, 2);
    let file = files.get("files/x").await.unwrap().unwrap();
    let read: Vec<Bytes> = file.content(()).try_collect().await.unwrap();
    assert_eq!((read.concat().as_slice(), server.seen.of(&Method::GET)), (&b"content"[..], 3));
    server.seen.turns_away(Method::DELETE, 2);
    files.delete("files/x").await.unwrap();
    assert_eq!(server.seen.of(&Method::DELETE), 3);
    assert!(server.is_empty().await);
}
