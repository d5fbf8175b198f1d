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
    deployment::{Db, Opened, administrator, on_both_databases},
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
