//! An API developer adds JWT and sealed columns to a router in ten lines or fewer,
//! through the public API alone, and keys roll over under its traffic.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Extension, Router, extract::State, routing::get};
use breeze_rollover::{
    catalog::Secret,
    column::{Column, Registry},
    embed::{Database, Rollovers, Setup},
    envelope::Target,
    keyring::sources::{Declared, Environment},
    layer::sealed::{Sealed, SealedError},
    token::{Claims, NewToken, Scope, sign},
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::SqlitePool;
use support::{app::environment, http::Client};

type Error = Box<dyn std::error::Error>;

/// The application as it was: it knows nothing of keys, but that it is sealed.
fn router(pool: SqlitePool) -> Router {
    Router::new().route("/integration", get(integration)).with_state(pool)
}

async fn integration(
    State(pool): State<SqlitePool>,
    Extension(claims): Extension<Arc<Claims>>,
    Extension(sealed): Extension<Sealed>,
) -> Result<String, SealedError> {
    let value: String = sqlx::query_scalar("SELECT api_key FROM integrations WHERE id = 7")
        .fetch_one(&pool)
        .await
        .unwrap();
    let key = sealed.open("integrations", "api_key", 7, &value)?;
    Ok(format!("{} sees {}", claims.sub, key.expose_secret()))
}

// snippet: begin
async fn protect(
    router: Router,
    url: &str,
    env: Environment,
) -> Result<(Router, Rollovers), Error> {
    let database = Database::connect(url, 10).await?;
    database.migrate().await?;
    let columns = Registry::empty().with(Column::text("integrations", "api_key"));
    let rollovers = Setup::new(database, columns).environment(env).start().await?;
    let router =
        router.layer((rollovers.jwt()?, rollovers.sealed())).nest("/admin", rollovers.admin()?);
    Ok((router, rollovers))
}
// snippet: end

#[test]
fn the_snippet_is_ten_lines_or_fewer() {
    let whole = include_str!("ten_lines.rs");
    let (_, rest) = whole.split_once("// snippet: begin\n").unwrap();
    let (snippet, _) = rest.split_once("// snippet: end\n").unwrap();
    let (_signature, body) = snippet.split_once("{\n").unwrap();
    let body = body.trim_end().trim_end_matches('}').lines().count();
    assert!(body <= 10, "{body} lines:\n{snippet}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_lines_make_a_router_whose_keys_roll_over_under_traffic() {
    let file = support::sqlite::file();
    file.execute("CREATE TABLE integrations (id INTEGER PRIMARY KEY, api_key TEXT)").await;
    let pool = file.pool().await;
    let (router, rollovers) =
        protect(router(pool.clone()), &file.url(), environment()).await.unwrap();
    let rollovers = Arc::new(rollovers);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let client = Client::on(listener.local_addr().unwrap().port());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });

    // A value of the old format, under the key that the environment declares.
    let keys = Declared::read(&environment(), &[]).unwrap().keychain(Default::default()).unwrap();
    let registry = Registry::empty().with(Column::text("integrations", "api_key"));
    let column = registry.column("integrations", "api_key").unwrap();
    let old = column.seal(&keys, &7.into(), "the plaintext", Target::Compatible).unwrap();
    sqlx::query("INSERT INTO integrations VALUES (7, $1)").bind(&old).execute(&pool).await.unwrap();

    let refused = client.get("/integration").await;
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer"));
    let problem = refused.expect(401);
    assert!(problem["code"].is_string() && problem["status"] == 401, "{problem}");

    let token = |mfa| {
        let keychain = rollovers.replica().keychain().load_full();
        let token =
            NewToken::access("6a0e21c4-6a3c-4b8e-a5c8-9f4b1b3f7a10", Scope::System).mfa(mfa);
        let now = rollovers.replica().clock().now();
        sign(keychain.signing(Secret::JwtSecret).unwrap(), &token, now).unwrap()
    };
    let first = token(true);
    let user = client.bearing(first.expose_secret());
    let seen = user.get("/integration").await;
    assert_eq!(seen.status, 200, "{seen:?}");
    assert!(seen.body.ends_with(b"sees the plaintext"), "{seen:?}");
    client.bearing(token(false).expose_secret()).get("/admin/secrets").await.expect(403);
    client.get("/admin/secrets").await.expect(401);

    // Reading goes on for as long as this is held twice.
    let stop = Arc::new(());
    let reading = tokio::spawn({
        let (user, stop) = (user.clone(), Arc::clone(&stop));
        async move {
            let mut requests = 0;
            while Arc::strong_count(&stop) > 1 {
                let seen = user.get("/integration").await;
                assert_eq!(seen.status, 200, "after {requests} requests: {seen:?}");
                requests += 1;
            }
            requests
        }
    });
    let begin = json!({ "secret": "APP_ENCRYPTION_KEY", "reason": "the yearly rollover" });
    let begun = user.post("/admin/rollovers", begin).await;
    begun.expect(202);
    let location = begun.header("location").unwrap();
    let ended = until(&user, location, "phase", "retired").await;
    assert_eq!(ended["blockedBy"], Value::Null, "{ended}");

    // The signing key drains for a week; its new primary signs at once.
    let begin = json!({ "secret": "JWT_SECRET", "reason": "the quarterly rollover" });
    let begun = user.post("/admin/rollovers", begin).await;
    begun.expect(202);
    until(&user, begun.header("location").unwrap(), "phase", "promoted").await;
    // It is promoted in the database a moment before this replica shows it.
    rollovers.replica().refresh().await.unwrap();
    let second = token(true);
    client.bearing(second.expose_secret()).get("/integration").await;
    user.get("/integration").await;
    assert_ne!(
        first.expose_secret().split('.').next(),
        second.expose_secret().split('.').next(),
        "another key id"
    );

    drop(stop);
    let requests = reading.await.unwrap();
    assert!(requests > 10, "{requests} requests went on meanwhile");
    let now: String =
        sqlx::query_scalar("SELECT api_key FROM integrations").fetch_one(&pool).await.unwrap();
    assert_ne!(now, old, "it is sealed under the new key");
    rollovers.leave().await;
    serving.abort();
}

/// The resource at `path` once its `field` is `value`.
async fn until(client: &Client, path: &str, field: &str, value: &str) -> Value {
    let began = Instant::now();
    loop {
        let seen = client.get(path).await.expect(200);
        if seen[field] == value {
            return seen;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{seen}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
