//! Breeze's tokens are read as Breeze reads them, except where we refuse on
//! purpose; ours are read by Breeze; and what nobody signed is refused.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test stops at the first surprise")]

use breeze_rollover::{
    clock::Timestamp,
    ids::KeyId,
    keyring::{Key, KeyState, Keyring, Signing},
    material::Material,
    token::{
        Lifetimes, NewToken, NewViewerToken, Part, Scope, TokenError, TokenKind, sign, sign_viewer,
        verify, verify_viewer,
    },
};
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::Sha256;

mod vectors;

const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);
const NAMED: &str = "named-secret-0123456789abcdef0123456789";
const CURRENT: &str = "current-secret-0123456789abcdef01234567";
const PREVIOUS: &str = "previous-secret-0123456789abcdef0123456";

/// One key with an id; two from before ids, newest first.
fn ring() -> Keyring<Signing> {
    let key = |id, state, unnamed, secret: &str| {
        Key::signing(KeyId::new(id).unwrap(), state, unnamed, &Material::new(secret).unwrap())
    };
    Keyring::new(vec![
        key("k1", KeyState::Primary, false, NAMED),
        key("u2", KeyState::Retiring, true, CURRENT),
        key("u1", KeyState::Retiring, true, PREVIOUS),
    ])
    .unwrap()
}

fn good_payload() -> Value {
    json!({ "sub": "u", "type": "access", "iss": "breeze", "aud": "breeze-api",
            "iat": 1_790_000_000, "exp": 1_790_000_001 })
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

/// A token signed right here, independently of the crate.
fn forge(secret: &str, header: &Value, payload: &Value) -> String {
    let [header, payload] = [header, payload].map(|json| encode(json.to_string().as_bytes()));
    let signed = format!("{header}.{payload}");
    format!("{signed}.{}", encode(&hmac(secret, &signed)))
}

fn hmac(secret: &str, text: &str) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.chain_update(text).finalize().into_bytes().to_vec()
}

fn encode(bytes: &[u8]) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let standard = text.replace('-', "+").replace('_', "/");
    base64_simd::forgiving_decode_to_vec(standard.as_bytes()).ok()
}

/// A token's JSON, unverified.
struct Opened {
    header: Value,
    payload: Value,
}

fn open(token: &str) -> Option<Opened> {
    let mut parts = token.split('.').map(|part| serde_json::from_slice(&decode(part)?).ok());
    Some(Opened { header: parts.next()??, payload: parts.next()?? })
}

fn refusal(token: &str) -> Option<TokenError> {
    verify(&ring(), token, NOW).err()
}

#[test]
fn a_token_that_names_no_key_is_tried_on_every_key_from_before_ids_only() {
    let header = json!({ "alg": "HS256" });
    let ring = ring();
    let key = |secret| verify(&ring, &forge(secret, &header, &good_payload()), NOW);
    assert_eq!(key(CURRENT).unwrap().key.as_str(), "u2");
    assert_eq!(key(PREVIOUS).unwrap().key.as_str(), "u1");
    assert_eq!(key(NAMED), Err(TokenError::BadSignature));
}

#[test]
fn a_kid_selects_its_key_and_no_other() {
    let kid = |kid: Value| json!({ "alg": "HS256", "kid": kid });
    for (secret, header, expected) in [
        (NAMED, kid(json!("k1")), None),
        (CURRENT, kid(json!("k1")), Some(TokenError::BadSignature)),
        (NAMED, kid(json!("k2")), Some(TokenError::UnknownKey)),
        (CURRENT, kid(json!("k2")), Some(TokenError::UnknownKey)),
        (NAMED, kid(json!(" k1")), Some(TokenError::UnknownKey)),
        (CURRENT, kid(json!("")), None),
        (CURRENT, kid(json!(5)), Some(TokenError::KeyIdType)),
        (CURRENT, kid(json!(null)), Some(TokenError::KeyIdType)),
    ] {
        assert_eq!(refusal(&forge(secret, &header, &good_payload())), expected, "{header}");
    }
    let only_named = Keyring::new(vec![Key::signing(
        KeyId::new("k1").unwrap(),
        KeyState::Primary,
        false,
        &Material::new(NAMED).unwrap(),
    )]);
    let unnamed = forge(NAMED, &json!({ "alg": "HS256" }), &good_payload());
    assert_eq!(verify(&only_named.unwrap(), &unnamed, NOW), Err(TokenError::NoUnnamedKey));
}

#[test]
fn only_plain_hs256_is_accepted() {
    for (header, expected) in [
        (json!({ "alg": "none" }), TokenError::Algorithm),
        (json!({ "alg": "HS384" }), TokenError::Algorithm),
        (json!({ "alg": "HS512" }), TokenError::Algorithm),
        (json!({ "alg": "RS256" }), TokenError::Algorithm),
        (json!({ "alg": "hs256" }), TokenError::Algorithm),
        (json!({ "typ": "JWT" }), TokenError::Algorithm),
        (json!({ "alg": "HS256", "crit": ["exp"] }), TokenError::Extension),
        (json!({ "alg": "HS256", "b64": false, "crit": ["b64"] }), TokenError::Extension),
        (json!(["HS256"]), TokenError::Malformed(Part::Header)),
    ] {
        let token = forge(CURRENT, &header, &good_payload());
        assert_eq!(refusal(&token), Some(expected), "{header}");
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert_eq!(refusal(&format!("{signed}.")), Some(expected), "{header}, unsigned");
    }
}

#[test]
fn a_signed_token_needs_every_required_claim() {
    let header = json!({ "alg": "HS256", "kid": "k1" });
    let with = |name, value| with(good_payload(), name, value);
    for (payload, expected) in [
        (without(good_payload(), "exp"), TokenError::MissingClaim("exp")),
        (without(good_payload(), "sub"), TokenError::MissingClaim("sub")),
        (without(good_payload(), "type"), TokenError::MissingClaim("type")),
        (without(good_payload(), "iss"), TokenError::MissingClaim("iss")),
        (without(good_payload(), "aud"), TokenError::MissingClaim("aud")),
        (with("exp", json!(1_790_000_000)), TokenError::Expired),
        (with("nbf", json!(1_790_000_001)), TokenError::NotYetValid),
        (with("aud", json!("breeze-viewer")), TokenError::WrongAudience),
        (with("aud", json!(["breeze-ap", "i"])), TokenError::WrongAudience),
        (with("iss", json!("breezy")), TokenError::WrongIssuer),
        (json!([1]), TokenError::Malformed(Part::Payload)),
    ] {
        assert_eq!(refusal(&forge(NAMED, &header, &payload)), Some(expected), "{payload}");
    }
    assert_eq!(refusal(&forge(NAMED, &header, &good_payload())), None);
}

#[test]
fn a_token_has_exactly_three_parts() {
    let token = forge(NAMED, &json!({ "alg": "HS256", "kid": "k1" }), &good_payload());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let more = format!("{signed}.x");
    let four = format!("{more}.{}", encode(&hmac(NAMED, &more)));
    for wrong in ["", ".", signed, &four, &format!("{token}.{signature}")] {
        assert_eq!(refusal(wrong), Some(TokenError::PartCount), "{wrong:?}");
    }
    assert_eq!(refusal(".."), Some(TokenError::Malformed(Part::Header)));
}

#[test]
fn size_and_nesting_are_survived() {
    let header = encode(br#"{"alg":"HS256","kid":"k1"}"#);
    let ten_mb = "A".repeat(10 << 20);
    for token in [
        format!("{header}.{ten_mb}.{ten_mb}"),
        format!("{ten_mb}.{header}.{ten_mb}"),
        format!("{}.e30.e30", encode("[".repeat(1 << 20).as_bytes())),
        format!("{}.e30.e30", encode(format!(r#"{{"alg":{}"#, "[".repeat(1 << 20)).as_bytes())),
        ".".repeat(1 << 20),
    ] {
        assert!(refusal(&token).is_some());
    }
    // Signed, and so read: what is not ours is skipped however deep it is.
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let payload = good_payload().to_string().replacen('{', &format!(r#"{{"x":{nested},"#), 1);
    let signed = format!("{header}.{}", encode(payload.as_bytes()));
    assert_eq!(refusal(&format!("{signed}.{}", encode(&hmac(NAMED, &signed)))), None);
}

#[test]
fn our_tokens_name_their_key_and_verify_independently() {
    let access = NewToken::access("u", Scope::System).email("a@b.test".to_owned()).mfa(true);
    let refresh = NewToken::refresh("u", Scope::Partner, "j").fam("f".to_owned());
    for (token, kind) in [(access, TokenKind::Access), (refresh, TokenKind::Refresh)] {
        let token = sign(&ring(), &token, NOW).unwrap();
        let token = token.expose_secret();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        assert_eq!(signature, encode(&hmac(NAMED, signed)));
        assert_eq!(open(token).unwrap().header, json!({ "alg": "HS256", "kid": "k1" }));
        let ring = ring();
        let verified = verify(&ring, token, NOW).unwrap();
        assert_eq!((verified.key.as_str(), verified.claims.kind), ("k1", kind));
    }
}

#[test]
fn a_viewer_token_is_for_viewing_only() {
    let lifetime = Lifetimes::BREEZE.viewer;
    let until = NOW.plus(lifetime);
    let viewer = NewViewerToken::new("u", "a@b.test", "s", "j");
    for (token, assured) in [(viewer.clone(), None), (viewer.assured_until(until), Some(until))] {
        let token = sign_viewer(&ring(), &token, NOW).unwrap();
        let ring = ring();
        let verified = verify_viewer(&ring, token.expose_secret(), NOW, lifetime).unwrap();
        assert_eq!(verified.claims.assured_until, assured);
        assert_eq!(refusal(token.expose_secret()), Some(TokenError::WrongAudience));
    }
}

#[test]
fn a_viewer_tokens_assurance_is_whole_or_refused() {
    let header = json!({ "alg": "HS256", "kid": "k1" });
    let viewer = json!({ "sub": "u", "sessionId": "s", "purpose": "viewer", "jti": "j",
        "iss": "breeze", "aud": "breeze-viewer", "iat": 1_790_000_000, "exp": 1_790_007_000,
        "mfaSatisfied": true, "assuranceAbsoluteExpiresAt": 1_790_007_200 });
    let refusal = |payload: &Value| {
        let token = forge(NAMED, &header, payload);
        verify_viewer(&ring(), &token, NOW, Lifetimes::BREEZE.viewer).err()
    };
    assert_eq!(refusal(&viewer), None);
    let until = "assuranceAbsoluteExpiresAt";
    for broken in [
        without(viewer.clone(), "mfaSatisfied"),
        without(viewer.clone(), until),
        without(viewer.clone(), "iat"),
        with(viewer.clone(), "mfaSatisfied", json!(false)),
        with(viewer.clone(), "mfaSatisfied", json!(null)),
        with(viewer.clone(), until, json!(1_790_006_999)),
        with(viewer.clone(), until, json!(1_790_007_201)),
        with(viewer.clone(), until, json!(1_790_007_100.5)),
        with(viewer.clone(), "exp", json!(1_790_007_000.5)),
    ] {
        assert_eq!(refusal(&broken), Some(TokenError::BadAssurance), "{broken}");
    }
    for name in ["sub", "sessionId", "jti", "exp"] {
        let broken = without(viewer.clone(), name);
        assert_eq!(refusal(&broken), Some(TokenError::MissingClaim(name)));
    }
    let purpose = with(viewer, "purpose", json!("watch"));
    assert_eq!(refusal(&purpose), Some(TokenError::BadClaim("purpose")));
}

#[test]
fn no_refusal_shows_any_part_of_a_token() {
    let kid = "kid-that-must-not-be-shown";
    let token = forge(NAMED, &json!({ "alg": "HS256", "kid": kid }), &good_payload());
    let error = refusal(&token).unwrap();
    assert!(!format!("{error} {error:?}").contains(kid));
}

proptest! {
    #[test]
    fn any_text_is_refused_without_a_panic(
        text in r"\PC*", header in any::<Vec<u8>>(), payload in any::<Vec<u8>>(),
    ) {
        prop_assert!(refusal(&text).is_some());
        let token = format!("{}.{}.{}", encode(&header), encode(&payload), text);
        prop_assert!(refusal(&token).is_some());
    }

    #[test]
    fn any_signed_payload_is_answered_without_a_panic(payload in any::<Vec<u8>>()) {
        let signed = format!("{}.{}", encode(br#"{"alg":"HS256","kid":"k1"}"#), encode(&payload));
        let token = format!("{signed}.{}", encode(&hmac(NAMED, &signed)));
        prop_assert!(refusal(&token).is_some());
    }

    #[test]
    fn any_changed_byte_is_refused(at in any::<prop::sample::Index>(), byte in 0x21u8..0x7f) {
        let token = forge(NAMED, &json!({ "alg": "HS256", "kid": "k1" }), &good_payload());
        let mut changed = token.clone().into_bytes();
        // The last character holds two bits that spell nothing.
        let at = at.index(changed.len() - 1);
        prop_assume!(changed[at] != byte);
        changed[at] = byte;
        let changed = String::from_utf8(changed).unwrap();
        // `-_` and `+/` are two spellings of one signature.
        let same = |text: &str| decode(text.rsplit_once('.').map_or("", |(_, tail)| tail));
        prop_assume!(same(&changed) != same(&token) || at < token.rfind('.').unwrap());
        prop_assert!(refusal(&changed).is_some());
    }
}
