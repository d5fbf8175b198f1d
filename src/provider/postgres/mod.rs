//! The credential of the database: a role and its password, as a URL holds them.
//!
//! 1. A new one must log in, and have every right that the present role has, before
//!    anything depends on it.
//! 2. Two roles take turns: while one serves, the other gets a new password. The one
//!    that is made here is a member of the other, so that it has its rights; and no role
//!    that is there already gets a password but one of the two, while nobody uses it.
//! 3. The old role is left alone as long as a connection of it is open. Then it takes
//!    its own password away, which every role may.
//! 4. A password that was made here is at first in the key store alone, which nobody
//!    opens without a login: until the environment of the process holds it too, the old
//!    role keeps its own.
//! 5. A new password goes to the server as a SCRAM verifier (RFC 5803), so that no log
//!    of the server can hold it.

mod rights;
mod scram;

use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use super::{Provider, ProviderError};
use crate::{
    catalog::Secret,
    keyring::sources::{Environment, user_info},
    material::Material,
    store::postgres::login::RoleLogin,
};
use rights::{IN_USE, LACKING, OTHER, OWN, RENEW, RENEWS};

/// How long a login may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a password begins with that was made here. It tells, whichever process looks, that
/// nobody has it who was not given it.
const MADE: &str = "made-here-";

/// The database's roles, as the process of `pool` may change them.
#[derive(Debug)]
pub struct PostgresRole {
    pool: PgPool,
    /// Where an operator has the credential.
    environment: Environment,
}

impl PostgresRole {
    /// Those of the database that `pool` connects to, whose credential an operator keeps in
    /// `environment`.
    #[must_use]
    pub const fn new(pool: PgPool, environment: Environment) -> Self {
        Self { pool, environment }
    }

    /// Whether the environment holds `login` by now.
    fn is_known(&self, login: &RoleLogin) -> bool {
        let Ok(Some(url)) = self.environment.lookup(Secret::DatabaseUrl.name()) else {
            return false;
        };
        let held = user_info(url.expose_text()).and_then(|held| Material::new(held).ok());
        held.and_then(|held| RoleLogin::parse(&held)).is_some_and(|held| held.is(login))
    }

    /// A connection of its own, as `login`.
    async fn log_in(&self, login: &RoleLogin) -> Result<PgConnection, ProviderError> {
        let options = login.on(&self.pool.connect_options());
        let connecting = PgConnection::connect_with(&options);
        match tokio::time::timeout(PATIENCE, connecting).await {
            Ok(connected) => connected.map_err(told),
            Err(_) => Err(ProviderError::Unreachable("no login in time".to_owned())),
        }
    }
}

#[async_trait]
impl Provider for PostgresRole {
    fn secret(&self) -> Secret {
        Secret::DatabaseUrl
    }

    fn check(&self, credential: &Material) -> Result<(), &'static str> {
        RoleLogin::parse(credential).map(drop).ok_or(FORM)
    }

    async fn probe(&self, credential: &Material) -> Result<String, ProviderError> {
        let login = parsed(credential)?;
        let connection = self.log_in(&login).await?;
        drop(connection.close().await);
        let lacking: Vec<String> = sqlx::query_scalar(LACKING)
            .bind(&login.role)
            .fetch_all(&self.pool)
            .await
            .map_err(told)?;
        if lacking.is_empty() {
            Ok(format!("role {} logs in, and has the rights of the present one", login.role))
        } else {
            Err(ProviderError::Lacking(format!("role {}: {}, …", login.role, lacking.join(", "))))
        }
    }

    async fn make(&self, present: &Material) -> Result<Material, ProviderError> {
        let present = parsed(present)?.role;
        let other = in_turn(&present);
        let password =
            Material::generate().map_err(|error| ProviderError::Unreachable(error.to_string()))?;
        let password = SecretString::from(format!("{MADE}{}", password.expose_source()));
        let verifier = scram::verifier_of(password.expose_secret())?;
        let mut transaction = self.pool.begin().await.map_err(told)?;
        let there: Option<(bool, i64)> = sqlx::query_as(OTHER)
            .bind(&other)
            .bind(&present)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(told)?;
        let made = match there {
            Some((false, _)) => return Err(not_ours(&other, &present)),
            Some((true, open)) if open > 0 => {
                let told = format!(
                    "role {other} has {open} open connection(s), and gets no other password while somebody uses it; end them, or hand in a `value`"
                );
                return Err(ProviderError::Declined(told));
            }
            Some(_) => renew(&mut transaction, &other, &verifier).await,
            None => create(&mut transaction, &other, &present, &verifier).await,
        };
        made.map_err(|error| if is_denied(&error) { BY_HAND } else { told(error) })?;
        transaction.commit().await.map_err(told)?;
        let role =
            percent_encoding::utf8_percent_encode(&other, percent_encoding::NON_ALPHANUMERIC);
        Ok(Material::new(format!("{role}:{}", password.expose_secret())).expect("not empty"))
    }

    async fn in_use(
        &self,
        old: &Material,
        present: &Material,
    ) -> Result<Option<String>, ProviderError> {
        let (old, present) = (parsed(old)?.role, parsed(present)?.role);
        if old == present {
            return Ok(None);
        }
        let (open, by): (i64, String) =
            sqlx::query_as(IN_USE).bind(&old).fetch_one(&self.pool).await.map_err(told)?;
        Ok((open > 0).then(|| format!("{open} open connection(s) of role {old} ({by})")))
    }

    fn unused(&self, old: &Material, present: &Material) -> Option<String> {
        let (old, present) = (parsed(old).ok()?.role, parsed(present).ok()?.role);
        (old != present).then(|| format!("no connection of role {old} is left"))
    }

    async fn revoke(&self, old: &Material, present: &Material) -> Result<String, ProviderError> {
        let (login, present) = (parsed(old)?, parsed(present)?);
        if present.password().expose_secret().starts_with(MADE) && !self.is_known(&present) {
            return Err(UNKNOWN);
        }
        let mut connection = match self.log_in(&login).await {
            Ok(connection) => connection,
            Err(ProviderError::Refused(_)) => {
                return Ok(format!("the old password of role {} does not log in", login.role));
            }
            Err(error) => return Err(error),
        };
        if login.role == present.role {
            drop(connection.close().await);
            return Err(ProviderError::ByHand(
                "the server takes the old password of the same role; see to its pg_hba.conf",
            ));
        }
        let ended = sqlx::query("ALTER ROLE CURRENT_USER PASSWORD NULL").execute(&mut connection);
        ended.await.map_err(told)?;
        drop(connection.close().await);
        match self.log_in(&login).await {
            Err(ProviderError::Refused(_)) => {
                Ok(format!("role {} has no password any more", login.role))
            }
            Err(error) => Err(error),
            Ok(_) => Err(ProviderError::ByHand(
                "the old role logs in without a password; see to the server's pg_hba.conf",
            )),
        }
    }
}

const FORM: &str =
    "of a database it is user:password, written as in a URL (%40 for @ and the like)";

const BY_HAND: ProviderError = ProviderError::ByHand(
    "the present role may not make the other one, or give it a password (the README has what lets it): make a second one with the same rights (CREATE ROLE … LOGIN PASSWORD … IN ROLE …), and hand it in as `value`: user:password, written as in a URL",
);

/// What is said before `, and say so`.
const UNKNOWN: ProviderError = ProviderError::ByHand(
    "the new password was made here, and no environment holds it, so that the old role keeps its own: get it (breeze-api keys --reveal DATABASE_URL --into FILE --reason WHY), put it into DATABASE_URL, and the old one is taken away within a minute of a process that has it; or take it away yourself (ALTER ROLE … PASSWORD NULL)",
);

fn not_ours(other: &str, present: &str) -> ProviderError {
    ProviderError::Declined(format!(
        "role {other} is there, and no member of {present}, nor that one of it: it may be somebody else's, and nothing was done to it; GRANT {present} TO {other} if it is yours, or hand in a `value`"
    ))
}

/// Gives role `other`, which is there, a new password: by the function that an operator
/// has made for it, or else by itself.
async fn renew(
    connection: &mut PgConnection,
    other: &str,
    verifier: &str,
) -> Result<(), sqlx::Error> {
    if sqlx::query_scalar(RENEWS).fetch_one(&mut *connection).await? {
        sqlx::query(RENEW).bind(other).bind(verifier).execute(connection).await?;
        return Ok(());
    }
    let statement = format!("ALTER ROLE {} LOGIN PASSWORD '{verifier}'", identifier(other));
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await.map(drop)
}

/// Makes role `other`, with the rights of the present one. One that makes roles has to be
/// made by one, or there would be no second turn.
async fn create(
    connection: &mut PgConnection,
    other: &str,
    present: &str,
    verifier: &str,
) -> Result<(), sqlx::Error> {
    let (bypasses, makes): (bool, bool) =
        sqlx::query_as(OWN).bind(present).fetch_one(&mut *connection).await?;
    let rls = if bypasses { " BYPASSRLS" } else { "" };
    let roles = if makes { " CREATEROLE" } else { "" };
    let (role, group) = (identifier(other), identifier(present));
    let statement =
        format!("CREATE ROLE {role} LOGIN{rls}{roles} PASSWORD '{verifier}' IN ROLE {group}");
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await.map(drop)
}

fn parsed(credential: &Material) -> Result<RoleLogin, ProviderError> {
    RoleLogin::parse(credential).ok_or(ProviderError::ByHand(FORM))
}

/// The role whose turn it is after `role`.
fn in_turn(role: &str) -> String {
    role.strip_suffix("_b").map_or_else(|| format!("{role}_b"), str::to_owned)
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Not privileged (42501), or a loop of memberships: since PostgreSQL 16 who makes a role
/// is its member, which can then be none of his (0LP01).
fn is_denied(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code == "42501" || code == "0LP01")
}

/// What the server said. Its messages name roles and databases, and never a password.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn told(error: sqlx::Error) -> ProviderError {
    match &error {
        sqlx::Error::Database(answer) => match answer.code().as_deref() {
            Some("28P01" | "28000") => ProviderError::Refused(answer.message().to_owned()),
            Some("42501") => ProviderError::Lacking(answer.message().to_owned()),
            Some("3D000") => ProviderError::Lacking(answer.message().to_owned()),
            _ => ProviderError::Nonsense(answer.message().to_owned()),
        },
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut => {
            ProviderError::Unreachable(error.to_string())
        }
        _ => ProviderError::Nonsense(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_roles_take_turns() {
        assert_eq!(in_turn("api"), "api_b");
        assert_eq!(in_turn("api_b"), "api");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
    }
}
