//! A process that is stopped for longer than its lease, and continued, makes nothing
//! with the keys of before, and serves again with those of now.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, reason = "a test has no reader but its own")]

mod support;

use std::time::Duration;

use breeze_rollover::{catalog::Secret, ids::RolloverId, rollover::Phase};
use serde_json::{Value, json};
use support::{
    breeze_api::Process,
    deployment::{Db, Opened, administrator, on_both_databases, on_postgres},
    free_port,
    halt::{halt, is_fenced},
    http::{Answer, Client},
};
use tokio::time::{sleep, timeout};

const LOGIN: &str = "/api/v1/auth/login";
const VARIABLES: &str = "/api/v1/tenant-variables";

async fn start(db: &Db) -> (Process, Client) {
    let port = free_port();
    let mut process = db
        .run(["serve"])
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .env("BREEZE_LEASE_SECONDS", "2")
        .start();
    process.listens_on(port).await;
    (process, Client::on(port))
}

fn login() -> Value {
    json!({ "email": "ann@example.test", "password": "correct horse battery staple" })
}

fn variable(name: &str) -> Value {
    json!({ "name": name, "value": format!("the value of {name}") })
}

/// The client with the token that a login was answered with.
fn logged_in(client: &Client, answer: &Answer) -> Client {
    client.bearing(answer.expect(200)["tokens"]["accessToken"].as_str().unwrap())
}

/// The key that signed the token of `client`.
fn signer(client: &Client) -> String {
    let header = client.bearer().unwrap().split('.').next().unwrap();
    let header = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(header).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// Rolls `secret` over to the end, and answers its new primary key.
async fn roll_over(opened: &Opened, admin: &Client, secret: Secret, mode: &str) -> String {
    let body = json!({ "secret": secret, "mode": mode, "reason": "a test" });
    let begun = admin.post("/admin/rollovers", body).await.expect(202);
    let id: RolloverId = begun["id"].as_str().unwrap().parse().unwrap();
    let ended = async {
        loop {
            let rollover = opened.store().rollover(id).await.unwrap().unwrap();
            if rollover.phase == Phase::Retired {
                return rollover.to_key.unwrap().to_string();
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(60), ended).await.expect("nobody waits for a straggler")
}

async fn a_process_that_was_stopped_past_its_lease_makes_nothing_with_old_keys(db: Db) {
    db.migrate().await;
    let opened = db.open().await;
    let (straggler, client) = start(&db).await;
    let (other, other_client) = start(&db).await;
    let admin = administrator(&client, &straggler.stdout()).await;
    let organization = "0198c5a0-0000-7000-8000-000000000001";
    let user = json!({
        "email": "ann@example.test", "name": "Ann", "orgId": organization,
        "password": "correct horse battery staple",
    });
    admin.post("/api/v1/users", user).await.expect(201);
    let before = logged_in(&client, &client.post(LOGIN, login()).await);
    let in_flight =
        [before.begin(VARIABLES, variable("in flight")).await, client.begin(LOGIN, login()).await];
    client.get("/ready").await.expect(200);

    halt(&straggler, &opened).await;
    let admin = other_client.bearing(admin.bearer().unwrap());
    let app = roll_over(&opened, &admin, Secret::AppEncryptionKey, "graceful").await;
    let jwt = roll_over(&opened, &admin, Secret::JwtSecret, "hard").await;
    let now = logged_in(&other_client, &other_client.post(LOGIN, login()).await);
    assert_eq!(signer(&now), jwt);
    let now = client.bearing(now.bearer().unwrap());

    // They wait for it, and are the first thing that it sees.
    let waiting: Vec<_> = (0..20)
        .map(|n| {
            let (now, before, client) = (now.clone(), before.clone(), client.clone());
            tokio::spawn(async move {
                match n % 4 {
                    0 => now.post(VARIABLES, variable(&format!("waiting {n}"))).await,
                    1 => client.post(LOGIN, login()).await,
                    2 => before.get(VARIABLES).await,
                    _ => client.get("/ready").await,
                }
            })
        })
        .collect();
    sleep(Duration::from_millis(300)).await;
    straggler.signal("CONT").await;
    for (n, waiting) in waiting.into_iter().enumerate() {
        let answer = waiting.await.unwrap();
        if is_fenced(&answer) {
            continue;
        }
        match n % 4 {
            0 => drop(answer.expect(201)),
            1 => assert_eq!(signer(&logged_in(&client, &answer)), jwt),
            2 => drop(answer.expect(401)),
            _ => drop(answer.expect(200)),
        }
    }
    let log = straggler.stderr();
    assert!(log.contains("the lease has run out"), "{log}");

    let recovers = async {
        while client.get("/ready").await.status != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(30), recovers).await.expect("it recovers by itself");
    for begun in in_flight {
        let answer = begun.finish().await;
        assert!(is_fenced(&answer), "it was let in with the keys of before: {answer:?}");
    }
    let again = logged_in(&client, &client.post(LOGIN, login()).await);
    assert_eq!(signer(&again), jwt);
    let made = again.post(VARIABLES, variable("again")).await.expect(201);
    let path = format!("{VARIABLES}/{}", made["id"].as_str().unwrap());
    let seen = other_client.bearing(again.bearer().unwrap()).get(&path).await.expect(200);
    assert_eq!(seen["value"], "the value of again");
    for value in opened.texts("SELECT value FROM tenant_variables").await {
        assert!(value.starts_with(&format!("enc:v3:{app}:")), "{value}");
    }

    let log = straggler.stderr();
    let told = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    let turns = (told("the lease has run out"), told("the replica holds its lease"));
    assert!(turns.0 > 0 && turns.0 + 1 == turns.1, "{turns:?}: {log}");
    for process in [straggler, other] {
        let ended = process.terminate().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

on_both_databases!(a_process_that_was_stopped_past_its_lease_makes_nothing_with_old_keys);

/// It is in the middle of giving a rollover up, and has locked what every change locks.
async fn a_process_that_is_stopped_in_the_middle_of_a_change_costs_nobody_the_lease(db: Db) {
    db.migrate().await;
    let opened = db.open().await;
    let (stopped, client) = start(&db).await;
    let (other, other_client) = start(&db).await;
    let admin = administrator(&client, &stopped.stdout()).await;
    let other_admin = other_client.bearing(admin.bearer().unwrap());
    // It keeps the keys of before, so that the new one stays staged.
    let in_flight = other_admin.begin(VARIABLES, variable("in flight")).await;
    let body = json!({ "secret": "APP_ENCRYPTION_KEY", "mode": "graceful", "reason": "a test" });
    let begun = admin.post("/admin/rollovers", body).await.expect(202);
    let id: RolloverId = begun["id"].as_str().unwrap().parse().unwrap();
    let phase = async || opened.store().rollover(id).await.unwrap().unwrap().phase;
    let give_up = format!("/admin/rollovers/{id}/roll-back");
    let staged = async {
        while phase().await != Phase::Staged {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), staged).await.expect("it begins");

    let Db::Postgres(own) = &db else { unreachable!("it is PostgreSQL's") };
    let pool = own.pool().await;
    let sessions = async |are: &str| {
        let its = "query LIKE '%UPDATE rollover.key SET%state = $4%'";
        let of = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
        let sql = sqlx::AssertSqlSafe(format!("{of} AND {its} AND {are}"));
        sqlx::query_scalar::<_, i64>(sql).fetch_one(&pool).await.unwrap()
    };
    let becomes = async |are: &str| {
        let it_is = async {
            while sessions(are).await == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(30), it_is).await.unwrap_or_else(|_| panic!("never {are}"));
    };
    // Its change waits for this key, so that the moment is sure.
    let mut key = pool.begin().await.unwrap();
    let lock = "SELECT FROM rollover.key WHERE state = 'staged' FOR SHARE";
    sqlx::query(lock).execute(&mut *key).await.unwrap();
    let path = give_up.clone();
    let asked = tokio::spawn(async move {
        admin.ask(http::Method::POST, &path, Some(json!({ "reason": "a test" }))).await
    });
    becomes("wait_event_type = 'Lock'").await;
    stopped.signal("STOP").await;
    key.commit().await.unwrap();
    let abandoned = "state = 'idle in transaction'";
    becomes(abandoned).await;

    let mut meanwhile = 0;
    let serves = async {
        while sessions(abandoned).await > 0 {
            other_client.get("/ready").await.expect(200);
            let variable = variable(&format!("meanwhile {meanwhile}"));
            other_admin.post(VARIABLES, variable).await.expect(201);
            meanwhile += 1;
        }
    };
    timeout(Duration::from_secs(20), serves).await.expect("nobody waits for it for long");
    assert!(meanwhile > 0, "it was not stopped in the middle");
    assert_ne!(phase().await, Phase::Abandoned, "what it did not commit is undone");
    other_admin.post(&give_up, json!({ "reason": "a test" })).await.expect(200);
    other_client.get("/ready").await.expect(200);
    assert!(!other.stderr().contains("the lease has run out"), "{}", other.stderr());
    drop(in_flight);

    stopped.signal("CONT").await;
    drop(asked.await.unwrap());
    let recovers = async {
        while client.get("/ready").await.status != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(30), recovers).await.expect("it recovers by itself");
    for process in [stopped, other] {
        let ended = process.terminate().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

on_postgres!(a_process_that_is_stopped_in_the_middle_of_a_change_costs_nobody_the_lease);
