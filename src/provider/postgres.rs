//! The credential of the database: a role and its password, as a URL holds them.
//!
//! 1. A new one must log in, and have every right that the present role has, before
//!    anything depends on it.
//! 2. Two roles take turns: while one serves, the other gets a new password. The one
//!    that is made here is a member of the other, so that it has its rights.
//! 3. The old role is left alone as long as a connection of it is open. Then it takes
//!    its own password away, which every role may.
//! 4. A new password goes to the server as a SCRAM verifier (RFC 5803), so that no log
//!    of the server can hold it.

use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use super::{Provider, ProviderError};
use crate::{catalog::Secret, material::Material, store::postgres::login::RoleLogin};

/// How long a login may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the role of the pool may do and the asking role, $1, may not: a few examples.
const LACKING: &str = "
    WITH thing AS (
        SELECT c.oid, n.nspname, c.relname, c.relkind
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S')
          AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
    )
    SELECT privilege || ' on ' || nspname || '.' || relname FROM thing, unnest(
        CASE relkind WHEN 'S' THEN ARRAY['USAGE'] ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'] END
    ) AS privilege
    WHERE CASE relkind
        WHEN 'S' THEN has_sequence_privilege(session_user, oid, privilege)
            AND NOT has_sequence_privilege($1, oid, privilege)
        ELSE has_table_privilege(session_user, oid, privilege)
            AND NOT has_table_privilege($1, oid, privilege)
    END
    UNION ALL
    SELECT 'USAGE on schema ' || nspname FROM pg_namespace
    WHERE has_schema_privilege(session_user, oid, 'USAGE')
      AND NOT has_schema_privilege($1, oid, 'USAGE')
    UNION ALL
    SELECT 'BYPASSRLS' FROM pg_roles here, pg_roles there
    WHERE here.rolname = session_user AND there.rolname = $1
      AND (here.rolsuper OR here.rolbypassrls) AND NOT (there.rolsuper OR there.rolbypassrls)
    LIMIT 3";

/// Open connections of role $1.
const IN_USE: &str = "
    SELECT count(*), coalesce(string_agg(DISTINCT nullif(application_name, ''), ', '), '')
    FROM pg_stat_activity WHERE usename = $1";

/// Whether there is a role $1.
const THERE: &str = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";

/// Whether role $1 sees what row-level security hides.
const BYPASSES: &str = "SELECT rolbypassrls FROM pg_roles WHERE rolname = $1";

/// The database's roles, as the process of `pool` may change them.
#[derive(Debug)]
pub struct PostgresRole {
    pool: PgPool,
}

impl PostgresRole {
    /// Those of the database that `pool` connects to.
    #[must_use]
    pub const fn new(pool: PgPool) -> Self {
        Self { pool }
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
        let verifier = scram_verifier(password.expose_source())?;
        let mut transaction = self.pool.begin().await.map_err(told)?;
        let is_there: bool = sqlx::query_scalar(THERE)
            .bind(&other)
            .fetch_one(&mut *transaction)
            .await
            .map_err(told)?;
        let bypasses: bool = sqlx::query_scalar(BYPASSES)
            .bind(&present)
            .fetch_one(&mut *transaction)
            .await
            .map_err(told)?;
        let (role, group) = (identifier(&other), identifier(&present));
        let statement = if is_there {
            format!("ALTER ROLE {role} LOGIN PASSWORD '{verifier}'")
        } else {
            let rls = if bypasses { " BYPASSRLS" } else { "" };
            format!("CREATE ROLE {role} LOGIN{rls} PASSWORD '{verifier}' IN ROLE {group}")
        };
        let made = sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await;
        made.map_err(|error| if is_denied(&error) { BY_HAND } else { told(error) })?;
        transaction.commit().await.map_err(told)?;
        let role =
            percent_encoding::utf8_percent_encode(&other, percent_encoding::NON_ALPHANUMERIC);
        Ok(Material::new(format!("{role}:{}", password.expose_source())).expect("not empty"))
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
    "the present role may not make roles: make a second one with the same rights (CREATE ROLE … LOGIN PASSWORD … IN ROLE …), and hand it in as `value`: user:password, written as in a URL",
);

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

/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` (RFC 5803), as PostgreSQL
/// stores it. The password is ASCII, so that SASLprep changes nothing.
fn scram_verifier(password: &str) -> Result<String, ProviderError> {
    let mut salt = [0; 16];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut salt)
        .map_err(|_| ProviderError::Unreachable("no randomness".to_owned()))?;
    Ok(verifier(password, &salt, 4096))
}

fn verifier(password: &str, salt: &[u8], iterations: u32) -> String {
    let mac = |key: &[u8], text: &[u8]| -> [u8; 32] {
        Hmac::<Sha256>::new_from_slice(key)
            .expect("HMAC takes a key of any length")
            .chain_update(text)
            .finalize()
            .into_bytes()
            .into()
    };
    // PBKDF2 with one block: Hi() of RFC 5802.
    let mut last = mac(password.as_bytes(), &[salt, &[0, 0, 0, 1]].concat());
    let mut salted = last;
    for _ in 1..iterations {
        last = mac(password.as_bytes(), &last);
        salted.iter_mut().zip(last).for_each(|(byte, next)| *byte ^= next);
    }
    let stored: [u8; 32] = Sha256::digest(mac(&salted, b"Client Key")).into();
    let server = mac(&salted, b"Server Key");
    let base64 = |bytes: &[u8]| base64_simd::STANDARD.encode_to_string(bytes);
    format!("SCRAM-SHA-256${iterations}:{}${}:{}", base64(salt), base64(&stored), base64(&server))
}

fn is_denied(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "42501")
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
    fn the_verifier_is_that_of_rfc_7677() {
        // The example of RFC 7677, section 3: its salt, and the keys that follow from it.
        let salt = base64_simd::STANDARD.decode_to_vec("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        assert_eq!(
            verifier("pencil", &salt, 4096),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
             $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=\
             :wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }

    #[test]
    fn two_roles_take_turns() {
        assert_eq!(in_turn("api"), "api_b");
        assert_eq!(in_turn("api_b"), "api");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
    }
}
