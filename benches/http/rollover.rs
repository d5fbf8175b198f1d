//! Requests through both layers while each secret is rolled over.
//!
//! The app keeps one sealed row in memory and opens it for every request; when it
//! does not open, because its key has been retired meanwhile, the row is read again
//! from the database, where the rewrap has been. Until then every request finds it
//! stale and offers it for lazy rewrap: more of that than a real app would do.
//! Clients get new tokens twice a second, from whichever key is primary.
//!
//! A cycle is some calm time, then a rollover to its end under the same load. The p99
//! of a cycle is that of all its requests, and a ratio is the median of the cycles'
//! own ratios. The lifetimes of tokens are shortened, so that a key drains in seconds.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use axum::{Extension, Json, Router, extract::State, routing::get};
use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    column::{Column, Registry},
    embed::{Database, Rollovers, Setup},
    envelope::Target,
    keyring::sources::Environment,
    layer::sealed::{Sealed, SealedError},
    operator::Request,
    rollover::{Mode, Phase},
    store::Actor,
    token::{Lifetimes, sign},
};
use secrecy::ExposeSecret;
use sqlx::SqlitePool;
use tokio::runtime::Runtime;

use crate::{
    apps::{Answer, access, answer},
    load::{Load, Mint, Round, check, serve},
    median,
};

const CYCLES: usize = 3;
const CALM: Duration = Duration::from_secs(4);
const ROWS: i64 = 20_000;
const ROWS_PER_SECOND: u32 = 2000;
/// The row that every request opens.
const ROW: i64 = 7;
const ACCESS: Duration = Duration::from_secs(2);

/// Prints a row for each secret.
pub(crate) fn both(serving: &Runtime, asking: &Runtime) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("bench.db").display());
    let (rollovers, rows) = serving.block_on(start(&url));
    let address = serve(serving, app(&rollovers, rows));
    let mint = mint(&rollovers);
    asking.block_on(check(address, &mint, true));
    let mut load = asking.block_on(Load::connect(address, &mint));

    println!(
        "{:24} {:>12} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "rollover of", "seconds", "requests", "failures", "rate", "p99 µs", "during", "ratio"
    );
    for secret in [Secret::JwtSecret, Secret::AppEncryptionKey] {
        let cycles: Vec<(Round, Round)> = (0..CYCLES)
            .map(|_| {
                let calm = async { load.during(tokio::time::sleep(CALM)).await };
                let ((), before) = asking.block_on(calm);
                let rollover = serving.spawn(roll(Arc::clone(&rollovers), secret));
                let (ended, during) = asking.block_on(load.during(rollover));
                ended.unwrap();
                (before, during)
            })
            .collect();
        let of = |measure: fn(&(Round, Round)) -> f64| median(cycles.iter().map(measure));
        println!(
            "{:24} {:12.1} {:10} {:10} {:10.3} {:10.0} {:10.0} {:10.3}",
            secret.to_string(),
            of(|(_, during)| during.requests as f64 / during.rate),
            cycles.iter().map(|(_, during)| during.requests).sum::<usize>(),
            cycles.iter().map(|(before, during)| before.failures + during.failures).sum::<usize>(),
            of(|(before, during)| during.rate / before.rate),
            of(|(before, _)| before.p99 * 1e6),
            of(|(_, during)| during.p99 * 1e6),
            of(|(before, during)| during.p99 / before.p99),
        );
    }
    println!("goals: no failure; p99 ≤ 1.25 of before");
    serving.block_on(rollovers.leave());
}

/// Takes part on a fresh database with [`ROWS`] sealed rows.
async fn start(url: &str) -> (Arc<Rollovers>, SqlitePool) {
    let database = Database::connect(url, 8).await.unwrap();
    database.migrate().await.unwrap();
    let Database::Sqlite(store) = &database else { unreachable!("the URL says sqlite") };
    let rows = store.pool().clone();
    sqlx::query("CREATE TABLE webhooks (id integer PRIMARY KEY, secret text NOT NULL)")
        .execute(&rows)
        .await
        .unwrap();
    let registry = Registry::empty().with(Column::text("webhooks", "secret"));
    let rollovers = Setup::new(database, registry)
        .environment(Environment::given([
            ("JWT_SECRET", "a signing secret that is long enough 0123456789"),
            ("APP_ENCRYPTION_KEY", "an application key of the first generation"),
            ("BREEZE_ROOT_KEY", "a root key that seals every other key in the store"),
        ]))
        .lifetimes(Lifetimes { access: ACCESS, refresh: ACCESS, viewer: ACCESS })
        .lease(Duration::from_secs(5), Duration::from_millis(250))
        .start()
        .await
        .unwrap();
    let sealed = rollovers.sealed().sealed();
    let mut transaction = rows.begin().await.unwrap();
    for id in 0..ROWS {
        sqlx::query("INSERT INTO webhooks VALUES (?, ?)")
            .bind(id)
            .bind(sealed.seal("webhooks", "secret", id, &secret_of(id)).unwrap())
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
    (Arc::new(rollovers), rows)
}

/// What the handler leans on.
#[derive(Clone)]
struct App {
    cached: Arc<RwLock<String>>,
    rows: SqlitePool,
}

fn app(rollovers: &Rollovers, rows: SqlitePool) -> Router {
    Router::new()
        .route("/webhooks/7", get(webhook))
        .with_state(App { cached: Arc::default(), rows })
        .layer(rollovers.sealed())
        .layer(rollovers.jwt().unwrap())
}

async fn webhook(
    State(app): State<App>,
    Extension(sealed): Extension<Sealed>,
) -> Result<Json<Answer>, SealedError> {
    let open = |value: &str| sealed.open("webhooks", "secret", ROW, value);
    let cached = open(&app.cached.read().unwrap());
    let secret = match cached {
        Ok(secret) if !secret.expose_secret().is_empty() => secret,
        _ => {
            let value = read(&app.rows).await;
            let secret = open(&value)?;
            *app.cached.write().unwrap() = value;
            secret
        }
    };
    assert_eq!(secret.expose_secret(), secret_of(ROW));
    Ok(answer())
}

async fn read(rows: &SqlitePool) -> String {
    let statement = "SELECT secret FROM webhooks WHERE id = ?";
    sqlx::query_scalar(statement).bind(ROW).fetch_one(rows).await.unwrap()
}

fn secret_of(id: i64) -> String {
    format!("the secret of a webhook, 64 bytes in all, of number {id:012}")
}

/// Signs with the key that is primary now.
fn mint(rollovers: &Rollovers) -> Mint {
    let keychain = rollovers.replica().keychain();
    Arc::new(move || {
        let chain = keychain.load();
        let ring = chain.signing(Secret::JwtSecret).unwrap();
        let token = access().lifetime(ACCESS);
        sign(ring, &token, SystemClock.now()).unwrap().expose_secret().to_owned()
    })
}

/// From request to retirement.
async fn roll(rollovers: Arc<Rollovers>, secret: Secret) {
    let request = Request {
        secret,
        mode: Mode::Graceful,
        reason: "a benchmark".to_owned(),
        dry_run: false,
        value: None,
        target: Target::Bound,
        max_rows_per_second: Some(ROWS_PER_SECOND),
        alongside: false,
        supersede: None,
        force: Default::default(),
    };
    let operator = rollovers.operator();
    let mut rollover = operator.begin(request, Actor::System).await.unwrap();
    while rollover.phase != Phase::Retired {
        assert!(rollover.phase.is_active(), "{rollover:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        rollover = operator.rollover(rollover.id).await.unwrap();
    }
}
