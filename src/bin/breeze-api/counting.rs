//! What still needs a pepper, or a generation of what is issued, as the API's tables tell.

use std::sync::Arc;

use async_trait::async_trait;
use breeze_rollover::{
    catalog::Secret, clock::Clock, ids::KeyId, rollover::Reliance, store::StoreError,
    worker::Counting,
};

use crate::data::{Data, DataError};

/// Counts in the API's tables.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) data: Arc<dyn Data>,
    pub(crate) clock: Arc<dyn Clock>,
}

#[async_trait]
impl Counting for Counted {
    async fn what_needs(&self, secret: Secret, keys: &[KeyId]) -> Result<Reliance, StoreError> {
        let now = self.clock.now();
        let counted = match secret {
            Secret::UserApiKeys => self.data.live_api_keys(keys, now).await,
            _ => return Ok(Reliance::Uncounted),
        };
        let (rows, unknown) = counted.map_err(of_the_store)?;
        Ok(Reliance::Counted { rows, unknown })
    }
}

/// The same database, and so the same fault.
fn of_the_store(error: DataError) -> StoreError {
    match error {
        DataError::Unavailable(error) => StoreError::Unreachable(error),
        DataError::Database(error) | DataError::KeyRetired(error) => StoreError::Database(error),
        DataError::Taken | DataError::NotMigrated | DataError::Migrate(_) => {
            StoreError::NotMigrated
        }
    }
}
