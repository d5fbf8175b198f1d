//! How a process is known to Vault: by a token, or by an AppRole.
//!
//! 1. What it is known by is read anew for each login: a file that an agent renews counts.
//! 2. A token that can be renewed is, when two thirds of its time have passed.
//!
//! The calls are `POST auth/{mount}/login`, `GET auth/token/lookup-self` and
//! `POST auth/token/renew-self`.

use std::{fmt, time::Duration};

use http::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::Mutex, time::Instant};

use super::door::Door;
use crate::{
    keyring::sources::{Environment, Fault, Value},
    manager::ManagerError,
    provider::patience::Again,
};

const TOKEN: &str = "VAULT_TOKEN";
const ROLE_ID: &str = "VAULT_ROLE_ID";
const SECRET_ID: &str = "VAULT_SECRET_ID";

/// How a process is known to Vault, and its login.
pub struct Login {
    /// Where what it is known by is read from.
    local: Environment,
    /// Where the AppRole method is mounted, below `auth`.
    mount: String,
    is_token: bool,
    session: Mutex<Option<Session>>,
}

struct Session {
    token: SecretString,
    /// When it is to be renewed; `None`: it does not end, or how long it lasts is not known.
    renewal: Option<Instant>,
}

/// There is nothing to log in with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnfitLogin {
    /// Neither a token nor an AppRole.
    #[error(
        "neither VAULT_TOKEN nor VAULT_ROLE_ID is set; set one of them, or VAULT_TOKEN_FILE to the path of a file that holds the token"
    )]
    Missing,
    /// Both.
    #[error("both VAULT_TOKEN and VAULT_ROLE_ID are set; keep one of them")]
    Both,
    /// An AppRole without its secret id.
    #[error("VAULT_ROLE_ID is set and VAULT_SECRET_ID is not; set it, or VAULT_SECRET_ID_FILE")]
    NoSecretId,
    /// One that cannot be read.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Login {
    /// By `VAULT_TOKEN`, or by `VAULT_ROLE_ID` and `VAULT_SECRET_ID` at the AppRole method,
    /// which is mounted at `VAULT_APPROLE_MOUNT`, or at `approle`. Each may be in a file.
    ///
    /// # Errors
    /// [`UnfitLogin`] says what to set.
    pub fn of(local: Environment) -> Result<Self, UnfitLogin> {
        let is_set = |name| local.lookup(name).map(|value| value.is_some());
        let (token, role) = (is_set(TOKEN)?, is_set(ROLE_ID)?);
        match (token, role) {
            (false, false) => return Err(UnfitLogin::Missing),
            (true, true) => return Err(UnfitLogin::Both),
            (false, true) if !is_set(SECRET_ID)? => return Err(UnfitLogin::NoSecretId),
            _ => {}
        }
        let mount = local.lookup("VAULT_APPROLE_MOUNT")?;
        let mount = mount.as_ref().map_or("approle", Value::expose_text).trim_matches('/');
        let mount = mount.to_owned();
        Ok(Self { local, mount, is_token: token, session: Mutex::default() })
    }

    /// A token that is good now, as far as is known.
    pub(super) async fn token(&self, door: &Door) -> Result<SecretString, ManagerError> {
        let mut session = self.session.lock().await;
        let is_due = |session: &Session| session.renewal.is_some_and(|at| at <= Instant::now());
        let kept = match session.take() {
            Some(old) if is_due(&old) => renewed(door, old).await,
            kept => kept,
        };
        let current = match kept {
            Some(kept) => kept,
            None => self.log_in(door).await?,
        };
        Ok(session.insert(current).token.clone())
    }

    /// Has the next call log in anew.
    pub(super) async fn forget(&self) {
        self.session.lock().await.take();
    }

    async fn log_in(&self, door: &Door) -> Result<Session, ManagerError> {
        if !self.is_token {
            return self.as_role(door).await;
        }
        let token = SecretString::from(self.read(TOKEN)?.expose_text().trim());
        let renewal = looked_up(door, &token).await.and_then(renewal);
        Ok(Session { token, renewal })
    }

    async fn as_role(&self, door: &Door) -> Result<Session, ManagerError> {
        let (role, secret) = (self.read(ROLE_ID)?, self.read(SECRET_ID)?);
        let (role, secret) = (role.expose_text().trim(), secret.expose_text().trim());
        let mut segments = vec!["v1", "auth"];
        segments.extend(self.mount.split('/').chain(["login"]));
        let body = json!({ "role_id": role, "secret_id": secret });
        let call = || door.request(Method::POST, &segments).json(&body);
        let heard = door.asked_by_nobody(&[secret, role], call).await?;
        match heard.status() {
            StatusCode::OK => {
                let granted: Granted =
                    serde_json::from_slice(heard.body()).map_err(|_| heard.nonsense())?;
                Ok(granted.auth.into())
            }
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(ManagerError::NoLogin(heard.said()))
            }
            _ => Err(heard.declined()),
        }
    }

    fn read(&self, name: &'static str) -> Result<Value, ManagerError> {
        match self.local.lookup(name) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(ManagerError::NoLogin(format!("{name} is not set any more"))),
            Err(fault) => Err(ManagerError::NoLogin(fault.to_string())),
        }
    }
}

/// The session with more time; `None` when it must be made anew.
async fn renewed(door: &Door, session: Session) -> Option<Session> {
    let token = session.token.expose_secret();
    let call = || door.request(Method::POST, &["v1", "auth", "token", "renew-self"]);
    let heard = door.asked(token, &[], Again::Always, || call().json(&json!({}))).await.ok()?;
    let granted: Granted = serde_json::from_slice(heard.body()).ok()?;
    Some(granted.auth.into())
}

/// How long a token lasts that somebody else was given; unknown when Vault does not say.
async fn looked_up(door: &Door, token: &SecretString) -> Option<u64> {
    let call = || door.request(Method::GET, &["v1", "auth", "token", "lookup-self"]);
    let heard = door.asked(token.expose_secret(), &[], Again::Always, call).await.ok()?;
    let known: Known = serde_json::from_slice(heard.body()).ok()?;
    known.data.renewable.then_some(known.data.ttl)
}

/// When what lasts so many seconds from now is to be renewed; never, if it does not end.
fn renewal(seconds: u64) -> Option<Instant> {
    (seconds > 0).then(|| Instant::now() + Duration::from_secs(seconds) * 2 / 3)
}

#[derive(Deserialize)]
struct Granted {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: SecretString,
    lease_duration: u64,
}

impl From<Auth> for Session {
    fn from(auth: Auth) -> Self {
        Self { token: auth.client_token, renewal: renewal(auth.lease_duration) }
    }
}

#[derive(Deserialize)]
struct Known {
    data: Lasting,
}

#[derive(Deserialize)]
struct Lasting {
    ttl: u64,
    renewable: bool,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_token { "Login(token)" } else { "Login(AppRole)" })
    }
}
