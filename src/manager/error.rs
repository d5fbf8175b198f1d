//! Why a secrets manager did not do it.

#[cfg(feature = "worker")]
use crate::keyring::sources::Fault;
use crate::keyring::sources::UnfitFields;

/// A secrets manager did not do it. Tells what it answered, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManagerError {
    /// It did not answer, or not now.
    #[error("it cannot be reached, or does not answer: {0}; see to it, or to the network")]
    Away(String),
    /// It does not let us in.
    #[error("it refuses the login: {0}; give this process a credential that is valid")]
    NoLogin(String),
    /// It does not let us do it.
    #[error("it denies {what}: {said}; grant that, or give this process another credential")]
    Denied {
        /// What.
        what: &'static str,
        /// What it said.
        said: String,
    },
    /// It has no such secret.
    #[error("it has no such secret: {0}; create it, or correct its name")]
    Missing(String),
    /// The version is deleted or destroyed.
    #[error("version {0} of the secret is deleted; restore it, or write a new one")]
    Gone(String),
    /// What it holds are no variables.
    #[error("the secret cannot be used: {0}")]
    Unfit(#[from] UnfitFields),
    /// It answered what it should not.
    #[error("it answered something unexpected: {0}; see whether the address is its own")]
    Nonsense(String),
    /// It understood, and declined.
    #[error("it declined the request: {0}")]
    Declined(String),
    /// Somebody else wrote meanwhile.
    #[error("somebody else wrote a newer version meanwhile; it is looked at again")]
    Overtaken,
    /// It holds something else than was written.
    #[error(
        "version {0} was written, and does not hold what was written; compare it with the version before, and restore that one"
    )]
    NotReadBack(String),
}

/// The keys could not be read from where they are.
#[cfg(feature = "worker")]
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// A variable that says where they are is at fault.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// There is nothing to log in to Vault with.
    #[cfg(feature = "vault")]
    #[error(transparent)]
    Login(#[from] super::vault::UnfitLogin),
    /// A variable that says where they are says it wrongly.
    #[error("{name} {fault}")]
    Setting {
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        fault: String,
    },
    /// The manager did not give them.
    #[error("the keys cannot be read from {manager}: {error}")]
    Manager {
        /// Which.
        manager: String,
        /// Why not.
        error: ManagerError,
    },
}
