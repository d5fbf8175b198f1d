//! The passwords of a user, and who is logged in as whom, as a server tells those who may
//! ask (`ACL`, `CLIENT LIST`).

use redis::{RedisError, aio::MultiplexedConnection};

use super::{BY_HAND, RedisLogin, is_denied, told};
use crate::provider::ProviderError;

/// What came of taking a password away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// The user has it no more, as far as the server says.
    Gone,
    /// Who asked may not.
    Denied,
}

/// Gives the user of `login` its password beside the ones that he has.
pub(super) async fn give(
    connection: &mut MultiplexedConnection,
    login: &RedisLogin,
) -> Result<(), ProviderError> {
    let given = set_user(connection, &login.user, &format!("#{}", login.digest())).await;
    given.map_err(|error| if is_denied(&error) { BY_HAND } else { refused(error) })?;
    keep(connection).await;
    Ok(())
}

/// Takes the password of `login` away from its user. Doing it twice is no error.
pub(super) async fn take_away(
    connection: &mut MultiplexedConnection,
    login: &RedisLogin,
) -> Result<Taken, ProviderError> {
    match set_user(connection, &login.user, &format!("!{}", login.digest())).await {
        Ok(()) => {
            keep(connection).await;
            Ok(Taken::Gone)
        }
        Err(error) if is_gone(&error) => Ok(Taken::Gone),
        Err(error) if is_denied(&error) => Ok(Taken::Denied),
        Err(error) => Err(refused(error)),
    }
}

/// What the open connections of `user` are called; nothing where one may not ask.
pub(super) async fn users_of(
    connection: &mut MultiplexedConnection,
    user: &str,
) -> Result<Option<Vec<String>>, ProviderError> {
    let list = redis::cmd("CLIENT").arg("LIST").query_async::<String>(connection).await;
    match list {
        Ok(list) => Ok(Some(named(&list, user))),
        Err(error) if is_denied(&error) => Ok(None),
        Err(error) => Err(told(error)),
    }
}

/// Of each line `… name=NAME … user=USER …` of this user the name.
fn named(list: &str, user: &str) -> Vec<String> {
    let lines = list.lines().filter_map(|line| {
        let field = |name| line.split(' ').find_map(|field| field.strip_prefix(name));
        (field("user=") == Some(user)).then(|| field("name=").unwrap_or_default().to_owned())
    });
    lines.collect()
}

async fn set_user(
    connection: &mut MultiplexedConnection,
    user: &str,
    rule: &str,
) -> Result<(), RedisError> {
    redis::cmd("ACL").arg("SETUSER").arg(user).arg(rule).query_async(connection).await
}

/// Whether there was no such password, as Redis says it (`ENODEV` of its `!`).
fn is_gone(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.ends_with("does not exist"))
}

/// Why a rule was not taken. What the server says repeats the rule, which has a digest in it.
fn refused(error: RedisError) -> ProviderError {
    if error.is_io_error() {
        return told(error);
    }
    ProviderError::Nonsense(format!("ACL SETUSER: {}", error.category()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_listed_by_the_user_that_they_are_of() {
        let list = "id=3 addr=127.0.0.1:1 name=breeze-00 age=1 user=api lib-name=\n\
                    id=4 addr=127.0.0.1:2 name= age=1 user=api_b lib-name=\n\
                    id=5 addr=127.0.0.1:3 name= age=1 user=api lib-name=\n";
        assert_eq!(named(list, "api"), ["breeze-00", ""]);
        assert_eq!(named(list, "nobody"), Vec::<String>::new());
    }
}
