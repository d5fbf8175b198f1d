//! Hears what is notified in the database, on a session of its own.
//!
//! 1. Nothing depends on it: whoever hears nothing polls, and the process serves on.
//! 2. A session is trusted once it has heard a notification to itself, and proves it
//!    again whenever it was quiet for a while. So a pooler in transaction mode, which
//!    takes LISTEN and passes nothing on, is found out, and so is a dead connection.
//! 3. After every break, [`Signal::Missed`] comes first.
//! 4. A session of an old login is given up for one of the present one.
//! 5. An outage is told once, and so is its end.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, stream};
use sqlx::{
    AssertSqlSafe, PgPool,
    postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::login::Login;
use crate::{
    ids::Epoch,
    store::{Signal, Signals},
};

/// Where changes of the keys, and reports about them, are notified.
const CHANNEL: &str = "breeze_rollover";

/// What [`CHANNEL`] carries for [`Signal::Report`], in place of an epoch.
pub(super) const REPORT: &str = "report";

/// How long a session may be quiet before it proves that it still hears.
const QUIET: Duration = Duration::from_secs(30);

/// How long a session, and the proof that it hears, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait before a session is tried again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// The signals of the database of `pool`, heard on sessions of `options`.
pub(super) fn signals(pool: PgPool, options: Arc<PgConnectOptions>, login: Arc<Login>) -> Signals {
    let ear = Ear { pool, options, login, own: own_channel(), session: None, failures: 0 };
    stream::unfold(ear, |mut ear| async move { Some((ear.next().await, ear)) }).boxed()
}

fn own_channel() -> String {
    format!("{CHANNEL}_{}", Uuid::new_v4().simple())
}

/// One listener, over all its sessions.
struct Ear {
    /// The proof is sent through it: from another session than the one that listens.
    pool: PgPool,
    options: Arc<PgConnectOptions>,
    login: Arc<Login>,
    /// The channel of its proofs.
    own: String,
    /// With what tells of another login.
    session: Option<(PgListener, watch::Receiver<()>)>,
    /// How many sessions in a row came to nothing.
    failures: u32,
}

impl Ear {
    async fn next(&mut self) -> Signal {
        loop {
            let heard = match &mut self.session {
                Some((session, login)) => tokio::select! {
                    heard = hear(session, &self.pool, &self.own) => heard,
                    Ok(()) = login.changed() => {
                        self.session = None;
                        continue;
                    }
                },
                None => self.open().await.map(|()| Signal::Missed),
            };
            match heard {
                Ok(signal) => return signal,
                Err(deaf) => self.rest(&deaf).await,
            }
        }
    }

    /// Begins a session, and proves that it hears.
    async fn open(&mut self) -> Result<(), Deaf> {
        let login = self.login.changes();
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with(self.login.on(&self.options));
        let mut session = PgListener::connect_with(&pool).await?;
        session.eager_reconnect(false);
        let listening = session.listen_all([CHANNEL, &self.own]);
        timeout(PATIENCE, listening).await.map_err(|_| Deaf::Silent)??;
        knock(&self.pool, &self.own).await?;
        timeout(PATIENCE, session.try_recv()).await.map_err(|_| Deaf::Silent)??;
        self.session = Some((session, login));
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!("changes are pushed again");
        }
        Ok(())
    }

    /// Gives the session up, and waits before the next one.
    async fn rest(&mut self, deaf: &Deaf) {
        self.session = None;
        if self.failures == 0 {
            tracing::warn!(
                error = %deaf,
                "changes are not pushed to this replica, and arrive by polling"
            );
        }
        let (first, most) = PAUSES;
        let pause = first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        sleep(pause.min(most)).await;
    }
}

/// Waits for the next signal. A session that is quiet for too long must prove itself.
async fn hear(session: &mut PgListener, pool: &PgPool, own: &str) -> Result<Signal, Deaf> {
    loop {
        let heard = match timeout(QUIET, session.try_recv()).await {
            Ok(heard) => heard,
            Err(_quiet) => {
                knock(pool, own).await?;
                timeout(PATIENCE, session.try_recv()).await.map_err(|_| Deaf::Silent)?
            }
        };
        let notification = heard?.ok_or(Deaf::Lost)?;
        if let Some(signal) = signal(&notification) {
            return Ok(signal);
        }
    }
}

/// Notifies `own`, from a session of `pool`.
async fn knock(pool: &PgPool, own: &str) -> Result<(), Deaf> {
    // As one simple statement, which any pooler passes on whole.
    let notify = sqlx::raw_sql(AssertSqlSafe(format!("NOTIFY {own}"))).execute(pool);
    notify.map(|notified| notified.map(drop)).await.map_err(Deaf::from)
}

/// What a notification says; nothing, if it is a proof, or of a newer version.
fn signal(notification: &PgNotification) -> Option<Signal> {
    match (notification.channel(), notification.payload()) {
        (CHANNEL, REPORT) => Some(Signal::Report),
        (CHANNEL, epoch) => epoch.parse().ok().map(|epoch| Signal::Epoch(Epoch(epoch))),
        _ => None,
    }
}

/// Why nothing is heard.
#[derive(Debug, thiserror::Error)]
enum Deaf {
    #[error("the session that listens has ended")]
    Lost,
    #[error(
        "the session that listens hears nothing; where a pooler in transaction mode stands before the database, set DATABASE_LISTEN_URL to the database itself"
    )]
    Silent,
    #[error("the session that listens failed: {0}")]
    Failed(#[from] sqlx::Error),
}
