//! The credential of Redis rolls over under traffic; Redis may be away altogether, or hang.

use std::time::{Duration, Instant};

use breeze_rollover::{
    material::Material,
    provider::{Provider, ProviderError, RedisServer},
};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    served::Served,
    support::{
        deployment::Db,
        redis::{OLD, Redis},
    },
};

/// A running API that counts in `redis`.
async fn serve(redis: &Redis, more: &[(&str, &str)]) -> Served {
    let url = redis.url();
    let variables: Vec<_> = [("REDIS_URL", url.as_str())].iter().chain(more).copied().collect();
    Served::on(Db::on_sqlite(), &variables).await
}

const NEW: &str = "a-new-password-of-redis-0123456789";

fn material(password: &str) -> Material {
    Material::new(format!("api:{password}")).unwrap()
}

/// Waits until failed logins are counted in Redis, each of another account.
async fn is_counted_there(served: &Served, redis: &Redis, password: &str) {
    let before = redis.counters(password).await;
    for number in 0..200 {
        fails_to_log_in(served, &format!("again{number}@example.com")).await;
        if redis.counters(password).await > before {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("it is not counted there: {}", served.process.stderr());
}

async fn fails_to_log_in(served: &Served, account: &str) -> u16 {
    let login = json!({ "email": account, "password": "a wrong one" });
    served.anybody.post("/api/v1/auth/login", login).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(redis_tests), ignore = "needs redis-server; tests/run installs it")]
async fn a_new_password_takes_over_and_the_old_one_is_taken_away() {
    let redis = Redis::start("~breeze:* +@all").await;
    let served = serve(&redis, &[]).await;
    assert_eq!(fails_to_log_in(&served, "a@example.com").await, 401);
    assert_eq!(redis.counters(OLD).await, 1);

    let rollover = served.begin("REDIS_URL", "graceful", None).await;
    let client = served.anybody.clone();
    let traffic = tokio::spawn(async move {
        for number in 0..60 {
            let email = format!("user{number}@example.com");
            let login = json!({ "email": email, "password": "a wrong one" });
            assert_eq!(client.post("/api/v1/auth/login", login).await.status, 401);
        }
    });
    served.reaches(&rollover, "retired").await;
    traffic.await.unwrap();
    let refused = redis.ask(OLD, &["PING"]).await.unwrap_err();
    assert!(refused.to_string().contains("AuthenticationFailed"), "{refused}");
    let users = redis.users();
    assert_eq!(users.matches('#').count(), 1, "the new password alone is kept: {users}");
    assert_eq!(fails_to_log_in(&served, "a@example.com").await, 401);
    let log = served.process.terminate().await.stderr;
    assert!(!log.contains("Redis is away") && !log.contains(OLD), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(redis_tests), ignore = "needs redis-server; tests/run installs it")]
async fn both_passwords_work_until_no_connection_with_the_old_one_is_left() {
    let redis = Redis::start("~breeze:* +@all").await;
    let served = serve(&redis, &[]).await;
    assert_eq!(fails_to_log_in(&served, "a@example.com").await, 401);
    redis.ask(OLD, &["ACL", "SETUSER", "api", &format!(">{NEW}")]).await.unwrap();
    // As another process that has not noticed: it is told by its name.
    let name = format!("breeze-{}", material(OLD).fingerprint());
    let mut another = redis.connect(OLD).await.unwrap();
    let mut naming = redis::cmd("CLIENT");
    let () = naming.arg("SETNAME").arg(name).query_async(&mut another).await.unwrap();

    let value = format!("api:{NEW}");
    let rollover = served.begin("REDIS_URL", "graceful", Some(&value)).await;
    served.blocked(&rollover, "1 open connection(s) of user api").await;
    for password in [OLD, NEW] {
        redis.ask(password, &["PING"]).await.expect("it is valid");
    }
    drop(another);
    served.reaches(&rollover, "retired").await;
    let refused = redis.ask(OLD, &["PING"]).await.unwrap_err();
    assert!(refused.to_string().contains("AuthenticationFailed"), "{refused}");
    redis.ask(NEW, &["PING"]).await.expect("the new one stays");
    is_counted_there(&served, &redis, NEW).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(redis_tests), ignore = "needs redis-server; tests/run installs it")]
async fn only_a_wrong_password_proves_that_the_old_one_is_gone() {
    let redis = Redis::start("~breeze:* +@all").await;
    redis.ask(OLD, &["ACL", "SETUSER", "api", &format!(">{NEW}")]).await.unwrap();
    let server = RedisServer::new(&redis.url()).unwrap();
    let mut admin = redis.connect(NEW).await.unwrap();
    let mut limit = async |most: u32| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxclients").arg(most).query_async::<()>(&mut admin).await.unwrap();
    };
    // Room for who takes it away, and for nobody who would look whether it is gone.
    limit(2).await;
    let unproven = server.revoke(&material(OLD), &material(NEW)).await.unwrap_err();
    assert!(unproven.is_transient(), "{unproven}");
    limit(100).await;
    let revoked = server.revoke(&material(OLD), &material(NEW)).await.unwrap();
    assert!(revoked.contains("does not log in any more"), "{revoked}");
    redis.ask(OLD, &["PING"]).await.unwrap_err();

    let same = Material::new(format!("api:%61{}", &NEW[1..])).unwrap();
    let refused = server.revoke(&same, &material(NEW)).await.unwrap_err();
    assert!(matches!(refused, ProviderError::Declined(_)), "{refused}");
    redis.ask(NEW, &["PING"]).await.expect("it was not taken away");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(redis_tests), ignore = "needs redis-server; tests/run installs it")]
async fn a_redis_that_hangs_keeps_no_request_waiting() {
    let redis = Redis::start("~breeze:* +@all").await;
    let served = serve(&redis, &[("BREEZE_REQUESTS_PER_MINUTE", "100000")]).await;
    served.admin.get("/api/v1/users/me").await.expect(200);
    redis.signal("STOP").await;
    // Many at once, and one after the other: each is answered about as soon as ever.
    let began = Instant::now();
    let (account, many) = ("a@example.com", 0..60);
    let answers = join_all(many.map(|_| served.admin.get("/api/v1/users/me"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    for _ in 0..60 {
        served.admin.get("/api/v1/users/me").await.expect(200);
    }
    for _ in 0..10 {
        assert_eq!(fails_to_log_in(&served, account).await, 401);
    }
    let took = began.elapsed();
    assert_eq!(fails_to_log_in(&served, account).await, 429, "the process counts by itself");
    assert!(took < Duration::from_secs(15), "{took:?} for 130 requests");

    redis.signal("CONT").await;
    is_counted_there(&served, &redis, OLD).await;
    let log = served.process.terminate().await.stderr;
    assert_eq!(log.matches("Redis is away").count(), 1, "{log}");
    assert_eq!(log.matches("counted in Redis again").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(redis_tests), ignore = "needs redis-server; tests/run installs it")]
async fn a_user_that_may_not_change_users_is_given_its_password_by_hand() {
    let redis = Redis::start("~breeze:* +@read +@write +multi +exec +ping").await;
    let served = serve(&redis, &[]).await;
    let refused = served.begin("REDIS_URL", "graceful", None).await;
    let why = served.reaches(&refused, "refused").await["blockedBy"].to_string();
    assert!(why.contains("ACL SETUSER"), "{why}");

    let wrong =
        served.begin("REDIS_URL", "graceful", Some("api:a-wrong-password-0123456789")).await;
    let why = served.reaches(&wrong, "abandoned").await["blockedBy"].to_string();
    assert!(why.contains("does not log in") && !why.contains("wrong-password"), "{why}");
    let malformed = json!({ "secret": "REDIS_URL", "reason": "x", "value": "no colon in it" });
    assert_eq!(served.admin.post("/admin/rollovers", malformed).await.status, 422);
    assert_eq!(redis.counters(OLD).await, 0, "a probe leaves nothing");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(redis_tests), ignore = "needs redis-server; tests/run installs it")]
async fn limits_hold_with_redis_and_without_it() {
    let mut redis = Redis::start("~breeze:* +@all").await;
    let served = serve(&redis, &[("BREEZE_REQUESTS_PER_MINUTE", "30")]).await;
    for _ in 0..10 {
        assert_eq!(fails_to_log_in(&served, "a@example.com").await, 401);
    }
    let login = json!({ "email": "A@example.com ", "password": "a wrong one" });
    let throttled = served.anybody.post("/api/v1/auth/login", login).await;
    assert_eq!(
        (throttled.status.as_u16(), &throttled.json()["code"]),
        (429, &"login_throttled".into())
    );

    redis.stop().await;
    for _ in 0..10 {
        assert_eq!(fails_to_log_in(&served, "b@example.com").await, 401, "it serves on");
    }
    assert_eq!(fails_to_log_in(&served, "b@example.com").await, 429, "and counts by itself");
    redis.start_again().await;
    is_counted_there(&served, &redis, OLD).await;
    let mut limited = 0;
    for _ in 0..80 {
        limited += u32::from(served.admin.get("/api/v1/users/me").await.status == 429);
    }
    assert!((20..80).contains(&limited), "{limited} of 80 in one minute, or two");
    let log = served.process.terminate().await.stderr;
    assert_eq!(log.matches("Redis is away").count(), 1, "{log}");
    assert_eq!(log.matches("counted in Redis again").count(), 1, "{log}");
}
