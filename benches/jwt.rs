//! What verifying a token costs, beside its floor and its peers.
//!
//! `cargo bench --bench jwt`. Criterion measures each in turn; the ratios printed at
//! the end come from rounds in which all take turns, so that a busy machine slows
//! them alike.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::{hint::black_box, time::Instant};

use breeze_rollover::{
    clock::{Clock, SystemClock, Timestamp},
    ids::KeyId,
    keyring::{Key, KeyState, Keyring, Signing},
    material::Material,
    token::{NewToken, Scope, sign, verify},
};
use criterion::Criterion;
use hmac::{Hmac, KeyInit, Mac};
use jwt_simple::algorithms::{HS256Key, MACLike};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

const NAMED: &str = "named-secret-0123456789abcdef0123456789";
const CURRENT: &str = "current-secret-0123456789abcdef01234567";
const PREVIOUS: &str = "previous-secret-0123456789abcdef0123456";

/// The claims of Breeze's access tokens, as a peer would type them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PeerClaims {
    sub: String,
    email: Option<String>,
    role_id: Option<String>,
    org_id: Option<String>,
    partner_id: Option<String>,
    scope: Scope,
    mfa: bool,
    mdid: Option<String>,
    aep: Option<i64>,
    mep: Option<i64>,
    sid: Option<String>,
    fam: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    jti: Option<String>,
    iat: Option<i64>,
    exp: i64,
    iss: String,
    aud: String,
}

struct Fixture {
    ring: Keyring<Signing>,
    /// A 500-byte token that names the primary key.
    named: String,
    /// The same claims, signed by the previous key from before key ids.
    unnamed: String,
    now: Timestamp,
    mac: Hmac<Sha256>,
    decoding: jsonwebtoken::DecodingKey,
    validation: jsonwebtoken::Validation,
    simple: HS256Key,
}

impl Fixture {
    fn new() -> Self {
        let key = |id, state, unnamed, secret: &str| {
            Key::signing(KeyId::new(id).unwrap(), state, unnamed, &Material::new(secret).unwrap())
        };
        let ring = Keyring::new(vec![
            key("k3", KeyState::Primary, false, NAMED),
            key("u2", KeyState::Retiring, true, CURRENT),
            key("u1", KeyState::Retiring, true, PREVIOUS),
        ])
        .unwrap();
        let now = SystemClock.now();
        let token = NewToken::access("5f0c3b1e-0c7e-4c0a-9b36-3a6f1f0e7a11", Scope::Organization)
            .email("operator@example.test".to_owned())
            .org_id("7c0c3b1e-0c7e-4c0a-9b36-3a6f1f0e7a12".to_owned())
            .mfa(true)
            .aep(3)
            .mep(1)
            .sid("sess-9d0c3b1e-0c".to_owned());
        let named = sign(&ring, &token, now).unwrap().expose_secret().to_owned();
        assert_eq!(named.len(), 500);
        let payload = named.split('.').nth(1).unwrap();
        let signed = format!("{}.{payload}", base64(br#"{"alg":"HS256"}"#));
        let mac = Hmac::<Sha256>::new_from_slice(PREVIOUS.as_bytes()).unwrap();
        let signature = mac.chain_update(&signed).finalize().into_bytes();
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
        validation.set_audience(&["breeze-api"]);
        validation.set_issuer(&["breeze"]);
        validation.leeway = 0;
        Self {
            unnamed: format!("{signed}.{}", base64(&signature)),
            mac: Hmac::new_from_slice(NAMED.as_bytes()).unwrap(),
            decoding: jsonwebtoken::DecodingKey::from_secret(NAMED.as_bytes()),
            simple: HS256Key::from_bytes(NAMED.as_bytes()),
            ring,
            named,
            now,
            validation,
        }
    }

    fn ours(&self, token: &str) {
        black_box(verify(&self.ring, black_box(token), self.now).unwrap());
    }

    /// What no verifier can do without: the signature, base64 and the same claims.
    fn floor(&self) {
        let token = black_box(self.named.as_str());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (_, payload) = signed.split_once('.').unwrap();
        let decode = |text: &str| base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).unwrap();
        self.mac.clone().chain_update(signed).verify_slice(&decode(signature)).unwrap();
        black_box(serde_json::from_slice::<PeerClaims>(&decode(payload)).unwrap());
    }

    fn jsonwebtoken(&self) {
        let token = black_box(self.named.as_str());
        black_box(
            jsonwebtoken::decode::<PeerClaims>(token, &self.decoding, &self.validation).unwrap(),
        );
    }

    fn jwt_simple(&self) {
        let token = black_box(self.named.as_str());
        black_box(self.simple.verify_token::<SimpleClaims>(token, None).unwrap());
    }
}

/// jwt-simple reads the registered claims itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SimpleClaims {
    email: Option<String>,
    role_id: Option<String>,
    org_id: Option<String>,
    partner_id: Option<String>,
    scope: Scope,
    mfa: bool,
    mdid: Option<String>,
    aep: Option<i64>,
    mep: Option<i64>,
    sid: Option<String>,
    fam: Option<String>,
    #[serde(rename = "type")]
    kind: String,
}

fn base64(bytes: &[u8]) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes)
}

fn main() {
    let fixture = Fixture::new();
    let contenders: [(&str, &dyn Fn()); 5] = [
        ("floor", &|| fixture.floor()),
        ("named", &|| fixture.ours(&fixture.named)),
        ("unnamed, previous key", &|| fixture.ours(&fixture.unnamed)),
        ("jsonwebtoken", &|| fixture.jsonwebtoken()),
        ("jwt-simple", &|| fixture.jwt_simple()),
    ];
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("verify a 500-byte token");
    for (name, verify) in contenders {
        group.bench_function(name, |bencher| bencher.iter(verify));
    }
    group.finish();
    criterion.final_summary();

    let medians = take_turns(contenders.map(|(_, verify)| verify));
    let [floor, named, unnamed, jsonwebtoken, jwt_simple] = medians;
    println!("\nmedians of rounds that take turns");
    for ((name, _), median) in contenders.iter().zip(medians) {
        println!("{name:24} {:7.3} µs", median * 1e6);
    }
    println!("named / floor            {:7.2}    (goal ≤ 1.25)", named / floor);
    println!("jsonwebtoken / named     {:7.2}    (goal ≥ 2.2)", jsonwebtoken / named);
    println!("jwt-simple / named       {:7.2}", jwt_simple / named);
    println!("unnamed − named          {:7.3} µs (goal ≤ 0.6)", (unnamed - named) * 1e6);
}

/// The median seconds that one call of each takes.
fn take_turns<const N: usize>(contenders: [&dyn Fn(); N]) -> [f64; N] {
    const ROUNDS: usize = 301;
    const CALLS: u32 = 200;
    let mut rounds = contenders.map(|_| Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        for (contender, times) in contenders.iter().zip(&mut rounds) {
            let start = Instant::now();
            (0..CALLS).for_each(|_| contender());
            times.push(start.elapsed().as_secs_f64() / f64::from(CALLS));
        }
    }
    rounds.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    })
}
