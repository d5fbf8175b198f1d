//! `breeze-api serve`: the API, until it is asked to stop.
//!
//! 1. Nothing is served before the tables are there, the environment and the key
//!    store agree, and this process is a replica.
//! 2. On SIGTERM or SIGINT this process is not ready any more, and its work in the
//!    background ends. It goes on serving for as long as a load balancer needs to
//!    notice; then no new connection is taken, requests in flight are answered, and at
//!    once the lease is given back: not earlier, since until then they use keys.
//! 3. A process that the database lets in no more, since its credential rolled over while it
//!    was away, ends with an error: it recovers by being started with the one in use.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{Router, serve::ListenerExt};
use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    embed::{Database, Rollovers},
    layer::api_key::ApiKeyLayer,
    manager::Sources,
    provider::RedisServer,
    worker::WorkerSettings,
};
use clap::Args;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;

use crate::{
    auth::{IssuedKeys, Passwords, create_administrator},
    data::{self, Data},
    limits::Limits,
    outside::Mailed,
    part::part,
    routes::{self, Doors},
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

pub(crate) async fn run(sources: Sources, serve: Serve) -> anyhow::Result<()> {
    let settings = Settings::read(sources.environment())?;
    if let Some(exposure) = settings.redis.as_ref().and_then(RedisServer::exposure) {
        tracing::warn!("{exposure}");
    }
    let mut database = settings.database.connect(CONNECTIONS).await?;
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
    let mut setup = part(database, &data, &settings, &clock)
        .sources(sources)
        .name(format!("breeze-api {}", settings.listen))
        .lifetimes(settings.lifetimes)
        .lease(settings.lease, POLL.min(settings.lease / 5))
        // Others take over what a dead process had in hand before they pass it over.
        .worker(WorkerSettings { range_lease: settings.lease * 2 / 3, ..Default::default() })
        .longest(Secret::TurnSecret, settings.outside.relay.ttl)
        .longest(Secret::SessionSecret, settings.lifetimes.refresh);
    // Where nobody signs on elsewhere, no rollover waits for those who do.
    if let Some(sign_ons) = &settings.outside.sign_ons {
        setup = setup.longest(Secret::AppEncryptionKey, sign_ons.lifetime);
    }
    if let Some(to) = &settings.schedule_mail {
        setup = setup.notify(Arc::new(Mailed::new(settings.outside.clone(), to.clone())));
    }
    if let Some(window) = settings.window {
        setup = setup.automatic(window);
    }
    if settings.accepts_while_fenced {
        setup = setup.accept_while_fenced();
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
    let issued = IssuedKeys::new(Arc::clone(&data));
    adopt_issued(&*data, rollovers).await?;
    let api_key =
        ApiKeyLayer::new(rollovers.replica().keychain(), issued.clone()).clock(Arc::clone(&clock));
    let app = App {
        data,
        keychain: rollovers.replica().keychain(),
        passwords,
        clock,
        lifetimes: settings.lifetimes,
        cookies: settings.cookies,
        stopping: stopping.clone(),
        limits: Arc::new(Limits::new(
            settings.redis.as_ref().map(|redis| redis.connections(rollovers.replica().keychain())),
            settings.requests_per_minute,
        )),
        outside: Arc::new(settings.outside.clone().clients(&rollovers.replica().keychain())),
        agents: settings.agents,
        step_up: settings.step_up,
    };
    let own = routes::recovery_admin(app.clone(), Arc::clone(rollovers.replica()));
    let admin = Router::new()
        .nest("/admin", rollovers.admin_with(own)?)
        .merge(rollovers.metrics(settings.scrapers.clone()));
    let telling = app.clone();
    let doors = Doors {
        jwt: rollovers.jwt()?,
        viewer: rollovers.viewer()?,
        api_key,
        sessions: rollovers.session(settings.cookies)?,
    };
    let router = routes::router(app, doors, rollovers.sealed(), admin);
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
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(closing);
    let winding_down = async {
        let longest = settings.drain + REQUEST_TIMEOUT + GRACE;
        let work = async {
            stopping.clone().asked_for(Duration::ZERO).await;
            rollovers.stop_work().await;
        };
        tokio::join!(work, stopping.clone().asked_for(longest));
    };
    let served = tokio::select! {
        served = serving => served.context("the listener failed"),
        () = winding_down => {
            tracing::warn!("connections are still open long after the last request could last");
            Ok(())
        }
        refused = rollovers.locked_out() => {
            Err(anyhow::Error::from(refused).context("this process is fenced, and ends to be started anew"))
        }
        never = issued.keep_noting() => match never {},
        never = routes::keep_telling(&telling) => match never {},
    };
    issued.note().await;
    served
}

/// What Breeze has issued counts as of the first generation, as long as there is no
/// second one: what a rollover has ended does not come back by a restart.
async fn adopt_issued(data: &dyn Data, rollovers: &Rollovers) -> anyhow::Result<()> {
    let custody = rollovers.replica().store().custody().await?;
    let only_generation = |secret| {
        let mut generations = custody.keys.iter().filter(|key| key.secret == secret);
        let first = generations.next().filter(|_| generations.next().is_none());
        first.map(|key| key.id.clone())
    };
    let mut adopted = 0;
    if let Some(generation) = only_generation(Secret::UserApiKeys) {
        adopted += data.adopt_api_keys(&generation).await?;
    }
    if let Some(generation) = only_generation(Secret::AgentTokens) {
        adopted += data.adopt_agent_tokens(generation.as_str()).await?;
    }
    if adopted > 0 {
        tracing::info!(adopted, "keys and tokens of before belong to the first generation");
    }
    Ok(())
}

/// Beyond the longest request, how long an open connection is waited for.
const GRACE: Duration = Duration::from_secs(5);
