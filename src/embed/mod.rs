//! Everything of this crate in one API process, wired up: what an API developer
//! starts, and what the reference API wears.
//!
//! ```no_run
//! # async fn run(router: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
//! use breeze_rollover::{column::Registry, embed::{Database, Setup}};
//! let database = Database::connect("sqlite://app.db", 10).await?;
//! database.migrate().await?;
//! let rollovers = Setup::new(database, Registry::breeze()).start().await?;
//! let router = router
//!     .layer((rollovers.jwt()?, rollovers.sealed()))
//!     .nest("/admin", rollovers.admin()?);
//! # drop(router);
//! # Ok(())
//! # }
//! ```

mod database;
mod tasks;

use std::{sync::Arc, time::Duration};

pub use database::{APPLICATION_NAME, Database, DatabaseError};
use tasks::Tasks;

use crate::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    column::Registry,
    envelope::Target,
    keyring::{
        Fenced, NoKeyring,
        reconcile::Note,
        sources::{Environment, Strictness},
    },
    layer::{
        jwt::{JwtLayer, ViewerLayer},
        sealed::SealedLayer,
        session::{CookiePolicy, SessionLayer},
    },
    manager::{Sources, WriteBack},
    operator::{Automatic, Emergencies, Notify, Operator, Review},
    provider::Provider,
    replica::{Membership, Replica, ReplicaError},
    schedule::Window,
    store::{
        StoreError, Survey,
        custody::{RootKeyError, RootKeys},
    },
    token::Lifetimes,
    worker::{
        Counting, Impact, LazyRewrap, LazyTotals, Stragglers, Worker, WorkerSettings, lazy_rewrap,
    },
};

/// How a process takes part: everything has a default but the database and the columns.
#[derive(Debug)]
pub struct Setup {
    database: Database,
    registry: Arc<Registry>,
    sources: Sources,
    name: String,
    lifetimes: Lifetimes,
    target: Target,
    lease: Duration,
    poll: Duration,
    horizon: Duration,
    worker: WorkerSettings,
    clock: Arc<dyn Clock>,
    impact: Option<Arc<dyn Impact>>,
    counting: Option<Arc<dyn Counting>>,
    providers: Vec<Arc<dyn Provider>>,
    graces: Vec<(Secret, Duration)>,
    signs: Vec<(Secret, Duration)>,
    accepts_while_fenced: bool,
    notify: Option<Arc<dyn Notify>>,
    window: Option<Window>,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Setup {
    /// Takes part in the rollovers of `database`, for the columns of `registry`.
    #[must_use]
    pub fn new(database: Database, registry: Registry) -> Self {
        Self {
            database,
            registry: Arc::new(registry),
            sources: Environment::process().into(),
            name: format!("process {}", std::process::id()),
            lifetimes: Lifetimes::default(),
            target: Target::default(),
            lease: Duration::from_secs(15),
            poll: Duration::from_secs(1),
            horizon: 90 * DAY,
            worker: WorkerSettings::default(),
            clock: Arc::new(SystemClock),
            impact: None,
            counting: None,
            providers: vec![],
            graces: vec![],
            signs: vec![],
            accepts_while_fenced: false,
            notify: None,
            window: None,
        }
    }

    /// Reads keys from `environment` in place of the process's own.
    #[must_use]
    pub fn environment(self, environment: Environment) -> Self {
        self.sources(environment.into())
    }

    /// Reads keys from `sources`: an environment, and a secrets manager that is asked again
    /// and again.
    #[must_use]
    pub fn sources(mut self, sources: Sources) -> Self {
        self.sources = sources;
        self
    }

    /// The name of this replica, for people.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The lifetimes of the tokens that this process signs.
    #[must_use]
    pub const fn lifetimes(mut self, lifetimes: Lifetimes) -> Self {
        self.lifetimes = lifetimes;
        self
    }

    /// What sealed columns are written and rewrapped to.
    #[must_use]
    pub const fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// How long a lease lasts without a renewal, and how often to poll and renew. A
    /// process that cannot renew it for so long fences itself.
    #[must_use]
    pub const fn lease(mut self, lease: Duration, poll: Duration) -> Self {
        self.lease = lease;
        self.poll = poll;
        self
    }

    /// How long backups are kept: a younger retired key is not destroyed.
    #[must_use]
    pub const fn backup_horizon(mut self, horizon: Duration) -> Self {
        self.horizon = horizon;
        self
    }

    /// How the worker works.
    #[must_use]
    pub const fn worker(mut self, worker: WorkerSettings) -> Self {
        self.worker = worker;
        self
    }

    /// The clock for everything but leases.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Whom to ask about the effect of a dry run.
    #[must_use]
    pub fn impact(mut self, impact: Arc<dyn Impact>) -> Self {
        self.impact = Some(impact);
        self
    }

    /// Whom to ask what still needs a pepper, or a generation of what is issued.
    #[must_use]
    pub fn counting(mut self, counting: Arc<dyn Counting>) -> Self {
        self.counting = Some(counting);
        self
    }

    /// Rolls over the credentials of `provider`.
    #[must_use]
    pub fn provider(mut self, provider: Arc<dyn Provider>) -> Self {
        self.providers.push(provider);
        self
    }

    /// How long at least the old value of `secret`, which others share, is accepted.
    #[must_use]
    pub fn grace(mut self, secret: Secret, grace: Duration) -> Self {
        self.graces.push((secret, grace));
        self
    }

    /// The longest lifetime of what this process makes with `secret`: session cookies,
    /// TURN credentials, the state of sign-ons elsewhere.
    #[must_use]
    pub fn longest(mut self, secret: Secret, lifetime: Duration) -> Self {
        self.signs.push((secret, lifetime));
        self
    }

    /// Without its lease, the process goes on verifying and opening, in the layers of
    /// [`Rollovers`]. It signs and seals nothing then, and a key that is cut off
    /// meanwhile is accepted until the process reaches the database.
    #[must_use]
    pub const fn accept_while_fenced(mut self) -> Self {
        self.accepts_while_fenced = true;
        self
    }

    /// Tells `notify`, once a day, which secrets are due.
    #[must_use]
    pub fn notify(mut self, notify: Arc<dyn Notify>) -> Self {
        self.notify = Some(notify);
        self
    }

    /// Begins graceful rollovers of what is due, and needs nobody, within `window`.
    #[must_use]
    pub const fn automatic(mut self, window: Window) -> Self {
        self.window = Some(window);
        self
    }

    /// Joins: the environment and the store agree, the keychain is published, the
    /// lease has begun. The worker and the lease run in tasks until
    /// [`Rollovers::leave`].
    ///
    /// # Errors
    /// [`StartError`] says what to do; nothing is served then.
    pub async fn start(self) -> Result<Rollovers, StartError> {
        self.database.check().await?;
        let survey = self.database.store().survey(&self.registry).await?;
        tell(&survey);
        let environment = self.sources.environment().clone();
        let file = match environment.strictness() {
            Strictness::Production => None,
            Strictness::Development | Strictness::Test => self.database.root_key_file(),
        };
        let root = RootKeys::open(&environment, file.as_deref())?;
        let mut signs = self.signs;
        signs.push((Secret::JwtSecret, self.lifetimes.longest()));
        let joined = Membership {
            store: self.database.store(),
            root,
            environment: environment.clone(),
            name: self.name,
            signs,
            target: self.target,
            columns: self.registry.names(),
            lease: self.lease,
            poll: self.poll,
            accepts_while_fenced: self.accepts_while_fenced,
            clock: self.clock,
        }
        .join()
        .await?;
        let mut worker =
            Worker::new(Arc::clone(&joined.replica), Arc::clone(&self.registry), &self.worker)
                .sharing(self.database.queue());
        if let Some(impact) = self.impact {
            worker = worker.knowing(impact);
        }
        if let Some(counting) = self.counting {
            worker = worker.counting_with(counting);
        }
        for provider in self.providers.into_iter().chain(self.database.provider(&environment)) {
            worker = worker.at_provider(provider);
        }
        for (secret, grace) in self.graces {
            worker = worker.with_grace(secret, grace);
        }
        worker = worker.doing(Arc::new(Review::telling(self.notify))).doing(Arc::new(Emergencies));
        if let Some(window) = self.window {
            worker = worker.doing(Arc::new(Automatic::within(window)));
        }
        let (lazy, lazy_worker) = lazy_rewrap();
        let replica = Arc::clone(&joined.replica);
        let mut membership = Tasks::new();
        if let Some((following, writes_back)) = self.sources.into_following() {
            if writes_back {
                worker = worker.doing(Arc::new(WriteBack::to(Arc::clone(&following))));
            }
            membership.spawn(following.run(membership.stopping()));
        }
        membership.spawn(Arc::clone(&replica).run(membership.stopping()));
        let mut work = Tasks::new();
        let (working, backend, until) = (worker.clone(), self.database.backend(), work.stopping());
        work.spawn(async move { working.run(&backend, until).await });
        let registry = Arc::clone(&self.registry);
        work.spawn(lazy_worker.run(replica, registry, self.target, work.stopping()));
        Ok(Rollovers {
            database: self.database,
            registry: self.registry,
            target: self.target,
            operator: Operator::new(worker, self.horizon).watching(lazy.clone()),
            lazy,
            notes: joined.notes,
            survey,
            viewer_lifetime: self.lifetimes.viewer,
            accepts_while_fenced: self.accepts_while_fenced,
            work,
            membership,
        })
    }
}

/// Tells of what stands in the way of a rewrap. It is no reason not to serve: a
/// rollover that needs the column waits, and says for what.
fn tell(survey: &Survey) {
    for fault in &survey.faults {
        if fault.blocks() {
            tracing::warn!(%fault, "a registered column cannot be rewrapped");
        } else {
            tracing::debug!(%fault, "a registered table is not in this database");
        }
    }
    for column in &survey.unregistered {
        tracing::warn!(column, "it holds envelopes and is not registered: no rollover covers it");
    }
}

/// A process could not take part.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The control tables are missing, newer, or not writable.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no root key, or it is unfit.
    #[error(transparent)]
    Root(#[from] RootKeyError),
    /// It could not join.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
}

/// This process's part in the rollovers of its database.
#[derive(Debug)]
pub struct Rollovers {
    database: Database,
    registry: Arc<Registry>,
    target: Target,
    operator: Operator,
    lazy: LazyRewrap,
    notes: Vec<Note>,
    survey: Survey,
    viewer_lifetime: Duration,
    accepts_while_fenced: bool,
    /// What seals in the background.
    work: Tasks,
    /// What keeps the lease.
    membership: Tasks,
}

impl Rollovers {
    /// The layer that verifies access tokens.
    ///
    /// # Errors
    /// [`NoKeyring`] when there is no `JWT_SECRET`.
    pub fn jwt(&self) -> Result<JwtLayer, NoKeyring> {
        let replica = self.replica();
        let layer = JwtLayer::new(replica.keychain())?.clock(Arc::clone(replica.clock()));
        Ok(if self.accepts_while_fenced { layer.accepting_while_fenced() } else { layer })
    }

    /// The layer that verifies viewer tokens, which live as long as [`Setup::lifetimes`] says.
    ///
    /// # Errors
    /// [`NoKeyring`] when there is no `JWT_SECRET`.
    pub fn viewer(&self) -> Result<ViewerLayer, NoKeyring> {
        let replica = self.replica();
        let layer = ViewerLayer::new(replica.keychain(), self.viewer_lifetime)?;
        let layer = layer.clock(Arc::clone(replica.clock()));
        Ok(if self.accepts_while_fenced { layer.accepting_while_fenced() } else { layer })
    }

    /// The layer that finds the sessions of browsers, and sets their cookies by `policy`.
    /// How long they last, [`Setup::longest`] has to know.
    ///
    /// # Errors
    /// [`NoKeyring`] when there is no `SESSION_SECRET`.
    pub fn session(&self, policy: CookiePolicy) -> Result<SessionLayer, NoKeyring> {
        let replica = self.replica();
        let layer = SessionLayer::new(replica.keychain(), policy)?;
        let layer = layer.clock(Arc::clone(replica.clock()));
        Ok(if self.accepts_while_fenced { layer.accepting_while_fenced() } else { layer })
    }

    /// The layer that opens and seals columns, rewraps stale ones lazily, and reads
    /// from custody what was sealed under a key that is retired by now.
    #[must_use]
    pub fn sealed(&self) -> SealedLayer {
        let layer = SealedLayer::new(self.replica().keychain(), Arc::clone(&self.registry))
            .target(self.target)
            .lazy(self.lazy.clone())
            .fetching_from(Stragglers::new(Arc::clone(self.replica())));
        if self.accepts_while_fenced { layer.accepting_while_fenced() } else { layer }
    }

    /// The admin router, to nest under `/admin`. It guards itself.
    ///
    /// # Errors
    /// [`NoKeyring`] when there is no `JWT_SECRET`.
    #[cfg(feature = "admin")]
    pub fn admin(&self) -> Result<axum::Router, NoKeyring> {
        self.admin_with(axum::Router::new())
    }

    /// The admin router with `own` routes of the application beside, behind the same
    /// demands and in the same audit trail. A fallback that `own` has is dropped.
    ///
    /// # Errors
    /// [`NoKeyring`] when there is no `JWT_SECRET`.
    ///
    /// # Panics
    /// When `own` has a route that is there already.
    #[cfg(feature = "admin")]
    pub fn admin_with(&self, own: axum::Router) -> Result<axum::Router, NoKeyring> {
        crate::admin::router_with(self.operator.clone(), own)
    }

    /// `GET /metrics/scrape`, to merge beside the admin router. It guards itself.
    #[cfg(feature = "metrics")]
    pub fn metrics(&self, allowed: Option<crate::metrics::Allowed>) -> axum::Router {
        crate::metrics::router(self.operator.clone(), allowed, self.accepts_while_fenced)
    }

    /// Carries out what operators ask for.
    #[must_use]
    pub const fn operator(&self) -> &Operator {
        &self.operator
    }

    /// This process as a replica.
    #[must_use]
    pub fn replica(&self) -> &Arc<Replica> {
        self.operator.worker().replica()
    }

    /// The database.
    #[must_use]
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// What an operator may not expect of the environment, though nothing is wrong.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The registry against the live schema, as it was at the start.
    #[must_use]
    pub const fn survey(&self) -> &Survey {
        &self.survey
    }

    /// What lazy rewrap did in this process.
    #[must_use]
    pub fn lazy_totals(&self) -> LazyTotals {
        self.lazy.totals()
    }

    /// Whether this process should be sent requests: its lease runs.
    ///
    /// # Errors
    /// [`Fenced`] from the end of its lease until it has read the keys anew, and once it
    /// has left.
    pub fn ready(&self) -> Result<(), Fenced> {
        self.replica().check()
    }

    /// Ready once this process cannot recover by itself: it is without its lease, and the
    /// database refuses its login, which rolled over meanwhile; the environment has no other
    /// one, either. End it then, to have it started with the credential in use.
    pub async fn locked_out(&self) -> StoreError {
        self.replica().locked_out().await
    }

    /// Ends the work in the background: the batches in hand are finished, no other is
    /// begun. The lease is kept, and requests are served. A process that is asked to
    /// stop does this first, so that nothing is left to wait for once the last request
    /// is answered.
    ///
    /// # Cancel safety
    /// May be given up; [`Rollovers::leave`] waits for the rest.
    pub async fn stop_work(&self) {
        self.work.end().await;
    }

    /// Ends this process's part: the batches in hand are finished, then the lease is
    /// given back, and nothing is made any more. Call it after the last request has
    /// been answered.
    pub async fn leave(&self) {
        self.work.end().await;
        self.membership.end().await;
    }
}
