//! A real TURN server, coturn, with the commands that the catalog tells.

use std::{process::Stdio, sync::Arc, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, ManualClock, SystemClock},
    embed::Database,
    keyring::sources::Environment,
    operator::{Refusal, Request},
    provider::turn::{Bearer, LONGEST, TurnCredential, USUAL, mint},
    rollover::{Mode, Phase},
};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use crate::support::{
    app::{TestApp, on_both_databases, request, setup, variables},
    free_port,
};

pub const OLD: &str = "the-old-turn-secret-of-the-tests";
pub const NEW: &str = "the-new-turn-secret-of-the-tests";
const REALM: &str = "breeze.test";

/// A TURN server of this test's own, ended with this value.
pub struct Coturn {
    pub port: u16,
    folder: TempDir,
    _process: Child,
}

impl Coturn {
    pub async fn start(secret: &str) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        admin(&folder, "-s", secret).await;
        let process = Command::new("turnserver")
            .args(["-n", "--use-auth-secret", "--no-tls", "--no-dtls", "--no-cli"])
            .args([
                "--listening-ip",
                "127.0.0.1",
                "--relay-ip",
                "127.0.0.1",
                "--allow-loopback-peers",
            ])
            .args(["--listening-port", &port.to_string(), "--realm", REALM, "--log-file", "stdout"])
            .args(["-b", folder.path().join("turndb").to_str().unwrap()])
            .args(["--pidfile", folder.path().join("pid").to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
        Self { port, folder, _process: process }
    }

    /// What the catalog says to do, done.
    pub async fn told(&self, step: usize, secret: &str) {
        let command = Secret::TurnSecret.entry().elsewhere[step].split('`').nth(1).unwrap();
        let words: Vec<_> = command.split(' ').collect();
        let [program, what, _, "-r", _, "-b", _] = words[..] else { panic!("{command}") };
        assert_eq!(program, "turnadmin");
        admin(&self.folder, what, secret).await;
    }

    /// Whether the server relays for the bearer of these.
    pub async fn relays(&self, username: &str, credential: &str) -> bool {
        let output = Command::new("turnutils_uclient")
            .args(["-y", "-t", "-c", "-n", "1", "-m", "1", "-p", &self.port.to_string()])
            .args(["-u", username, "-w", credential, "127.0.0.1"])
            .current_dir(self.folder.path())
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_relayed = said.contains("Total lost packets 0 ");
        assert!(is_relayed || said.contains("Cannot complete Allocation"), "{said}");
        is_relayed
    }

    async fn relays_for(&self, made: &TurnCredential) -> bool {
        self.relays(&made.username, made.credential.expose_secret()).await
    }
}

/// coturn's own tool; its log is gone with it.
async fn admin(folder: &TempDir, what: &str, secret: &str) {
    let database = folder.path().join("turndb");
    let mut tool = Command::new("turnadmin")
        .args([what, secret, "-r", REALM, "-b", database.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let log = format!("turn_{}_", tool.id().unwrap());
    assert!(tool.wait().await.unwrap().success());
    for entry in std::fs::read_dir("/var/log").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&log) {
            std::fs::remove_file(entry.path()).ok();
        }
    }
}

on_both_databases!(
    with turn_tests, "needs coturn; tests/run installs it":
    both_secrets_relay_until_the_longest_credential_is_over,
    a_new_secret_is_the_operators_to_make,
);

async fn start(database: Database, clock: Arc<dyn Clock>) -> TestApp {
    let environment = Environment::given(variables().into_iter().chain([("TURN_SECRET", OLD)]));
    let setup =
        setup(&database).environment(environment).clock(clock).longest(Secret::TurnSecret, LONGEST);
    TestApp::join(setup, database).await
}

fn made(app: &TestApp, clock: &ManualClock) -> TurnCredential {
    let keychain = app.rollovers.replica().keychain().load_full();
    let bearer = Bearer { user: "user", session: "session", device: None };
    mint(keychain.verbatim(Secret::TurnSecret).unwrap(), bearer, USUAL, clock.now()).unwrap()
}

async fn both_secrets_relay_until_the_longest_credential_is_over(database: Database) {
    let coturn = Coturn::start(OLD).await;
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let app = start(database, Arc::clone(&clock) as _).await;
    let before = made(&app, &clock);
    assert!(coturn.relays_for(&before).await);
    assert!(!coturn.relays(&before.username, "a wrong password").await);

    coturn.told(0, NEW).await;
    let value = Some(NEW.to_owned().into());
    let rollover = Request { value, ..request(Secret::TurnSecret, Mode::Graceful) };
    let begun = app.begin(rollover).await.unwrap();
    app.blocked(begun.id, "its grace period is over").await;
    let after = made(&app, &clock);
    assert!(coturn.relays_for(&before).await, "a session that began before goes on");
    assert!(coturn.relays_for(&after).await, "one that begins has the new secret");

    let worker = app.rollovers.operator().worker();
    clock.advance(LONGEST - Duration::from_secs(1));
    worker.drive(begun.id).await.unwrap();
    assert_eq!(app.rollover(begun.id).await.phase, Phase::Promoted, "not before the last ends");
    clock.advance(Duration::from_secs(1));
    worker.drive(begun.id).await.unwrap();
    let retired = app.reaches(begun.id, Phase::Retired).await;
    assert!(retired.report.unwrap().to_string().contains("turnadmin -X OLD"));

    coturn.told(2, OLD).await;
    assert!(!coturn.relays_for(&before).await);
    assert!(coturn.relays_for(&after).await);
}

/// One that is made here would be known to nobody else.
async fn a_new_secret_is_the_operators_to_make(database: Database) {
    let app = start(database, Arc::new(SystemClock)).await;
    let refused = app.begin(request(Secret::TurnSecret, Mode::Graceful)).await;
    assert!(matches!(refused, Err(Refusal::NoValue(Secret::TurnSecret))), "{refused:?}");
    let secrets = app.rollovers.operator().secrets().await.unwrap();
    let turn = secrets.iter().find(|view| view.secret == Secret::TurnSecret).unwrap();
    assert!(turn.elsewhere[0].contains("turnadmin -s NEW"));
}
