//! The credential of the database rolls over under traffic, and the old one is ended
//! right after.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::time::sleep;

use crate::{
    served::{Served, path_of},
    support::{
        deployment::Db,
        http::Client,
        postgres::{self, Role},
    },
};

/// A running API on a role of its own.
pub(crate) struct OnOwnRole {
    pub(crate) served: Served,
    pub(crate) role: Role,
}

impl OnOwnRole {
    pub(crate) async fn start() -> Self {
        let (db, role) = Self::migrated().await;
        let served = Served::at(db, &role.url, &[]).await;
        Self { served, role }
    }

    /// A database that a role may serve on.
    pub(crate) async fn migrated() -> (Db, Role) {
        let database = postgres::database().await;
        let role = database.role().await;
        let db = Db::Postgres(Box::new(database));
        db.migrate().await;
        let Db::Postgres(database) = &db else { unreachable!("it was made on PostgreSQL") };
        database.lets_serve(&role.name).await;
        (db, role)
    }

    pub(crate) fn database(&self) -> &postgres::Database {
        match &self.served.db {
            Db::Postgres(database) => database,
            Db::Sqlite(_) => unreachable!("it was made on PostgreSQL"),
        }
    }

    /// Another role with the same rights.
    pub(crate) async fn second_role(&self) -> Role {
        let second = self.database().role().await;
        self.database().execute(&format!("GRANT {} TO {}", self.role.name, second.name)).await;
        second
    }

    /// The server's processes for the role.
    pub(crate) async fn backends(&self) -> Vec<i32> {
        sqlx::query_scalar("SELECT pid FROM pg_stat_activity WHERE usename = $1")
            .bind(&self.role.name)
            .fetch_all(&self.database().pool().await)
            .await
            .unwrap()
    }

    /// Open connections of a role.
    pub(crate) async fn connections(&self, role: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = $1")
            .bind(role)
            .fetch_one(&self.database().pool().await)
            .await
            .unwrap()
    }
}

/// `user:password`, as the URL of a role holds it.
pub(crate) fn user_info(role: &Role) -> String {
    let (_, rest) = role.url.split_once("://").unwrap();
    rest.split_once('@').unwrap().0.to_owned()
}

/// Edits and reads them back until it is stopped; answers how many requests it made.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<u64>>,
    requests: Arc<AtomicU64>,
}

impl Traffic {
    pub(crate) async fn on(admin: &Client) -> Self {
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
    pub(crate) async fn goes_on(&self, count: u64) {
        let until = self.requests.load(Ordering::Relaxed) + count;
        while self.requests.load(Ordering::Relaxed) < until {
            assert!(self.clients.iter().all(|client| !client.is_finished()), "a request failed");
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn ends(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            assert!(client.await.unwrap() > 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_second_role_takes_over_under_traffic_and_the_old_one_is_ended() {
    let on = OnOwnRole::start().await;
    let served = &on.served;
    let second = on.second_role().await;
    let traffic = Traffic::on(&served.admin).await;
    traffic.goes_on(50).await;

    let rollover = served.begin("DATABASE_URL", "graceful", Some(&user_info(&second))).await;
    served.reaches(&rollover, "retired").await;
    assert_eq!(on.connections(&on.role.name).await, 0);
    let old = sqlx::PgPool::connect(&on.role.url).await.unwrap_err();
    assert_eq!(old.into_database_error().unwrap().code().as_deref(), Some("28P01"));
    on.database().execute(&format!("ALTER ROLE {} NOLOGIN", on.role.name)).await;
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
    let report = served.admin.get(&path_of(&rollover)).await.expect(200)["report"].clone();
    let shown = report["revocation"]["shown"].as_str().unwrap();
    let left = format!("no connection of role {} is left; ", on.role.name);
    assert!(shown.starts_with(&left) && shown.contains("has no password any more"), "{report}");
    let shown = report["trial"]["shown"].as_str().unwrap();
    assert!(shown.contains("has the rights of the present one"), "{report}");
    let log = on.served.process.terminate().await.stderr;
    assert!(!log.contains("ERROR"), "{log}");
    for role in [&on.role, &second] {
        let (_, password) = role.url.split_once("://").unwrap().1.split_once(':').unwrap();
        assert!(!log.contains(password.split('@').next().unwrap()), "a password is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_new_password_of_the_same_role_leaves_no_connection_of_the_old_one() {
    let on = OnOwnRole::start().await;
    let served = &on.served;
    let traffic = Traffic::on(&served.admin).await;
    // Connections that are idle bridge the time in which the role has a password that the
    // process does not know yet.
    traffic.goes_on(50).await;
    traffic.ends().await;
    let role = &on.role.name;
    on.database().execute(&format!("ALTER ROLE {role} PASSWORD 'another one'")).await;
    let before: Vec<i32> = on.backends().await;
    assert!(!before.is_empty());

    let value = format!("{role}:another%20one");
    let rollover = served.begin("DATABASE_URL", "graceful", Some(&value)).await;
    served.reaches(&rollover, "retired").await;
    let traffic = Traffic::on(&served.admin).await;
    traffic.goes_on(50).await;
    traffic.ends().await;
    let after = on.backends().await;
    assert!(!after.is_empty());
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_credential_that_does_not_do_changes_nothing_and_says_why() {
    let on = OnOwnRole::start().await;
    let served = &on.served;
    let traffic = Traffic::on(&served.admin).await;
    let begin = json!({ "secret": "DATABASE_URL", "reason": "a test", "value": "no colon in it" });
    let malformed = served.admin.post("/admin/rollovers", begin).await;
    assert_eq!(malformed.status, 422);
    assert!(malformed.json()["detail"].as_str().unwrap().contains("user:password"));

    let stranger = on.database().role().await;
    // All that the present role may do, but for one column and one function.
    let (role, almost) = (&on.role.name, on.database().role().await);
    on.database().lets_serve(&almost.name).await;
    on.database()
        .execute(&format!(
            "CREATE TABLE public.notes (id int PRIMARY KEY, text text, hidden text);
             GRANT SELECT (id), UPDATE (text) ON public.notes TO {role};
             GRANT SELECT (id) ON public.notes TO {};
             CREATE FUNCTION public.noted() RETURNS int LANGUAGE sql AS 'SELECT 1';
             REVOKE EXECUTE ON FUNCTION public.noted FROM PUBLIC;
             GRANT EXECUTE ON FUNCTION public.noted TO {role}",
            almost.name
        ))
        .await;
    for (value, expected) in [
        (user_info(&almost), "UPDATE on column public.notes.text, EXECUTE on noted()"),
        (format!("{}:a wrong password", stranger.name), "password authentication failed"),
        (user_info(&stranger), "lacks a right"),
    ] {
        let dry = json!({
            "secret": "DATABASE_URL", "reason": "a test", "value": value, "dryRun": true
        });
        let dry = served.admin.post("/admin/rollovers", dry).await;
        assert_eq!((dry.status.as_u16(), &dry.json()["code"]), (422, &"probe_failed".into()));

        let rollover = served.begin("DATABASE_URL", "graceful", Some(&value)).await;
        let abandoned = served.reaches(&rollover, "abandoned").await;
        let why = abandoned["blockedBy"].as_str().unwrap();
        assert!(why.contains(expected), "{why}");
        assert!(!why.contains("a wrong password"), "{why}");
    }
    traffic.goes_on(20).await;
    traffic.ends().await;
    assert!(on.connections(&on.role.name).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_role_that_others_use_still_is_not_ended_until_they_have_left() {
    let on = OnOwnRole::start().await;
    let served = &on.served;
    let second = on.second_role().await;
    let other = sqlx::PgPool::connect(&on.role.url).await.unwrap();
    let rollover = served.begin("DATABASE_URL", "graceful", Some(&user_info(&second))).await;
    let path = path_of(&rollover);
    served.blocked(&rollover, "open connection(s)").await;
    sqlx::query("SELECT 1").execute(&other).await.expect("it works on");

    // The way back is open, and leaves the new role with its password.
    served
        .admin
        .post(&format!("{path}/roll-back"), json!({ "reason": "a test" }))
        .await
        .expect(200);
    let rolled_back = served.reaches(&rollover, "rolled_back").await;
    let left = rolled_back["report"]["leftBehind"]["told"].as_str().unwrap();
    assert!(left.contains("has its power") && left.contains("ALTER ROLE"), "{rolled_back}");
    assert!(on.connections(&on.role.name).await > 1);
    sqlx::PgPool::connect(&second.url).await.expect("nobody revoked the new one");
}
