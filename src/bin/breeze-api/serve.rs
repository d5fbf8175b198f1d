//! `breeze-api serve`: the API, until it is asked to stop.
//!
//! 1. Nothing is served before the tables are there, the environment and the key
//!    store agree, and this process is a replica.
//! 2. On SIGTERM or SIGINT this process is not ready any more, and its work in the
//!    background ends. It goes on serving for as long as a load balancer needs to
//!    notice; then no new connection is taken, requests in flight are answered, and at
//!    once the lease is given back: not earlier, since until then they use keys.

use std::{io, sync::Arc, time::Duration};

use anyhow::Context;
use async_trait::async_trait;
use axum::{Router, serve::ListenerExt};
use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    column::Registry,
    embed::{Database, Rollovers, Setup},
    keyring::sources::Environment,
    worker::{Impact, WorkerSettings},
};
use clap::Args;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;

use crate::{
    auth::{Passwords, create_administrator},
    counting::Counted,
    data::{self, Data},
    routes,
    settings::{REQUEST_TIMEOUT, Settings},
    state::App,
    stopping::Stopping,
};

/// Connections of one process. PostgreSQL only: a SQLite file has fewer.
const CONNECTIONS: u32 = 16;

/// How often a change is asked for, and the lease renewed, at least.
const POLL: Duration = Duration::from_secs(1);

/// Serve the API. Tables are made on SQLite, and looked for on PostgreSQL.
#[derive(Debug, Default, Args)]
pub(crate) struct Serve {
    /// Make or update the tables on PostgreSQL too; needs a role that may.
    #[arg(long)]
    migrate: bool,
}

pub(crate) async fn run(environment: Environment, serve: Serve) -> anyhow::Result<()> {
    let settings = Settings::read(&environment)?;
    let mut database = Database::connect(settings.database.expose_secret(), CONNECTIONS).await?;
    if let Some(url) = &settings.database_listen {
        database = database.listening_on(url.expose_secret())?;
    }
    let data = data::of(&database)?;
    if serve.migrate || matches!(database, Database::Sqlite(_)) {
        database.migrate().await?;
        data.migrate().await?;
    }
    data.check().await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sessions = Sessions { data: Arc::clone(&data), clock: Arc::clone(&clock) };
    let mut setup = Setup::new(database, Registry::breeze())
        .environment(environment)
        .name(format!("breeze-api {}", settings.listen))
        .lifetimes(settings.lifetimes)
        .lease(settings.lease, POLL.min(settings.lease / 5))
        // Others take over what a dead process had in hand before they pass it over.
        .worker(WorkerSettings { range_lease: settings.lease * 2 / 3, ..Default::default() })
        .clock(Arc::clone(&clock))
        .impact(Arc::new(sessions))
        .counting(Arc::new(Counted { data: Arc::clone(&data), clock: Arc::clone(&clock) }));
    if settings.accepts_while_fenced {
        setup = setup.accept_while_fenced();
    }
    if let Some(grace) = settings.agents.secret_grace {
        setup = setup.grace(Secret::AgentEnrollmentSecret, grace);
    }
    let rollovers = setup.start().await?;
    for note in rollovers.notes() {
        tracing::warn!("{note}");
    }
    let served = answer_requests(&settings, data, clock, &rollovers).await;
    rollovers.leave().await;
    served
}

async fn answer_requests(
    settings: &Settings,
    data: Arc<dyn Data>,
    clock: Arc<dyn Clock>,
    rollovers: &Rollovers,
) -> anyhow::Result<()> {
    let stopping = Stopping::by_signal()?;
    let passwords = Passwords::new().await?;
    create_administrator(
        &*data,
        &passwords,
        &rollovers.sealed().sealed(),
        &settings.admin_email,
        &mut io::stdout(),
    )
    .await?;
    adopt_agent_tokens(&*data, rollovers).await?;
    let app = App {
        data,
        keychain: rollovers.replica().keychain(),
        passwords,
        clock,
        lifetimes: settings.lifetimes,
        cookies: settings.cookies,
        stopping: stopping.clone(),
        agents: settings.agents,
    };
    let admin = Router::new().nest("/admin", rollovers.admin()?);
    let router = routes::router(app, rollovers.jwt()?, rollovers.sealed(), admin);
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("cannot listen on {}; set BREEZE_LISTEN", settings.listen))?;
    tracing::info!(address = %listener.local_addr()?, "serving");
    let listener = listener.tap_io(|stream| {
        // Answers are small, and nobody wants to wait for more to fill a packet.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's algorithm");
        }
    });
    let closing = stopping.clone().asked_for(settings.drain);
    let serving = axum::serve(listener, router).with_graceful_shutdown(closing);
    let winding_down = async {
        let longest = settings.drain + REQUEST_TIMEOUT + GRACE;
        let work = async {
            stopping.clone().asked_for(Duration::ZERO).await;
            rollovers.stop_work().await;
        };
        tokio::join!(work, stopping.clone().asked_for(longest));
    };
    tokio::select! {
        served = serving => served.context("the listener failed"),
        () = winding_down => {
            tracing::warn!("connections are still open long after the last request could last");
            Ok(())
        }
    }
}

/// Takes the agent tokens of Breeze's own making for ones of the present generation, once.
async fn adopt_agent_tokens(data: &dyn Data, rollovers: &Rollovers) -> anyhow::Result<()> {
    let keychain = rollovers.replica().keychain();
    let keychain = keychain.load();
    let generation = keychain.verbatim(Secret::AgentTokens)?.primary().id().as_str();
    let adopted = data.adopt_agent_tokens(generation).await?;
    if adopted > 0 {
        tracing::info!(adopted, generation, "agent tokens of before belong to a generation now");
    }
    Ok(())
}

/// Beyond the longest request, how long an open connection is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// Tells a dry run whom it would log out.
#[derive(Debug)]
struct Sessions {
    data: Arc<dyn Data>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Impact for Sessions {
    async fn live_sessions(&self) -> Option<u64> {
        self.data
            .live_sessions(self.clock.now())
            .await
            .inspect_err(|error| tracing::warn!(%error, "live sessions cannot be counted"))
            .ok()
    }
}
