//! A PostgreSQL server of the test's own, which it may crash and start again.
//!
//! The server is a child of the test, so that it ends with it. Its files are the
//! kernel's once they are written: what a crash of the server alone may lose is lost,
//! and a power cut is not tried.

use std::{
    env,
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Mutex,
    time::Duration,
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::pooler::Pooler;
use crate::support::free_port;

/// How many connections the server takes.
pub(crate) const SLOTS: u32 = 100;

/// The superuser, and the role that the API has.
const SUPERUSER: &str = "breeze_tests";
pub(crate) const API: &str = "breeze_api";
pub(crate) const DATABASE: &str = "breeze";

/// A server, gone with this value.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: TempDir,
    programs: PathBuf,
    owner: Option<(u32, u32)>,
    password: String,
    port: u16,
    server: Mutex<Option<Child>>,
    pooler: Option<Pooler>,
}

impl Cluster {
    /// Starts a server with one empty database, which the API's role owns.
    pub(crate) async fn start() -> Self {
        // Under /tmp whatever TMPDIR says: the path of a socket has room for 107 bytes.
        let folder = tempfile::Builder::new()
            .prefix("breeze-faults.")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in("/tmp")
            .unwrap();
        let password = Uuid::new_v4().simple().to_string();
        fs::write(folder.path().join("password"), &password).unwrap();
        let owner = owner(folder.path());
        let cluster = Self {
            programs: programs(),
            owner,
            password,
            port: free_port(),
            server: Mutex::default(),
            pooler: None,
            folder,
        };
        for name in ["", "password"] {
            let path = cluster.folder.path().join(name);
            if let Some((user, group)) = owner {
                chown(path, Some(user), Some(group)).unwrap();
            }
        }
        let password_file = format!("--pwfile={}", cluster.path("password"));
        let made = cluster
            .program("initdb")
            .args(["-D", &cluster.path("data"), &password_file, "--username", SUPERUSER])
            .args([
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .status();
        assert!(made.await.unwrap().success(), "initdb failed: {}", cluster.log());
        cluster.go_on().await;
        let make = format!(
            "CREATE ROLE {API} LOGIN PASSWORD '{0}'; CREATE DATABASE {DATABASE} OWNER {API}",
            cluster.password
        );
        for statement in make.split("; ") {
            cluster.execute("postgres", statement).await;
        }
        cluster
    }

    /// The API's URL of the database, by way of `port`.
    pub(crate) fn url_by(&self, port: u16) -> String {
        format!("postgres://{API}:{}@127.0.0.1:{port}/{DATABASE}", self.password)
    }

    /// The superuser's URL of the database.
    pub(crate) fn url(&self) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{DATABASE}", self.password, self.port)
    }

    /// Has a pooler in front of it.
    pub(crate) async fn behind_a_pooler(mut self) -> Self {
        self.pooler = Some(Pooler::before(&self).await);
        self
    }

    pub(crate) fn pooler(&self) -> Option<u16> {
        self.pooler.as_ref().map(|pooler| pooler.port)
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// Where it listens.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Ends every backend at once, without a checkpoint: it recovers when it starts.
    pub(crate) async fn crash(&self) {
        let stopped = self
            .program("pg_ctl")
            .args(["stop", "-D", &self.path("data"), "-m", "immediate", "-s"])
            .status();
        assert!(stopped.await.unwrap().success(), "it did not stop: {}", self.log());
        let server = self.server.lock().unwrap().take();
        if let Some(mut server) = server {
            server.wait().await.unwrap();
        }
    }

    /// Starts it again, and waits until it takes connections.
    pub(crate) async fn go_on(&self) {
        let mut command = self.program("postgres");
        let (port, slots) = (self.port.to_string(), SLOTS.to_string());
        command
            .args(["-D", &self.path("data"), "-h", "127.0.0.1", "-p", &port, "-N", &slots])
            .args(["-k", &self.path(""), "-F", "-c", "full_page_writes=off"]);
        *self.server.lock().unwrap() = Some(command.kill_on_drop(true).spawn().unwrap());
        let ready = async {
            let ask =
                || self.program("pg_isready").args(["-q", "-h", "127.0.0.1", "-p", &port]).status();
            while !ask().await.unwrap().success() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(60), ready).await.unwrap_or_else(|_| panic!("{}", self.log()));
    }

    async fn execute(&self, database: &str, sql: &str) {
        let mut connection = self.connect(database).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// A superuser's connection to a database, by the socket in a folder that nobody
    /// else can enter.
    pub(crate) async fn connect(&self, database: &str) -> sqlx::Result<PgConnection> {
        let options = PgConnectOptions::new().socket(self.folder.path()).port(self.port);
        options.username(SUPERUSER).database(database).connect().await
    }

    /// One of PostgreSQL's programs, as a user that it takes, with an empty environment.
    fn program(&self, name: &str) -> Command {
        self.command(&self.programs.join(name))
    }

    /// A program, as the server's user.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let log = fs::File::options().create(true).append(true).open(self.log_file()).unwrap();
        command.env_clear().current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The end of what the server has told.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned()
    }
}

/// The folder of PostgreSQL's programs: the one in `PATH`, else Debian's newest.
fn programs() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<_> = debian.map(|version| version.path().join("bin")).collect();
    debian.sort();
    env::split_paths(&path)
        .chain(debian.into_iter().rev())
        .find(|folder| folder.join("initdb").exists())
        .map(|folder| fs::canonicalize(folder.join("initdb")).unwrap())
        .and_then(|program| program.parent().map(Path::to_owned))
        .expect("tests/run installs PostgreSQL")
}

/// Whom the server runs as where the test runs as root, whom it refuses: its own user,
/// else nobody.
fn owner(mine: &Path) -> Option<(u32, u32)> {
    if fs::metadata(mine).unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2);
        Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
    };
    ids("postgres").or_else(|| ids("nobody"))
}
