//! Two roles of the database take turns, and a password that was made is in somebody's
//! hands before the old one is taken away.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{
    database_role::{OnOwnRole, Traffic},
    served::{Served, path_of},
    support::{deployment::Db, postgres::Role},
};

/// An API that reads `DATABASE_URL` from a file, on a role of its own.
struct OnFile {
    served: Served,
    role: Role,
    folder: tempfile::TempDir,
}

impl OnFile {
    async fn start() -> Self {
        let (db, role) = OnOwnRole::migrated().await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        std::fs::write(&file, &role.url).unwrap();
        let variables = [("DATABASE_URL_FILE", file.to_str().unwrap())];
        let served = Served::with(db, &variables).await;
        Self { served, role, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("url")
    }

    async fn execute(&self, sql: &str) {
        self.served.db.execute(sql, "").await;
    }

    async fn connections(&self, role: &str) -> i64 {
        let Db::Postgres(database) = &self.served.db else { unreachable!("it is on PostgreSQL") };
        sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = $1")
            .bind(role)
            .fetch_one(&database.pool().await)
            .await
            .unwrap()
    }

    /// Has a rollover make the credential, and hands it over once it is asked for.
    async fn turn(&self, number: u32, from: &str, to: &str) {
        let rollover = self.served.begin("DATABASE_URL", "graceful", None).await;
        self.served.blocked(&rollover, "keys --reveal DATABASE_URL").await;
        assert!(self.connections(to).await > 0, "turn {number}: it is in use");
        let value = self.folder.path().join(format!("value-{number}"));
        let made = revealed(&self.served.db, &value).await;
        assert!(made.starts_with(to), "turn {number}");
        std::fs::write(self.file(), with(&self.role.url, &made)).unwrap();
        resume(&self.served, &rollover).await;
        self.served.reaches(&rollover, "retired").await;
        assert_eq!(self.connections(from).await, 0, "turn {number}");
    }
}

/// `url` with another `user:password`.
fn with(url: &str, user_info: &str) -> String {
    let (_, rest) = url.split_once('@').unwrap();
    format!("postgres://{user_info}@{rest}")
}

/// Has whoever drives it look again at once.
async fn resume(served: &Served, rollover: &Value) {
    let path = format!("{}/resume", path_of(rollover));
    served.admin.post(&path, json!({ "reason": "a test" })).await.expect(200);
}

/// The credential in use, as the command gives it.
async fn revealed(db: &Db, file: &Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    let told = file.to_str().unwrap();
    let ask = ["keys", "--reveal", "DATABASE_URL", "--into", told, "--reason", "a test"];
    let done = db.run(ask).finish().await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let value = std::fs::read_to_string(file).unwrap().trim_end().to_owned();
    let (_, password) = value.split_once(':').unwrap();
    assert!(!done.stdout.contains(password) && !done.stderr.contains(password));
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = db.run(ask).finish().await;
    assert_eq!(again.code, Some(1), "a file that is there stays as it is");
    value
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn two_roles_take_turns_where_they_may_make_roles() {
    let on = OnFile::start().await;
    let (a, b) = (on.role.name.clone(), format!("{}_b", on.role.name));
    let refused = on.served.begin("DATABASE_URL", "graceful", None).await;
    let refused = on.served.reaches(&refused, "refused").await;
    let why = refused["blockedBy"].as_str().unwrap();
    assert!(why.contains("CREATE ROLE") && why.contains("hand it in as `value`"), "{why}");

    on.execute(&format!("ALTER ROLE {a} CREATEROLE")).await;
    let traffic = Traffic::on(&on.served.admin).await;
    on.turn(1, &a, &b).await;
    on.turn(2, &b, &a).await;
    on.turn(3, &a, &b).await;
    traffic.goes_on(50).await;
    traffic.ends().await;
    let trail = on.served.admin.get("/admin/audit?limit=200").await.expect(200);
    let entries = trail["entries"].as_array().unwrap();
    let reveals = entries.iter().filter(|entry| entry["action"] == "key.reveal").count();
    assert_eq!(reveals, 3, "{trail}");
    let Served { db, process, .. } = on.served;
    process.terminate().await;
    db.execute(&format!("DROP ROLE {b}"), "").await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn two_roles_take_turns_by_the_function_of_the_readme() {
    let on = OnFile::start().await;
    let (a, b) = (on.role.name.clone(), format!("{}_b", on.role.name));
    // The README's, with the names of this test.
    let readme = include_str!("../../README.md");
    let sql = readme.split("```sql\n-- Two roles in turn").nth(1).unwrap();
    let sql = sql.split_once('\n').unwrap().1.split("```").next().unwrap();
    on.execute(&sql.replace("breeze_api", &a)).await;
    for (number, (from, to)) in [(1, (&a, &b)), (2, (&b, &a)), (3, (&a, &b))] {
        on.turn(number, from, to).await;
    }
    // It gives a password to these two alone.
    let told = sqlx::query("SELECT rollover.renew_login('postgres', 'SCRAM-SHA-256$4096:x$y:z')");
    let Db::Postgres(database) = &on.served.db else { unreachable!("it is on PostgreSQL") };
    let denied = told.execute(&database.pool().await).await.unwrap_err();
    assert_eq!(denied.into_database_error().unwrap().code().as_deref(), Some("42501"));
    let Served { db, process, .. } = on.served;
    process.terminate().await;
    db.execute(&format!("DROP OWNED BY {b}; DROP ROLE {b}"), "").await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_role_of_somebody_else_keeps_its_password() {
    let on = OnFile::start().await;
    let (a, b) = (on.role.name.clone(), format!("{}_b", on.role.name));
    on.execute(&format!("ALTER ROLE {a} CREATEROLE")).await;
    on.execute(&format!("CREATE ROLE {b} LOGIN PASSWORD 'of another service'")).await;
    let theirs = || async {
        let url = with(&on.role.url, &format!("{b}:of%20another%20service"));
        sqlx::PgPool::connect(&url).await
    };
    let refused = on.served.begin("DATABASE_URL", "graceful", None).await;
    let refused = on.served.reaches(&refused, "refused").await;
    let why = refused["blockedBy"].as_str().unwrap();
    assert!(why.contains("somebody else's") && why.contains(&b), "{why}");
    let connected = theirs().await.expect("its password is as it was");

    // One of the two, but in use: by whom, only an operator knows.
    on.execute(&format!("GRANT {a} TO {b}")).await;
    let refused = on.served.begin("DATABASE_URL", "graceful", None).await;
    let refused = on.served.reaches(&refused, "refused").await;
    assert!(refused["blockedBy"].as_str().unwrap().contains("open connection(s)"), "{refused}");
    connected.close().await;
    theirs().await.expect("its password is as it was").close().await;
    let Served { db, process, .. } = on.served;
    process.terminate().await;
    db.execute(&format!("DROP ROLE {b}"), "").await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn every_process_may_die_before_anybody_has_the_password_that_was_made() {
    let on = OnFile::start().await;
    let (a, b) = (on.role.name.clone(), format!("{}_b", on.role.name));
    on.execute(&format!("ALTER ROLE {a} CREATEROLE")).await;
    let rollover = on.served.begin("DATABASE_URL", "graceful", None).await;
    on.served.blocked(&rollover, "keys --reveal DATABASE_URL").await;
    // What the environment has still lets it in, and custody has the rest.
    let file = on.file();
    let variables = [("DATABASE_URL_FILE", file.to_str().unwrap())];
    let served = on.served.killed_and_started(&variables).await;
    let made = revealed(&served.db, &on.folder.path().join("value")).await;
    std::fs::write(&file, with(&on.role.url, &made)).unwrap();
    resume(&served, &rollover).await;
    served.reaches(&rollover, "retired").await;
    let served = served.killed_and_started(&variables).await;
    served.admin.get("/api/v1/users/me").await.expect(200);

    let none = ["keys", "--reveal", "JWT_SECRET", "--into", "x", "--reason", "a test"];
    let none = served.db.run(none).finish().await;
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("does not leave the key store"), "{}", none.stderr);
    let Served { db, process, .. } = served;
    process.terminate().await;
    db.execute(&format!("DROP ROLE {b}"), "").await;
}
