//! As whom connections are made. It changes while the process runs, when the credential
//! of the database rolls over.
//!
//! 1. From the change on, every connection is made with the new credential.
//! 2. One that was made with the old one finishes what it does, and is closed then; one
//!    that does nothing is closed at once.
//! 3. A URL of its own to listen on has its own login, and follows only where that is of
//!    the role of the pool's URL.
//! 4. One that was being made meanwhile is told by its role, and closed after its first use.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    PgPool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use crate::{
    keyring::sources::{login, user_info},
    material::Material,
};

/// A role and its password, from the `user:password` of a URL.
#[derive(Clone)]
pub(crate) struct RoleLogin {
    pub(crate) role: String,
    password: SecretString,
}

impl RoleLogin {
    /// `None`: the text is not `user:password`, with `%` before what a URL cannot hold.
    pub(crate) fn parse(credential: &Material) -> Option<Self> {
        let (role, password) = login(credential)?;
        (!role.is_empty()).then_some(Self { role, password })
    }

    /// `options`, with this role and its password.
    pub(crate) fn on(&self, options: &PgConnectOptions) -> PgConnectOptions {
        options.clone().username(&self.role).password(self.password.expose_secret())
    }

    /// The password, as it is: a URL may write it otherwise.
    pub(crate) const fn password(&self) -> &SecretString {
        &self.password
    }

    /// Whether the two are one, however each was written.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let [own, others] = [self, other].map(|login| login.password.expose_secret().as_bytes());
        self.role == other.role && bool::from(own.ct_eq(others))
    }
}

/// The role alone.
impl fmt::Debug for RoleLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RoleLogin").field(&self.role).finish()
    }
}

/// As whom a pool connects.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// As the URL says, where it does.
    first: Option<RoleLogin>,
    changed: Mutex<Option<(RoleLogin, Instant)>>,
    changes: watch::Sender<()>,
}

impl Login {
    /// As `url` says.
    pub(super) fn of_url(url: &str) -> Self {
        let first =
            user_info(url).and_then(|user_info| RoleLogin::parse(&Material::new(user_info).ok()?));
        Self { first, ..Self::default() }
    }

    /// Connects `pool` with `login` from now on, and parts with its other connections.
    pub(super) fn change(&self, pool: &PgPool, login: RoleLogin) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        let present = changed.as_ref().map(|(login, _)| login).or(self.first.as_ref());
        if present.is_some_and(|present| present.is(&login)) {
            return;
        }
        pool.set_connect_options(login.on(&pool.connect_options()));
        tracing::info!(
            role = login.role,
            "connections to the database are made with another credential"
        );
        *changed = Some((login, Instant::now()));
        drop(changed);
        // Whoever is idle is released, and closed for being of before.
        for _ in 0..pool.size() {
            let Some(idle) = pool.try_acquire() else { break };
            drop(idle);
        }
        self.changes.send_replace(());
    }

    /// `options`, which connect elsewhere: those of the role of the pool's URL with what it
    /// was changed to, and others as they are.
    pub(super) fn on(&self, options: &PgConnectOptions) -> PgConnectOptions {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |first: &RoleLogin| first.role == options.get_username();
        match &*changed {
            Some((login, _)) if self.first.as_ref().is_none_or(is_same) => login.on(options),
            _ => options.clone(),
        }
    }

    /// Tells of every change from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Whether a connection of this age was made before the last change.
    fn is_of_before(&self, age: Duration) -> bool {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.as_ref().is_some_and(|(_, since)| age > since.elapsed())
    }

    /// Whether a connection of `role` may be kept.
    fn is_of_present(&self, role: &str) -> bool {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        let present = changed.as_ref().map(|(login, _)| login).or(self.first.as_ref());
        present.is_none_or(|login| login.role == role)
    }
}

/// Whether no transaction is open: then the present one begins with this statement.
/// Whoever gives up a `BEGIN` half-way, as a request that ends too early does, leaves a
/// connection within a transaction that nobody knows of; it is closed, since what the
/// next one wrote on it would never be committed. And whose connection it is.
const AT_REST: &str = "SELECT now() = statement_timestamp(), session_user::text";

/// `options` of a pool whose connections follow `login`, and are kept while they are at
/// rest.
pub(super) fn following(login: &Arc<Login>, options: PgPoolOptions) -> PgPoolOptions {
    let (acquiring, releasing) = (Arc::clone(login), Arc::clone(login));
    options
        .before_acquire(move |_, its| {
            let is_of_present = !acquiring.is_of_before(its.age);
            Box::pin(async move { Ok(is_of_present) })
        })
        .after_release(move |connection, its| {
            let login = Arc::clone(&releasing);
            Box::pin(async move {
                if login.is_of_before(its.age) {
                    return Ok(false);
                }
                let row = sqlx::raw_sql(AT_REST).fetch_one(connection).await?;
                Ok(row.try_get::<bool, _>(0)? && login.is_of_present(row.try_get(1)?))
            })
        })
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions;

    use super::*;

    fn parsed(credential: &str) -> Option<(String, String)> {
        let login = RoleLogin::parse(&Material::new(credential).unwrap())?;
        Some((login.role, login.password.expose_secret().to_owned()))
    }

    #[test]
    fn a_login_is_read_as_a_url_writes_it() {
        let of = |role: &str, password: &str| Some((role.to_owned(), password.to_owned()));
        assert_eq!(parsed("api:p%40ss:word"), of("api", "p@ss:word"));
        assert_eq!(parsed("api:p+w"), of("api", "p+w"));
        for wrong in ["api", ":password", "api:", "api:%ff", "postgres://api:pw@db/breeze"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_login_shows_its_role_alone() {
        let login = RoleLogin::parse(&Material::new("api:hunter2").unwrap()).unwrap();
        assert_eq!(format!("{login:?}"), r#"RoleLogin("api")"#);
    }

    #[test]
    fn a_url_to_listen_on_keeps_a_login_of_its_own() {
        let role = |login: &str| RoleLogin::parse(&Material::new(login).unwrap()).unwrap();
        let options = |user: &str| PgConnectOptions::new().username(user).password("its own");
        let login = Login::of_url("postgres://api:old@db/breeze");
        let shown = |options: &PgConnectOptions| options.to_url_lossy().to_string();
        let listens = |user: &str| shown(&login.on(&options(user)));
        assert_eq!(listens("api"), shown(&options("api")), "nothing has changed");
        *login.changed.lock().unwrap() = Some((role("api_b:new"), Instant::now()));
        assert_eq!(listens("api"), shown(&role("api_b:new").on(&options("api"))));
        assert_eq!(listens("hears"), shown(&options("hears")));
    }

    #[test]
    fn connections_of_before_a_change_are_told_by_their_age() {
        let login = Login::default();
        assert!(!login.is_of_before(Duration::from_secs(60)), "nothing has changed");
        let present = RoleLogin::parse(&Material::new("b:x").unwrap()).unwrap();
        *login.changed.lock().unwrap() = Some((present, Instant::now()));
        assert!(login.is_of_before(Duration::from_secs(60)));
        assert!(!login.is_of_before(Duration::ZERO));
        assert!(login.is_of_present("b") && !login.is_of_present("a"));
    }
}
