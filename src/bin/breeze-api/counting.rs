//! Counts what still needs a pepper, or a generation of what is issued.

use std::sync::Arc;

use async_trait::async_trait;
use breeze_rollover::{
    catalog::Secret, clock::Clock, ids::KeyId, rollover::Reliance, store::StoreError,
    worker::Counting,
};

use crate::data::{Data, DataError};

/// Counts in the API's data, as it is now.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) data: Arc<dyn Data>,
    pub(crate) clock: Arc<dyn Clock>,
}

#[async_trait]
impl Counting for Counted {
    async fn what_needs(&self, secret: Secret, keys: &[KeyId]) -> Result<Reliance, StoreError> {
        let ids: Vec<String> = keys.iter().map(KeyId::to_string).collect();
        let now = self.clock.now();
        let counted = match secret {
            Secret::EnrollmentKeyPepper => self.data.enrolment_keys_under(&ids, now).await,
            Secret::MfaRecoveryCodePepper => self.data.recovery_codes_under(&ids).await,
            Secret::AgentTokens => self.data.agents_under(&ids, now).await,
            Secret::UserApiKeys => self.data.live_api_keys(keys, now).await,
            _ => return Ok(Reliance::Uncounted),
        };
        counted.map_err(unanswered)
    }

    fn listed_at(&self, secret: Secret) -> Option<&'static str> {
        (secret == Secret::MfaRecoveryCodePepper).then_some("/admin/recovery-codes/outdated")
    }
}

/// The same database, and so the same fault.
fn unanswered(error: DataError) -> StoreError {
    match error {
        DataError::Unavailable(error) => StoreError::Unreachable(error),
        DataError::Database(error) | DataError::KeyRetired(error) => StoreError::Database(error),
        DataError::Taken | DataError::NotMigrated | DataError::Migrate(_) => {
            StoreError::NotMigrated
        }
    }
}
