//! The connection of an application to its Redis server.
//!
//! 1. One task keeps it: it makes another one a while after it broke, and at once when
//!    the keychain has another credential. One of before serves until that is there.
//! 2. Nobody who asks waits for a connection, but for the very first one, nor for an
//!    answer longer than for as long as he says. While the server is away, he is told so
//!    at once.
//! 3. A server that took too long to answer one, or broke off, is away for everybody,
//!    until it has answered the task again.

use std::{fmt, time::Duration};

use redis::{FromRedisValue, Pipeline, RedisResult, aio::MultiplexedConnection};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{RedisLogin, RedisServer, answers, name_of};
use crate::{catalog::Secret, keyring::KeychainHandle, material::Fingerprint};

/// How long a server that was away is left alone.
const PAUSE: Duration = Duration::from_secs(3);

/// How often the connection is tried, and the keychain looked at.
const GLANCE: Duration = Duration::from_secs(1);

/// The connection of an application to its Redis server, kept by a task that ends with
/// this value.
#[derive(Debug)]
pub struct RedisConnections {
    link: watch::Sender<Link>,
    keeper: AbortHandle,
}

/// How the server is reached now.
#[derive(Debug, Clone)]
enum Link {
    /// The first connection is being made.
    First,
    Open(Open),
    /// For a reason that holds no password.
    Away(String),
}

#[derive(Clone)]
struct Open {
    /// The how manieth it is: no other one is to blame for what this one does.
    number: u64,
    connection: MultiplexedConnection,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("number", &self.number).finish_non_exhaustive()
    }
}

impl RedisConnections {
    /// To `server`, with the present credential of `keychain`.
    pub(super) fn keeping(server: RedisServer, keychain: KeychainHandle) -> Self {
        let link = watch::Sender::new(Link::First);
        let keeper = Keeper { server, keychain, link: link.clone(), made: 0 };
        Self { link, keeper: tokio::spawn(keeper.keep()).abort_handle() }
    }

    /// What the server answers to `what` within `patience`.
    ///
    /// # Errors
    /// [`RedisAway`]. Whether it was done is not known then.
    pub async fn ask<T: FromRedisValue>(
        &self,
        what: &Pipeline,
        patience: Duration,
    ) -> Result<T, RedisAway> {
        let until = Instant::now() + patience;
        let Open { number, mut connection } = self.open(until).await?;
        let why = match timeout_at(until, what.query_async(&mut connection)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.category().to_owned(),
            Err(_) => LATE.to_owned(),
        };
        broke(&self.link, number, &why);
        Err(RedisAway(why))
    }

    async fn open(&self, until: Instant) -> Result<Open, RedisAway> {
        let mut link = self.link.subscribe();
        let settled = link.wait_for(|link| !matches!(link, Link::First));
        match timeout_at(until, settled).await {
            Ok(Ok(link)) => match &*link {
                Link::Open(open) => Ok(open.clone()),
                Link::Away(why) => Err(RedisAway(why.clone())),
                Link::First => Err(RedisAway(LATE.to_owned())),
            },
            _ => Err(RedisAway(LATE.to_owned())),
        }
    }
}

impl Drop for RedisConnections {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

const LATE: &str = "no answer in time";

/// The server is away, or does not let this process in. It is tried again by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Redis server is away, or does not let this process in: {0}")]
pub struct RedisAway(String);

/// The connection of this number does not serve: the server is away.
fn broke(link: &watch::Sender<Link>, number: u64, why: &str) {
    link.send_if_modified(|link| {
        let is_it = matches!(link, Link::Open(open) if open.number == number);
        if is_it {
            *link = Link::Away(why.to_owned());
        }
        is_it
    });
}

/// What keeps the connection.
struct Keeper {
    server: RedisServer,
    keychain: KeychainHandle,
    link: watch::Sender<Link>,
    /// How many it has made.
    made: u64,
}

/// The credential that is to be used, and its name.
type Credential = (Fingerprint, RedisLogin);

impl Keeper {
    async fn keep(mut self) {
        loop {
            let credential = self.credential();
            match self.connect(credential.as_ref()).await {
                Ok(connection) => {
                    self.made += 1;
                    let open = Open { number: self.made, connection };
                    self.link.send_replace(Link::Open(open.clone()));
                    self.serves(open, credential.map(|(name, _)| name)).await;
                }
                Err(error) => {
                    let why = error.category().to_owned();
                    // One of before goes on, if it serves.
                    self.link.send_if_modified(|link| {
                        let is_open = matches!(link, Link::Open(_));
                        if !is_open {
                            *link = Link::Away(why);
                        }
                        !is_open
                    });
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Goes on until the connection breaks, and a while longer; or until the keychain has
    /// another credential than the one of this name.
    async fn serves(&self, Open { number, mut connection }: Open, name: Option<Fingerprint>) {
        let mut link = self.link.subscribe();
        loop {
            let broken = async { drop(link.wait_for(|link| matches!(link, Link::Away(_))).await) };
            if timeout(GLANCE, broken).await.is_ok() {
                return sleep(PAUSE).await;
            }
            if self.credential().map(|(name, _)| name) != name {
                return;
            }
            match timeout(GLANCE, answers(&mut connection)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => broke(&self.link, number, error.category()),
                Err(_) => broke(&self.link, number, LATE),
            }
        }
    }

    /// A connection that the server knows by the name of its credential, where it lets
    /// itself be told.
    async fn connect(&self, credential: Option<&Credential>) -> RedisResult<MultiplexedConnection> {
        let Some((name, login)) = credential else { return self.server.connect(None).await };
        let mut connection = self.server.connect(Some(login)).await?;
        let mut naming = redis::cmd("CLIENT");
        naming.arg("SETNAME").arg(name_of(*name));
        match naming.query_async(&mut connection).await {
            Err(error) if error.is_io_error() => Err(error),
            Ok(()) | Err(_) => Ok(connection),
        }
    }

    /// None where the server wants none.
    fn credential(&self) -> Option<Credential> {
        let keys = self.keychain.load();
        let ring = keys.verbatim(Secret::RedisUrl).ok().filter(|_| self.server.has_credential)?;
        let primary = ring.primary();
        let login = RedisLogin::parse(primary.prepared().expose())?;
        Some((primary.fingerprint(), login))
    }
}
