//! The README's own statements give each role on PostgreSQL what it needs, and no more.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, reason = "a test has no reader but its own")]

mod support;

use serde_json::json;
use sqlx::{Connection, PgConnection};
use support::{
    breeze_api::breeze_api,
    deployment::{KEYS, administrator},
    free_port,
    http::Client,
    postgres,
};

/// The statements below "Roles on PostgreSQL": those of an administrator before
/// `migrate`, and those of the migrating role after it.
fn statements() -> (String, String) {
    let readme = include_str!("../README.md");
    let section = readme.split("### Roles on PostgreSQL").nth(1).unwrap();
    let block = section.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
    let (before, after) = block.split_once("-- After `breeze-api migrate`").unwrap();
    // The roles are made with names and passwords of this test's own.
    let (roles, before): (Vec<_>, Vec<_>) =
        before.lines().partition(|line| line.starts_with("CREATE ROLE"));
    assert_eq!(roles.len(), 2, "{roles:?}");
    let after = after.split_once('\n').unwrap().1;
    (before.join("\n"), after.to_owned())
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn one_role_migrates_and_another_serves_and_rolls_over() {
    let database = postgres::database().await;
    let (migrates, serves) = (database.role().await, database.role().await);
    let name = serves.url.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
    let named = |sql: &str| {
        sql.replace("breeze_migrate", &migrates.name)
            .replace("breeze_api", &serves.name)
            .replace("DATABASE breeze ", &format!("DATABASE {name} "))
    };
    let (before, after) = statements();
    database.execute(&named(&before)).await;
    let migrated = breeze_api(["migrate"]).env("DATABASE_URL", &migrates.url).finish().await;
    assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    let mut as_migrator = PgConnection::connect(&migrates.url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(named(&after))).execute(&mut as_migrator).await.unwrap();

    let port = free_port();
    let mut server = breeze_api(["serve"])
        .envs(KEYS)
        .env("DATABASE_URL", &serves.url)
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .start();
    server.listens_on(port).await;
    let admin = administrator(&Client::on(port), &server.stdout()).await;
    let variable = json!({ "name": "V", "value": "a value of a tenant" });
    let variable = admin.post("/api/v1/tenant-variables", variable).await.expect(201);

    let rollover = |more: &'static str| {
        let rollover = ["rollover", "APP_ENCRYPTION_KEY", "--mode", "graceful"];
        breeze_api(rollover.into_iter().chain(["--reason", "a test", "--json", more]))
            .envs(KEYS)
            .env("DATABASE_URL", &serves.url)
            .finish()
    };
    assert_eq!(rollover("--dry-run").await.json()["phase"], "rehearsed");
    let done = rollover("--wait").await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.json()["phase"], "retired");

    let path = format!("/api/v1/tenant-variables/{}", variable["id"].as_str().unwrap());
    assert_eq!(admin.get(&path).await.expect(200)["value"], "a value of a tenant");
    admin.patch(&path, json!({ "value": "another" })).await.expect(200);
    let trail = admin.get("/admin/audit").await.expect(200);
    assert!(trail["entries"].as_array().unwrap().len() > 5, "{trail}");
    for command in ["keys", "census"] {
        let told = breeze_api([command]).env("DATABASE_URL", &serves.url).finish().await;
        assert_eq!(told.code, Some(0), "{}", told.stderr);
    }
    let log = server.terminate().await;
    assert_eq!(log.code, Some(0), "{}", log.stderr);
    for level in [" WARN ", " ERROR "] {
        assert!(!log.stderr.contains(level), "{}", log.stderr);
    }

    // And no more.
    let mut as_server = PgConnection::connect(&serves.url).await.unwrap();
    for refused in [
        "CREATE TABLE public.t (id int)",
        "CREATE TABLE rollover.t (id int)",
        "CREATE TABLE apalis.t (id int)",
        "CREATE SCHEMA t",
        "DROP TABLE public.webhooks",
        "ALTER TABLE public.webhooks ADD COLUMN t int",
        "UPDATE public.audit_logs SET action = 'nothing'",
        "DELETE FROM public.audit_logs",
        "TRUNCATE public.audit_logs",
        "DELETE FROM public.audit_log_chain",
    ] {
        let error = sqlx::raw_sql(refused).execute(&mut as_server).await.unwrap_err();
        let error = error.into_database_error().unwrap();
        assert_eq!(error.code().as_deref(), Some("42501"), "{refused}: {error}");
    }
}
