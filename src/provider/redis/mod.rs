//! The credential of a Redis server: a user and a password, as a URL holds them.
//!
//! 1. A user of Redis may have several passwords. The new one is valid beside the old
//!    one, until that is taken away.
//! 2. A new one must log in, and count, before anything depends on it.
//! 3. The old one is taken away once no connection is left that was made with it, as far
//!    as the server tells, and never if it is the new one in another spelling. That it is
//!    gone, only `WRONGPASS` proves: a server has other reasons to let nobody in.
//! 4. A password that is made, or taken away, is named to the server by its SHA-256, so
//!    that no log of the server can hold it.
//! 5. A server that speaks TLS proves who it is. One that does not is told of, unless it
//!    is on this machine.

mod connections;
mod rights;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind, TlsCertificates, Value,
    aio::MultiplexedConnection,
};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub use self::connections::{RedisAway, RedisConnections};
use self::rights::{Taken, give, take_away, users_of};
use super::{Provider, ProviderError};
use crate::{
    catalog::Secret,
    host::is_on_this_machine,
    keyring::{
        KeychainHandle,
        sources::{login, user_info},
    },
    material::{Fingerprint, Material},
};

/// How long a connection may take.
const CONNECTING: Duration = Duration::from_secs(5);

/// How long an answer may take.
const ANSWERING: Duration = Duration::from_secs(2);

/// One Redis server, whoever logs in.
#[derive(Clone)]
pub struct RedisServer {
    /// The same server with each set of authorities that may vouch for it.
    at: Vec<ConnectionInfo>,
    /// The database, by its number.
    number: i64,
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
        let number = at.redis_settings().db();
        // Who logs in is told once it is connected, where the answer can be read.
        let nobody = RedisConnectionInfo::default().set_skip_set_lib_name();
        let has_credential = user_info(url).is_some();
        Ok(Self { at: vec![at.set_redis_settings(nobody)], number, has_credential })
    }

    /// Trusts the authorities in `pem` too, beside the public ones: for a server of one's
    /// own that speaks TLS.
    ///
    /// # Errors
    /// [`UnfitAuthorities`] when they cannot be read.
    pub fn trusting(mut self, pem: &str) -> Result<Self, UnfitAuthorities> {
        if let ConnectionAddr::TcpTls { .. } = self.at[0].addr() {
            // One without any would pass for a set of none.
            if !pem.contains("-----BEGIN CERTIFICATE-----") {
                return Err(UnfitAuthorities);
            }
            let root_cert = Some(pem.as_bytes().to_vec());
            let certificates = TlsCertificates { client_tls: None, root_cert };
            let own = Client::build_with_tls(self.at[0].clone(), certificates);
            let own = own.map_err(|_| UnfitAuthorities)?;
            self.at.insert(0, own.get_connection_info().clone());
        }
        Ok(self)
    }

    /// What anybody in between could read, or pretend: nothing where the server proves who
    /// it is, or is on this machine.
    #[must_use]
    pub fn exposure(&self) -> Option<&'static str> {
        match self.at[0].addr() {
            ConnectionAddr::Tcp(host, _) if !is_on_this_machine(host) => Some(
                "REDIS_URL begins with redis://: what goes to that server, its password too, can be read on the way; use rediss://",
            ),
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                Some("REDIS_URL ends with #insecure: the server does not prove who it is")
            }
            _ => None,
        }
    }

    /// The connection of an application, with the present credential of `keychain`. It is
    /// made in a task of the present runtime.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn connections(&self, keychain: KeychainHandle) -> RedisConnections {
        RedisConnections::keeping(self.clone(), keychain)
    }

    /// A connection on which the server has answered, as `login` if it wants one.
    async fn connect(&self, login: Option<&RedisLogin>) -> RedisResult<MultiplexedConnection> {
        let mut connection = self.reach().await?;
        match login {
            Some(login) => login.present(&mut connection).await?,
            None => answers(&mut connection).await?,
        }
        if self.number != 0 {
            let () = redis::cmd("SELECT").arg(self.number).query_async(&mut connection).await?;
        }
        Ok(connection)
    }

    /// A connection of nobody yet.
    async fn reach(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTING))
            .set_response_timeout(Some(ANSWERING));
        let (last, before) = self.at.split_last().expect("a server has an address");
        for at in before {
            let client = Client::open(at.clone())?;
            let reached = client.get_multiplexed_async_connection_with_config(&config).await;
            if reached.is_ok() {
                return reached;
            }
        }
        Client::open(last.clone())?.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn log_in(&self, login: &RedisLogin) -> Result<MultiplexedConnection, ProviderError> {
        self.connect(Some(login)).await.map_err(told)
    }

    /// Whether the server lets `login` in, if it says so.
    async fn admits(&self, login: &RedisLogin) -> Result<bool, ProviderError> {
        let mut connection = self.reach().await.map_err(told)?;
        match login.present(&mut connection).await {
            Ok(()) => Ok(true),
            Err(error) if is_wrong(&error) => Ok(false),
            Err(error) => Err(told(error)),
        }
    }
}

/// The address alone.
impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisServer").field(&self.at[0].addr().to_string()).finish()
    }
}

/// A URL that names no Redis server. Nothing of it is told: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("REDIS_URL does not parse; it must be like redis://user:password@host:6379/0")]
pub struct InvalidRedisUrl;

/// What holds no certificate of an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no certificate of an authority can be read; give one or more in PEM")]
pub struct UnfitAuthorities;

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

    /// Logs in.
    async fn present(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let password = self.password.expose_secret();
        redis::cmd("AUTH").arg(&self.user).arg(password).query_async(connection).await
    }

    /// How the server knows the password, and may be told of it.
    fn digest(&self) -> String {
        let digest = Sha256::digest(self.password.expose_secret().as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn is(&self, other: &Self) -> bool {
        let [own, others] = [self, other].map(|login| login.password.expose_secret().as_bytes());
        self.user == other.user && bool::from(own.ct_eq(others))
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
        give(&mut connection, &parsed(&made)?).await?;
        Ok(made)
    }

    async fn in_use(
        &self,
        old: &Material,
        present: &Material,
    ) -> Result<Option<String>, ProviderError> {
        let (name, old, present) = (name_of(old.fingerprint()), parsed(old)?, parsed(present)?);
        let mut connection = self.log_in(&present).await?;
        // Whoever serves has noticed by now, or does in a moment.
        let until = tokio::time::Instant::now() + MOMENTS;
        loop {
            let Some(users) = users_of(&mut connection, &old.user).await? else {
                return Ok(None);
            };
            // Of one user with two passwords, a connection tells by its name which it has.
            let is_old = |named: &&String| old.user != present.user || **named == name;
            let open = users.iter().filter(is_old).count();
            if open == 0 {
                return Ok(None);
            }
            if tokio::time::Instant::now() > until {
                return Ok(Some(format!("{open} open connection(s) of user {}", old.user)));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn revoke(&self, old: &Material, present: &Material) -> Result<String, ProviderError> {
        let (old, present) = (parsed(old)?, parsed(present)?);
        if old.is(&present) {
            return Err(ProviderError::Declined(
                "the old user and password are the new ones, written otherwise: they stay; roll over to other ones".to_owned(),
            ));
        }
        let mut connection = self.log_in(&present).await?;
        let taken = take_away(&mut connection, &old).await?;
        match (self.admits(&old).await?, taken) {
            (false, _) => {
                Ok(format!("the old password of user {} does not log in any more", old.user))
            }
            (true, Taken::Denied) => Err(BY_HAND),
            (true, Taken::Gone) => Err(ProviderError::ByHand(
                "the server lets any password in (nopass); give its user a password",
            )),
        }
    }
}

/// How long it takes whoever serves to notice another credential, and some.
const MOMENTS: Duration = Duration::from_secs(4);

const GLANCE: Duration = Duration::from_millis(250);

const FORM: &str =
    "of a Redis server it is user:password, written as in a URL (%40 for @ and the like)";

const BY_HAND: ProviderError = ProviderError::ByHand(
    "the present user may not change users: run ACL SETUSER yourself (>new to add a password, <old to take one away); hand a new one in as `value`: user:password, written as in a URL",
);

fn parsed(credential: &Material) -> Result<RedisLogin, ProviderError> {
    RedisLogin::parse(credential).ok_or(ProviderError::ByHand(FORM))
}

/// What a connection is called that was made with a credential.
fn name_of(credential: Fingerprint) -> String {
    format!("breeze-{credential}")
}

/// Whether the server answers; that it denies it is an answer.
async fn answers(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    match redis::cmd("PING").query_async::<Value>(connection).await {
        Err(error) if !is_denied(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn is_denied(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
}

/// Whether there is no such user with such a password.
fn is_wrong(error: &RedisError) -> bool {
    error.code() == Some("WRONGPASS")
}

/// What the server said. Its messages name users and commands, and never a password.
fn told(error: RedisError) -> ProviderError {
    let category = error.category().to_owned();
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            let answers = error.into_server_errors();
            let detail = answers.as_ref().and_then(|answers| answers.first()?.1.details());
            ProviderError::Lacking(detail.unwrap_or("the server does not say which").to_owned())
        }
        ErrorKind::Io => ProviderError::Unreachable(category),
        _ if is_wrong(&error) || error.code() == Some("NOAUTH") => {
            ProviderError::Refused("it does not log in".to_owned())
        }
        _ => match error.detail().filter(|_| error.code().is_some()) {
            Some(detail) if !detail.is_empty() => ProviderError::Nonsense(detail.to_owned()),
            _ => ProviderError::Nonsense(category),
        },
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
    fn a_server_that_proves_nothing_is_told_of_unless_it_is_on_this_machine() {
        let exposure = |url: &str| RedisServer::new(url).unwrap().exposure();
        for quiet in ["redis://localhost", "redis://127.0.0.7:1", "redis://[::1]", "rediss://cache"]
        {
            assert_eq!(exposure(quiet), None, "{quiet}");
        }
        for told in ["redis://api:hunter2@cache", "redis://10.0.0.7", "rediss://cache#insecure"] {
            let told = exposure(told).unwrap();
            assert!(told.contains("REDIS_URL") && !told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn authorities_count_beside_the_public_ones_where_there_is_tls() {
        let own = rcgen::generate_simple_self_signed(["cache".to_owned()]).unwrap().cert.pem();
        let at = |url: &str, pem: &str| RedisServer::new(url).unwrap().trusting(pem);
        assert_eq!(at("rediss://cache", &own).unwrap().at.len(), 2);
        assert_eq!(at("redis://cache", &own).unwrap().at.len(), 1);
        assert_eq!(at("rediss://cache", "no PEM").map(drop), Err(UnfitAuthorities));
    }

    #[test]
    fn a_login_is_read_as_a_url_writes_it() {
        let login = |credential: &str| RedisLogin::parse(&Material::new(credential).unwrap());
        let read = |credential: &str| {
            let login = login(credential)?;
            Some((login.user, login.password.expose_secret().to_owned()))
        };
        let of = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(read(":p%40ss"), of("default", "p@ss"));
        assert_eq!(read("api:p:w"), of("api", "p:w"));
        assert_eq!((read("api"), read("api:")), (None, None));
        let is = |a, b| login(a).unwrap().is(&login(b).unwrap());
        assert!(is("api:p%40ss", "api:p@ss") && is(":p", "default:p"));
        assert!(!is("api:p", "api:q") && !is("api:p", "b:p"));
    }
}
