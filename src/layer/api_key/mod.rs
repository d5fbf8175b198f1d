//! API keys that users hold, presented as `X-API-Key`.
//!
//! 1. A key is looked up by its hash, which the application stores in its place.
//! 2. It is accepted while the generation under which it was issued is live, its own
//!    time is not up, and this process holds its lease.
//! 3. Whatever is wrong with a key, the answer is the same.
//!
//! ```
//! # use breeze_rollover::{keyring::KeychainHandle, layer::api_key::{ApiKeyLayer, ApiKeys}};
//! # fn protect<K: ApiKeys>(app: axum::Router, keychain: KeychainHandle, keys: K) -> axum::Router {
//! app.layer(ApiKeyLayer::new(keychain, keys)) // handlers find `K::Holder` among the extensions
//! # }
//! ```

mod layer;

pub use layer::{ApiKey, ApiKeyLayer};

use crate::{clock::Timestamp, digest::Hash, ids::KeyId, problem::Problem};

/// The header that holds an API key.
pub const HEADER: &str = "x-api-key";

/// Where the application keeps the keys that it has issued.
pub trait ApiKeys: Send + Sync + 'static {
    /// Whose key it is, as handlers are to see it.
    type Holder: Clone + Send + Sync + 'static;

    /// The key of this hash, unless it was revoked.
    ///
    /// # Errors
    /// [`Problem`] when it cannot be looked up now.
    fn find(
        &self,
        hash: &Hash,
    ) -> impl Future<Output = Result<Option<Issued<Self::Holder>>, Problem>> + Send;

    /// The key of `holder` was accepted. Called for every request: note it in memory.
    fn used(&self, holder: &Self::Holder, now: Timestamp) {
        let _ = (holder, now);
    }
}

/// A key that was issued, as it is stored.
#[derive(Debug, Clone)]
pub struct Issued<H> {
    /// Whose it is.
    pub holder: H,
    /// Under which key of `USER_API_KEYS` it was issued.
    pub generation: KeyId,
    /// When it stops by itself, if it does.
    pub ends_at: Option<Timestamp>,
}
