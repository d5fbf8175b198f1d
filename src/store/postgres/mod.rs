//! The store on PostgreSQL: control tables in the schema `rollover`.
//!
//! 1. Every change is one transaction that locks the epoch's row first, so that
//!    changes queue and never deadlock. A lease is renewed beside them, and waits for none
//!    (`replicas` shows why that is right).
//! 2. What a process locks and does not go on with, as one that is stopped, or out of
//!    reach, is free again within seconds (`BEGIN_LOCKING`).
//! 3. Leases run by `rollover.now_ms()`, the server's clock.
//! 4. Nothing is relied on that outlives a transaction, so that a pooler in transaction
//!    mode may stand in between; but for [`PgStore::migrate`], which locks its session.
//! 5. Only [`PgStore::migrate`] needs the right to create anything.

mod acceptors;
mod audit;
mod commit;
mod error;
mod guard;
mod keys;
mod listen;
pub(crate) mod login;
mod operations;
pub(crate) mod passes;
mod pool;
mod replicas;
mod rollovers;
mod rows;
mod schema;
mod tls;

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use crate::incident::Incident;

pub(super) use error::cause;
use login::{Login, RoleLogin};
use pool::BEGIN_LOCKING;
pub use pool::Pool;

use super::{
    Acceptor, AuditEntry, AuditRecord, Beat, Change, Claim, Committed, Custody, Epoch, Fingerprint,
    KeyId, Lease, Operations, PassProgress, Quarantined, Range, ReplicaId, ReplicaRecord, Rollover,
    RolloverId, Secret, Signals, Step, Store, StoreError, TableGuard, Timestamp,
};
use crate::{
    column::{Registry, Table},
    material::Material,
};

/// The store on PostgreSQL.
#[derive(Clone)]
pub struct PgStore {
    pool: Pool,
    login: Arc<Login>,
    /// Where to listen for changes, if not where the pool connects to.
    listen: Option<Arc<PgConnectOptions>>,
    /// Who may vouch for the server beside the public authorities, in PEM.
    authorities: Option<Arc<[u8]>>,
}

impl PgStore {
    /// A store on the database of `pool`.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool: Pool::new(pool), login: Arc::default(), listen: None, authorities: None }
    }

    /// Connects to `url` with a pool of at most `max_connections`, shown to the
    /// server as `application_name`.
    ///
    /// A statement ends after a minute, and a transaction that nobody goes on with
    /// after half of one, so that no lock outlives a process that hangs.
    ///
    /// A server on another machine proves who it is, unless the URL says otherwise
    /// (`sslmode`).
    ///
    /// # Errors
    /// [`StoreError::Url`] when the URL does not parse, [`StoreError::Unreachable`] when
    /// no server answers within ten seconds, [`StoreError::Unproven`] when it does not
    /// prove who it is.
    pub async fn connect(
        url: &str,
        application_name: &str,
        max_connections: u32,
    ) -> Result<Self, StoreError> {
        Self::connect_trusting(url, application_name, max_connections, None).await
    }

    /// The same, where the server may prove who it is by one of `authorities` too, in PEM.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_trusting(
        url: &str,
        application_name: &str,
        max_connections: u32,
        authorities: Option<&[u8]>,
    ) -> Result<Self, StoreError> {
        let options = url.parse::<PgConnectOptions>().map_err(|_| StoreError::Url)?;
        let options =
            tls::proven(url, options, authorities).application_name(application_name).options([
                ("statement_timeout", "60s"),
                ("idle_in_transaction_session_timeout", "30s"),
            ]);
        let login = Arc::new(Login::of_url(url));
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(Duration::from_secs(10));
        let pool = login::following(&login, pool);
        let pool = pool.connect_with(options).await?;
        Ok(Self { login, authorities: authorities.map(Arc::from), ..Self::new(pool) })
    }

    /// Listens for changes on a session of `url`, of the same database: LISTEN wants
    /// a session, which a pooler in transaction mode does not give.
    ///
    /// # Errors
    /// [`StoreError::ListenUrl`] when the URL does not parse.
    pub fn listening_on(mut self, url: &str) -> Result<Self, StoreError> {
        let name = self.pool.connect_options().get_application_name().map(str::to_owned);
        let options: PgConnectOptions = url.parse().map_err(|_| StoreError::ListenUrl)?;
        let options = tls::proven(url, options, self.authorities.as_deref());
        self.listen = Some(Arc::new(match name {
            Some(name) => options.application_name(&name),
            None => options,
        }));
        Ok(self)
    }

    /// The pool that it works on.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Creates what is missing of the control tables. Safe to run from several
    /// processes at once, and again.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`] when a newer version has changed the schema,
    /// [`StoreError::Privilege`] when the role may not create, [`StoreError::Migrate`]
    /// for the rest.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        schema::migrate(&self.pool).await
    }

    /// Checks, without changing anything, that the control tables are there, that no
    /// newer version has changed them, and that this role may do all that the store does.
    ///
    /// # Errors
    /// [`StoreError::NotMigrated`], [`StoreError::NewerSchema`], [`StoreError::ReadOnly`]
    /// or [`StoreError::Privilege`].
    pub async fn check(&self) -> Result<(), StoreError> {
        schema::check(&self.pool).await
    }
}

/// Where it listens is not shown: that holds a password.
impl fmt::Debug for PgStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgStore").field("pool", &self.pool).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for PgStore {
    async fn epoch(&self) -> Result<Epoch, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let epoch = keys::epoch(&mut transaction).await?;
        transaction.commit().await?;
        Ok(epoch)
    }

    fn signals(&self) -> Signals {
        let options = self.listen.clone().unwrap_or_else(|| self.pool.connect_options());
        listen::signals(PgPool::clone(&self.pool), options, Arc::clone(&self.login))
    }

    fn log_in_as(&self, credential: &Material) {
        match RoleLogin::parse(credential) {
            Some(login) => self.login.change(&self.pool, login),
            None => tracing::error!(
                credential = %credential.fingerprint(),
                "the database's credential is not user:password; connections are made as before"
            ),
        }
    }

    async fn custody(&self) -> Result<Custody, StoreError> {
        keys::custody(&self.pool).await
    }

    async fn sealed_under(&self) -> Result<BTreeMap<Fingerprint, u64>, StoreError> {
        keys::sealed_under(&self.pool).await
    }

    async fn commit(&self, change: &Change) -> Result<Committed, StoreError> {
        commit::commit(&self.pool, change).await
    }

    async fn raise_lifetime(
        &self,
        secret: Secret,
        key: &KeyId,
        lifetime: Duration,
    ) -> Result<(), StoreError> {
        keys::raise_lifetime(&self.pool, secret, key, lifetime).await
    }

    async fn settle_seals(
        &self,
        secret: Secret,
        key: &KeyId,
        count: u64,
    ) -> Result<u64, StoreError> {
        keys::settle_seals(&self.pool, secret, key, count).await
    }

    async fn note_presented(
        &self,
        secret: Secret,
        key: &KeyId,
        count: u64,
        last: Timestamp,
    ) -> Result<(), StoreError> {
        keys::note_presented(&self.pool, secret, key, count, last).await
    }

    async fn renew(&self, beat: &Beat) -> Result<Lease, StoreError> {
        replicas::renew(&self.pool, beat).await
    }

    async fn await_changes(&self) -> Result<(), StoreError> {
        replicas::await_changes(&self.pool).await
    }

    async fn deregister(&self, replica: ReplicaId) -> Result<(), StoreError> {
        replicas::deregister(&self.pool, replica).await
    }

    async fn replicas(&self) -> Result<Vec<ReplicaRecord>, StoreError> {
        replicas::replicas(&self.pool).await
    }

    async fn rollover(&self, id: RolloverId) -> Result<Option<Rollover>, StoreError> {
        rollovers::rollover(&self.pool, id).await
    }

    async fn rollovers(
        &self,
        before: Option<RolloverId>,
        limit: u32,
    ) -> Result<Vec<Rollover>, StoreError> {
        rollovers::rollovers(&self.pool, before, limit).await
    }

    async fn active_rollovers(&self) -> Result<Vec<Rollover>, StoreError> {
        rollovers::active(&self.pool).await
    }

    async fn awaiting_cut_off(&self) -> Result<Vec<Rollover>, StoreError> {
        rollovers::awaiting_cut_off(&self.pool).await
    }

    async fn acceptors(&self, rollover: RolloverId) -> Result<Vec<Acceptor>, StoreError> {
        acceptors::of(&self.pool, rollover).await
    }

    async fn pass(
        &self,
        rollover: RolloverId,
        pass: u32,
    ) -> Result<Option<PassProgress>, StoreError> {
        passes::progress(&self.pool, rollover, pass).await
    }

    async fn claim_range(
        &self,
        rollover: RolloverId,
        pass: u32,
        replica: ReplicaId,
        lease: Duration,
    ) -> Result<Option<Range>, StoreError> {
        passes::claim_range(&self.pool, rollover, pass, replica, lease).await
    }

    async fn finish_range(&self, range: &Range) -> Result<(), StoreError> {
        passes::finish_range(&self.pool, range).await
    }

    async fn quarantined(&self, limit: u32) -> Result<Vec<Quarantined>, StoreError> {
        passes::quarantined(&self.pool, limit).await
    }

    async fn release_quarantine(&self, table: &str, before: Timestamp) -> Result<u64, StoreError> {
        passes::release_quarantine(&self.pool, table, before).await
    }

    async fn record_for(&self, org: Option<Uuid>, entry: &AuditEntry) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_with(BEGIN_LOCKING).await?;
        audit::insert(&mut transaction, org, std::slice::from_ref(entry)).await?;
        Ok(transaction.commit().await?)
    }

    async fn audit(
        &self,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        audit::page(&self.pool, before, limit).await
    }

    async fn audit_between(
        &self,
        span: RangeInclusive<Timestamp>,
        about: Option<&[Uuid]>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        audit::between(&self.pool, span, about, limit).await
    }

    async fn walk_audit(&self, see: &mut (dyn FnMut(Step) + Send)) -> Result<(), StoreError> {
        audit::walk(&self.pool, see).await
    }

    async fn guard(&self, registry: &Registry) -> Result<Vec<TableGuard>, StoreError> {
        guard::guard(&self.pool, registry).await
    }

    async fn guard_table(&self, table: &Table, entry: &AuditEntry) -> Result<(), StoreError> {
        guard::install(&self.pool, table, entry).await
    }

    async fn unguard_table(&self, table: &str, entry: &AuditEntry) -> Result<(), StoreError> {
        guard::remove(&self.pool, table, entry).await
    }

    async fn drop_guard(&self) -> Result<(), StoreError> {
        guard::drop(&self.pool).await
    }
}

#[async_trait]
impl Operations for PgStore {
    async fn intervals(&self) -> Result<BTreeMap<Secret, Duration>, StoreError> {
        operations::intervals(&self.pool).await
    }

    async fn set_interval(
        &self,
        secret: Secret,
        days: Option<u32>,
        entry: &AuditEntry,
    ) -> Result<(), StoreError> {
        operations::set_interval(&self.pool, secret, days, entry).await
    }

    async fn claim(&self, job: &str, day: i64, lease: Duration) -> Result<Claim, StoreError> {
        operations::claim(&self.pool, job, day, lease).await
    }

    async fn finish(
        &self,
        job: &str,
        day: i64,
        at: Timestamp,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        operations::finish(&self.pool, job, day, at, entry).await
    }

    async fn incident(&self, id: Uuid) -> Result<Option<Incident>, StoreError> {
        operations::incident(&self.pool, id).await
    }

    async fn incidents(&self, limit: u32) -> Result<Vec<Incident>, StoreError> {
        operations::incidents(&self.pool, limit).await
    }

    async fn open_incident(&self) -> Result<Option<Incident>, StoreError> {
        operations::open_incident(&self.pool).await
    }

    async fn put_incident(
        &self,
        incident: &Incident,
        entries: &[AuditEntry],
    ) -> Result<bool, StoreError> {
        operations::put_incident(&self.pool, incident, entries).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_password_is_shown_nor_a_url_that_does_not_parse() {
        const URL: &str = "postgres://breeze:hunter2@127.0.0.1:1/breeze";
        let store = PgStore::new(PgPool::connect_lazy(URL).expect("a URL"));
        let refused = store.clone().listening_on("postgres://breeze:hunter2@db:hunter2/breeze");
        let store = store.listening_on(URL).expect("a URL");
        let refused = refused.expect_err("no port");
        for text in [format!("{store:?}"), format!("{refused:?}"), refused.to_string()] {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
