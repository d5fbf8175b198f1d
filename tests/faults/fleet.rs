//! Replicas: real processes, each with a way of its own to the database.

use std::time::Duration;

use breeze_rollover::token::Lifetimes;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use super::{
    cluster::Cluster,
    proxy::{Link, Proxy},
};
use crate::support::{
    breeze_api::{Process, Run, breeze_api},
    deployment::KEYS,
    free_port,
    http::Client,
    sqlite,
};

/// What the replicas are on.
#[derive(Debug)]
pub(crate) enum Backing {
    /// A server of our own, behind a proxy for each replica.
    Postgres(Box<Cluster>),
    /// A file that all of them open.
    Sqlite(sqlite::File),
}

/// What every replica is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) lease: Duration,
    pub(crate) lifetimes: Lifetimes,
}

/// How long a replica may take until it serves, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One replica.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) port: u16,
    proxies: Vec<Proxy>,
    /// Where it listens for changes, if not where it asks.
    listen_url: Option<String>,
    url: String,
    terms: Terms,
    process: Mutex<Option<Process>>,
}

impl Replica {
    /// A replica that is not started yet.
    pub(crate) async fn of(backing: &Backing, terms: Terms) -> Self {
        let mut proxies = Vec::new();
        let mut listen_url = None;
        let url = match backing {
            Backing::Postgres(cluster) => {
                let server = Proxy::to(cluster.port()).await;
                let mut url = cluster.url_by(server.port());
                proxies.push(server);
                if let Some(pooler) = cluster.pooler() {
                    let pooler = Proxy::to(pooler).await;
                    listen_url = Some(url);
                    url = cluster.url_by(pooler.port()) + "?statement-cache-capacity=0";
                    proxies.push(pooler);
                }
                url
            }
            Backing::Sqlite(file) => file.url(),
        };
        Self { port: free_port(), proxies, url, listen_url, terms, process: Mutex::default() }
    }

    fn run(&self) -> Run {
        let seconds = |duration: Duration| duration.as_secs().to_string();
        let listens = self.listen_url.iter().map(|url| ("DATABASE_LISTEN_URL", url.as_str()));
        breeze_api(["serve"])
            .envs(KEYS)
            .envs(listens)
            .env("DATABASE_URL", &self.url)
            .env("BREEZE_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("BREEZE_LEASE_SECONDS", seconds(self.terms.lease))
            .env("JWT_ACCESS_TTL_SECONDS", seconds(self.terms.lifetimes.access))
            .env("JWT_REFRESH_TTL_SECONDS", seconds(self.terms.lifetimes.refresh))
            .env("JWT_VIEWER_TTL_SECONDS", seconds(self.terms.lifetimes.viewer))
    }

    /// Starts it, again and again if it ends before it serves, as an orchestrator does.
    pub(crate) async fn start(&self) {
        let mut process = self.process.lock().await;
        let begins = Instant::now();
        loop {
            let mut started = self.run().start();
            match started.ends_or_listens_on(self.port).await {
                None => {
                    *process = Some(started);
                    return;
                }
                Some(ended) if begins.elapsed() > PATIENCE => {
                    panic!("it does not start: {ended:?}")
                }
                Some(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Kills it, wherever it is.
    pub(crate) async fn kill(&self) {
        if let Some(process) = self.process.lock().await.take() {
            process.kill().await;
        }
    }

    /// Kills it, and starts it again a moment later.
    pub(crate) async fn comes_and_goes(&self) {
        self.kill().await;
        sleep(Duration::from_millis(700)).await;
        self.start().await;
    }

    /// Asks it to end, and waits for that.
    pub(crate) async fn terminate(&self) -> Option<i32> {
        let process = self.process.lock().await.take()?;
        process.terminate().await.code
    }

    /// Sends it a signal by its name.
    pub(crate) async fn signal(&self, name: &str) {
        if let Some(process) = &*self.process.lock().await {
            process.signal(name).await;
        }
    }

    /// What becomes of its connections to the database.
    pub(crate) fn link(&self, link: Link) {
        self.proxies.iter().for_each(|proxy| proxy.set(link));
    }

    /// The epoch that it serves at, once it is ready, if it ever is.
    pub(crate) async fn epoch(&self) -> Option<u64> {
        let client = Client::on(self.port);
        let ready = async {
            loop {
                let asked = client.ask(http::Method::GET, "/ready", None);
                let answer = timeout(Duration::from_secs(2), asked).await;
                if let Ok(Ok(answer)) = answer
                    && answer.status.is_success()
                {
                    return answer.json()["epoch"].as_u64();
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, ready).await.ok().flatten()
    }

    /// The end of what it has told.
    pub(crate) async fn log(&self) -> String {
        let process = self.process.lock().await;
        let told = process.as_ref().map(Process::stderr).unwrap_or_default();
        let lines: Vec<_> = told.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}
