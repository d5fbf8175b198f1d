//! The layer, its service, and the one decision that they make.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, Method, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    cookie::{Session, verify},
    csrf::{cookie, proves_same_site},
    denied::Denied,
    future::{Renewal, SessionFuture},
    policy::{CookiePolicy, SESSION_COOKIE},
};
use crate::{
    catalog::Secret,
    clock::{Clock, SystemClock, Timestamp},
    keyring::{KeyState, Keychain, KeychainHandle, NoKeyring},
    layer::ResponseFuture,
};

/// Finds the session of every request. Cheap to clone.
///
/// By default, a request without a session goes on without one.
#[derive(Clone, Debug)]
pub struct SessionLayer(Arc<Demands>);

/// What every request has in common.
#[derive(Clone, Debug)]
struct Demands {
    keychain: KeychainHandle,
    policy: CookiePolicy,
    clock: Arc<dyn Clock>,
    required: bool,
    accepts_while_fenced: bool,
}

/// A session, and whether its cookie is to be signed anew.
#[derive(Debug)]
pub struct Found {
    /// What the cookie says.
    pub session: Arc<Session>,
    /// Whether the key that signed it runs dry.
    pub is_stale: bool,
}

impl SessionLayer {
    /// A layer that verifies with whatever keys `keychain` shows at each request, and
    /// sets cookies by `policy`.
    ///
    /// # Errors
    /// [`NoKeyring`] when it shows no `SESSION_SECRET` now.
    pub fn new(keychain: KeychainHandle, policy: CookiePolicy) -> Result<Self, NoKeyring> {
        keychain.load().signing(Secret::SessionSecret)?;
        Ok(Self(Arc::new(Demands {
            keychain,
            policy,
            clock: Arc::new(SystemClock),
            required: false,
            accepts_while_fenced: false,
        })))
    }

    /// Demands a session; a request without a valid one is answered with 401.
    #[must_use]
    pub fn require(self) -> Self {
        self.with(|demands| demands.required = true)
    }

    /// Goes on accepting cookies while the process is without its lease. A key that is
    /// cut off meanwhile is accepted until the process has read the keys anew; a cookie
    /// that is not accepted may be of a newer key, and is answered with 503.
    #[must_use]
    pub fn accepting_while_fenced(self) -> Self {
        self.with(|demands| demands.accepts_while_fenced = true)
    }

    /// Reads the time from `clock`.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        self.with(|demands| demands.clock = clock)
    }

    fn with(mut self, change: impl FnOnce(&mut Demands)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(super) fn policy(&self) -> &CookiePolicy {
        &self.0.policy
    }

    /// Decides on one request: its session, `None` if it goes on without one, or why it
    /// is denied.
    ///
    /// # Errors
    /// [`Denied`], from which a [`Problem`](crate::problem::Problem) can be made.
    pub fn authorize(
        &self,
        keychain: &Keychain,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Option<Found>, Denied> {
        let demands = &*self.0;
        let decided = demands.decide(keychain, method, headers);
        match keychain.fence().in_time(decided, demands.accepts_while_fenced) {
            Err(Denied::InvalidCookie(refused)) if !demands.required => {
                tracing::debug!(reason = %refused, "a request goes on without a session");
                Ok(None)
            }
            decided => decided,
        }
    }
}

impl Demands {
    fn decide(
        &self,
        keychain: &Keychain,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Option<Found>, Denied> {
        let Some(value) = cookie(headers, SESSION_COOKIE) else {
            return if self.required { Err(Denied::NoCookie) } else { Ok(None) };
        };
        let ring = keychain.signing(Secret::SessionSecret)?;
        let verified = verify(ring, &value, self.clock.now())?;
        // RFC 9110, section 9.2.1.
        if !method.is_safe() && !proves_same_site(headers) {
            return Err(Denied::NoProof);
        }
        Ok(Some(Found {
            // A key that is staged here is another replica's primary already.
            is_stale: verified.key.state() == KeyState::Retiring,
            session: Arc::new(verified.session),
        }))
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = Sessions<S>;

    fn layer(&self, inner: S) -> Sessions<S> {
        Sessions { inner, layer: self.clone() }
    }
}

/// A service behind a [`SessionLayer`].
#[derive(Clone, Debug)]
pub struct Sessions<S> {
    inner: S,
    layer: SessionLayer,
}

impl<S, B, R> Service<Request<B>> for Sessions<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = SessionFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let keychain = self.layer.0.keychain.load_full(); // one snapshot a request
        match self.layer.authorize(&keychain, request.method(), request.headers()) {
            Ok(found) => {
                let renewal = found.and_then(|Found { session, is_stale }| {
                    request.extensions_mut().insert(Arc::clone(&session));
                    is_stale.then(|| Renewal {
                        layer: self.layer.clone(),
                        keychain: Arc::clone(&keychain),
                        session,
                    })
                });
                let answer = ResponseFuture::forward(self.inner.call(request), keychain);
                SessionFuture::new(answer, renewal)
            }
            Err(denied) => {
                tracing::debug!(reason = %denied, "request denied");
                SessionFuture::new(ResponseFuture::reject(denied.into()), None)
            }
        }
    }
}
