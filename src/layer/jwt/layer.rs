//! The layer, its service, and the one decision that they make.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::{bearer, denied::Denied, future::ResponseFuture};
use crate::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    keyring::{Keychain, KeychainHandle, NoKeyring},
    token::{self, Claims, Scope, TokenKind},
};

/// Demands a bearer token of every request. Cheap to clone.
///
/// By default: an access token, of any scope, with or without MFA.
#[derive(Clone, Debug)]
pub struct JwtLayer {
    keychain: KeychainHandle,
    clock: Arc<dyn Clock>,
    kind: TokenKind,
    scope: Option<Scope>,
    mfa: bool,
    optional: bool,
}

impl JwtLayer {
    /// A layer that verifies with whatever keys `keychain` shows at each request.
    ///
    /// # Errors
    /// [`NoKeyring`] when it shows no signing key now: such a layer would refuse
    /// every request.
    pub fn new(keychain: KeychainHandle) -> Result<Self, NoKeyring> {
        keychain.load().signing(Secret::JwtSecret)?;
        Ok(Self {
            keychain,
            clock: Arc::new(SystemClock),
            kind: TokenKind::Access,
            scope: None,
            mfa: false,
            optional: false,
        })
    }

    /// Accepts tokens of `kind` in place of access tokens.
    #[must_use]
    pub const fn accepting(mut self, kind: TokenKind) -> Self {
        self.kind = kind;
        self
    }

    /// Demands `scope`; any other is answered with 403.
    #[must_use]
    pub const fn require_scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Demands that the user passed MFA, or answers with 403.
    #[must_use]
    pub const fn require_mfa(mut self) -> Self {
        self.mfa = true;
        self
    }

    /// Lets a request without a token through, without claims. A bad token is still
    /// refused, and so is no token at all where a scope or MFA is demanded.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Reads the time from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Decides on one request: its claims, or why it is denied. `None` only if the
    /// layer is [`optional`](Self::optional) and no token came.
    ///
    /// # Errors
    /// [`Denied`], from which a [`Problem`](crate::problem::Problem) can be made.
    pub fn authorize(
        &self,
        keychain: &Keychain,
        headers: &HeaderMap,
    ) -> Result<Option<Claims>, Denied> {
        let Some(token) = bearer::token(headers)? else {
            let may_pass = self.optional && self.scope.is_none() && !self.mfa;
            return if may_pass { Ok(None) } else { Err(Denied::NoToken) };
        };
        let ring = keychain.signing(Secret::JwtSecret)?;
        let claims = token::verify(ring, token, self.clock.now())?.claims;
        if claims.kind != self.kind {
            return Err(Denied::WrongKind(claims.kind));
        }
        if let Some(scope) = self.scope
            && claims.scope != Some(scope)
        {
            return Err(Denied::InsufficientScope(scope));
        }
        if self.mfa && !claims.mfa {
            return Err(Denied::MfaRequired);
        }
        Ok(Some(claims))
    }
}

impl<S> Layer<S> for JwtLayer {
    type Service = Jwt<S>;

    fn layer(&self, inner: S) -> Jwt<S> {
        Jwt { inner, layer: self.clone() }
    }
}

/// A service behind a [`JwtLayer`].
#[derive(Clone, Debug)]
pub struct Jwt<S> {
    inner: S,
    layer: JwtLayer,
}

impl<S, B, R> Service<Request<B>> for Jwt<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let keychain = self.layer.keychain.load(); // one snapshot a request
        match self.layer.authorize(&keychain, request.headers()) {
            Ok(claims) => {
                if let Some(claims) = claims {
                    request.extensions_mut().insert(claims);
                }
                ResponseFuture::forward(self.inner.call(request))
            }
            Err(denied) => {
                tracing::debug!(reason = %denied, "request denied");
                ResponseFuture::reject(denied.into())
            }
        }
    }
}
