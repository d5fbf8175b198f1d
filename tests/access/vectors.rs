//! Vectors that Breeze's own code made: `tests/vectors/breeze-vectors.json`, or
//! another file of its form, named by `BREEZE_VECTORS`.

use std::{collections::BTreeMap, sync::Arc};

use breeze_rollover::{
    catalog::Secret,
    clock::Timestamp,
    digest::{self, AgentHashes, Hash, PresentedToken, normal_recovery_code, trim},
    ids::KeyId,
    keyring::{Key, KeyState, Keyring, Verbatim},
    material::Material,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    op: String,
    #[serde(default)]
    args: Vec<Value>,
    expected: Value,
}

impl Vector {
    fn text(&self) -> &str {
        self.args[0].as_str().unwrap()
    }

    /// The keyring that the environment of this vector makes, from the catalog's names.
    fn ring(&self, secret: Secret) -> Option<Keyring<Verbatim>> {
        let entry = secret.entry();
        let is_test = self.env.get("NODE_ENV").is_some_and(|mode| mode == "test");
        let value =
            |name: &str| self.env.get(name).map(|text| trim(text)).filter(|t| !t.is_empty());
        let primary = value(entry.name).or(entry.test_value.filter(|_| is_test))?;
        let legacy = entry.legacy.iter().filter_map(|name| value(name));
        let keys = std::iter::once(primary).chain(legacy).enumerate().map(|(index, pepper)| {
            let state = if index == 0 { KeyState::Primary } else { KeyState::Retiring };
            let id = KeyId::new(&format!("p{index}")).unwrap();
            Key::verbatim(id, state, Material::new(pepper).unwrap(), Arc::default())
        });
        Some(Keyring::new(keys.collect()).unwrap())
    }

    fn hashes(&self, secret: Secret, text: &str) -> Option<Vec<String>> {
        let ring = self.ring(secret)?;
        Some(digest::peppered(&ring, text).iter().map(|(_, hash)| hash.to_string()).collect())
    }

    /// What we make of it; `None` where that is no business of this library.
    fn made(&self) -> Option<Value> {
        let missing = || json!({ "missing": true });
        let ok = |value: Value| json!({ "ok": value });
        Some(match self.op.as_str() {
            "hashEnrollmentSecret" => ok(json!(Hash::of(self.text()))),
            "hashEnrollmentKeyCandidates" => self
                .hashes(Secret::EnrollmentKeyPepper, self.text())
                .map_or_else(missing, |hashes| ok(json!(hashes))),
            "hashEnrollmentKey" => self
                .hashes(Secret::EnrollmentKeyPepper, self.text())
                .map_or_else(missing, |hashes| ok(json!(hashes[0]))),
            "hashRecoveryCode" => self
                .hashes(Secret::MfaRecoveryCodePepper, &normal_recovery_code(self.text()))
                .map_or_else(missing, |hashes| ok(json!(hashes[0]))),
            "matchAgentTokenHash" => {
                let stored = self.args[0]["agentTokenHash"].as_str();
                let stored = stored.and_then(|text| text.parse().ok());
                let hashes = AgentHashes { current: stored, ..Default::default() };
                let presented = self.args[0]["tokenHash"].as_str().unwrap().parse().unwrap();
                let found = hashes.presented(&presented, Timestamp::from_millis(0));
                ok(found.map_or(Value::Null, |token| {
                    json!({
                        "tokenRotationRequired": token == PresentedToken::Previous,
                        "pendingTokenPresented": token == PresentedToken::Pending,
                    })
                }))
            }
            "getGlobalEnrollmentSecret" => ok(json!(trim(&self.env["AGENT_ENROLLMENT_SECRET"]))),
            _ => return None,
        })
    }
}

#[test]
fn hashes_agree_with_every_vector() {
    let path = std::env::var("BREEZE_VECTORS")
        .unwrap_or_else(|_| "tests/vectors/breeze-vectors.json".to_owned());
    let file: File = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut judged = 0;
    for vector in file.vectors {
        let Some(made) = vector.made() else { continue };
        judged += 1;
        match vector.expected.get("error") {
            Some(_) => assert!(made.get("missing").is_some(), "{}: {made}", vector.id),
            None => assert_eq!(made, vector.expected, "{}", vector.id),
        }
    }
    assert!(judged >= 26, "only {judged} vectors were judged");
}
