//! The layer and its service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use super::access::{Sealed, StaleSink};
use crate::{column::Registry, envelope::Target, keyring::KeychainHandle};

/// Gives every request a [`Sealed`] to open and seal columns with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SealedLayer {
    keychain: KeychainHandle,
    registry: Arc<Registry>,
    target: Target,
    lazy: Option<Arc<dyn StaleSink>>,
}

impl SealedLayer {
    /// A layer for the columns of `registry`, with whatever keys `keychain` shows at
    /// each request. Seals to [`Target::Bound`], and rewraps nothing lazily.
    #[must_use]
    pub fn new(keychain: KeychainHandle, registry: impl Into<Arc<Registry>>) -> Self {
        Self { keychain, registry: registry.into(), target: Target::default(), lazy: None }
    }

    /// Seals to `target`, and takes anything else as stale.
    #[must_use]
    pub const fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Offers rows in which something stale was read to `sink`.
    #[must_use]
    pub fn lazy(mut self, sink: impl StaleSink) -> Self {
        self.lazy = Some(Arc::new(sink));
        self
    }

    /// What a request of this moment opens and seals with.
    #[must_use]
    pub fn sealed(&self) -> Sealed {
        Sealed {
            keys: self.keychain.load_full(),
            registry: Arc::clone(&self.registry),
            target: self.target,
            lazy: self.lazy.clone(),
        }
    }
}

impl<S> Layer<S> for SealedLayer {
    type Service = SealedService<S>;

    fn layer(&self, inner: S) -> SealedService<S> {
        SealedService { inner, layer: self.clone() }
    }
}

/// A service behind a [`SealedLayer`].
#[derive(Debug, Clone)]
pub struct SealedService<S> {
    inner: S,
    layer: SealedLayer,
}

impl<S, B> Service<Request<B>> for SealedService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(self.layer.sealed());
        self.inner.call(request)
    }
}
