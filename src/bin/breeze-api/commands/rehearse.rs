//! `breeze-api rollover SECRET --rehearse`: the whole procedure, on a copy.
//!
//! 1. The copy is made of the database as it is, beside it or in a folder of its own,
//!    and is gone when the command ends. Nothing else is written.
//! 2. Every step is the real one, with this process as the only replica. Only time is
//!    hurried on when nothing else is waited for: a lifetime or a grace is not sat out.
//! 3. A credential at a provider has no copy, and is not rehearsed. Nor is anything
//!    while a rollover is in progress, which would go on in the copy, and reach outside.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail, ensure};
use breeze_rollover::{
    catalog::Class,
    clock::{Clock, SystemClock, Timestamp},
    ids::RolloverId,
    keyring::sources::Environment,
    operator::{Accept, Operator, Request, RolloverView},
    rollover::Phase,
    store::Actor,
};
use serde_json::json;

use super::{Exit, connect, copy::Copy, needs_people, print, print_json, rollover::tell, setup};
use crate::{
    settings::{DatabaseUrl, Settings},
    stopping::Stopping,
};

/// The system's clock, and ahead of it.
#[derive(Debug, Default)]
struct Hurried(AtomicU64);

impl Hurried {
    fn on(&self, span: Duration) {
        self.0.fetch_add(span.as_secs(), Ordering::Relaxed);
    }
}

impl Clock for Hurried {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(Duration::from_secs(self.0.load(Ordering::Relaxed)))
    }
}

/// Longer than any lifetime or grace.
const LONG: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// How long a rollover may stand still before time, and then loss, is given.
const STILL: Duration = Duration::from_secs(5);

pub(crate) async fn run(
    settings: &Settings,
    environment: &Environment,
    request: Request,
    json: bool,
) -> anyhow::Result<Exit> {
    ensure!(
        request.secret.entry().class != Class::Provider,
        "{} is a credential at a provider, of which there is no copy to rehearse on; use --dry-run",
        request.secret
    );
    let began = Instant::now();
    let original = connect(&settings.database).await?;
    original.check().await?;
    // Whoever asks it to stop gets the copy removed all the same.
    let stopping = Stopping::by_signal()?;
    let copy = Copy::of(original, &settings.database.url).await?;
    let at = settings.database.moved_to(copy.url().clone());
    let done = tokio::select! {
        done = on_copy(&at, settings, environment, request) => done,
        () = stopping.asked_for(Duration::ZERO) => Err(anyhow!("asked to stop")),
    };
    copy.remove().await?;
    let (view, given_up) = done?;
    let is_complete = view.rollover.phase == Phase::Retired;
    let seconds = began.elapsed().as_secs_f64();
    if json {
        print_json(&json!({ "rehearsed": view, "gaveUp": given_up, "seconds": seconds }))?;
    } else {
        print("rehearsed on a copy, which is gone:");
        tell(&view);
        if given_up {
            print("it waited for people or systems that a copy does not have; that was given up");
        }
        print(&format!("it took {seconds:.1} s"));
    }
    Ok(if is_complete { Exit::Complete } else { Exit::Incomplete })
}

async fn on_copy(
    at: &DatabaseUrl,
    settings: &Settings,
    environment: &Environment,
    request: Request,
) -> anyhow::Result<(RolloverView, bool)> {
    let database = connect(at).await?;
    let store = database.store();
    if let Some(running) = store.active_rollovers().await?.first() {
        bail!(
            "rollover {} is in progress, and would go on in the copy; rehearse after its end",
            running.id
        );
    }
    // The replicas of the original know nothing of the copy.
    for replica in store.replicas().await? {
        store.deregister(replica.id).await?;
    }
    let clock = Arc::new(Hurried::default());
    let hurried: Arc<dyn Clock> = clock.clone();
    let rollovers = setup(database, settings, environment, &hurried)?.start().await?;
    let operator = rollovers.operator();
    let carried = async {
        let id = operator.begin(request, Actor::System).await?.id;
        let given_up = carry(operator, id, &clock).await?;
        anyhow::Ok((operator.inspect(id).await?, given_up))
    };
    let done = carried.await;
    rollovers.leave().await;
    done
}

/// Until it is at its end. Answers whether something had to be given up.
async fn carry(operator: &Operator, id: RolloverId, clock: &Hurried) -> anyhow::Result<bool> {
    let (mut since, mut seen) = (Instant::now(), (0, 0));
    let (mut hurried, mut given_up) = (false, false);
    loop {
        let view = operator.inspect(id).await?;
        let rollover = &view.rollover;
        if !rollover.phase.is_active() && rollover.awaited_cut_off().is_none() {
            return Ok(given_up);
        }
        let scanned = view.progress.as_ref().map_or(0, |progress| progress.pass.scanned);
        if seen != (rollover.revision, scanned) {
            (since, seen) = (Instant::now(), (rollover.revision, scanned));
        }
        let blocked = rollover.blocked_by.clone().unwrap_or_default();
        if needs_people(&blocked) {
            return Ok(given_up);
        }
        if since.elapsed() > STILL && !blocked.is_empty() {
            match (hurried, given_up) {
                (false, _) => {
                    clock.on(LONG);
                    hurried = true;
                }
                (true, false) => {
                    let accept = Accept { quarantined: false, loss: true };
                    operator
                        .retire(id, Actor::System, "a rehearsal", accept)
                        .await
                        .with_context(|| format!("the rehearsal stands still: {blocked}"))?;
                    given_up = true;
                }
                (true, true) => bail!("the rehearsal stands still: {blocked}"),
            }
            since = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
