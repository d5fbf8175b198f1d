//! Databases in a file.

use std::{env, path::PathBuf, process::Command, sync::OnceLock};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tempfile::TempDir;

/// A database file in a folder of its own, removed with this value.
#[derive(Debug)]
pub struct File {
    folder: TempDir,
}

/// Names a database file that does not exist yet: in memory, where the system has a folder
/// with room for that. Tests kill processes, never the machine: nothing needs the disk.
pub fn file() -> File {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    let place = PLACE.get_or_init(|| in_memory().unwrap_or_else(env::temp_dir));
    File { folder: tempfile::tempdir_in(place).unwrap() }
}

/// The folder in memory, if it has room for many databases.
fn in_memory() -> Option<PathBuf> {
    const ENOUGH_KIB: u64 = 4 << 20;
    let folder = "/dev/shm";
    let told = Command::new("df").args(["-Pk", folder]).output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let free: u64 = told.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    (free > ENOUGH_KIB).then(|| folder.into())
}

impl File {
    /// Its URL.
    pub fn url(&self) -> String {
        format!("sqlite://{}", self.path().display())
    }

    /// Its path.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("breeze.db")
    }

    /// Connections to it; the file is made if it is not there.
    pub async fn pool(&self) -> SqlitePool {
        let options = SqliteConnectOptions::new().filename(self.path()).create_if_missing(true);
        SqlitePoolOptions::new().max_connections(4).connect_with(options).await.unwrap()
    }

    /// Runs statements, one or many.
    pub async fn execute(&self, sql: &str) {
        let pool = self.pool().await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
        pool.close().await;
    }
}
