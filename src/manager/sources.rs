//! Where the keys of one process come from: its environment, and the secrets manager that
//! the environment names.

use std::{sync::Arc, time::Duration};

use super::{Following, Manager, SourcesError};
use crate::keyring::sources::{Environment, Managed};

/// The variables that name a secrets manager; at most one is set.
pub const SOURCES: [&str; 2] = ["BREEZE_VAULT_SECRET", "BREEZE_AWS_SECRET"];

/// How often the manager is asked.
const POLL: &str = "BREEZE_SECRETS_POLL_SECONDS";

/// Whether keys that were made here are written to it.
const WRITE_BACK: &str = "BREEZE_SECRETS_WRITE_BACK";

/// How often it is asked that nobody says otherwise of.
const USUAL: Duration = Duration::from_secs(30);

/// Where the keys of one process come from.
#[derive(Debug, Clone)]
pub struct Sources {
    environment: Environment,
    following: Option<Arc<Following>>,
    writes_back: bool,
}

impl Sources {
    /// The variables of `local`, and the secret of the manager that they name, if they name
    /// one: it is read now.
    ///
    /// | variable | names |
    /// |---|---|
    /// | `BREEZE_VAULT_SECRET` | the path of a secret of Vault's or OpenBao's, as [`vault::Vault`](super::vault::Vault) says |
    /// | `BREEZE_AWS_SECRET` | the name or ARN of one of AWS Secrets Manager's, as [`aws::SecretsManager`](super::aws::SecretsManager) says |
    /// | `BREEZE_SECRETS_POLL_SECONDS` | how often it is asked, 30 by default |
    /// | `BREEZE_SECRETS_WRITE_BACK` | `1`: the keys that rollovers made are written to it |
    ///
    /// # Errors
    /// [`SourcesError`] says what to do.
    pub async fn open(local: Environment) -> Result<Self, SourcesError> {
        let Some(manager) = named(&local)? else { return Ok(local.into()) };
        let poll = match text(&local, POLL)? {
            None => USUAL,
            Some(text) => match text.parse::<std::num::NonZeroU32>() {
                Ok(seconds) => Duration::from_secs(seconds.get().into()),
                Err(_) => return Err(setting(POLL, "must be a whole number of seconds")),
            },
        };
        let writes_back = matches!(text(&local, WRITE_BACK)?.as_deref(), Some("1" | "true"));
        let sources = Self::following(local, manager, poll).await?;
        Ok(if writes_back { sources.writing_back() } else { sources })
    }

    /// The variables of `local`, and the secret of `manager`, which is read now, and then
    /// every `poll`.
    ///
    /// # Errors
    /// [`SourcesError`] when it does not give it.
    pub async fn following(
        local: Environment,
        manager: Arc<dyn Manager>,
        poll: Duration,
    ) -> Result<Self, SourcesError> {
        let read = manager.read().await;
        let revision = read.map_err(|error| {
            let manager = manager.name().to_owned();
            SourcesError::Manager { manager, error }
        })?;
        tracing::info!(manager = manager.name(), version = revision.version, "keys are read");
        let managed = Managed::holding(revision);
        let environment = local.clone().managed_by(managed.clone());
        let following = Arc::new(Following::new(manager, managed, local, poll));
        Ok(Self { environment, following: Some(following), writes_back: false })
    }

    /// Writes the keys that rollovers made to the manager, in place of those that they
    /// replaced.
    #[must_use]
    pub const fn writing_back(mut self) -> Self {
        self.writes_back = true;
        self
    }

    /// The variables, with the fields of the manager among them.
    #[must_use]
    pub const fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The manager, and what was read of it.
    pub(crate) fn into_following(self) -> Option<(Arc<Following>, bool)> {
        let writes_back = self.writes_back;
        self.following.map(|following| (following, writes_back))
    }
}

/// The environment alone.
impl From<Environment> for Sources {
    fn from(environment: Environment) -> Self {
        Self { environment, following: None, writes_back: false }
    }
}

/// The manager that `local` names.
fn named(local: &Environment) -> Result<Option<Arc<dyn Manager>>, SourcesError> {
    let [vault, aws] = SOURCES;
    match (text(local, vault)?, text(local, aws)?) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(setting(vault, &format!("and {aws} are both set; keep one"))),
        #[cfg(feature = "vault")]
        (Some(path), None) => Ok(Some(Arc::new(super::named::vault(local, &path)?))),
        #[cfg(feature = "aws")]
        (None, Some(secret)) => Ok(Some(Arc::new(super::named::aws(local, &secret)?))),
        #[cfg(not(feature = "vault"))]
        (Some(_), None) => Err(setting(vault, "is set, and this build lacks the feature `vault`")),
        #[cfg(not(feature = "aws"))]
        (None, Some(_)) => Err(setting(aws, "is set, and this build lacks the feature `aws`")),
    }
}

/// The text of a variable, without white space around it.
pub(super) fn text(local: &Environment, name: &str) -> Result<Option<String>, SourcesError> {
    let text = local.lookup(name)?.map(|value| value.expose_text().trim().to_owned());
    Ok(text.filter(|text| !text.is_empty()))
}

pub(super) fn setting(name: &'static str, fault: &str) -> SourcesError {
    SourcesError::Setting { name, fault: fault.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_manager_is_asked_that_nobody_names() {
        let local = Environment::given([("VAULT_ADDR", "https://vault"), ("AWS_REGION", "r")]);
        let sources = Sources::open(local).await.unwrap();
        assert!(sources.following.is_none() && !sources.environment().can_change());
    }

    #[tokio::test]
    async fn what_names_it_wrongly_is_told_by_its_variable_and_never_by_its_value() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("BREEZE_VAULT_SECRET", "b"), ("BREEZE_AWS_SECRET", "b")], "are both set"),
            (&[("BREEZE_VAULT_SECRET", "b")], "VAULT_ADDR"),
            (&[("BREEZE_VAULT_SECRET", "b"), ("VAULT_ADDR", "http://elsewhere")], "VAULT_ADDR"),
            (
                &[("BREEZE_VAULT_SECRET", "b"), ("VAULT_ADDR", "https://user:hunter2@elsewhere")],
                "VAULT_ADDR",
            ),
            (&[("BREEZE_VAULT_SECRET", "b"), ("VAULT_ADDR", "https://v")], "VAULT_TOKEN"),
            (
                &[
                    ("BREEZE_VAULT_SECRET", "b"),
                    ("VAULT_ADDR", "https://v"),
                    ("VAULT_ROLE_ID", "hunter2"),
                ],
                "VAULT_SECRET_ID",
            ),
            (
                &[
                    ("BREEZE_VAULT_SECRET", "b"),
                    ("VAULT_ADDR", "https://v"),
                    ("VAULT_TOKEN", "hunter2"),
                    ("VAULT_CACERT", "/nonexistent"),
                ],
                "VAULT_CACERT",
            ),
            (&[("BREEZE_AWS_SECRET", "b")], "AWS_REGION"),
            (
                &[
                    ("BREEZE_AWS_SECRET", "b"),
                    ("AWS_REGION", "eu-central-1"),
                    ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "ftp://x"),
                ],
                "AWS_ENDPOINT_URL_SECRETS_MANAGER",
            ),
            (
                &[
                    ("BREEZE_AWS_SECRET", "b"),
                    ("AWS_REGION", "eu-central-1"),
                    ("BREEZE_SECRETS_POLL_SECONDS", "hunter2"),
                ],
                "BREEZE_SECRETS_POLL_SECONDS",
            ),
        ];
        for (variables, named) in cases {
            let local = Environment::given(variables.iter().copied());
            let told = Sources::open(local).await.unwrap_err().to_string();
            assert!(told.contains(named) && !told.contains("hunter2"), "{variables:?}: {told}");
        }
    }
}
