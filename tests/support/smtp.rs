//! A real mail server: aiosmtpd, with AUTH over TLS, and nothing without either.
//!
//! A test that uses it begins with
//! `#[cfg_attr(not(smtp_tests), ignore = "needs aiosmtpd; tests/run installs it")]`.

use std::{fs, path::PathBuf, process::Stdio, time::Duration};

use serde_json::json;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::sleep,
};

use super::free_port;

pub const OLD: (&str, &str) = ("breeze", "the old password of the tests");
pub const NEW: (&str, &str) = ("breeze-2", "the new password of the tests");

/// The credential as a person writes it: with blanks, and in an order of its own.
pub fn value((user, password): (&str, &str)) -> String {
    format!(r#"{{"SMTP_PASS": {}, "SMTP_USER": {}}}"#, json!(password), json!(user))
}

/// The same as it is kept.
pub fn kept((user, password): (&str, &str)) -> String {
    format!(r#"{{"SMTP_USER":{},"SMTP_PASS":{}}}"#, json!(user), json!(password))
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
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/smtp_server.py");
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
