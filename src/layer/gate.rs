//! The service of a layer that decides on a request before anybody else sees it.
//!
//! 1. A request that is denied is answered, and the inner service is not called.
//! 2. The keychain under which a request was let in is held until it is answered: a
//!    rollover waits for that before it says that a key is cut off.
//! 3. Why a request is denied stands in the log, at `DEBUG`; its caller learns what the
//!    [`Problem`] tells.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::ResponseFuture;
use crate::{keyring::Keychain, problem::Problem};

/// Decides on requests.
pub trait Admit {
    /// Why one is denied.
    type Denied: fmt::Display + Into<Problem>;

    /// Lets `request` in, with what handlers are to find among its extensions. Answers the
    /// keychain that decided it.
    ///
    /// # Errors
    /// Why it is denied.
    fn admit<B>(&self, request: &mut Request<B>) -> Result<Arc<Keychain>, Self::Denied>;
}

/// A service behind the layer `L`.
#[derive(Clone, Debug)]
pub struct Gate<S, L> {
    inner: S,
    layer: L,
}

impl<S, L> Gate<S, L> {
    /// Lets in to `inner` what `layer` admits.
    pub const fn new(inner: S, layer: L) -> Self {
        Self { inner, layer }
    }
}

impl<S, L, B, R> Service<Request<B>> for Gate<S, L>
where
    S: Service<Request<B>, Response = Response<R>>,
    L: Admit,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.layer.admit(&mut request) {
            Ok(keychain) => ResponseFuture::forward(self.inner.call(request), keychain),
            Err(denied) => {
                tracing::debug!(reason = %denied, "request denied");
                ResponseFuture::reject(denied.into())
            }
        }
    }
}
