//! Hashes and checks passwords with argon2id, off the async threads.
//!
//! 1. At most one hash a core runs at a time: each takes 64 MiB for a while.
//! 2. Checking takes as long for a user who does not exist: a dummy hash is checked
//!    in place of theirs.
//! 3. The parameters are Breeze's (FORMATS section 6): 64 MiB, 3 passes, 4 lanes, 32
//!    bytes. A stored hash is checked with its own.

use std::{fmt, sync::Arc, thread};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::Semaphore, task};

/// The fewest characters of a new password.
pub(crate) const MIN_LENGTH: usize = 12;
/// The most bytes that are hashed.
const MAX_BYTES: usize = 1024;

/// Hashes and checks passwords. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Passwords {
    hasher: Argon2<'static>,
    cores: Arc<Semaphore>,
    dummy: Arc<str>,
}

/// A password could not be hashed or checked. Never holds it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error("a password has at least {MIN_LENGTH} characters and at most {MAX_BYTES} bytes")]
    Length,
    #[error("argon2 failed: {0}")]
    Argon2(String),
    #[error("the hashing task ended early")]
    Task,
}

impl Passwords {
    /// Takes as long as one hash.
    pub(crate) async fn new() -> Result<Self, PasswordError> {
        let params = Params::new(64 * 1024, 3, 4, Some(32)).map_err(failed)?;
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut passwords =
            Self { hasher, cores: Arc::new(Semaphore::new(cores)), dummy: Arc::from("") };
        let dummy = passwords.hash(SecretString::from("nobody's password")).await?;
        passwords.dummy = dummy.into();
        Ok(passwords)
    }

    /// The PHC string of a new password.
    pub(crate) async fn hash(&self, password: SecretString) -> Result<String, PasswordError> {
        let text = password.expose_secret();
        if text.chars().count() < MIN_LENGTH || text.len() > MAX_BYTES {
            return Err(PasswordError::Length);
        }
        self.run(move |hasher| {
            let hash = hasher.hash_password(password.expose_secret().as_bytes());
            hash.map(|hash| hash.to_string()).map_err(failed)
        })
        .await
    }

    /// Whether `password` is the one of `hash`; of nobody's, when there is none.
    pub(crate) async fn verify(
        &self,
        password: SecretString,
        hash: Option<String>,
    ) -> Result<bool, PasswordError> {
        let is_somebody = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy.to_string());
        if password.expose_secret().len() > MAX_BYTES {
            return Ok(false);
        }
        self.run(move |hasher| {
            let hash = PasswordHash::new(&hash).map_err(failed)?;
            let verified = hasher.verify_password(password.expose_secret().as_bytes(), &hash);
            Ok(verified.is_ok() && is_somebody)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'static>) -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let cores = Arc::clone(&self.cores);
        let permit = cores.acquire_owned().await.map_err(|_| PasswordError::Task)?;
        let hasher = self.hasher.clone();
        let task = task::spawn_blocking(move || {
            let _permit = permit; // held to the end, even when nobody waits any more
            work(&hasher)
        });
        task.await.map_err(|_| PasswordError::Task)?
    }
}

fn failed(error: impl fmt::Display) -> PasswordError {
    PasswordError::Argon2(error.to_string())
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_hashed_as_breeze_does_and_nobody_has_none() {
        let passwords = Passwords::new().await.expect("argon2 works");
        let password = || SecretString::from("correct horse battery staple");
        let hash = passwords.hash(password()).await.expect("long enough");
        assert!(hash.starts_with("$argon2id$v=19$m=65536,t=3,p=4$"), "{hash}");
        assert!(passwords.verify(password(), Some(hash.clone())).await.expect("checked"));
        let wrong = SecretString::from("incorrect horse");
        assert!(!passwords.verify(wrong, Some(hash)).await.expect("checked"));
        let nobodys = SecretString::from("nobody's password");
        assert!(!passwords.verify(nobodys, None).await.expect("checked"));
    }

    #[tokio::test]
    async fn a_short_or_endless_password_is_refused() {
        let passwords = Passwords::new().await.expect("argon2 works");
        for bad in ["short".to_owned(), "x".repeat(MAX_BYTES + 1)] {
            let refused = passwords.hash(bad.into()).await;
            assert!(matches!(refused, Err(PasswordError::Length)), "{refused:?}");
        }
    }
}
