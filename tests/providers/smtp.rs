//! A real mail server: aiosmtpd, with AUTH over TLS, and nothing without either.

use std::{fs, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use breeze_rollover::{
    material::Material,
    provider::{
        Provider, ProviderError, Trust,
        smtp::{Encrypted, Smtp},
    },
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::sleep,
};

use crate::{
    site::{World, limits},
    support::free_port,
};

pub const OLD: (&str, &str) = ("breeze", "the old password of the tests");
pub const NEW: (&str, &str) = ("breeze-2", "the new password of the tests");

pub fn value((user, password): (&str, &str)) -> String {
    json!({ "SMTP_USER": user, "SMTP_PASS": password }).to_string()
}

/// A mail server of this test's own, ended with this value.
pub struct Server {
    pub port: u16,
    folder: TempDir,
    _process: Child,
}

impl Server {
    pub async fn start(encrypted: &str) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        write("cert.pem", certified.cert.pem());
        write("key.pem", certified.signing_key.serialize_pem());
        fs::create_dir(folder.path().join("mails")).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/providers/smtp_server.py");
        let process = Command::new("/usr/bin/python3")
            .args([script, &port.to_string(), folder.path().to_str().unwrap(), encrypted])
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let server = Self { port, folder, _process: process };
        server.knows(&[OLD, NEW]);
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
        server
    }

    pub fn knows(&self, users: &[(&str, &str)]) {
        let users: std::collections::BTreeMap<_, _> = users.iter().copied().collect();
        // At once: it may be read meanwhile.
        let (new, file) =
            (self.folder.path().join("users.new"), self.folder.path().join("users.json"));
        fs::write(&new, json!(users).to_string()).unwrap();
        fs::rename(new, file).unwrap();
    }

    pub fn certificate(&self) -> String {
        fs::read_to_string(self.folder.path().join("cert.pem")).unwrap()
    }

    /// What it has taken, each with who sent it on the first line.
    pub fn mails(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("mails")).unwrap();
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'))
            .collect();
        files.sort();
        files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
    }
}

fn provider(server: &Server, encrypted: Encrypted, trust: &Trust) -> Arc<Smtp> {
    let from = "Breeze <breeze@example.test>".parse().unwrap();
    Arc::new(Smtp::new("localhost", server.port, encrypted, from, trust, limits()).unwrap())
}

pub async fn world() -> World {
    let server = Server::start("starttls").await;
    let trust = Trust::public().and_pem(server.certificate().as_bytes()).unwrap();
    World {
        provider: provider(&server, Encrypted::StartTls, &trust),
        site: None,
        variables: [("SMTP_USER", OLD.0), ("SMTP_PASS", OLD.1)]
            .map(|(name, text)| (name, text.to_owned()))
            .into(),
        new: value(NEW),
        unknown: |number| value(("breeze", &format!("an unknown password {number}"))),
        malformed: "breeze:password",
        secrets: vec![OLD.1.into(), NEW.1.into(), "an unknown password".into()],
        revokes: false,
        kept: Box::new(server),
    }
}

fn pair(pair: (&str, &str)) -> Material {
    Material::new(value(pair)).unwrap()
}

#[tokio::test]
#[cfg_attr(not(smtp_tests), ignore = "needs aiosmtpd; tests/run installs it")]
async fn a_password_goes_to_no_server_that_cannot_prove_its_name() {
    for (encrypted, how) in [("starttls", Encrypted::StartTls), ("at-once", Encrypted::AtOnce)] {
        let server = Server::start(encrypted).await;
        let unknown = provider(&server, how, &Trust::public()).probe(&pair(OLD)).await;
        let Err(ProviderError::Unreachable(said)) = unknown else { panic!("{unknown:?}") };
        assert!(said.contains("certificate"), "{said}");
        let trust = Trust::public().and_pem(server.certificate().as_bytes()).unwrap();
        let shown = provider(&server, how, &trust).probe(&pair(OLD)).await.unwrap();
        assert_eq!(shown, "the server took the password, over TLS");
    }
}

#[tokio::test]
#[cfg_attr(not(smtp_tests), ignore = "needs aiosmtpd; tests/run installs it")]
async fn a_server_without_tls_or_without_words_gets_no_password() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for (greeting, capabilities) in
        [("220 plain\r\n", "250-plain\r\n250 AUTH PLAIN LOGIN\r\n"), ("hello!\r\n", ""), ("", "")]
    {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(greeting.as_bytes()).await.unwrap();
            let mut heard = vec![0; 4096];
            let read = stream.read(&mut heard).await.unwrap_or(0);
            stream.write_all(capabilities.as_bytes()).await.ok();
            let more = stream.read(&mut heard[read..]).await.unwrap_or(0);
            String::from_utf8_lossy(&heard[..read + more]).into_owned()
        });
        let from = "breeze@example.test".parse().unwrap();
        let (how, trust) = (Encrypted::StartTls, Trust::public());
        let smtp = Smtp::new("localhost", port, how, from, &trust, limits()).unwrap();
        let refused = smtp.probe(&pair(OLD)).await;
        assert!(refused.is_err(), "{greeting}: {refused:?}");
        assert!(!heard.await.unwrap().contains("AUTH"), "{greeting}");
    }
}
