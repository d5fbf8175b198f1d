//! The layer, and the one decision that it makes.

use std::sync::Arc;

use http::{HeaderMap, Request};
use tower_layer::Layer;

use super::{
    bearer,
    denied::Denied,
    memo::{self, Memo},
};
use crate::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    keyring::{Keychain, KeychainHandle, NoKeyring},
    layer::{Admit, Gate},
    token::{self, Claims, Scope, TokenKind},
};

/// Demands a bearer token of every request. Cheap to clone.
///
/// By default: an access token, of any scope, with or without MFA.
#[derive(Clone, Debug)]
pub struct JwtLayer(Arc<Demands>);

/// What every request has in common.
#[derive(Clone, Debug)]
struct Demands {
    keychain: KeychainHandle,
    clock: Arc<dyn Clock>,
    kind: TokenKind,
    scope: Option<Scope>,
    mfa: bool,
    optional: bool,
    accepts_while_fenced: bool,
    memo: Memo,
}

impl JwtLayer {
    /// A layer that verifies with whatever keys `keychain` shows at each request.
    ///
    /// # Errors
    /// [`NoKeyring`] when it shows no signing key now: such a layer would refuse
    /// every request.
    pub fn new(keychain: KeychainHandle) -> Result<Self, NoKeyring> {
        keychain.load().signing(Secret::JwtSecret)?;
        Ok(Self(Arc::new(Demands {
            keychain,
            clock: Arc::new(SystemClock),
            kind: TokenKind::Access,
            scope: None,
            mfa: false,
            optional: false,
            accepts_while_fenced: false,
            memo: Memo::new(memo::SLOTS),
        })))
    }

    /// Accepts tokens of `kind` in place of access tokens.
    #[must_use]
    pub fn accepting(self, kind: TokenKind) -> Self {
        self.with(|demands| demands.kind = kind)
    }

    /// Demands `scope`; any other is answered with 403.
    #[must_use]
    pub fn require_scope(self, scope: Scope) -> Self {
        self.with(|demands| demands.scope = Some(scope))
    }

    /// Demands that the user passed MFA, or answers with 403.
    #[must_use]
    pub fn require_mfa(self) -> Self {
        self.with(|demands| demands.mfa = true)
    }

    /// Lets a request without a token through, without claims. A bad token is still
    /// refused, and so is no token at all where a scope or MFA is demanded.
    #[must_use]
    pub fn optional(self) -> Self {
        self.with(|demands| demands.optional = true)
    }

    /// Goes on accepting tokens while the process is without its lease. A key that is
    /// cut off meanwhile is accepted until the process has read the keys anew; a token
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

    /// Remembers up to `tokens` verified tokens (4096 unless told), so that one that
    /// comes again is not verified anew: some 1.5 KiB each. None at 0.
    #[must_use]
    pub fn remember(self, tokens: usize) -> Self {
        self.with(|demands| demands.memo = Memo::new(tokens))
    }

    fn with(mut self, change: impl FnOnce(&mut Demands)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Decides on one request: its claims, or why it is denied. `None` only if the
    /// layer is [`optional`](Self::optional) and no token came.
    ///
    /// # Errors
    /// [`Denied`], from which a [`Problem`](crate::problem::Problem) can be made.
    pub fn authorize(
        &self,
        keychain: &Arc<Keychain>,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Claims>>, Denied> {
        let decided = self.0.decide(keychain, headers);
        keychain.fence().in_time(decided, self.0.accepts_while_fenced)
    }
}

impl Demands {
    fn decide(
        &self,
        keychain: &Arc<Keychain>,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Claims>>, Denied> {
        let Some(token) = bearer::token(headers)? else {
            let may_pass = self.optional && self.scope.is_none() && !self.mfa;
            return if may_pass { Ok(None) } else { Err(Denied::NoToken) };
        };
        let claims = self.verify(keychain, token)?;
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

    fn verify(&self, keychain: &Arc<Keychain>, token: &str) -> Result<Arc<Claims>, Denied> {
        let now = self.clock.now();
        if let Some(claims) = self.memo.get(keychain, token, now) {
            return Ok(claims);
        }
        let ring = keychain.signing(Secret::JwtSecret)?;
        let claims = Arc::new(token::verify(ring, token, now)?.claims);
        self.memo.put(keychain, token, now, &claims);
        Ok(claims)
    }
}

impl Admit for JwtLayer {
    type Denied = Denied;

    fn admit<B>(&self, request: &mut Request<B>) -> Result<Arc<Keychain>, Denied> {
        let keychain = self.0.keychain.load_full(); // one snapshot a request
        if let Some(claims) = self.authorize(&keychain, request.headers())? {
            request.extensions_mut().insert(claims);
        }
        Ok(keychain)
    }
}

/// A service behind a [`JwtLayer`].
pub type Jwt<S> = Gate<S, JwtLayer>;

impl<S> Layer<S> for JwtLayer {
    type Service = Jwt<S>;

    fn layer(&self, inner: S) -> Jwt<S> {
        Gate::new(inner, self.clone())
    }
}
