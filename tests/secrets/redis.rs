//! The credential of Redis rolls over under traffic; Redis may be away altogether.

use serde_json::json;

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
    assert_eq!(fails_to_log_in(&served, "c@example.com").await, 401);
    let mut limited = 0;
    for _ in 0..80 {
        limited += u32::from(served.admin.get("/api/v1/users/me").await.status == 429);
    }
    assert!((20..80).contains(&limited), "{limited} of 80 in one minute, or two");
    let log = served.process.terminate().await.stderr;
    assert_eq!(log.matches("Redis is away").count(), 1, "{log}");
    assert_eq!(log.matches("counted in Redis again").count(), 1, "{log}");
}
