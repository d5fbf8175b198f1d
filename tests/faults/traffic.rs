//! Clients that believe what they were told, and check it at every replica.
//!
//! 1. Each edits rows of its own, and reads them back from any replica.
//! 2. Every access token that it is given it presents to every replica at once, and
//!    again, to any of them, while it lives. A refresh token goes to any replica.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;

use super::{
    figures::Wrong,
    judge::{Call, Shared, Token},
    ledger::Row,
    resource::{Kind, fingerprint},
};
use crate::support::http::Answer;

/// Between two requests of a client.
const THINK: Duration = Duration::from_millis(15);

/// A token is not presented in the last moments of its life: its seconds are whole, and
/// an answer takes time.
const MARGIN: Duration = Duration::from_millis(1500);

/// A user that may log in.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) email: String,
    pub(crate) password: String,
}

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Traffic {
    /// A client for each user.
    pub(crate) fn start(shared: &Arc<Shared>, users: Vec<User>, seed: u64) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let mut clients = JoinSet::new();
        for (number, user) in users.into_iter().enumerate() {
            let client = Client {
                shared: Arc::clone(shared),
                user,
                session: None,
                tokens: Vec::new(),
                rows: Vec::new(),
                random: StdRng::seed_from_u64(seed.wrapping_add(number as u64 + 1)),
                elsewhere: JoinSet::new(),
            };
            clients.spawn(client.run(Arc::clone(&stop)));
        }
        Self { stop, clients }
    }

    /// Lets every client read back all that it was told, from every replica.
    pub(crate) async fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client does not panic");
        }
    }
}

#[derive(Debug)]
struct Session {
    access: Token,
    refresh: Token,
    renew_at: Instant,
}

struct Client {
    shared: Arc<Shared>,
    user: User,
    session: Option<Session>,
    /// Every access token of the last while.
    tokens: Vec<Token>,
    rows: Vec<(Kind, Row)>,
    random: StdRng,
    /// Tokens that are presented to replicas under a fault, which may take long.
    elsewhere: JoinSet<()>,
}

impl Client {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            self.step().await;
            let think = THINK.mul_f64(self.random.random_range(0.2..1.8));
            sleep(think).await;
        }
        while self.elsewhere.join_next().await.is_some() {}
        self.read_everything_everywhere().await;
    }

    async fn step(&mut self) {
        while self.elsewhere.try_join_next().is_some() {}
        let soon = Instant::now() + MARGIN;
        self.tokens.retain(|token| token.lives_until > soon);
        let Some(session) = &self.session else { return self.log_in().await };
        let (access, renew_at) = (session.access.clone(), session.renew_at);
        if session.refresh.lives_until < soon || access.lives_until < soon {
            self.session = None;
        } else if renew_at < Instant::now() {
            self.refresh().await;
        } else if self.rows.len() < 6 {
            self.make(&access).await;
        } else {
            match self.random.random_range(0..100) {
                0..50 => self.read(&access).await,
                50..80 => self.edit(&access).await,
                80..99 => self.present_again().await,
                _ if self.rows.len() < 20 => self.make(&access).await,
                _ => {}
            }
        }
    }

    /// Any replica; one that is under a fault seldom, or all clients would soon wait.
    fn pick(&mut self, share_of_struck: f64) -> usize {
        loop {
            let replica = self.random.random_range(0..self.shared.ports.len());
            if !self.shared.windows.is_struck(replica) || self.random.random_bool(share_of_struck) {
                return replica;
            }
        }
    }

    async fn log_in(&mut self) {
        let shared = Arc::clone(&self.shared);
        let _one = shared.logging_in.acquire().await.expect("it is never closed");
        let User { email, password } = &self.user;
        let body = json!({ "email": email, "password": password });
        let (asked, replica) = (Instant::now(), self.pick(0.05));
        let call = Call::post("/api/v1/auth/login", None, body);
        let answer = shared.ask(replica, call).await;
        if answer.is_none() {
            // Nobody hammers a door that is shut.
            sleep(THINK * 10).await;
        }
        self.begin(answer, asked).await;
    }

    async fn refresh(&mut self) {
        let Some(Session { refresh, .. }) = self.session.take() else { return };
        let body = json!({ "refreshToken": refresh.text });
        let (asked, replica) = (Instant::now(), self.pick(0.3));
        let call = Call { token: Some(&refresh), ..Call::post("/api/v1/auth/refresh", None, body) };
        // Without an answer it may be spent, and a second use would end the session.
        let answer = Arc::clone(&self.shared).ask(replica, call).await;
        self.begin(answer, asked).await;
    }

    /// The session of an answer, if there is one; its token goes to every replica.
    async fn begin(&mut self, answer: Option<Answer>, asked: Instant) {
        let Some(tokens) = answer.map(|answer| answer.json()["tokens"].clone()) else { return };
        let token = |name: &str, lifetime: Duration| Token {
            text: tokens[name].as_str().unwrap().to_owned(),
            lives_until: asked + lifetime - Duration::from_secs(1),
        };
        let lifetimes = self.shared.terms.lifetimes;
        let access = token("accessToken", lifetimes.access);
        let refresh = token("refreshToken", lifetimes.refresh);
        let renew_at = asked + lifetimes.access / 3;
        self.session = Some(Session { access: access.clone(), refresh, renew_at });
        let (struck, sound): (Vec<_>, Vec<_>) = (0..self.shared.ports.len())
            .partition(|replica| self.shared.windows.is_struck(*replica));
        for replica in struck {
            let (shared, token) = (Arc::clone(&self.shared), access.clone());
            self.elsewhere.spawn(async move { shared.present(replica, token).await });
        }
        join_all(sound.iter().map(|replica| self.shared.present(*replica, access.clone()))).await;
        self.tokens.push(access);
    }

    async fn present_again(&mut self) {
        if self.tokens.is_empty() {
            return;
        }
        let token = self.tokens[self.random.random_range(0..self.tokens.len())].clone();
        let replica = self.pick(0.01);
        self.shared.present(replica, token).await;
    }

    fn new_value(&mut self) -> String {
        format!("a value {:016x}", self.random.random::<u64>())
    }

    async fn make(&mut self, access: &Token) {
        let kind = Kind::ALL[self.rows.len() % Kind::ALL.len()];
        let value = self.new_value();
        let mut body = kind.edit(&value);
        body["name"] = json!("a row of the tests");
        let replica = self.pick(0.01);
        let answer = self.shared.ask(replica, Call::post(kind.path(), Some(access), body)).await;
        let Some(made) = answer.map(|answer| answer.json()) else { return };
        let id: Uuid = made["id"].as_str().unwrap().parse().unwrap();
        self.rows.push((kind, Row::made(id, made["version"].as_i64().unwrap(), value)));
    }

    async fn read(&mut self, access: &Token) {
        let number = self.random.random_range(0..self.rows.len());
        let replica = self.pick(0.01);
        self.read_row(number, replica, access).await;
    }

    async fn read_row(&mut self, number: usize, replica: usize, access: &Token) {
        let (kind, row) = &mut self.rows[number];
        let path = format!("{}/{}", kind.path(), row.id);
        let Some(answer) = self.shared.ask(replica, Call::get(path.clone(), access)).await else {
            return;
        };
        let read = answer.json();
        let version = read["version"].as_i64().unwrap();
        let mut known = row.read(version, |value| kind.shows(&read, value));
        if known.is_ok() && matches!(kind, Kind::Provider) {
            // Only its fingerprint tells a secret apart from another one.
            let call = Call::post(&format!("{path}/test"), Some(access), Value::Null);
            let call = Call { body: None, ..call };
            if let Some(answer) = self.shared.ask(replica, call).await {
                let seen = answer.json()["fingerprint"].clone();
                known = row.shows(|value| seen == fingerprint(value));
            }
        }
        self.shared.figures.row_checked(1);
        if let Err(wrong) = known {
            let unreadable = &read["unreadable"];
            self.shared.figures.wrong(
                Wrong::Lost,
                format!("{wrong} ({path} at replica {replica}; unreadable: {unreadable})"),
            );
        }
    }

    async fn edit(&mut self, access: &Token) {
        let value = self.new_value();
        let replica = self.pick(0.01);
        let number = self.random.random_range(0..self.rows.len());
        let (kind, row) = &mut self.rows[number];
        let call = Call {
            method: Method::PATCH,
            path: format!("{}/{}", kind.path(), row.id),
            token: Some(access),
            body: Some(kind.edit(&value)),
            if_match: Some(row.version()),
            accepts: Some(StatusCode::PRECONDITION_FAILED),
        };
        let known = match self.shared.ask(replica, call).await {
            Some(answer) if answer.status == StatusCode::PRECONDITION_FAILED => {
                row.edited_meanwhile()
            }
            Some(answer) => {
                self.shared.figures.edit(true);
                row.edited(answer.json()["version"].as_i64().unwrap(), value)
            }
            None => {
                self.shared.figures.edit(false);
                row.edit_lost(value);
                Ok(())
            }
        };
        if let Err(wrong) = known {
            self.shared.figures.wrong(Wrong::Lost, wrong);
        }
    }

    async fn read_everything_everywhere(&mut self) {
        for number in 0..self.rows.len() {
            for replica in 0..self.shared.ports.len() {
                let soon = Instant::now() + MARGIN;
                if self.session.as_ref().is_none_or(|session| session.access.lives_until < soon) {
                    self.log_in().await;
                }
                let Some(access) = self.session.as_ref().map(|it| it.access.clone()) else {
                    let what = format!("{} cannot log in at the end", self.user.email);
                    return self.shared.figures.wrong(Wrong::Needless, what);
                };
                self.read_row(number, replica, &access).await;
            }
        }
    }
}
