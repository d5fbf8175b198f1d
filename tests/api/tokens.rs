//! Breeze's own tokens, as its code made them, against the running API.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    app::{Api, Db},
    support::{postgres, sqlite},
};

/// Whether a reason covers a token of this header and payload.
type Covers = fn(&Value, &Value) -> bool;

/// What we refuse although Breeze accepts it (FORMATS section 0.5).
const REFUSED: &[(&str, Covers)] = &[
    ("exp is required", |_, payload| payload.get("exp").is_none()),
    ("sub is required", |_, payload| payload["sub"].as_str().is_none_or(str::is_empty)),
    ("a request bears an access token", |_, payload| payload["type"] != "access"),
    ("kid is text, if it is there", |header, _| {
        header.get("kid").is_some_and(|kid| !kid.is_string())
    }),
    ("crit and b64 are not understood", |header, _| {
        header.get("crit").is_some() || header.get("b64").is_some()
    }),
];

#[tokio::test]
async fn breezes_tokens_are_accepted_and_its_forgeries_refused_on_sqlite() {
    present_every_token(|| async { Db::Sqlite(sqlite::file()) }).await;
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn breezes_tokens_are_accepted_and_its_forgeries_refused_on_postgres() {
    present_every_token(|| async { Db::Postgres(Box::new(postgres::database().await)) }).await;
}

/// Presents each token that is judged alike today and when it was made: those of
/// notes that begin with `far`, which expire in 2100.
async fn present_every_token(database: impl AsyncFn() -> Db) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/breeze-vectors.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut by_environment: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for vector in file["vectors"].as_array().unwrap() {
        let is_far = vector["note"].as_str().is_some_and(|note| note.starts_with("far"));
        if vector["group"] == "jwt-verify" && is_far {
            by_environment.entry(vector["env"].to_string()).or_default().push(vector);
        }
    }
    let (mut accepted, mut refused) = (0, 0);
    for (environment, vectors) in by_environment {
        let environment: BTreeMap<String, String> = serde_json::from_str(&environment).unwrap();
        // In production it would ask for every other key too.
        let variables: Vec<_> = environment
            .iter()
            .filter(|(name, _)| name.starts_with("JWT_"))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain([("BREEZE_ROOT_KEY", "test-root-key-0123456789abcdef0123456789")])
            .collect();
        let api = Api::on(database().await, &variables).await;
        for vector in vectors {
            let token = vector["args"][0].as_str().unwrap();
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                continue; // no header carries it
            }
            let answer = api.client.bearing(token).get("/api/v1/auth/me").await;
            let is_accepted = answer.status != 400
                && !(answer.status == 401 && answer.json()["code"] == "unauthorized");
            let expected = !vector["expected"]["ok"].is_null() && !is_refused_by_us(token);
            assert_eq!(is_accepted, expected, "{}: {}", vector["id"], vector["note"]);
            *if is_accepted { &mut accepted } else { &mut refused } += 1;
        }
        api.end().await;
    }
    assert!(accepted > 0 && refused > 0, "{accepted} accepted, {refused} refused");
}

fn is_refused_by_us(token: &str) -> bool {
    let part = |index: usize| -> Value {
        let text = token.split('.').nth(index).unwrap_or_default();
        let bytes = base64_simd::forgiving_decode_to_vec(
            text.replace('-', "+").replace('_', "/").as_bytes(),
        );
        bytes.ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
    };
    let (header, payload) = (part(0), part(1));
    REFUSED.iter().any(|(_, covers)| covers(&header, &payload))
}
