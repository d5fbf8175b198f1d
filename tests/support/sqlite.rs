//! Databases in a file.

use std::{
    env,
    path::{Path, PathBuf},
};

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
/// for that. Tests kill processes, never the machine: nothing needs the disk.
pub fn file() -> File {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
    File { folder: tempfile::tempdir_in(folder).unwrap() }
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
