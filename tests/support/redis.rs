//! A Redis server of a test's own, with one user `api`.
//!
//! A test that uses it begins with
//! `#[cfg_attr(not(redis_tests), ignore = "needs redis-server; tests/run installs it")]`.

use std::{process::Stdio, time::Duration};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::sleep,
};

use super::free_port;

/// The password of its user `api`.
pub const OLD: &str = "an-old-password-of-redis-0123456789";

/// A Redis server of this test's own, ended with this value.
pub struct Redis {
    port: u16,
    folder: tempfile::TempDir,
    server: Child,
}

impl Redis {
    /// With one user, who may do what `rights` say.
    pub async fn start(rights: &str) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let users = format!("user default off\nuser api on >{OLD} {rights}\n");
        std::fs::write(folder.path().join("users.acl"), users).unwrap();
        let server = Self::run(port, &folder).await;
        Self { port, folder, server }
    }

    async fn run(port: u16, folder: &tempfile::TempDir) -> Child {
        let server = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--aclfile", folder.path().join("users.acl").to_str().unwrap()])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
        server
    }

    pub async fn stop(&mut self) {
        self.server.kill().await.unwrap();
    }

    pub async fn start_again(&mut self) {
        self.server = Self::run(self.port, &self.folder).await;
    }

    pub fn url(&self) -> String {
        format!("redis://api:{OLD}@127.0.0.1:{}/0", self.port)
    }

    /// What the server answers to a command of the user with this password.
    pub async fn ask(
        &self,
        password: &str,
        command: &[&str],
    ) -> ::redis::RedisResult<::redis::Value> {
        let url = format!("redis://api:{password}@127.0.0.1:{}/0", self.port);
        let client = ::redis::Client::open(url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut it = ::redis::cmd(command[0]);
        for argument in &command[1..] {
            it.arg(argument);
        }
        it.query_async(&mut connection).await
    }

    /// Its users, as its file has them.
    pub fn users(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("users.acl")).unwrap()
    }

    /// Of how many accounts failed logins are counted.
    pub async fn counters(&self, password: &str) -> usize {
        match self.ask(password, &["KEYS", "breeze:limit:login:*"]).await.unwrap() {
            ::redis::Value::Array(keys) => keys.len(),
            other => panic!("{other:?}"),
        }
    }
}
