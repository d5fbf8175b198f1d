//! The credential of the database rolls over under traffic, and the old one is ended
//! right after.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    breeze_api::{Process, breeze_api},
    deployment::{KEYS, administrator},
    free_port,
    http::Client,
    postgres::{self, Role},
};

/// A server on a role of its own, and its administrator.
struct Served {
    database: postgres::Database,
    role: Role,
    process: Process,
    admin: Client,
}

impl Served {
    async fn on_own_role() -> Self {
        let database = postgres::database().await;
        let role = database.role().await;
        let migrated = breeze_api(["migrate"]).env("DATABASE_URL", database.url()).finish().await;
        assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
        grant(&database, &role.name).await;
        let port = free_port();
        let mut process = breeze_api(["serve"])
            .envs(KEYS)
            .env("DATABASE_URL", &role.url)
            .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
            .start();
        process.listens_on(port).await;
        let admin = administrator(&Client::on(port), &process.stdout()).await;
        Self { database, role, process, admin }
    }

    /// Another role with the same rights.
    async fn second_role(&self) -> Role {
        let second = self.database.role().await;
        self.database.execute(&format!("GRANT {} TO {}", self.role.name, second.name)).await;
        second
    }

    async fn begin(&self, value: Option<&str>, mode: &str) -> Value {
        let mut body = json!({ "secret": "DATABASE_URL", "mode": mode, "reason": "a test" });
        if let Some(value) = value {
            body["value"] = value.into();
        }
        self.admin.post("/admin/rollovers", body).await.expect(202)
    }

    /// The rollover once it is in `phase`.
    async fn reaches(&self, rollover: &Value, phase: &str) -> Value {
        let path = format!("/admin/rollovers/{}", rollover["id"].as_str().unwrap());
        for _ in 0..1200 {
            let rollover = self.admin.get(&path).await.expect(200);
            if rollover["phase"] == phase {
                return rollover;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("{phase} was not reached: {}", self.admin.get(&path).await.json());
    }

    /// Open connections of a role.
    async fn connections(&self, role: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = $1")
            .bind(role)
            .fetch_one(&self.database.pool().await)
            .await
            .unwrap()
    }
}

/// The rights of the README's role that serves.
async fn grant(database: &postgres::Database, role: &str) {
    database
        .execute(&format!(
            "GRANT USAGE ON SCHEMA rollover, apalis TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA rollover, apalis TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
             REVOKE UPDATE, DELETE ON audit_logs, audit_log_chain FROM {role}"
        ))
        .await;
}

/// `user:password`, as the URL of a role holds it.
fn user_info(role: &Role) -> String {
    let (_, rest) = role.url.split_once("://").unwrap();
    rest.split_once('@').unwrap().0.to_owned()
}

/// Edits and reads them back until it is stopped; answers how many requests it made.
struct Traffic {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<u64>>,
    requests: Arc<AtomicU64>,
}

impl Traffic {
    async fn on(admin: &Client) -> Self {
        let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut clients = vec![];
        for number in 0..3 {
            let variable = json!({ "name": format!("V{number}"), "value": "0" });
            let variable = admin.post("/api/v1/tenant-variables", variable).await.expect(201);
            let path = format!("/api/v1/tenant-variables/{}", variable["id"].as_str().unwrap());
            let (admin, stop, requests) = (admin.clone(), stop.clone(), requests.clone());
            clients.push(tokio::spawn(async move {
                let mut edits = 0;
                while !stop.load(Ordering::Relaxed) {
                    edits += 1;
                    let value = format!("edit {edits}");
                    admin.patch(&path, json!({ "value": value })).await.expect(200);
                    assert_eq!(admin.get(&path).await.expect(200)["value"], value);
                    requests.fetch_add(2, Ordering::Relaxed);
                }
                edits
            }));
        }
        Self { stop, clients, requests }
    }

    /// Waits until another `count` requests were answered.
    async fn goes_on(&self, count: u64) {
        let until = self.requests.load(Ordering::Relaxed) + count;
        while self.requests.load(Ordering::Relaxed) < until {
            assert!(self.clients.iter().all(|client| !client.is_finished()), "a request failed");
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn ends(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            assert!(client.await.unwrap() > 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_second_role_takes_over_under_traffic_and_the_old_one_is_ended() {
    let served = Served::on_own_role().await;
    let second = served.second_role().await;
    let traffic = Traffic::on(&served.admin).await;
    traffic.goes_on(50).await;

    let rollover = served.begin(Some(&user_info(&second)), "graceful").await;
    served.reaches(&rollover, "retired").await;
    assert_eq!(served.connections(&served.role.name).await, 0);
    let old = sqlx::PgPool::connect(&served.role.url).await.unwrap_err();
    assert_eq!(old.into_database_error().unwrap().code().as_deref(), Some("28P01"));
    served.database.execute(&format!("ALTER ROLE {} NOLOGIN", served.role.name)).await;
    traffic.goes_on(200).await;

    // The queue, the worker and the record of rollovers are on the new role too.
    let jwt = json!({ "secret": "APP_ENCRYPTION_KEY", "reason": "a test" });
    let jwt = served.admin.post("/admin/rollovers", jwt).await.expect(202);
    served.reaches(&jwt, "retired").await;
    let known = served.admin.get("/admin/rollovers").await.expect(200);
    assert_eq!(known["rollovers"].as_array().unwrap().len(), 2, "{known}");
    traffic.ends().await;

    let trail = served.admin.get("/admin/audit?limit=200").await.expect(200);
    let told = |action: &str| {
        let mut entries = trail["entries"].as_array().unwrap().iter();
        let entry = entries.find(|entry| entry["action"] == action);
        entry.unwrap_or_else(|| panic!("{action} is missing"))["details"]["shown"].to_string()
    };
    assert!(told("rollover.probe").contains("has the rights of the present one"));
    assert!(told("rollover.revoke").contains("has no password any more"));
    let log = served.process.terminate().await.stderr;
    assert!(!log.contains("ERROR"), "{log}");
    for role in [&served.role, &second] {
        let (_, password) = role.url.split_once("://").unwrap().1.split_once(':').unwrap();
        assert!(!log.contains(password.split('@').next().unwrap()), "a password is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn two_roles_take_turns_where_the_role_may_make_roles() {
    let served = Served::on_own_role().await;
    let refused = served.begin(None, "graceful").await;
    let refused = served.reaches(&refused, "refused").await;
    let why = refused["blockedBy"].as_str().unwrap();
    assert!(why.contains("CREATE ROLE") && why.contains("hand it in as `value`"), "{why}");

    served.database.execute(&format!("ALTER ROLE {} CREATEROLE", served.role.name)).await;
    let traffic = Traffic::on(&served.admin).await;
    let rollover = served.begin(None, "graceful").await;
    served.reaches(&rollover, "retired").await;
    let other = format!("{}_b", served.role.name);
    assert!(served.connections(&other).await > 0);
    assert_eq!(served.connections(&served.role.name).await, 0);

    served.database.execute(&format!("ALTER ROLE {other} CREATEROLE")).await;
    let back = served.begin(None, "graceful").await;
    served.reaches(&back, "retired").await;
    assert!(served.connections(&served.role.name).await > 0);
    assert_eq!(served.connections(&other).await, 0);
    traffic.goes_on(50).await;
    traffic.ends().await;
    served.process.terminate().await;
    served.database.execute(&format!("DROP ROLE {other}")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_credential_that_does_not_do_changes_nothing_and_says_why() {
    let served = Served::on_own_role().await;
    let traffic = Traffic::on(&served.admin).await;
    let begin = json!({ "secret": "DATABASE_URL", "reason": "a test", "value": "no colon in it" });
    let malformed = served.admin.post("/admin/rollovers", begin).await;
    assert_eq!(malformed.status, 422);
    assert!(malformed.json()["detail"].as_str().unwrap().contains("user:password"));

    let stranger = served.database.role().await;
    for (value, expected) in [
        (format!("{}:a wrong password", stranger.name), "password authentication failed"),
        (user_info(&stranger), "lacks a right"),
    ] {
        let dry = json!({
            "secret": "DATABASE_URL", "reason": "a test", "value": value, "dryRun": true
        });
        let dry = served.admin.post("/admin/rollovers", dry).await;
        assert_eq!((dry.status.as_u16(), &dry.json()["code"]), (422, &"probe_failed".into()));

        let rollover = served.begin(Some(&value), "graceful").await;
        let abandoned = served.reaches(&rollover, "abandoned").await;
        let why = abandoned["blockedBy"].as_str().unwrap();
        assert!(why.contains(expected), "{why}");
        assert!(!why.contains("a wrong password"), "{why}");
    }
    traffic.goes_on(20).await;
    traffic.ends().await;
    assert!(served.connections(&served.role.name).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_role_that_others_use_still_is_not_ended_until_they_have_left() {
    let served = Served::on_own_role().await;
    let second = served.second_role().await;
    let other = sqlx::PgPool::connect(&served.role.url).await.unwrap();
    let rollover = served.begin(Some(&user_info(&second)), "graceful").await;
    let path = format!("/admin/rollovers/{}", rollover["id"].as_str().unwrap());
    loop {
        let rollover = served.admin.get(&path).await.expect(200);
        if rollover["blockedBy"].as_str().is_some_and(|by| by.contains("open connection(s)")) {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    sqlx::query("SELECT 1").execute(&other).await.expect("it works on");

    // The way back is open, and leaves the new role with its password.
    served
        .admin
        .post(&format!("{path}/roll-back"), json!({ "reason": "a test" }))
        .await
        .expect(200);
    served.reaches(&rollover, "rolled_back").await;
    assert!(served.connections(&served.role.name).await > 1);
    sqlx::PgPool::connect(&second.url).await.expect("nobody revoked the new one");
}
