//! A database that does not let the process in: requests are told to come back, and a
//! start says what to do.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::support::{
    breeze_api::Process,
    deployment::{Db, administrator},
    free_port,
    http::Client,
    postgres::{self, Role},
};

/// A database, and a role with the rights of the README's role that serves.
async fn with_role() -> (Db, Role) {
    let database = postgres::database().await;
    let role = database.role().await;
    let db = Db::Postgres(Box::new(database));
    db.migrate().await;
    on(&db).lets_serve(&role.name).await;
    (db, role)
}

fn on(db: &Db) -> &postgres::Database {
    match db {
        Db::Postgres(database) => database,
        Db::Sqlite(_) => unreachable!("it was made on PostgreSQL"),
    }
}

async fn serve(db: &Db, url: &str) -> (Process, Client) {
    let port = free_port();
    let mut process = db
        .run(["serve"])
        .env("DATABASE_URL", url)
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .start();
    process.listens_on(port).await;
    (process, Client::on(port))
}

/// Ends the role's connections, as a restart of the server does.
async fn cut(db: &Db, role: &Role) {
    let cut = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'",
        role.name
    );
    on(db).execute(&cut).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_login_that_is_refused_is_no_fault_of_the_request() {
    let (db, role) = with_role().await;
    let (process, client) = serve(&db, &role.url).await;
    let admin = administrator(&client, &process.stdout()).await;
    admin.get("/api/v1/tenant-variables").await.expect(200);
    let name = &role.name;
    let password = &role.password;
    for (shut, open) in [
        // 28P01
        (
            format!("ALTER ROLE {name} PASSWORD 'another one'"),
            format!("ALTER ROLE {name} PASSWORD '{password}'"),
        ),
        // 28000
        (format!("ALTER ROLE {name} NOLOGIN"), format!("ALTER ROLE {name} LOGIN")),
    ] {
        on(&db).execute(&shut).await;
        cut(&db, &role).await;
        // A connection that was cut is found out by whoever uses it.
        let mut refused = 0;
        while refused < 10 {
            let answer = admin.get("/api/v1/tenant-variables").await;
            if answer.status != 200 {
                answer.expect(503);
                refused += 1;
            }
        }
        assert_eq!(client.get("/ready").await.status, 503, "{shut}");
        on(&db).execute(&open).await;
        while admin.get("/api/v1/tenant-variables").await.status != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_start_with_the_role_of_before_says_what_to_do_and_that_does_it() {
    let (db, role) = with_role().await;
    on(&db).execute(&format!("ALTER ROLE {} CREATEROLE", role.name)).await;
    let (process, client) = serve(&db, &role.url).await;
    let admin = administrator(&client, &process.stdout()).await;
    // Made here, and lost: nobody has it, and the old one was taken away all the same.
    let body = json!({ "secret": "DATABASE_URL", "mode": "graceful", "reason": "a test" });
    let begun = admin.post("/admin/rollovers", body).await.expect(202);
    let path = format!("/admin/rollovers/{}", begun["id"].as_str().unwrap());
    let is_asked_for = |rollover: &serde_json::Value| {
        rollover["blockedBy"].as_str().is_some_and(|by| by.contains("keys --reveal"))
    };
    while !is_asked_for(&admin.get(&path).await.expect(200)) {
        sleep(Duration::from_millis(50)).await;
    }
    on(&db).execute(&format!("ALTER ROLE {} PASSWORD NULL", role.name)).await;
    let revoked = json!({ "reason": "a test" });
    admin.post(&format!("{path}/revoked"), revoked).await.expect(200);
    while admin.get(&path).await.expect(200)["phase"] != "retired" {
        sleep(Duration::from_millis(50)).await;
    }
    process.terminate().await;

    for command in [&["serve"][..], &["keys"]] {
        let refused = db.run(command.iter().copied()).env("DATABASE_URL", &role.url);
        let refused = refused.finish().await;
        assert_eq!(refused.code, Some(1));
        let told = "put the credential in use into DATABASE_URL: after a rollover, the new one";
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
        assert!(refused.stderr.contains("ALTER ROLE"), "{}", refused.stderr);
    }

    // As it says: the role of before lets it in, and the store has the credential in use.
    let back = format!("ALTER ROLE {} PASSWORD '{}'", role.name, role.password);
    on(&db).execute(&back).await;
    let (process, client) = serve(&db, &role.url).await;
    assert_eq!(client.get("/ready").await.status, 200);
    let other = format!("{}_b", role.name);
    let connections = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{other}'");
    let connections: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(connections))
        .fetch_one(&on(&db).pool().await)
        .await
        .unwrap();
    assert!(connections > 0, "it works as the role in use");
    process.terminate().await;
    on(&db).execute(&format!("DROP ROLE {other}")).await;
}
