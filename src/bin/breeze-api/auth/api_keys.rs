//! Who holds an API key, and when keys were last used.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use breeze_rollover::{
    clock::Timestamp,
    digest::Hash,
    layer::api_key::{ApiKeys, Issued},
    problem::Problem,
};

use crate::data::{Data, RowId};

/// How often the last uses are written: never on the way of a request.
const FLUSH: Duration = Duration::from_secs(5);

/// Whose key a request came with.
#[derive(Debug, Clone)]
pub(crate) struct KeyHolder {
    pub(crate) key: RowId,
    pub(crate) user: Option<RowId>,
    pub(crate) org_id: Option<RowId>,
    pub(crate) name: Option<String>,
}

/// The keys of the API's table. Cheap to clone.
#[derive(Clone)]
pub(crate) struct IssuedKeys {
    data: Arc<dyn Data>,
    used: Arc<Mutex<HashMap<RowId, Timestamp>>>,
}

impl fmt::Debug for IssuedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedKeys").finish_non_exhaustive()
    }
}

impl IssuedKeys {
    pub(crate) fn new(data: Arc<dyn Data>) -> Self {
        Self { data, used: Arc::default() }
    }

    /// Writes the last uses every few seconds.
    pub(crate) async fn keep_noting(&self) -> Infallible {
        loop {
            tokio::time::sleep(FLUSH).await;
            self.note().await;
        }
    }

    /// Writes the last uses that are not written yet.
    pub(crate) async fn note(&self) {
        let used: Vec<_> = {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.drain().collect()
        };
        if used.is_empty() {
            return;
        }
        if let Err(error) = self.data.note_api_keys_used(&used).await {
            tracing::warn!(%error, "when API keys were last used could not be noted; it is tried again");
            let mut noted = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            for (id, at) in used {
                noted.entry(id).or_insert(at);
            }
        }
    }
}

impl ApiKeys for IssuedKeys {
    type Holder = KeyHolder;

    async fn find(&self, hash: &Hash) -> Result<Option<Issued<KeyHolder>>, Problem> {
        let Some(row) = self.data.api_key_by_hash(hash).await? else { return Ok(None) };
        // One without a generation was issued by somebody who knows of none.
        let Some(generation) = row.generation.and_then(|id| id.parse().ok()) else {
            return Ok(None);
        };
        let (key, user) = (row.id, row.held_by);
        Ok(Some(Issued {
            holder: KeyHolder { key, user, org_id: row.org_id, name: row.name },
            generation,
            ends_at: row.ends_at_ms.map(Timestamp::from_millis),
        }))
    }

    fn used(&self, holder: &KeyHolder, now: Timestamp) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let at = used.entry(holder.key).or_insert(now);
        *at = (*at).max(now);
    }
}
