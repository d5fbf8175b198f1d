//! The layer, and what it decides.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::{ApiKeys, HEADER, Issued};
use crate::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    digest::Hash,
    keyring::{Keychain, KeychainHandle},
    problem::Problem,
};

/// What an API key begins with, and the longest that one may be.
const PREFIX: &str = "brz_";
const LONGEST: usize = 256;

/// Demands an API key of every request. Cheap to clone.
#[derive(Debug)]
pub struct ApiKeyLayer<K> {
    keychain: KeychainHandle,
    keys: Arc<K>,
    clock: Arc<dyn Clock>,
}

impl<K> Clone for ApiKeyLayer<K> {
    fn clone(&self) -> Self {
        Self {
            keychain: self.keychain.clone(),
            keys: Arc::clone(&self.keys),
            clock: Arc::clone(&self.clock),
        }
    }
}

impl<K: ApiKeys> ApiKeyLayer<K> {
    /// Keys of `keys`, whose generations are those of `keychain` at each request.
    #[must_use]
    pub fn new(keychain: KeychainHandle, keys: K) -> Self {
        Self { keychain, keys: Arc::new(keys), clock: Arc::new(SystemClock) }
    }

    /// Reads the time from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Whose key came with these headers.
    ///
    /// # Errors
    /// [`Problem`]: 401 for no key or a bad one, 503 where none can be judged.
    pub async fn authenticate(
        &self,
        keychain: &Keychain,
        headers: &HeaderMap,
    ) -> Result<K::Holder, Problem> {
        keychain.fence().check()?;
        let hash = presented(headers).ok_or_else(refused)?;
        let issued = self.keys.find(&hash).await?.ok_or_else(refused)?;
        let now = self.clock.now();
        let is_live = is_live(&issued, keychain, now)?;
        // That took a while, and from the end of the lease on others may have ended it, or
        // begun another generation.
        keychain.fence().check()?;
        if !is_live {
            return Err(refused());
        }
        self.keys.used(&issued.holder, now);
        Ok(issued.holder)
    }
}

/// The hash of the one key that was presented, if it has the form of one.
fn presented(headers: &HeaderMap) -> Option<Hash> {
    let mut values = headers.get_all(HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let key = value.to_str().ok().filter(|key| key.len() <= LONGEST)?;
    key.starts_with(PREFIX).then(|| Hash::of(key))
}

fn is_live<H>(
    issued: &Issued<H>,
    keychain: &Keychain,
    now: crate::clock::Timestamp,
) -> Result<bool, Problem> {
    let ring = keychain.verbatim(Secret::UserApiKeys).map_err(|error| {
        tracing::error!(%error, "no API key can be judged");
        Problem::unavailable("no API key can be judged now; try again", Duration::from_secs(5))
            .coded("no_generation")
    })?;
    let is_in_time = issued.ends_at.is_none_or(|end| now < end);
    Ok(is_in_time && ring.get(issued.generation.as_str()).is_some())
}

fn refused() -> Problem {
    Problem::unauthorized("send a valid API key as X-API-Key; make a new one if yours has ended")
        .coded("invalid_api_key")
}

impl<S, K> Layer<S> for ApiKeyLayer<K> {
    type Service = ApiKey<S, K>;

    fn layer(&self, inner: S) -> ApiKey<S, K> {
        ApiKey { inner, layer: self.clone() }
    }
}

/// A service behind an [`ApiKeyLayer`].
#[derive(Debug)]
pub struct ApiKey<S, K> {
    inner: S,
    layer: ApiKeyLayer<K>,
}

impl<S: Clone, K> Clone for ApiKey<S, K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, K, B, R> Service<Request<B>> for ApiKey<S, K>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    K: ApiKeys,
    B: Send + 'static,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let layer = self.layer.clone();
        // The one that is ready is the one that is called.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let keychain = layer.keychain.load_full(); // one snapshot a request
            let headers = std::mem::take(request.headers_mut());
            let holder = layer.authenticate(&keychain, &headers).await;
            *request.headers_mut() = headers;
            match holder {
                Ok(holder) => {
                    request.extensions_mut().insert(holder);
                    inner.call(request).await
                }
                Err(problem) => Ok(problem.response()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        ids::{Epoch, KeyId},
        keyring::{AnyKeyring, Fence, Key, KeyState, Keyring},
        material::Material,
    };

    fn keychain(live: &str) -> Keychain {
        let material = Material::new("a generation").unwrap();
        let id = KeyId::new(live).unwrap();
        let key = Key::verbatim(id, KeyState::Primary, material, Arc::default());
        let ring = AnyKeyring::Verbatim(Keyring::new(vec![key]).unwrap());
        Keychain::new(Epoch(1)).with(Secret::UserApiKeys, ring)
    }

    #[derive(Debug)]
    struct One(Option<Timestamp>);

    /// The lease runs out while the key is looked up.
    #[derive(Debug)]
    struct Late(Fence);

    impl ApiKeys for Late {
        type Holder = &'static str;

        async fn find(&self, hash: &Hash) -> Result<Option<Issued<&'static str>>, Problem> {
            self.0.shut();
            One(None).find(hash).await
        }
    }

    #[tokio::test]
    async fn a_key_that_was_looked_up_for_longer_than_the_lease_is_neither_accepted_nor_refused() {
        for generation in ["g1", "g2"] {
            let fence = Fence::at(crate::clock::Uptime::now().plus(Duration::from_secs(60)));
            let keychain = keychain(generation).under(fence.clone());
            let layer = ApiKeyLayer::new(KeychainHandle::new(Keychain::new(Epoch(0))), Late(fence));
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, "brz_right".parse().unwrap());
            let problem = layer.authenticate(&keychain, &headers).await.unwrap_err();
            assert_eq!(problem.code(), "fenced");
        }
    }

    impl ApiKeys for One {
        type Holder = &'static str;

        async fn find(&self, hash: &Hash) -> Result<Option<Issued<&'static str>>, Problem> {
            let generation = KeyId::new("g1").unwrap();
            let issued = Issued { holder: "ann", generation, ends_at: self.0 };
            Ok((*hash == Hash::of("brz_right")).then_some(issued))
        }
    }

    async fn answer(ends_at: Option<i64>, keychain: Keychain, headers: &[&str]) -> Option<u16> {
        let handle = KeychainHandle::new(keychain);
        let ends_at = ends_at.map(Timestamp::from_seconds);
        let clock = crate::clock::ManualClock::at(Timestamp::from_seconds(100));
        let layer = ApiKeyLayer::new(handle.clone(), One(ends_at)).clock(Arc::new(clock));
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(HEADER, header.parse().unwrap());
        }
        let problem = layer.authenticate(&handle.load_full(), &map).await.err()?;
        let response: Response<String> = problem.response();
        Some(response.status().as_u16())
    }

    #[tokio::test]
    async fn a_key_is_accepted_in_its_time_and_generation_and_while_the_lease_runs() {
        assert_eq!(answer(None, keychain("g1"), &["brz_right"]).await, None);
        assert_eq!(answer(Some(101), keychain("g1"), &["brz_right"]).await, None);
        assert_eq!(answer(Some(100), keychain("g1"), &["brz_right"]).await, Some(401));
        assert_eq!(answer(None, keychain("g2"), &["brz_right"]).await, Some(401));
        assert_eq!(answer(None, keychain("g1"), &["brz_wrong"]).await, Some(401));
        assert_eq!(answer(None, keychain("g1"), &["right"]).await, Some(401));
        assert_eq!(answer(None, keychain("g1"), &[]).await, Some(401));
        assert_eq!(answer(None, keychain("g1"), &["brz_right", "brz_right"]).await, Some(401));
        assert_eq!(answer(None, Keychain::new(Epoch(1)), &["brz_right"]).await, Some(503));
        let fence = Fence::at(crate::clock::Uptime::ZERO);
        assert_eq!(answer(None, keychain("g1").under(fence), &["brz_right"]).await, Some(503));
    }
}
