//! What still needs a key, where only the application knows.

use std::fmt;

use async_trait::async_trait;

use crate::{catalog::Secret, ids::KeyId, rollover::Reliance, store::StoreError};

/// Counts what the application has stored under a pepper, or issued of a generation.
#[async_trait]
pub trait Counting: fmt::Debug + Send + Sync + 'static {
    /// How many rows that still count need one of `keys`, and how many do not tell
    /// which key of `secret` they need. [`Reliance::Uncounted`] for a secret that it
    /// knows nothing of.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    async fn what_needs(&self, secret: Secret, keys: &[KeyId]) -> Result<Reliance, StoreError>;

    /// Where operators find listed whose rows need an old key of `secret`, if anywhere.
    fn listed_at(&self, secret: Secret) -> Option<&'static str> {
        let _ = secret;
        None
    }
}
