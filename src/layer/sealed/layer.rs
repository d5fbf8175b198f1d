//! The configuration of the middleware.

use std::{fmt, sync::Arc};

use http::Request;
use tower_layer::Layer;

use super::{access::Sealed, stale::StaleSink, straggler::Custodian};
use crate::{
    column::Registry,
    envelope::Target,
    keyring::{Fenced, Keychain, KeychainHandle},
    layer::{Admit, Gate},
};

/// Puts a [`Sealed`] into the extensions of every request. Cheap to clone.
#[derive(Clone)]
pub struct SealedLayer(Arc<Shared>);

/// What every request has in common.
#[derive(Clone)]
pub(super) struct Shared {
    keychain: KeychainHandle,
    pub(super) registry: Arc<Registry>,
    pub(super) target: Target,
    pub(super) sink: Option<Arc<dyn StaleSink>>,
    pub(super) custodian: Option<Arc<dyn Custodian>>,
    pub(super) accepts_while_fenced: bool,
}

impl SealedLayer {
    /// The columns of `registry`, under the keys that `keychain` shows.
    #[must_use]
    pub fn new(keychain: KeychainHandle, registry: impl Into<Arc<Registry>>) -> Self {
        let registry = registry.into();
        Self(Arc::new(Shared {
            keychain,
            registry,
            target: Target::default(),
            sink: None,
            custodian: None,
            accepts_while_fenced: false,
        }))
    }

    /// Seals for `target`, in place of [`Target::Bound`].
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        Arc::make_mut(&mut self.0).target = target;
        self
    }

    /// Offers every row with something stale in it to `sink`, as it is read.
    #[must_use]
    pub fn lazy(mut self, sink: impl StaleSink) -> Self {
        Arc::make_mut(&mut self.0).sink = Some(Arc::new(sink));
        self
    }

    /// Goes on opening values while the process is without its lease. It seals nothing
    /// then, whatever is set here.
    #[must_use]
    pub fn accepting_while_fenced(mut self) -> Self {
        Arc::make_mut(&mut self.0).accepts_while_fenced = true;
        self
    }

    /// Has [`Sealed::read`] fetch from `custodian` what is not in the keychain any more.
    #[must_use]
    pub fn fetching_from(mut self, custodian: impl Custodian) -> Self {
        Arc::make_mut(&mut self.0).custodian = Some(Arc::new(custodian));
        self
    }

    /// Access under the present keychain, as a request gets it: for work outside
    /// any request.
    #[must_use]
    pub fn sealed(&self) -> Sealed {
        let keychain: Arc<Keychain> = self.0.keychain.load_full();
        Sealed::new(keychain, Arc::clone(&self.0))
    }
}

impl Admit for SealedLayer {
    type Denied = Fenced;

    fn admit<B>(&self, request: &mut Request<B>) -> Result<Arc<Keychain>, Fenced> {
        let sealed = self.sealed(); // one snapshot a request
        sealed.check()?;
        let keychain = Arc::clone(sealed.keychain());
        request.extensions_mut().insert(sealed);
        Ok(keychain)
    }
}

/// A service behind a [`SealedLayer`].
pub type SealedService<S> = Gate<S, SealedLayer>;

impl<S> Layer<S> for SealedLayer {
    type Service = SealedService<S>;

    fn layer(&self, inner: S) -> SealedService<S> {
        Gate::new(inner, self.clone())
    }
}

impl fmt::Debug for SealedLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedLayer")
            .field("target", &self.0.target)
            .field("lazy", &self.0.sink.is_some())
            .field("fetches", &self.0.custodian.is_some())
            .finish_non_exhaustive()
    }
}
