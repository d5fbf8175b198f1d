//! Lets a request through only with a viewer token, whose claims it then carries.
//!
//! 1. A token made by any key that is live in this request's snapshot is accepted, by the
//!    rules of [`verify_viewer`](token::verify_viewer): its audience is not the API's, so
//!    that neither kind of token opens the other's door.
//! 2. While the process is without its lease, every request is answered with 503: checked
//!    once the token is verified. A layer that is told to accept tokens even so refuses none.
//! 3. Outside callers learn no more than RFC 6750 says.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Request};
use tower_layer::Layer;

use super::{bearer, denied::Denied};
use crate::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    keyring::{Keychain, KeychainHandle, NoKeyring},
    layer::{Admit, Gate},
    token::{self, ViewerClaims},
};

/// Demands a viewer token of every request. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ViewerLayer {
    keychain: KeychainHandle,
    clock: Arc<dyn Clock>,
    lifetime: Duration,
    accepts_while_fenced: bool,
}

impl ViewerLayer {
    /// A layer that verifies with whatever keys `keychain` shows at each request, tokens
    /// that live at most `lifetime` ([`Lifetimes::viewer`](token::Lifetimes::viewer)).
    ///
    /// # Errors
    /// [`NoKeyring`] when it shows no signing key now.
    pub fn new(keychain: KeychainHandle, lifetime: Duration) -> Result<Self, NoKeyring> {
        keychain.load().signing(Secret::JwtSecret)?;
        let clock = Arc::new(SystemClock);
        Ok(Self { keychain, clock, lifetime, accepts_while_fenced: false })
    }

    /// As [`JwtLayer::accepting_while_fenced`](super::JwtLayer::accepting_while_fenced).
    #[must_use]
    pub fn accepting_while_fenced(mut self) -> Self {
        self.accepts_while_fenced = true;
        self
    }

    /// Reads the time from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Decides on one request: its claims, or why it is denied.
    ///
    /// # Errors
    /// [`Denied`], from which a [`Problem`](crate::problem::Problem) can be made.
    pub fn authorize(
        &self,
        keychain: &Keychain,
        headers: &HeaderMap,
    ) -> Result<Arc<ViewerClaims>, Denied> {
        let verified = self.verify(keychain, headers);
        keychain.fence().in_time(verified, self.accepts_while_fenced)
    }

    fn verify(
        &self,
        keychain: &Keychain,
        headers: &HeaderMap,
    ) -> Result<Arc<ViewerClaims>, Denied> {
        let token = bearer::token(headers)?.ok_or(Denied::NoToken)?;
        let ring = keychain.signing(Secret::JwtSecret)?;
        let verified = token::verify_viewer(ring, token, self.clock.now(), self.lifetime)?;
        Ok(Arc::new(verified.claims))
    }
}

impl Admit for ViewerLayer {
    type Denied = Denied;

    fn admit<B>(&self, request: &mut Request<B>) -> Result<Arc<Keychain>, Denied> {
        let keychain = self.keychain.load_full(); // one snapshot a request
        let claims = self.authorize(&keychain, request.headers())?;
        request.extensions_mut().insert(claims);
        Ok(keychain)
    }
}

/// A service behind a [`ViewerLayer`].
pub type Viewer<S> = Gate<S, ViewerLayer>;

impl<S> Layer<S> for ViewerLayer {
    type Service = Viewer<S>;

    fn layer(&self, inner: S) -> Viewer<S> {
        Gate::new(inner, self.clone())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::AUTHORIZATION};
    use secrecy::ExposeSecret;

    use super::*;
    use crate::{
        clock::{ManualClock, Timestamp, Uptime},
        ids::{Epoch, KeyId},
        keyring::{AnyKeyring, Fence, Fenced, Key, KeyState, Keyring},
        layer::jwt::{JwtLayer, tests::Late},
        material::Material,
        token::{Lifetimes, NewToken, NewViewerToken, Scope, TokenError},
    };

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn chain(keys: &[(&str, KeyState)]) -> Keychain {
        let key = |&(id, state): &(&str, KeyState)| {
            let material = Material::new(format!("material of {id}")).unwrap();
            Key::signing(KeyId::new(id).unwrap(), state, false, &material)
        };
        let ring = AnyKeyring::Signing(Keyring::new(keys.iter().map(key).collect()).unwrap());
        Keychain::new(Epoch(1)).with(Secret::JwtSecret, ring)
    }

    fn bearing(token: &str) -> HeaderMap {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        [(AUTHORIZATION, value)].into_iter().collect()
    }

    #[test]
    fn each_kind_of_token_opens_its_own_door_and_every_live_key_counts() {
        let clock = Arc::new(ManualClock::at(NOW));
        let handle = KeychainHandle::new(chain(&[("a", KeyState::Primary)]));
        let before = handle.load();
        let viewer = ViewerLayer::new(handle.clone(), Lifetimes::BREEZE.viewer).unwrap();
        let viewer = viewer.clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let api = JwtLayer::new(handle).unwrap().clock(clock);
        let ring = before.signing(Secret::JwtSecret).unwrap();
        let watch = NewViewerToken::new("u", "a@b.test", "s", "j");
        let watch = bearing(token::sign_viewer(ring, &watch, NOW).unwrap().expose_secret());
        let access = NewToken::access("u", Scope::System).mfa(true);
        let access = bearing(token::sign(ring, &access, NOW).unwrap().expose_secret());

        assert_eq!(viewer.authorize(&before, &watch).unwrap().session_id, "s");
        let wrong = Denied::InvalidToken(TokenError::WrongAudience);
        assert_eq!(viewer.authorize(&before, &access), Err(wrong));
        assert_eq!(api.authorize(&before, &watch), Err(wrong));
        assert_eq!(viewer.authorize(&before, &HeaderMap::new()), Err(Denied::NoToken));

        let promoted = chain(&[("b", KeyState::Primary), ("a", KeyState::Retiring)]);
        assert!(viewer.authorize(&promoted, &watch).is_ok());
        let retired = chain(&[("b", KeyState::Primary)]);
        assert!(viewer.authorize(&retired, &watch).is_err());
    }

    #[test]
    fn without_its_lease_a_process_accepts_nothing_unless_it_is_told_to_and_refuses_nothing() {
        let ring = |id| chain(&[(id, KeyState::Primary)]);
        let token = NewViewerToken::new("u", "a@b.test", "s", "j");
        let signed = token::sign_viewer(ring("a").signing(Secret::JwtSecret).unwrap(), &token, NOW);
        let watch = bearing(signed.unwrap().expose_secret());
        for (key, if_accepting) in [("a", Ok(())), ("b", Err(Denied::Fenced(Fenced)))] {
            for accepts in [false, true] {
                // It runs out while the token is verified.
                let fence = Fence::at(Uptime::now().plus(Duration::from_secs(60)));
                let late = ring(key).under(fence.clone());
                let layer =
                    ViewerLayer::new(KeychainHandle::new(ring("a")), Lifetimes::BREEZE.viewer);
                let layer = layer.unwrap().clock(Arc::new(Late(fence)));
                let layer = if accepts { layer.accepting_while_fenced() } else { layer };
                let decided = layer.authorize(&late, &watch).map(drop);
                let fenced = Err(Denied::Fenced(Fenced));
                assert_eq!(decided, if accepts { if_accepting } else { fenced });
            }
        }
    }
}
