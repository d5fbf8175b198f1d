//! A server that hangs, answers nonsense or dies in the middle of a rollover of its
//! credential, and a process that is killed in the middle: the old credential works until
//! the new one is proven, and the rollover ends as it should.

use std::time::{Duration, Instant};

use breeze_rollover::{
    keyring::sources::Environment,
    material::Material,
    provider::{PostgresRole, Provider, ProviderError},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::{io::AsyncWriteExt, net::TcpListener, time::sleep};

use crate::{
    away::{by, proxy_to},
    database_role::{OnOwnRole, Traffic, user_info},
    proxy::{Link, Proxy},
    served::{Served, path_of},
    support::{
        deployment::Db,
        postgres::Role,
        redis::{OLD, Redis},
    },
};

/// Somebody at `port` who greets everybody, and is no server at all.
async fn greets(port: u16) -> tokio::task::JoinHandle<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(stream.write_all(b"hello\r\nhello\r\n").await);
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_database_that_hangs_or_talks_nonsense_is_told_as_that() {
    let on = OnOwnRole::start().await;
    let (second, proxy) = (on.second_role().await, proxy_to(&on.role).await);
    let value = Material::new(user_info(&second)).unwrap();
    let none: [(&str, &str); 0] = [];
    let provider = async |url: &str| {
        let pool = PgPool::connect_lazy(url).unwrap();
        PostgresRole::new(pool, Environment::given(none))
    };
    let hanging = provider(&by(&proxy, &on.role.url)).await;
    hanging.probe(&value).await.expect("it does now");
    proxy.set(Link::Deaf);
    let began = Instant::now();
    let told = hanging.probe(&value).await.unwrap_err();
    assert!(matches!(told, ProviderError::Unreachable(_)), "{told}");
    assert!(began.elapsed() < Duration::from_secs(15));

    let port = crate::support::free_port();
    let greeting = greets(port).await;
    let odd = provider(&format!("postgres://api:secret@127.0.0.1:{port}/breeze")).await;
    let told = odd.probe(&value).await.unwrap_err();
    assert!(matches!(told, ProviderError::Nonsense(_)), "{told}");
    assert!(!told.to_string().contains(&second.password), "{told}");
    greeting.abort();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_database_that_goes_between_promotion_and_end_costs_nothing() {
    let (db, role) = OnOwnRole::migrated().await;
    let proxy = proxy_to(&role).await;
    let served = Served::at(db, &by(&proxy, &role.url), &[LEASE]).await;
    let on = OnOwnRole { served, role };
    let second = on.second_role().await;
    // Keeps the rollover between the two.
    let other = PgPool::connect(&on.role.url).await.unwrap();
    let value = user_info(&second);
    let rollover = on.served.begin("DATABASE_URL", "graceful", Some(&value)).await;
    on.served.blocked(&rollover, "open connection(s)").await;
    for link in [Link::Cut, Link::Deaf] {
        proxy.set(link);
        sleep(Duration::from_secs(5)).await;
        proxy.set(Link::Passes);
        while on.served.anybody.get("/ready").await.status != 200 {
            sleep(Duration::from_millis(50)).await;
        }
        PgPool::connect(&on.role.url).await.expect("the old one works").close().await;
    }
    other.close().await;
    on.served.reaches(&rollover, "retired").await;
    PgPool::connect(&on.role.url).await.unwrap_err();
    let traffic = Traffic::on(&on.served.admin).await;
    traffic.goes_on(20).await;
    traffic.ends().await;
}

/// Begins a rollover, whoever was killed a moment ago and has its lease still.
async fn begun(served: &Served, secret: &str, value: &str) -> Value {
    let force = ["replicas"];
    let begin = json!({ "secret": secret, "reason": "a test", "value": value, "force": force });
    served.admin.post("/admin/rollovers", begin).await.expect(202)
}

/// Long enough for a busy machine; who is killed is waited for as long.
const LEASE: (&str, &str) = ("BREEZE_LEASE_SECONDS", "8");

/// After how many milliseconds of a rollover its process is killed.
const MOMENTS: [u64; 4] = [0, 150, 600, 2000];

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn killed_at_any_moment_the_old_role_works_until_the_new_one_is_proven() {
    let mut on = OnOwnRole::start().await;
    let mut next = on.second_role().await;
    let mut present = Role { name: on.role.name.clone(), ..clone(&on.role) };
    for (round, moment) in MOMENTS.into_iter().enumerate() {
        next.password = format!("of-round-{round}");
        let change = format!("ALTER ROLE {} PASSWORD '{}'", next.name, next.password);
        on.database().execute(&change).await;
        let rest = present.url.split_once('@').unwrap().1;
        next.url = format!("postgres://{}:{}@{rest}", next.name, next.password);
        let value = user_info(&next);
        let rollover = begun(&on.served, "DATABASE_URL", &value).await;
        sleep(Duration::from_millis(moment)).await;
        on.served.process.signal("KILL").await;
        let old = PgPool::connect(&present.url).await;
        PgPool::connect(&next.url).await.expect("the new one works").close().await;
        let url = if old.is_ok() { &present.url } else { &next.url };
        on.served = on.served.killed_and_started(&[("DATABASE_URL", url), LEASE]).await;
        let found = on.served.admin.get(&path_of(&rollover)).await.expect(200);
        assert!(old.is_ok() || !found["probedAt"].is_null(), "{moment} ms: {found}");
        if let Ok(old) = old {
            old.close().await;
        }
        on.served.reaches(&rollover, "retired").await;
        PgPool::connect(&present.url).await.unwrap_err();
        std::mem::swap(&mut present, &mut next);
    }
}

fn clone(role: &Role) -> Role {
    let Role { name, password, url } = role;
    Role { name: name.clone(), password: password.clone(), url: url.clone() }
}

/// An API that counts in `redis`, by way of a proxy.
async fn counting(redis: &Redis) -> (Served, Proxy) {
    let proxy = Proxy::to(redis.port()).await;
    let url = format!("redis://api:{OLD}@127.0.0.1:{}/0", proxy.port());
    (Served::on(Db::on_sqlite(), &[("REDIS_URL", &url)]).await, proxy)
}

async fn adds(redis: &Redis, by: &str, password: &str) {
    redis.ask(by, &["ACL", "SETUSER", "api", &format!(">{password}")]).await.unwrap();
    redis.ask(by, &["ACL", "SAVE"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(redis_tests), ignore = "needs redis-server; tests/run installs it")]
async fn a_redis_that_hangs_or_talks_nonsense_leaves_the_old_password_as_it_is() {
    const NEW: &str = "another-password-of-redis-0123456789";
    let mut redis = Redis::start("~breeze:* +@all").await;
    let (served, proxy) = counting(&redis).await;
    adds(&redis, OLD, NEW).await;
    let abandoned = async |what: &str| {
        let value = format!("api:{NEW}");
        let rollover = served.begin("REDIS_URL", "graceful", Some(&value)).await;
        let why = served.reaches(&rollover, "abandoned").await["blockedBy"].to_string();
        assert!(why.contains(what) && !why.contains(NEW), "{why}");
    };
    proxy.set(Link::Deaf);
    abandoned("does not answer").await;
    proxy.set(Link::Passes);
    redis.ask(OLD, &["PING"]).await.expect("it works on");
    redis.stop().await;
    let greeting = greets(redis.port()).await;
    abandoned("something unexpected").await;
    greeting.abort();
    drop(greeting.await);
    redis.start_again().await;
    redis.ask(OLD, &["PING"]).await.expect("it works on");

    // The same value does, once the server does.
    let value = format!("api:{NEW}");
    let rollover = served.begin("REDIS_URL", "graceful", Some(&value)).await;
    served.reaches(&rollover, "retired").await;
    redis.ask(OLD, &["PING"]).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(redis_tests), ignore = "needs redis-server; tests/run installs it")]
async fn a_redis_that_dies_between_promotion_and_end_is_asked_again() {
    const NEW: &str = "another-password-of-redis-0123456789";
    let mut redis = Redis::start("~breeze:* +@all").await;
    let (served, _proxy) = counting(&redis).await;
    adds(&redis, OLD, NEW).await;
    let old = Material::new(format!("api:{OLD}")).unwrap();
    let mut another = redis.connect(OLD).await.unwrap();
    let name = format!("breeze-{}", old.fingerprint());
    let mut naming = redis::cmd("CLIENT");
    let () = naming.arg("SETNAME").arg(name).query_async(&mut another).await.unwrap();
    let value = format!("api:{NEW}");
    let rollover = served.begin("REDIS_URL", "graceful", Some(&value)).await;
    served.blocked(&rollover, "open connection(s)").await;
    redis.stop().await;
    served.blocked(&rollover, "cannot be reached").await;
    let login = json!({ "email": "a@example.com", "password": "a wrong one" });
    served.anybody.post("/api/v1/auth/login", login).await.expect(401);
    redis.start_again().await;
    served.reaches(&rollover, "retired").await;
    redis.ask(OLD, &["PING"]).await.unwrap_err();
    redis.ask(NEW, &["PING"]).await.expect("the new one stays");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(redis_tests), ignore = "needs redis-server; tests/run installs it")]
async fn killed_at_any_moment_the_old_password_works_until_the_new_one_is_proven() {
    let redis = Redis::start("~breeze:* +@all").await;
    let (mut served, proxy) = counting(&redis).await;
    let (url, database) =
        (format!("redis://api:{OLD}@127.0.0.1:{}/0", proxy.port()), served.db.url());
    let mut present = OLD.to_owned();
    for (round, moment) in MOMENTS.into_iter().enumerate() {
        let next = format!("the-password-of-round-{round}-0123456789");
        adds(&redis, &present, &next).await;
        let value = format!("api:{next}");
        let rollover = begun(&served, "REDIS_URL", &value).await;
        sleep(Duration::from_millis(moment)).await;
        served.process.signal("KILL").await;
        let works = redis.ask(&present, &["PING"]).await.is_ok();
        let variables = [("REDIS_URL", url.as_str()), ("DATABASE_URL", &database), LEASE];
        served = served.killed_and_started(&variables).await;
        let found = served.admin.get(&path_of(&rollover)).await.expect(200);
        assert!(works || !found["probedAt"].is_null(), "{moment} ms: {found}");
        served.reaches(&rollover, "retired").await;
        redis.ask(&present, &["PING"]).await.unwrap_err();
        redis.ask(&next, &["PING"]).await.expect("the new one stays");
        present = next;
    }
}
