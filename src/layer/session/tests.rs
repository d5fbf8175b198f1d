//! The format by its properties, the decision called directly, then the service.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{COOKIE, SET_COOKIE},
};
use proptest::prelude::*;
use secrecy::ExposeSecret;
use tower::{Layer, ServiceExt, service_fn};

use super::*;
use crate::{
    catalog::Secret,
    clock::{Clock, ManualClock, Timestamp, Uptime},
    ids::{Epoch, KeyId},
    keyring::{
        AnyKeyring, Fence, Fenced, Key, KeyState, Keychain, KeychainHandle, Keyring, Signing,
    },
    material::Material,
};

const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);
use KeyState::{Primary, Retiring, Staged};

fn ring(keys: &[(&str, KeyState)]) -> Keyring<Signing> {
    let key = |&(id, state): &(&str, KeyState)| {
        let material = Material::new(format!("material of {id}")).unwrap();
        Key::signing(KeyId::new(id).unwrap(), state, false, &material)
    };
    Keyring::new(keys.iter().map(key).collect()).unwrap()
}

fn chain(keys: &[(&str, KeyState)]) -> Keychain {
    Keychain::new(Epoch(1)).with(Secret::SessionSecret, AnyKeyring::Signing(ring(keys)))
}

fn session() -> Session {
    let now = NOW.as_seconds();
    Session {
        sub: "ann".to_owned(),
        sid: "s-1".to_owned(),
        iat: now,
        exp: now + 3600,
        data: serde_json::Map::new(),
    }
}

/// The cookie's value, signed by the key `id`.
fn signed_by(id: &str, session: &Session) -> String {
    sign(&ring(&[(id, Primary)]), session).unwrap().expose_secret().to_owned()
}

fn headers(session: &str, csrf: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let cookies = format!("other=1; breeze_session={session}; breeze_csrf_token=proof");
    headers.insert(COOKIE, HeaderValue::try_from(cookies).unwrap());
    if let Some(csrf) = csrf {
        headers.insert(CSRF_HEADER, HeaderValue::from_str(csrf).unwrap());
    }
    headers
}

fn layer(keychain: Keychain) -> (SessionLayer, KeychainHandle) {
    let handle = KeychainHandle::new(keychain);
    let layer = SessionLayer::new(handle.clone(), CookiePolicy::default()).unwrap();
    (layer.clock(Arc::new(ManualClock::at(NOW))), handle)
}

fn decide(layer: &SessionLayer, keychain: &Keychain, value: &str) -> Result<Option<bool>, Denied> {
    let found = layer.authorize(keychain, &Method::GET, &headers(value, None))?;
    Ok(found.map(|found| found.is_stale))
}

#[test]
fn the_format_is_the_one_that_is_written_down() {
    // Computed outside this crate:
    // python3 -c "import hmac,hashlib,base64 as b; e=lambda x:b.urlsafe_b64encode(x).rstrip(b'=');
    //  s=b'v1.k.1.'+e(b'{\"sub\":\"ann\",\"sid\":\"s-1\",\"iat\":1790000000,\"exp\":1790003600}');
    //  print((s+b'.'+e(hmac.new(b'material of k.1',s,hashlib.sha256).digest())).decode())"
    let expected = EXPECTED;
    assert_eq!(signed_by("k.1", &session()), expected);
    let ring = ring(&[("k.1", Primary)]);
    assert_eq!(verify(&ring, expected, NOW).unwrap().session, session());
}

const EXPECTED: &str = "v1.k.1.eyJzdWIiOiJhbm4iLCJzaWQiOiJzLTEiLCJpYXQiOjE3OTAwMDAwMDAsImV4cCI6MTc5MDAwMzYwMH0.kv_3O8opnqT-jJKIiyUJZppTicC-8zlmf4uMmazSeXY";

proptest! {
    #[test]
    fn what_is_signed_is_verified_under_whatever_key(
        sub in ".{0,40}", sid in ".{0,40}", lifetime in 1..100_000_000_i64,
        id in "[A-Za-z0-9._-]{1,20}", state in prop::sample::select(vec![Retiring, Staged]),
    ) {
        let session = Session { sub, sid, exp: NOW.as_seconds() + lifetime, ..session() };
        let value = signed_by(&id, &session);
        let other = ring(&[("another", Primary), (&id, state)]);
        let verified = verify(&other, &value, NOW).unwrap();
        prop_assert_eq!(verified.session, session);
        prop_assert_eq!(verified.key.id().as_str(), &*id);
    }

    #[test]
    fn one_changed_character_is_one_too_many(place in 0..10_000_usize, to in "[ -~]") {
        let value = signed_by("key.1", &session());
        let place = place % value.len();
        let changed = format!("{}{to}{}", &value[..place], &value[place + 1..]);
        prop_assume!(changed != value);
        prop_assert!(verify(&ring(&[("key.1", Primary)]), &changed, NOW).is_err());
    }

    #[test]
    fn whatever_is_cut_off_or_added_it_is_refused(cut in 1..10_000_usize, more in "[ -~]{1,9}") {
        let value = signed_by("key.1", &session());
        let ring = ring(&[("key.1", Primary)]);
        prop_assert!(verify(&ring, &value[..value.len() - cut.min(value.len())], NOW).is_err());
        let (after, before) = (format!("{value}{more}"), format!("{more}{value}"));
        prop_assert!(verify(&ring, &after, NOW).is_err());
        prop_assert!(verify(&ring, &before, NOW).is_err());
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}", dotted in "v1\\.[a-z.]{0,9}\\.[A-Za-z0-9_-]{0,40}") {
        let ring = ring(&[("a", Primary)]);
        prop_assert!(verify(&ring, &text, NOW).is_err());
        prop_assert!(verify(&ring, &dotted, NOW).is_err());
    }
}

#[test]
fn a_cookie_is_refused_for_what_is_wrong_with_it() {
    let ours = ring(&[("a", Primary)]);
    let value = signed_by("a", &session());
    let at = |value: &str, now| verify(&ours, value, now).map(drop);
    assert_eq!(at(&value, Timestamp::from_seconds(session().exp - 1)), Ok(()));
    assert_eq!(at(&value, Timestamp::from_seconds(session().exp)), Err(CookieError::Expired));
    let foreign = signed_by("b", &session());
    assert_eq!(at(&foreign, NOW), Err(CookieError::UnknownKey));
    // The key that a cookie names is the only one that is tried.
    assert_eq!(at(&foreign.replace("v1.b.", "v1.a."), NOW), Err(CookieError::BadSignature));
    assert_eq!(at(&value.replace("v1.", "v2."), NOW), Err(CookieError::Malformed));
    assert_eq!(at(&format!("{value}="), NOW), Err(CookieError::Malformed));
    assert_eq!(at("", NOW), Err(CookieError::Malformed));
    assert_eq!(at(&"v".repeat(LONGEST + 1), NOW), Err(CookieError::Malformed));
}

#[test]
fn what_no_browser_would_store_is_not_signed() {
    let long = Session { sub: "x".repeat(LONGEST), ..session() };
    let refused = sign(&ring(&[("a", Primary)]), &long).map(drop);
    assert_eq!(refused, Err(SignCookieError::TooLong));
}

#[test]
fn a_bad_cookie_is_as_good_as_none() {
    let chain = chain(&[("a", Primary)]);
    let (lenient, handle) = layer(
        Keychain::new(Epoch(1))
            .with(Secret::SessionSecret, AnyKeyring::Signing(ring(&[("a", Primary)]))),
    );
    let strict = lenient.clone().require();
    let good = signed_by("a", &session());
    assert_eq!(decide(&lenient, &chain, &good), Ok(Some(false)));
    assert_eq!(decide(&strict, &chain, &good), Ok(Some(false)));
    for (bad, why) in [
        (signed_by("b", &session()), CookieError::UnknownKey),
        (signed_by("a", &Session { exp: NOW.as_seconds(), ..session() }), CookieError::Expired),
        (good[..good.len() - 4].to_owned(), CookieError::Malformed),
    ] {
        assert_eq!(decide(&lenient, &chain, &bad), Ok(None));
        assert_eq!(decide(&strict, &chain, &bad), Err(Denied::InvalidCookie(why)));
    }
    let nothing = HeaderMap::new();
    assert!(lenient.authorize(&handle.load(), &Method::POST, &nothing).unwrap().is_none());
    let denied = strict.authorize(&handle.load(), &Method::GET, &nothing).map(drop);
    assert_eq!(denied, Err(Denied::NoCookie));
}

#[test]
fn only_a_method_that_changes_nothing_goes_without_proof() {
    let keychain = chain(&[("a", Primary)]);
    let (layer, _) = layer(chain(&[("a", Primary)]));
    let value = signed_by("a", &session());
    let decide = |method: &Method, csrf| {
        layer.authorize(&keychain, method, &headers(&value, csrf)).map(|found| found.is_some())
    };
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        assert_eq!(decide(&method, None), Ok(true), "{method}");
    }
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        assert_eq!(decide(&method, None), Err(Denied::NoProof), "{method}");
        assert_eq!(decide(&method, Some("forged")), Err(Denied::NoProof), "{method}");
        assert_eq!(decide(&method, Some("proof")), Ok(true), "{method}");
    }
}

#[test]
fn only_a_cookie_of_a_key_that_runs_dry_is_stale() {
    let keys = [("old", Retiring), ("now", Primary), ("next", Staged)];
    let keychain = chain(&keys);
    let (layer, _) = layer(chain(&keys));
    for (key, is_stale) in [("old", true), ("now", false), ("next", false)] {
        let value = signed_by(key, &session());
        assert_eq!(decide(&layer, &keychain, &value), Ok(Some(is_stale)), "{key}");
    }
}

/// A clock at which the lease runs out as the time is read: while a cookie is verified.
#[derive(Debug)]
struct Late(Fence);

impl Clock for Late {
    fn now(&self) -> Timestamp {
        self.0.shut();
        NOW
    }
}

#[test]
fn without_its_lease_it_lets_nobody_in_unless_told_and_takes_no_cookie_for_a_bad_one() {
    // Of a key that is known, and of one that only others know by now.
    for (key, if_accepting) in [("a", Ok(Some(false))), ("b", Err(Denied::Fenced(Fenced)))] {
        for accepts in [false, true] {
            let fence = Fence::at(Uptime::now().plus(Duration::from_secs(60)));
            let late = chain(&[("a", Primary)]).under(fence.clone());
            let (layer, _) = layer(chain(&[("a", Primary)]));
            let layer = layer.clock(Arc::new(Late(fence)));
            let layer = if accepts { layer.accepting_while_fenced() } else { layer };
            let decided = decide(&layer, &late, &signed_by(key, &session()));
            assert_eq!(decided, if accepts { if_accepting } else { Err(Denied::Fenced(Fenced)) });
        }
    }
}

/// The cookies that the service sets when its handler sets `own`.
async fn answered(layer: &SessionLayer, value: &str, own: Option<&'static str>) -> Vec<String> {
    let inner = service_fn(move |request: Request<()>| async move {
        assert!(request.extensions().get::<Arc<Session>>().is_some());
        let mut response = Response::new(String::new());
        if let Some(own) = own {
            response.headers_mut().insert(SET_COOKIE, HeaderValue::from_static(own));
        }
        Ok::<_, Infallible>(response)
    });
    let mut request = Request::new(());
    *request.headers_mut() = headers(value, None);
    let response = layer.layer(inner).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let set = response.headers().get_all(SET_COOKIE);
    set.iter().map(|cookie| cookie.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_stale_cookie_is_replaced_with_the_same_session_and_the_same_end() {
    let keys = [("old", Retiring), ("now", Primary)];
    let (layer, _) = layer(chain(&keys));
    let clock = ManualClock::at(NOW);
    clock.advance(Duration::from_secs(600));
    let layer = layer.clock(Arc::new(clock));
    let [cookie] = &answered(&layer, &signed_by("old", &session()), None).await[..] else {
        panic!("one cookie is set");
    };
    let value = cookie.strip_prefix("breeze_session=").unwrap().split(';').next().unwrap();
    assert_eq!(
        cookie[..].split_once("; ").unwrap().1,
        "Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=3000"
    );
    let ring = ring(&[("now", Primary)]);
    assert_eq!(verify(&ring, value, NOW).unwrap().session, session());

    assert!(answered(&layer, &signed_by("now", &session()), None).await.is_empty());
}

#[tokio::test]
async fn a_handler_that_sets_the_cookie_has_the_last_word() {
    let (layer, _) = layer(chain(&[("old", Retiring), ("now", Primary)]));
    let value = signed_by("old", &session());
    let own = "breeze_session=; Max-Age=0";
    assert_eq!(answered(&layer, &value, Some(own)).await, [own]);
    // Another cookie is not it.
    let other = "breeze_session_hint=1";
    assert_eq!(answered(&layer, &value, Some(other)).await.len(), 2);
}

#[tokio::test]
async fn a_process_without_its_lease_signs_no_cookie() {
    let keys = [("old", Retiring), ("now", Primary)];
    let (layer, _) = layer(chain(&keys).under(Fence::at(Uptime::ZERO)));
    let layer = layer.accepting_while_fenced();
    assert!(answered(&layer, &signed_by("old", &session()), None).await.is_empty());
}
