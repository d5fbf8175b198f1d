//! A provider's API on the loopback interface, and the moods that it may be in.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use breeze_rollover::provider::{Limits, Provider};
use futures_util::FutureExt;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{JoinHandle, JoinSet},
};

/// How a provider answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As documented.
    Well,
    /// Never.
    Hanging,
    /// With a page for people.
    Nonsense,
    /// With JSON of another shape.
    OtherJson,
    /// Without an end.
    Endless,
    /// That it failed, when it has done what it was asked for.
    Failing,
    /// That it has too much to do.
    Overloaded,
    /// That it should be asked elsewhere.
    Redirecting,
    /// It refuses, and repeats what it was sent in doing so.
    Echoing,
}

/// The moods of an API, each with what is told of it.
pub const OF_HTTP: &[(Mood, &str)] = &[
    (Mood::Hanging, "no answer in time"),
    (Mood::Nonsense, "something unexpected"),
    (Mood::OtherJson, "something unexpected"),
    (Mood::Endless, "more than 1048576 bytes"),
    (Mood::Failing, "500"),
    (Mood::Overloaded, "503"),
    (Mood::Redirecting, "307"),
    (Mood::Echoing, "[withheld]"),
];

/// One provider's API. It ends with this value.
#[derive(Debug)]
pub struct Site {
    pub address: String,
    pub mood: Arc<Mutex<Mood>>,
    pub gate: Arc<Gate>,
    server: JoinHandle<()>,
}

/// Counts requests, and holds them up before they are answered, until it is opened.
#[derive(Debug, Default)]
pub struct Gate {
    shut: Mutex<Option<String>>,
    opened: Notify,
    reached: Notify,
    calls: AtomicU64,
}

impl Gate {
    /// Holds up requests to addresses with `part` in them.
    pub fn shut_for(&self, part: &str) {
        // Whoever was held up before is forgotten.
        self.reached.notified().now_or_never();
        *locked(&self.shut) = Some(part.to_owned());
    }

    /// Waits until a request is held up.
    pub async fn reached(&self) {
        tokio::time::timeout(Duration::from_secs(30), self.reached.notified()).await.unwrap();
    }

    pub fn open(&self) {
        *locked(&self.shut) = None;
        self.opened.notify_waiters();
    }

    async fn pass(&self, asked: &str) {
        let opened = self.opened.notified();
        let is_shut = locked(&self.shut).as_ref().is_some_and(|part| asked.contains(part));
        if is_shut {
            self.reached.notify_one();
            opened.await;
        }
    }
}

pub fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Site {
    pub async fn start(router: Router) -> Self {
        let (mood, gate) = (Arc::new(Mutex::new(Mood::Well)), Arc::<Gate>::default());
        let moods = (Arc::clone(&mood), Arc::clone(&gate));
        let router = router.layer(from_fn_with_state(moods, answer));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, mood, gate, server }
    }

    /// How often it was called.
    pub fn calls(&self) -> u64 {
        self.gate.calls.load(Ordering::Relaxed)
    }

    /// A server of another protocol than HTTP: `speak` is what it does with a connection,
    /// once the gate lets that pass.
    pub async fn speaking<F>(speak: fn(TcpStream, Mood, u16) -> F, of: u16) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (mood, gate) = (Arc::new(Mutex::new(Mood::Well)), Arc::<Gate>::default());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().port().to_string();
        let (moods, passes) = (Arc::clone(&mood), Arc::clone(&gate));
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (mood, gate) = (*locked(&moods), Arc::clone(&passes));
                connections.spawn(async move {
                    gate.pass("connection").await;
                    speak(stream, mood, of).await;
                });
            }
        });
        Self { address, mood, gate, server }
    }

    pub fn is(&self, mood: Mood) {
        *locked(&self.mood) = mood;
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(
    State((mood, gate)): State<(Arc<Mutex<Mood>>, Arc<Gate>)>,
    request: Request,
    next: Next,
) -> Response {
    gate.calls.fetch_add(1, Ordering::Relaxed);
    let asked = format!("{} {}", request.method(), request.uri().path());
    let mood = *locked(&mood);
    match mood {
        Mood::Well => {
            let answer = next.run(request).await;
            // Done, and not yet told.
            gate.pass(&asked).await;
            answer
        }
        Mood::Failing => {
            next.run(request).await;
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Mood::Hanging => std::future::pending().await,
        Mood::Nonsense => "<html><body>Welcome!</body></html>".into_response(),
        Mood::OtherJson => axum::Json(serde_json::json!({ "hello": [1, 2] })).into_response(),
        Mood::Endless => {
            let more =
                std::iter::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 65536])));
            Body::from_stream(futures_util::stream::iter(more)).into_response()
        }
        Mood::Overloaded => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Redirecting => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/elsewhere")]).into_response()
        }
        Mood::Echoing => {
            let uri = request.uri().to_string();
            let sent: Vec<_> = request
                .headers()
                .values()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .collect();
            let said = serde_json::json!({ "message": format!("{} {uri}", sent.join(" ")) });
            (StatusCode::UNAUTHORIZED, axum::Json(said)).into_response()
        }
    }
}

/// Short: a provider of the tests is on this machine.
pub fn limits() -> Limits {
    Limits {
        connect: Duration::from_millis(500),
        answer: Duration::from_millis(700),
        tries: 3,
        wait: Duration::from_millis(10),
    }
}

/// A provider, and what its credentials are.
pub struct World {
    pub provider: Arc<dyn Provider>,
    pub site: Arc<Site>,
    /// The moods that it may be in, each with what is told of it.
    pub moods: &'static [(Mood, &'static str)],
    /// What the environment holds: the old credential.
    pub variables: Vec<(&'static str, String)>,
    /// Another that the provider knows.
    pub new: String,
    /// Ones that it does not know, each number another.
    pub unknown: fn(u32) -> String,
    /// What is no credential of it.
    pub malformed: &'static str,
    /// What must never be told: every secret part of every credential.
    pub secrets: Vec<String>,
    /// Whether the product revokes the old one; else an operator does.
    pub revokes: bool,
    /// What the provider knows, for as long as the world is.
    #[expect(dead_code, reason = "it is kept, not read")]
    pub kept: Box<dyn std::any::Any + Send + Sync>,
}
