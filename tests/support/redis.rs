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
    /// What it proves who it is with, where it speaks TLS.
    certificate: Option<String>,
}

impl Redis {
    /// With one user, who may do what `rights` say.
    pub async fn start(rights: &str) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let users = format!("user default off\nuser api on >{OLD} {rights}\n");
        std::fs::write(folder.path().join("users.acl"), users).unwrap();
        let server = Self::run(port, &folder).await;
        Self { port, folder, server, certificate: None }
    }

    /// The same with TLS alone, under an authority of its own.
    pub async fn start_with_tls(rights: &str) -> Self {
        let mut redis = Self::start(rights).await;
        redis.stop().await;
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let write = |name: &str, text: String| {
            std::fs::write(redis.folder.path().join(name), text).unwrap();
        };
        write("cert.pem", certified.cert.pem());
        write("key.pem", certified.signing_key.serialize_pem());
        redis.certificate = Some(certified.cert.pem());
        redis.start_again().await;
        redis
    }

    /// The certificate that it proves who it is with.
    pub fn certificate(&self) -> &str {
        self.certificate.as_deref().unwrap()
    }

    /// Where it listens.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Sends it a signal, by its name without `SIG`.
    pub async fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.server.id().unwrap());
        assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
    }

    async fn run(port: u16, folder: &tempfile::TempDir) -> Child {
        let port_of = if folder.path().join("cert.pem").exists() { "--tls-port" } else { "--port" };
        let mut command = Command::new("redis-server");
        if port_of == "--tls-port" {
            command.args(["--port", "0", "--tls-auth-clients", "no"]);
            command.args(["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"]);
            command.args(["--tls-ca-cert-file", "cert.pem"]);
        }
        let server = command
            .args([port_of, &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
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
        self.url_of(OLD)
    }

    /// The URL of its user with this password.
    pub fn url_of(&self, password: &str) -> String {
        match self.certificate {
            Some(_) => format!("rediss://api:{password}@localhost:{}/0", self.port),
            None => format!("redis://api:{password}@127.0.0.1:{}/0", self.port),
        }
    }

    /// What the server answers to a command of the user with this password.
    pub async fn ask(
        &self,
        password: &str,
        command: &[&str],
    ) -> ::redis::RedisResult<::redis::Value> {
        let mut connection = self.connect(password).await?;
        let mut it = ::redis::cmd(command[0]);
        for argument in &command[1..] {
            it.arg(argument);
        }
        it.query_async(&mut connection).await
    }

    /// A connection of its user with this password.
    pub async fn connect(
        &self,
        password: &str,
    ) -> ::redis::RedisResult<::redis::aio::MultiplexedConnection> {
        let url = self.url_of(password);
        let client = match &self.certificate {
            None => ::redis::Client::open(url),
            Some(pem) => {
                let root_cert = Some(pem.clone().into_bytes());
                let trusted = ::redis::TlsCertificates { client_tls: None, root_cert };
                ::redis::Client::build_with_tls(url, trusted)
            }
        };
        client.unwrap().get_multiplexed_async_connection().await
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
