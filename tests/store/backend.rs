//! One fresh database a test, and a way round the store to look and to meddle.

use breeze_rollover::{
    catalog::Secret,
    clock::Timestamp,
    envelope::Target,
    ids::{KeyId, ReplicaId, RolloverId},
    keyring::{KeyState, Origin},
    rollover::{Mode, Phase, Rollover},
    store::{
        Change, Committed, KeyChange, KeyRecord, RolloverChange, Store, StoreError,
        postgres::PgStore, sqlite::SqliteStore,
    },
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Transaction};
use std::sync::Arc;
use tokio::{sync::Barrier, task::JoinSet};

/// A database with its store. SQL is written for PostgreSQL's names.
pub(crate) trait Backend: Sized + Send + Sync {
    type Store: Store + Clone;
    type Sql: sqlx::Database;

    /// Fresh and migrated.
    async fn fresh() -> Self;
    fn store(&self) -> &Self::Store;
    /// Another store on the same database, as another process would have it.
    async fn another(&self) -> Self::Store;
    async fn migrate(&self) -> Result<(), StoreError>;
    async fn check(&self) -> Result<(), StoreError>;
    /// Runs `sql`; answers how many rows it changed.
    async fn execute(&self, sql: &str) -> Result<u64, sqlx::Error>;
    /// Rows of one column of nullable text.
    async fn texts(&self, sql: &str) -> Vec<Option<String>>;
    /// A change to epoch 1 that is not committed yet.
    async fn change(&self) -> Transaction<'static, Self::Sql>;
    /// Sets the database's clock forward.
    async fn advance_clock(&self, millis: i64);
    /// The database's clock.
    const NOW: &'static str;
    /// The canonical payload's fields of each entry, joined by `|`, oldest first.
    const PAYLOADS: &'static str;
}

pub(crate) struct Sqlite {
    store: SqliteStore,
    directory: tempfile::TempDir,
}

impl Sqlite {
    pub(crate) fn url(&self) -> String {
        format!("sqlite://{}", self.directory.path().join("breeze.db").display())
    }

    pub(crate) async fn unmigrated() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("breeze.db").display());
        Self { store: SqliteStore::connect(&url).await.unwrap(), directory }
    }
}

impl Backend for Sqlite {
    type Store = SqliteStore;
    type Sql = sqlx::Sqlite;

    async fn fresh() -> Self {
        let backend = Self::unmigrated().await;
        backend.store.migrate().await.unwrap();
        backend
    }

    fn store(&self) -> &SqliteStore {
        &self.store
    }

    async fn another(&self) -> SqliteStore {
        SqliteStore::connect(&self.url()).await.unwrap()
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        self.store.migrate().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    async fn execute(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let sql = AssertSqlSafe(translated(sql));
        Ok(sqlx::query(sql).execute(self.store.pool()).await?.rows_affected())
    }

    async fn texts(&self, sql: &str) -> Vec<Option<String>> {
        let sql = AssertSqlSafe(translated(sql));
        sqlx::query_scalar(sql).fetch_all(self.store.pool()).await.unwrap()
    }

    async fn change(&self) -> Transaction<'static, sqlx::Sqlite> {
        let mut change = self.store.pool().begin_with("BEGIN IMMEDIATE").await.unwrap();
        let bump = "UPDATE rollover_meta SET epoch = 1";
        sqlx::query(bump).execute(&mut *change).await.unwrap();
        change
    }

    async fn advance_clock(&self, millis: i64) {
        self.execute("DROP VIEW rollover_now").await.unwrap();
        self.execute(&format!(
            "CREATE VIEW rollover_now (ms) AS
             SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) + {millis}"
        ))
        .await
        .unwrap();
    }

    const NOW: &'static str = "SELECT CAST(ms AS TEXT) FROM rollover_now";

    const PAYLOADS: &'static str = "
        SELECT '|' || id || '|' || actor_type || '|' || actor_id || '|' || action || '|'
            || resource_type || '|' || coalesce(resource_id, '') || '|' || result || '|'
            || coalesce(details, '') || '|' || timestamp
        FROM audit_logs JOIN audit_log_chain ON audit_id = id ORDER BY chain_seq";
}

/// SQL for PostgreSQL's names, with SQLite's.
fn translated(sql: &str) -> String {
    sql.replace("rollover._", "rollover_").replace("rollover.", "rollover_").replace("public.", "")
}

pub(crate) struct Postgres {
    store: PgStore,
    url: String,
}

impl Postgres {
    /// The URL of this test's database, as `role`.
    pub(crate) fn url_as(&self, role: &str) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap();
        let rest = rest.split_once('@').map_or(rest, |(_, host)| host);
        // Its password is its name.
        format!("{scheme}://{role}:{role}@{rest}")
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn unmigrated() -> Self {
        let server = std::env::var("BREEZE_TEST_POSTGRES_URL")
            .expect("BREEZE_TEST_POSTGRES_URL is set; tests/run sets it");
        let name = format!("store_{}", uuid::Uuid::now_v7().simple());
        let mut connection = PgConnection::connect(&server).await.unwrap();
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(create).execute(&mut connection).await.unwrap();
        let (head, query) = server.split_once('?').unwrap_or((&server, ""));
        let (host, _) = head.rsplit_once('/').unwrap();
        let url = format!("{host}/{name}?{query}");
        Self { store: PgStore::connect(&url, "store", 10).await.unwrap(), url }
    }
}

impl Backend for Postgres {
    type Store = PgStore;
    type Sql = sqlx::Postgres;

    async fn fresh() -> Self {
        let backend = Self::unmigrated().await;
        backend.store.migrate().await.unwrap();
        backend
    }

    fn store(&self) -> &PgStore {
        &self.store
    }

    async fn another(&self) -> PgStore {
        PgStore::connect(&self.url, "another", 10).await.unwrap()
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        self.store.migrate().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    async fn execute(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        Ok(sqlx::query(sql).execute(self.store.pool()).await?.rows_affected())
    }

    async fn texts(&self, sql: &str) -> Vec<Option<String>> {
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::query_scalar(sql).fetch_all(self.store.pool()).await.unwrap()
    }

    async fn change(&self) -> Transaction<'static, sqlx::Postgres> {
        let mut change = self.store.pool().begin().await.unwrap();
        let lock = "SELECT FROM rollover.meta FOR UPDATE";
        sqlx::query(lock).execute(&mut *change).await.unwrap();
        let bump = "UPDATE rollover.meta SET epoch = 1";
        sqlx::query(bump).execute(&mut *change).await.unwrap();
        change
    }

    async fn advance_clock(&self, millis: i64) {
        self.execute(&format!(
            "CREATE OR REPLACE FUNCTION rollover.now_ms() RETURNS bigint LANGUAGE sql VOLATILE AS
             $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint + {millis} $$"
        ))
        .await
        .unwrap();
    }

    const NOW: &'static str = "SELECT rollover.now_ms()::text";

    const PAYLOADS: &'static str = r#"
        SELECT '|' || id || '|' || actor_type || '|' || actor_id || '|' || action || '|'
            || resource_type || '|' || coalesce(resource_id::text, '') || '|' || result || '|'
            || coalesce(details::text, '') || '|'
            || to_char("timestamp", 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        FROM public.audit_logs JOIN public.audit_log_chain ON audit_id = id ORDER BY chain_seq"#;
}

/// PostgreSQL behind a PgBouncer in transaction mode. What is not the store's own, it does
/// on the server itself, as an operator would.
pub(crate) struct Pooled {
    store: PgStore,
    own: Postgres,
}

impl Pooled {
    fn url(own: &Postgres) -> String {
        let port = std::env::var("BREEZE_TEST_PGBOUNCER_PORT").expect("tests/run sets it");
        let database = own.url.split('?').next().unwrap().rsplit('/').next().unwrap();
        format!("postgres://breeze@127.0.0.1:{port}/{database}?statement-cache-capacity=0")
    }

    /// It listens on the server itself.
    async fn connect(own: &Postgres, name: &str) -> PgStore {
        let store = PgStore::connect(&Self::url(own), name, 10).await.unwrap();
        store.listening_on(&own.url).unwrap()
    }
}

impl Backend for Pooled {
    type Store = PgStore;
    type Sql = sqlx::Postgres;

    async fn fresh() -> Self {
        let own = Postgres::fresh().await;
        Self { store: Self::connect(&own, "store").await, own }
    }

    fn store(&self) -> &PgStore {
        &self.store
    }

    async fn another(&self) -> PgStore {
        Self::connect(&self.own, "another").await
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        self.own.migrate().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    async fn execute(&self, sql: &str) -> Result<u64, sqlx::Error> {
        self.own.execute(sql).await
    }

    async fn texts(&self, sql: &str) -> Vec<Option<String>> {
        self.own.texts(sql).await
    }

    async fn change(&self) -> Transaction<'static, sqlx::Postgres> {
        self.own.change().await
    }

    async fn advance_clock(&self, millis: i64) {
        self.own.advance_clock(millis).await;
    }

    const NOW: &'static str = Postgres::NOW;

    const PAYLOADS: &'static str = Postgres::PAYLOADS;
}

/// What is asked of PostgreSQL alone, with a pooler before it or without.
pub(crate) trait Server: Backend<Store = PgStore> {
    /// Where its store connects to.
    fn store_url(&self) -> String;
    /// Connections to the server itself.
    fn pool(&self) -> &PgPool;
}

impl Server for Postgres {
    fn store_url(&self) -> String {
        self.url.clone()
    }

    fn pool(&self) -> &PgPool {
        self.store.pool()
    }
}

impl Server for Pooled {
    fn store_url(&self) -> String {
        Self::url(&self.own)
    }

    fn pool(&self) -> &PgPool {
        self.own.store.pool()
    }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_790_000_000 + seconds)
}

pub(crate) fn id(text: &str) -> KeyId {
    KeyId::new(text).unwrap()
}

pub(crate) fn key(secret: Secret, name: &str, state: KeyState) -> KeyRecord {
    KeyRecord {
        secret,
        id: id(name),
        fingerprint: "0123456789abcdef".parse().unwrap(),
        state,
        unnamed: false,
        origin: Origin::Environment("JWT_SECRET_FILE".to_owned()),
        rank: 1,
        sealed: (state != KeyState::Destroyed).then(|| format!("sealed {name}")),
        created_at: at(0),
        promoted_at: (state == KeyState::Primary).then(|| at(0)),
        retired_at: None,
        compromised_at: None,
        seals: 0,
        longest_lifetime: std::time::Duration::ZERO,
        presented: 0,
        presented_at: None,
    }
}

pub(crate) fn add(key: KeyRecord) -> KeyChange {
    KeyChange::Add(Box::new(key))
}

pub(crate) fn step(secret: Secret, name: &str, from: KeyState, to: KeyState) -> KeyChange {
    KeyChange::Move { secret, key: id(name), from, to, at: at(60) }
}

pub(crate) fn keys(keys: impl IntoIterator<Item = KeyChange>) -> Change {
    Change { keys: keys.into_iter().collect(), ..Change::default() }
}

pub(crate) fn rollover(secret: Secret) -> Rollover {
    Rollover {
        id: RolloverId::new(),
        secret,
        mode: Mode::Graceful,
        dry_run: false,
        phase: Phase::Requested,
        revision: 0,
        paused_at: None,
        reason: "due".to_owned(),
        requested_by: "admin@example.com".to_owned(),
        from_key: id("old"),
        to_key: None,
        created_at: at(0),
        updated_at: at(0),
        settled_at: None,
        target: Target::Bound,
        pass: 0,
        max_rows_per_second: None,
        blocked_by: None,
        accept_quarantined: false,
        accept_loss: false,
        probed_at: None,
        ask_at: Some(at(7)),
        asked_by: Some(ReplicaId::new()),
        revoking_at: Some(at(8)),
        revoked_at: None,
        report: None,
        cut_off: None,
    }
}

pub(crate) fn begin(rollover: &Rollover, alongside: bool) -> Change {
    let rollover = RolloverChange::Begin { rollover: Box::new(rollover.clone()), alongside };
    Change { rollover: Some(rollover), ..Change::default() }
}

/// The move to `phase`, from the revision below.
pub(crate) fn to_phase(rollover: &mut Rollover, phase: Phase) -> Change {
    rollover.phase = phase;
    rollover.revision += 1;
    Change { rollover: Some(RolloverChange::Move(Box::new(rollover.clone()))), ..Change::default() }
}

/// What `work` answers from `count` processes that all begin it at the same moment.
pub(crate) async fn at_once<B: Backend, F: Future<Output: Send + 'static> + Send + 'static>(
    on: &B,
    count: usize,
    work: impl Fn(B::Store) -> F,
) -> Vec<F::Output> {
    let barrier = Arc::new(Barrier::new(count));
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (work, barrier) = (work(on.another().await), Arc::clone(&barrier));
        tasks.spawn(async move {
            barrier.wait().await;
            work.await
        });
    }
    tasks.join_all().await
}

pub(crate) async fn done(store: &impl Store, change: &Change) {
    let committed = store.commit(change).await.unwrap();
    assert!(matches!(committed, Committed::Done(_)), "{committed:?}");
}
