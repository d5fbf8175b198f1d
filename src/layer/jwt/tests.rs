//! The decision, called directly, then the service around it.

use std::{
    convert::Infallible,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use secrecy::ExposeSecret;
use tower::{Layer, ServiceExt, service_fn};

use super::{Denied, JwtLayer};
use crate::{
    catalog::Secret,
    clock::{Clock, ManualClock, Timestamp, Uptime},
    ids::{Epoch, KeyId},
    keyring::{
        AnyKeyring, Fence, Fenced, Key, KeyState, Keychain, KeychainHandle, Keyring, Signing,
    },
    material::Material,
    token::{Claims, NewToken, Scope, TokenError, TokenKind, sign},
};

const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

fn ring(keys: &[(&str, KeyState)]) -> Keyring<Signing> {
    let key = |&(id, state): &(&str, KeyState)| {
        let material = Material::new(format!("material of {id}")).unwrap();
        Key::signing(KeyId::new(id).unwrap(), state, false, &material)
    };
    Keyring::new(keys.iter().map(key).collect()).unwrap()
}

fn chain(epoch: u64, keys: &[(&str, KeyState)]) -> Keychain {
    Keychain::new(Epoch(epoch)).with(Secret::JwtSecret, AnyKeyring::Signing(ring(keys)))
}

fn keychain() -> KeychainHandle {
    KeychainHandle::new(chain(1, &[("a", KeyState::Primary)]))
}

fn layer(keychain: &KeychainHandle) -> JwtLayer {
    JwtLayer::new(keychain.clone()).unwrap().clock(Arc::new(ManualClock::at(NOW)))
}

fn user(scope: Scope) -> NewToken {
    NewToken::access("user-1", scope)
}

fn bearer(token: &NewToken) -> HeaderValue {
    let token = sign(&ring(&[("a", KeyState::Primary)]), token, NOW).unwrap();
    HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).unwrap()
}

fn decide(
    layer: &JwtLayer,
    credentials: Option<HeaderValue>,
) -> Result<Option<Arc<Claims>>, Denied> {
    let headers: HeaderMap = credentials.map(|value| (AUTHORIZATION, value)).into_iter().collect();
    layer.authorize(&keychain().load(), &headers)
}

#[test]
fn a_keychain_without_signing_keys_is_refused_at_once() {
    assert!(JwtLayer::new(KeychainHandle::new(Keychain::new(Epoch(1)))).is_err());
}

#[test]
fn an_access_token_opens_and_a_refresh_token_does_not() {
    let layer = layer(&keychain());
    let claims = decide(&layer, Some(bearer(&user(Scope::Partner)))).unwrap().unwrap();
    assert_eq!((claims.sub.as_str(), claims.scope), ("user-1", Some(Scope::Partner)));
    let refresh = bearer(&NewToken::refresh("user-1", Scope::Partner, "j"));
    assert_eq!(decide(&layer, Some(refresh.clone())), Err(Denied::WrongKind(TokenKind::Refresh)));
    assert!(decide(&layer.accepting(TokenKind::Refresh), Some(refresh)).is_ok());
}

#[test]
fn a_token_expires_by_the_injected_clock() {
    let clock = Arc::new(ManualClock::at(NOW));
    let layer = layer(&keychain()).clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let token = bearer(&user(Scope::Partner).lifetime(Duration::from_secs(10)));
    clock.advance(Duration::from_millis(9_999));
    assert!(decide(&layer, Some(token.clone())).is_ok());
    clock.advance(Duration::from_millis(1));
    assert_eq!(decide(&layer, Some(token)), Err(Denied::InvalidToken(TokenError::Expired)));
}

#[test]
fn scope_and_mfa_are_demanded_where_they_are_required() {
    let admin = layer(&keychain()).require_scope(Scope::System).require_mfa();
    let partner = bearer(&user(Scope::Partner).mfa(true));
    assert_eq!(decide(&admin, Some(partner)), Err(Denied::InsufficientScope(Scope::System)));
    let unassured = bearer(&user(Scope::System));
    assert_eq!(decide(&admin, Some(unassured)), Err(Denied::MfaRequired));
    let assured = bearer(&user(Scope::System).mfa(true));
    assert!(decide(&admin, Some(assured)).is_ok());
}

#[test]
fn optional_forgives_no_token_but_no_bad_one_and_waives_no_demand() {
    let layer = layer(&keychain()).optional();
    assert_eq!(decide(&layer, None), Ok(None));
    assert!(decide(&layer, Some(bearer(&user(Scope::Partner)))).unwrap().is_some());
    let bad = HeaderValue::from_static("Bearer a.b.c");
    assert!(matches!(decide(&layer, Some(bad)), Err(Denied::InvalidToken(_))));
    assert_eq!(decide(&layer.clone().require_mfa(), None), Err(Denied::NoToken));
    assert_eq!(decide(&layer.require_scope(Scope::System), None), Err(Denied::NoToken));
}

#[tokio::test]
async fn without_its_lease_a_process_accepts_nothing_unless_it_is_told_to() {
    let fenced = chain(1, &[("a", KeyState::Primary)]).under(Fence::at(Uptime::ZERO));
    let layer = layer(&KeychainHandle::new(fenced));
    let token = bearer(&user(Scope::Partner));
    let answer = ask(&layer, token.clone()).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert!(answer.body().contains(r#""code":"fenced""#), "{}", answer.body());
    let answer = ask(&layer.clone().optional(), token.clone()).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let answer = ask(&layer.accepting_while_fenced(), token).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

/// A clock at which the lease runs out as the time is read: while a token is verified.
#[derive(Debug)]
pub(super) struct Late(pub(super) Fence);

impl Clock for Late {
    fn now(&self) -> Timestamp {
        self.0.shut();
        NOW
    }
}

#[test]
fn a_token_that_was_verified_for_longer_than_the_lease_is_neither_accepted_nor_refused() {
    let token = bearer(&user(Scope::Partner));
    let headers: HeaderMap = [(AUTHORIZATION, token)].into_iter().collect();
    // Of a key that is known, and of one that only others know by now.
    for (key, if_accepting) in [("a", Ok(())), ("b", Err(Denied::Fenced(Fenced)))] {
        for accepts in [false, true] {
            let fence = Fence::at(Uptime::now().plus(Duration::from_secs(60)));
            let late = Arc::new(chain(1, &[(key, KeyState::Primary)]).under(fence.clone()));
            let layer = layer(&keychain()).clock(Arc::new(Late(fence)));
            let layer = if accepts { layer.accepting_while_fenced() } else { layer };
            let decided = layer.authorize(&late, &headers).map(drop);
            assert_eq!(decided, if accepts { if_accepting } else { Err(Denied::Fenced(Fenced)) });
        }
    }
}

#[test]
fn a_request_holds_its_keychain_until_it_is_answered() {
    let keychain = keychain();
    let is_over = AtomicBool::new(false);
    let slow = service_fn(|_: Request<()>| {
        poll_fn(|_| match is_over.load(Ordering::Relaxed) {
            true => Poll::Ready(Ok::<_, Infallible>(Response::new(String::new()))),
            false => Poll::Pending,
        })
    });
    let request = Request::builder().header(AUTHORIZATION, bearer(&user(Scope::Partner)));
    let mut answer = Box::pin(layer(&keychain).layer(slow).oneshot(request.body(()).unwrap()));
    let mut is_answered =
        || answer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
    assert!(!is_answered());

    let before = Arc::downgrade(&keychain.load_full());
    keychain.publish(chain(2, &[("b", KeyState::Primary)])).unwrap();
    assert_eq!(before.strong_count(), 1, "it was let in by that one");
    is_over.store(true, Ordering::Relaxed);
    assert!(is_answered());
    drop(answer);
    assert_eq!(before.strong_count(), 0);
}

/// A service over plain strings: it answers with the caller's name.
async fn whoami(request: Request<()>) -> Result<Response<String>, Infallible> {
    let claims = request.extensions().get::<Arc<Claims>>();
    Ok(Response::new(claims.map_or("nobody", |claims| &claims.sub).to_owned()))
}

async fn ask(layer: &JwtLayer, credentials: HeaderValue) -> Response<String> {
    let request = Request::builder().header(AUTHORIZATION, credentials).body(()).unwrap();
    layer.layer(service_fn(whoami)).oneshot(request).await.unwrap()
}

#[tokio::test]
async fn any_service_over_http_types_receives_the_claims() {
    let response = ask(&layer(&keychain()), bearer(&user(Scope::Partner))).await;
    assert_eq!((response.status(), response.body().as_str()), (StatusCode::OK, "user-1"));
    let response = ask(&layer(&keychain()), HeaderValue::from_static("Bearer a.b.c")).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(response.body().contains("unauthorized"));
}

#[tokio::test]
async fn a_published_keychain_counts_from_the_next_request_on() {
    let keychain = keychain();
    let layer = layer(&keychain);
    let token = bearer(&user(Scope::Partner));
    let graceful = [("b", KeyState::Primary), ("a", KeyState::Retiring)];
    keychain.publish(chain(2, &graceful)).unwrap();
    assert_eq!(ask(&layer, token.clone()).await.status(), StatusCode::OK);
    keychain.publish(chain(3, &graceful[..1])).unwrap();
    assert_eq!(ask(&layer, token.clone()).await.status(), StatusCode::UNAUTHORIZED);
    keychain.publish(Keychain::new(Epoch(4))).unwrap();
    assert_eq!(ask(&layer, token).await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[cfg(feature = "admin")]
#[tokio::test]
async fn an_axum_router_wears_it() {
    use axum::{Extension, Router, body::Body, routing::get};

    let app = Router::new()
        .route(
            "/me",
            get(|Extension(claims): Extension<Arc<Claims>>| async move { claims.sub.clone() }),
        )
        .layer(layer(&keychain()));
    let request = |credentials: Option<HeaderValue>| {
        let mut request = Request::get("/me").body(Body::empty()).unwrap();
        request.headers_mut().extend(credentials.map(|value| (AUTHORIZATION, value)));
        request
    };
    let answer = app.clone().oneshot(request(Some(bearer(&user(Scope::Partner))))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let answer = app.oneshot(request(None)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
}
