//! Apps that differ in what stands before the handler.

use std::sync::Arc;

use axum::{Json, Router, extract::FromRef, routing::get};
use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    column::Registry,
    ids::{Epoch, KeyId},
    keyring::{AnyKeyring, Key, KeyState, Keychain, KeychainHandle, Keyring, SealBudget, Signing},
    layer::{jwt::JwtLayer, sealed::SealedLayer},
    material::Material,
    token::{NewToken, Scope, sign},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const SECRET: &str = "a-signing-secret-0123456789abcdef012345";

#[derive(Serialize)]
pub(crate) struct Answer {
    id: u32,
    name: &'static str,
}

pub(crate) const fn answer() -> Json<Answer> {
    Json(Answer { id: 7, name: "a webhook of an organization" })
}

pub(crate) fn bare() -> Router {
    Router::new().route("/webhooks/7", get(|| async { answer() }))
}

pub(crate) fn jwt_alone() -> Router {
    bare().layer(JwtLayer::new(keychain()).unwrap())
}

/// As `embed` says to stack them, on one handle.
pub(crate) fn both_layers() -> Router {
    let keychain = keychain();
    let sealed = SealedLayer::new(keychain.clone(), Registry::breeze());
    bare().layer((JwtLayer::new(keychain).unwrap(), sealed))
}

/// The same behind axum-jwt-auth, which verifies in an extractor.
pub(crate) fn peer() -> Router {
    use axum_jwt_auth::{Claims, Decoder, LocalDecoder};
    use jsonwebtoken_10::{Algorithm, DecodingKey, Validation};

    #[derive(Clone, FromRef)]
    struct Peer {
        decoder: Decoder<PeerClaims>,
    }

    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&["breeze-api"]);
    validation.set_issuer(&["breeze"]);
    let keys = vec![DecodingKey::from_secret(SECRET.as_bytes())];
    let decoder = Arc::new(LocalDecoder::new(keys, validation).unwrap());
    Router::new()
        .route("/webhooks/7", get(|_: Claims<PeerClaims>| async { answer() }))
        .with_state(Peer { decoder })
}

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
    aep: Option<i64>,
    mep: Option<i64>,
    sid: Option<String>,
    iat: Option<i64>,
    exp: i64,
}

/// An access token as users carry it, of a user of its own.
pub(crate) fn access() -> NewToken {
    NewToken::access(Uuid::now_v7().to_string(), Scope::Organization)
        .email("operator@example.test".to_owned())
        .org_id("7c0c3b1e-0c7e-4c0a-9b36-3a6f1f0e7a12".to_owned())
        .aep(3)
        .mep(1)
        .sid("sess-9d0c3b1e-0c".to_owned())
}

pub(crate) fn token() -> String {
    sign(&signing(), &access(), SystemClock.now()).unwrap().expose_secret().to_owned()
}

fn signing() -> Keyring<Signing> {
    let (id, material) = (KeyId::new("k3").unwrap(), Material::new(SECRET).unwrap());
    Keyring::new(vec![Key::signing(id, KeyState::Primary, false, &material)]).unwrap()
}

fn keychain() -> KeychainHandle {
    let (id, material) = (KeyId::new("k-2026").unwrap(), Material::new("a sealing key").unwrap());
    let budget = Arc::new(SealBudget::default());
    let key = Key::sealing(id, KeyState::Primary, true, &material, budget);
    let sealing = Keyring::new(vec![key]).unwrap();
    let chain = Keychain::new(Epoch(1))
        .with(Secret::JwtSecret, AnyKeyring::Signing(signing()))
        .with(Secret::AppEncryptionKey, AnyKeyring::Sealing(sealing));
    KeychainHandle::new(chain)
}
