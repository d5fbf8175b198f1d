//! The server of the demo: this program once more, as its own process.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use breeze_rollover::material::Material;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// The keys of the demo, made for it.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) app: Material,
    ring: [Material; 2],
    jwt: Material,
    mfa: Material,
    root: Material,
}

impl Keys {
    pub(super) fn generate() -> anyhow::Result<Self> {
        Ok(Self {
            app: Material::generate()?,
            ring: [Material::generate()?, Material::generate()?],
            jwt: Material::generate()?,
            mfa: Material::generate()?,
            root: Material::generate()?,
        })
    }

    /// What a Breeze deployment sets, with `active` as the ring's active key.
    pub(super) fn environment(&self, active: &str) -> Vec<(&'static str, String)> {
        let source = |key: &Material| key.expose_source().to_owned();
        let ring = serde_json::json!({
            "k-2023": source(&self.ring[0]), "k-2024": source(&self.ring[1])
        });
        vec![
            ("JWT_SECRET", source(&self.jwt)),
            ("APP_ENCRYPTION_KEY", source(&self.app)),
            ("APP_ENCRYPTION_KEYRING", ring.to_string()),
            ("APP_ENCRYPTION_KEY_ID", active.to_owned()),
            ("MFA_ENCRYPTION_KEY", source(&self.mfa)),
            ("BREEZE_ROOT_KEY", source(&self.root)),
        ]
    }
}

/// A running `breeze-api serve`.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) keys: Vec<(&'static str, String)>,
    pub(super) admin: FirstStart,
    child: Child,
}

/// What the first start tells once.
#[derive(Debug)]
pub(super) struct FirstStart {
    pub(super) email: String,
    pub(super) password: String,
    pub(super) totp: String,
}

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl Server {
    pub(super) async fn start(
        url: &str,
        keys: &Keys,
        folder: &Path,
        access: Duration,
        refresh: Duration,
    ) -> anyhow::Result<Self> {
        let address = free_address()?;
        let log = folder.join("server.log");
        let keys = keys.environment("k-2024");
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .env_clear()
            .envs(keys.iter().map(|(name, value)| (name, value)))
            .env("DATABASE_URL", url)
            .env("BREEZE_LISTEN", address.to_string())
            .env("JWT_ACCESS_TTL_SECONDS", access.as_secs().to_string())
            .env("JWT_REFRESH_TTL_SECONDS", refresh.as_secs().to_string())
            .env("JWT_VIEWER_TTL_SECONDS", refresh.as_secs().to_string())
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .context("the server does not start")?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let admin = timeout(PATIENCE, first_start(stdout)).await;
        let Ok(Ok(admin)) = admin else {
            bail!("the server did not start:\n{}", std::fs::read_to_string(log)?);
        };
        let ready = async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, ready).await.context("the server does not listen")?;
        Ok(Self { address, keys, admin, child })
    }

    /// Asks it to stop, and waits until it has.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id() {
            Command::new("kill").arg(pid.to_string()).status().await?;
        }
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// Reads the block that a first start prints.
async fn first_start(stdout: impl tokio::io::AsyncRead + Unpin) -> anyhow::Result<FirstStart> {
    let mut lines = BufReader::new(stdout).lines();
    let (mut email, mut password) = (None, None);
    while let Some(line) = lines.next_line().await? {
        let line = line.trim_start_matches(['│', ' ']);
        if let Some(rest) = line.strip_prefix("e-mail") {
            email = Some(rest.trim().to_owned());
        } else if let Some(rest) = line.strip_prefix("password") {
            password = Some(rest.trim().to_owned());
        } else if let Some(rest) = line.strip_prefix("TOTP") {
            let totp = rest.trim().to_owned();
            let (email, password) =
                email.zip(password).context("the first start told no password")?;
            return Ok(FirstStart { email, password, totp });
        }
    }
    bail!("the server ended before it told its administrator")
}
