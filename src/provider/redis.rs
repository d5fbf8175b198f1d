//! The credential of a Redis server: a user and a password, as a URL holds them.
//!
//! 1. A user of Redis may have several passwords. The new one is valid beside the old
//!    one, until that is taken away.
//! 2. A new one must log in, and count, before anything depends on it.
//! 3. A password that is made, or taken away, is named to the server by its SHA-256, so
//!    that no log of the server can hold it.
//! 4. Each operation uses a connection that was made with the credential of the present
//!    keychain; one of before ends with its last operation.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError,
    ServerErrorKind, aio::MultiplexedConnection,
};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::{Provider, ProviderError};
use crate::{
    catalog::Secret,
    ids::KeyId,
    keyring::{
        KeychainHandle,
        sources::{login, user_info},
    },
    material::Material,
};

/// How long a connection may take.
const CONNECTING: Duration = Duration::from_secs(5);

/// How long an answer may take.
const ANSWERING: Duration = Duration::from_secs(2);

/// One Redis server, whoever logs in.
#[derive(Clone)]
pub struct RedisServer {
    at: ConnectionInfo,
    /// Without a password, it stands for itself.
    has_credential: bool,
}

impl RedisServer {
    /// The server of `url`: `redis://…`, or `rediss://…` with TLS.
    ///
    /// # Errors
    /// [`InvalidRedisUrl`] when it does not parse.
    pub fn new(url: &str) -> Result<Self, InvalidRedisUrl> {
        let at = url.into_connection_info().map_err(|_| InvalidRedisUrl)?;
        Ok(Self { at, has_credential: user_info(url).is_some() })
    }

    /// Connections for an application, each with the present credential of `keychain`.
    #[must_use]
    pub fn connections(&self, keychain: KeychainHandle) -> RedisConnections {
        RedisConnections { server: self.clone(), keychain, present: Mutex::default() }
    }

    async fn connect(
        &self,
        login: Option<&RedisLogin>,
        answering: Duration,
    ) -> Result<MultiplexedConnection, RedisError> {
        let at = match login {
            Some(login) => login.on(&self.at),
            None => self.at.clone(),
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTING.min(answering * 4)))
            .set_response_timeout(Some(answering));
        Client::open(at)?.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn log_in(&self, login: &RedisLogin) -> Result<MultiplexedConnection, ProviderError> {
        self.connect(Some(login), ANSWERING).await.map_err(told)
    }
}

/// The address alone.
impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisServer").field(&self.at.addr().to_string()).finish()
    }
}

/// A URL that names no Redis server. Nothing of it is told: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("REDIS_URL does not parse; it must be like redis://user:password@host:6379/0")]
pub struct InvalidRedisUrl;

/// Connections of an application to its Redis server.
#[derive(Debug)]
pub struct RedisConnections {
    server: RedisServer,
    keychain: KeychainHandle,
    present: Mutex<Option<Present>>,
}

struct Present {
    /// Of which credential, unless the server wants none.
    key: Option<KeyId>,
    connection: MultiplexedConnection,
}

impl fmt::Debug for Present {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Present").field("key", &self.key).finish_non_exhaustive()
    }
}

impl RedisConnections {
    /// A connection for one operation, whose answer takes no longer than `answering`.
    ///
    /// # Errors
    /// [`RedisError`] when the server cannot be reached, or does not let it in.
    pub async fn take(&self, answering: Duration) -> Result<MultiplexedConnection, RedisError> {
        let (key, login) = {
            let keys = self.keychain.load();
            match keys.verbatim(Secret::RedisUrl) {
                Ok(ring) if self.server.has_credential => {
                    let primary = ring.primary();
                    let login = RedisLogin::parse(primary.prepared().expose());
                    (Some(primary.id().clone()), login)
                }
                _ => (None, None),
            }
        };
        let mut present = self.present.lock().await;
        if let Some(present) = present.as_ref().filter(|present| present.key == key) {
            return Ok(present.connection.clone());
        }
        let connection = self.server.connect(login.as_ref(), answering).await?;
        *present = Some(Present { key, connection: connection.clone() });
        Ok(connection)
    }

    /// The connection broke: the next operation makes another.
    pub async fn forget(&self) {
        *self.present.lock().await = None;
    }
}

/// A user and a password, from the `user:password` of a URL.
struct RedisLogin {
    user: String,
    password: SecretString,
}

impl RedisLogin {
    fn parse(credential: &Material) -> Option<Self> {
        let (user, password) = login(credential)?;
        let user = if user.is_empty() { "default".to_owned() } else { user };
        Some(Self { user, password })
    }

    fn on(&self, at: &ConnectionInfo) -> ConnectionInfo {
        let settings = at
            .redis_settings()
            .clone()
            .set_username(&self.user)
            .set_password(self.password.expose_secret());
        at.clone().set_redis_settings(settings)
    }

    /// How the server knows the password, and may be told of it.
    fn digest(&self) -> String {
        let digest = Sha256::digest(self.password.expose_secret().as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[async_trait]
impl Provider for RedisServer {
    fn secret(&self) -> Secret {
        Secret::RedisUrl
    }

    fn check(&self, credential: &Material) -> Result<(), &'static str> {
        RedisLogin::parse(credential).map(drop).ok_or(FORM)
    }

    async fn probe(&self, credential: &Material) -> Result<String, ProviderError> {
        let login = parsed(credential)?;
        let mut connection = self.log_in(&login).await?;
        let key = format!("breeze:probe:{}", uuid::Uuid::new_v4().simple());
        let counted: (u64,) = redis::pipe()
            .atomic()
            .cmd("INCR")
            .arg(&key)
            .cmd("EXPIRE")
            .arg(&key)
            .arg(5)
            .ignore()
            .cmd("DEL")
            .arg(&key)
            .ignore()
            .query_async(&mut connection)
            .await
            .map_err(told)?;
        match counted {
            (1,) => Ok(format!("user {} logs in, and counts", login.user)),
            (other,) => Err(ProviderError::Nonsense(format!("a new counter stands at {other}"))),
        }
    }

    async fn make(&self, present: &Material) -> Result<Material, ProviderError> {
        let present = parsed(present)?;
        let password =
            Material::generate().map_err(|error| ProviderError::Unreachable(error.to_string()))?;
        let user = utf8_percent_encode(&present.user, NON_ALPHANUMERIC);
        let made = Material::new(format!("{user}:{}", password.expose_source()));
        let made = made.expect("it is not empty");
        let mut connection = self.log_in(&present).await?;
        let rule = format!("#{}", parsed(&made)?.digest());
        set_user(&mut connection, &present.user, &rule).await?;
        keep(&mut connection).await;
        Ok(made)
    }

    async fn revoke(&self, old: &Material, present: &Material) -> Result<String, ProviderError> {
        let (old, present) = (parsed(old)?, parsed(present)?);
        let mut connection = self.log_in(&present).await?;
        match self.connect(Some(&old), ANSWERING).await.map_err(told) {
            Err(ProviderError::Refused(_)) => {
                return Ok(format!("the old password of user {} does not log in", old.user));
            }
            Err(error) => return Err(error),
            Ok(_) => set_user(&mut connection, &old.user, &format!("!{}", old.digest())).await?,
        }
        keep(&mut connection).await;
        match self.connect(Some(&old), ANSWERING).await.map_err(told) {
            Err(ProviderError::Refused(_)) => {
                Ok(format!("the old password of user {} is taken away", old.user))
            }
            Err(error) => Err(error),
            Ok(_) => Err(ProviderError::ByHand(
                "the server lets any password in (nopass); give its user a password",
            )),
        }
    }
}

const FORM: &str =
    "of a Redis server it is user:password, written as in a URL (%40 for @ and the like)";

const BY_HAND: ProviderError = ProviderError::ByHand(
    "the present user may not change users: run ACL SETUSER yourself (>new to add a password, <old to take one away); hand a new one in as `value`: user:password, written as in a URL",
);

fn parsed(credential: &Material) -> Result<RedisLogin, ProviderError> {
    RedisLogin::parse(credential).ok_or(ProviderError::ByHand(FORM))
}

async fn set_user(
    connection: &mut MultiplexedConnection,
    user: &str,
    rule: &str,
) -> Result<(), ProviderError> {
    let set = redis::cmd("ACL").arg("SETUSER").arg(user).arg(rule).query_async(connection).await;
    set.map_err(|error: RedisError| if is_denied(&error) { BY_HAND } else { told(error) })
}

/// Has the server keep its users through a restart, where it has a file for them.
async fn keep(connection: &mut MultiplexedConnection) {
    let saved: Result<(), _> = redis::cmd("ACL").arg("SAVE").query_async(connection).await;
    if saved.is_ok() {
        return;
    }
    let rewritten: Result<(), _> =
        redis::cmd("CONFIG").arg("REWRITE").query_async(connection).await;
    if rewritten.is_err() {
        tracing::warn!(
            "the Redis server has no file that it keeps its users in; put the new password into its configuration before it is restarted"
        );
    }
}

fn is_denied(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
}

/// What the server said. Its messages name users and commands, and never a password.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn told(error: RedisError) -> ProviderError {
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::AuthenticationFailed => ProviderError::Refused("it does not log in".to_owned()),
        ErrorKind::Server(ServerErrorKind::NoPerm) => ProviderError::Lacking(detail.to_owned()),
        ErrorKind::Io => ProviderError::Unreachable(error.category().to_owned()),
        _ if error.code() == Some("WRONGPASS") || error.code() == Some("NOAUTH") => {
            ProviderError::Refused("it does not log in".to_owned())
        }
        _ => ProviderError::Nonsense(error.category().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_shows_its_address_alone() {
        let server = RedisServer::new("redis://api:hunter2@cache.example:6380/2").unwrap();
        assert_eq!(format!("{server:?}"), r#"RedisServer("cache.example:6380")"#);
        assert!(server.has_credential);
        assert!(!RedisServer::new("redis://cache.example").unwrap().has_credential);
        assert_eq!(RedisServer::new("hunter2").unwrap_err(), InvalidRedisUrl);
    }

    #[test]
    fn a_login_is_read_as_a_url_writes_it() {
        let login = |credential: &str| {
            let login = RedisLogin::parse(&Material::new(credential).unwrap())?;
            Some((login.user, login.password.expose_secret().to_owned()))
        };
        let of = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(login(":p%40ss"), of("default", "p@ss"));
        assert_eq!(login("api:p:w"), of("api", "p:w"));
        assert_eq!((login("api"), login("api:")), (None, None));
    }
}
