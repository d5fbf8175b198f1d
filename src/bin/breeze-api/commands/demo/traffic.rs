//! Clients that read, edit, refresh and log in, and check every answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use breeze_rollover::material::Material;
use http::{Method, StatusCode};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{
    client::{Admin, Connection, Session},
    fill::{Last, ORGANIZATION, Rows, original},
    server::Server,
    tally::{Kind, Tally},
};

/// The clients at work.
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    clients: JoinSet<anyhow::Result<Edits>>,
}

/// What clients were told.
#[derive(Debug, Default)]
pub(super) struct Edits {
    /// The last edit of each value that was acknowledged.
    pub(super) last: Last,
    /// How many were.
    pub(super) acknowledged: u64,
}

impl Traffic {
    /// Makes a user a connection, and lets all of them begin.
    pub(super) async fn start(
        server: &Server,
        admin: &mut Admin,
        rows: Arc<Rows>,
        tally: Arc<Tally>,
        connections: u32,
    ) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for number in 0..connections {
            let password = Material::generate()?.expose_source().to_owned();
            let email = format!("client-{number}@example.test");
            let user = json!({
                "email": email, "name": format!("Client {number}"), "password": password,
                "orgId": ORGANIZATION,
            });
            admin.post("/api/v1/users", &user).await?;
            let client = Client {
                login: json!({ "email": email, "password": password }),
                connection: Connection::open(server.address).await?,
                session: None,
                rows: Arc::clone(&rows),
                tally: Arc::clone(&tally),
                edits: Edits::default(),
                random: SmallRng::seed_from_u64(u64::from(number)),
                mine: (number as usize, connections as usize),
            };
            clients.spawn(client.run(Arc::clone(&stop)));
        }
        Ok(Self { stop, clients })
    }

    /// Lets every client finish its request, and gathers what they were told.
    pub(super) async fn stop(mut self) -> anyhow::Result<Edits> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Edits::default();
        while let Some(client) = self.clients.join_next().await {
            let edits = client.context("a client panicked")??;
            all.last.extend(edits.last);
            all.acknowledged += edits.acknowledged;
        }
        Ok(all)
    }
}

struct Client {
    login: Value,
    connection: Connection,
    session: Option<(Session, Instant)>,
    rows: Arc<Rows>,
    tally: Arc<Tally>,
    edits: Edits,
    random: SmallRng,
    /// Its number, and the number of clients: each edits rows of its own, so that the
    /// last edit of a row is well defined.
    mine: (usize, usize),
}

/// How often a client logs in anew.
const SESSION: Duration = Duration::from_secs(8);

/// Between two requests of a client: people think, and two cores are soon busy.
const THINK: Duration = Duration::from_millis(4);

impl Client {
    async fn run(mut self, stop: Arc<AtomicBool>) -> anyhow::Result<Edits> {
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = self.step().await {
                self.tally.failed(format!("{error:#}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            tokio::time::sleep(THINK).await;
        }
        Ok(self.edits)
    }

    async fn step(&mut self) -> anyhow::Result<()> {
        let Some((session, since)) = &self.session else { return self.sign_in().await };
        if since.elapsed() > SESSION {
            self.session = None;
            return Ok(());
        }
        if session.is_due() {
            return self.refresh().await;
        }
        match self.random.random_range(0..100) {
            0..45 => self.read_provider().await,
            45..60 => self.read_variable().await,
            60..75 => self.read_webhook().await,
            75..90 => self.edit_provider().await,
            _ => self.edit_variable().await,
        }
    }

    async fn sign_in(&mut self) -> anyhow::Result<()> {
        let login = self.login.clone();
        let answer =
            self.ask(Kind::Login, Method::POST, "/api/v1/auth/login", Some(&login)).await?;
        self.session = Some((Session::of(&answer)?, Instant::now()));
        Ok(())
    }

    async fn refresh(&mut self) -> anyhow::Result<()> {
        let Some((session, since)) = self.session.take() else { return Ok(()) };
        let refresh = json!({ "refreshToken": session.refresh });
        let answer =
            self.ask(Kind::Refresh, Method::POST, "/api/v1/auth/refresh", Some(&refresh)).await?;
        self.session = Some((Session::of(&answer)?, since));
        Ok(())
    }

    async fn read_provider(&mut self) -> anyhow::Result<()> {
        let id = self.pick(|rows| &rows.providers);
        let seen =
            self.ask(Kind::Read, Method::GET, &format!("/api/v1/sso/providers/{id}"), None).await?;
        // Rows of other clients change meanwhile; those of this one do not.
        if let Some(expected) = self.expected("sso_providers", "client_secret", id) {
            let hint: String = expected.chars().skip(expected.chars().count() - 4).collect();
            ensure!(
                seen["clientSecretHint"].as_str().is_some_and(|seen| seen.ends_with(&hint)),
                "a provider's secret is not the one that was acknowledged"
            );
        }
        Ok(())
    }

    async fn read_variable(&mut self) -> anyhow::Result<()> {
        let id = self.pick(|rows| &rows.variables);
        let seen = self
            .ask(Kind::Read, Method::GET, &format!("/api/v1/tenant-variables/{id}"), None)
            .await?;
        if let Some(expected) = self.expected("tenant_variables", "value", id) {
            ensure!(seen["value"] == *expected, "a variable is not the one that was acknowledged");
        }
        Ok(())
    }

    async fn read_webhook(&mut self) -> anyhow::Result<()> {
        let id = self.pick(|rows| &rows.webhooks);
        let seen =
            self.ask(Kind::Read, Method::GET, &format!("/api/v1/webhooks/{id}"), None).await?;
        ensure!(
            seen["url"] == original("webhooks", "url", id),
            "a webhook's address is not what it was"
        );
        Ok(())
    }

    async fn edit_provider(&mut self) -> anyhow::Result<()> {
        let id = self.pick_mine(|rows| &rows.providers);
        let text = self.new_text();
        let body = json!({ "clientSecret": text });
        let path = format!("/api/v1/sso/providers/{id}");
        self.ask(Kind::Edit, Method::PATCH, &path, Some(&body)).await?;
        self.acknowledge("sso_providers", "client_secret", id, text);
        Ok(())
    }

    async fn edit_variable(&mut self) -> anyhow::Result<()> {
        let id = self.pick_mine(|rows| &rows.variables);
        let text = self.new_text();
        let body = json!({ "value": text });
        let path = format!("/api/v1/tenant-variables/{id}");
        self.ask(Kind::Edit, Method::PATCH, &path, Some(&body)).await?;
        self.acknowledge("tenant_variables", "value", id, text);
        Ok(())
    }

    async fn ask(
        &mut self,
        kind: Kind,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let access = self.session.as_ref().map(|(session, _)| session.access.clone());
        let began = Instant::now();
        let (status, answer) = self
            .connection
            .send(method, path, access.as_deref(), body)
            .await
            .context("no answer")?;
        let took = began.elapsed();
        ensure!(
            status.is_success() && status != StatusCode::NO_CONTENT,
            "{kind:?} answered {status} ({})",
            answer["code"].as_str().unwrap_or("no code")
        );
        self.tally.answered(kind, took);
        Ok(answer)
    }

    fn pick(&mut self, of: impl Fn(&Rows) -> &Vec<Uuid>) -> Uuid {
        let ids = of(&self.rows);
        ids[self.random.random_range(0..ids.len())]
    }

    fn pick_mine(&mut self, of: impl Fn(&Rows) -> &Vec<Uuid>) -> Uuid {
        let (number, clients) = self.mine;
        let ids = of(&self.rows);
        let share = (ids.len() / clients).max(1);
        ids[(self.random.random_range(0..share) * clients + number) % ids.len()]
    }

    fn new_text(&mut self) -> String {
        format!("edited {:016x} {}", self.random.random::<u64>(), self.edits.acknowledged)
    }

    fn acknowledge(&mut self, table: &str, column: &str, id: Uuid, text: String) {
        self.edits.last.insert((table.to_owned(), column.to_owned(), id), text);
        self.edits.acknowledged += 1;
    }

    /// What this client was told last of a value that only it edits.
    fn expected(&self, table: &str, column: &str, id: Uuid) -> Option<&String> {
        self.edits.last.get(&(table.to_owned(), column.to_owned(), id))
    }
}

impl std::fmt::Debug for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Traffic").field("clients", &self.clients.len()).finish()
    }
}
