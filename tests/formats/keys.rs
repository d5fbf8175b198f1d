//! The keys that Breeze would use under an environment (FORMATS sections 2.1, 2.2
//! and 4), each fault met only where Breeze meets it: when the key is used.

use std::{collections::HashMap, fmt, sync::Arc};

use breeze_rollover::{
    catalog::Secret,
    envelope::Form,
    ids::{Epoch, KeyId},
    keyring::{AnyKeyring, Key, KeyState, Keychain, Keyring, SealBudget, Sealing},
    material::Material,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use super::independent;

pub type Env = HashMap<String, String>;

/// One key: id, source, whether values that name no key may be its own.
type Source = (String, String, bool);

pub struct Keys {
    pub chain: Keychain,
    /// Why a named key cannot be looked up.
    ring_fault: Option<&'static str>,
    /// Why nothing can be sealed under the general key.
    pub seal_fault: Option<&'static str>,
    /// Why nothing can be sealed or opened under the MFA key.
    pub mfa_fault: Option<&'static str>,
    pub has_active_id: bool,
    app: Vec<Source>,
    mfa: Vec<Source>,
}

impl Keys {
    pub fn of(env: &Env) -> Self {
        let get = |name: &str| env.get(name).map(String::as_str).filter(|v| !v.is_empty());
        let first = |names: &[&str]| names.iter().find_map(|name| get(name)).map(str::to_owned);
        let is = |stage: &str| get("NODE_ENV") == Some(stage);

        let ring = match first(&["APP_ENCRYPTION_KEYRING", "SECRET_ENCRYPTION_KEYRING"]) {
            Some(json) if !json.trim().is_empty() => parse_ring(&json),
            _ => Some(Vec::new()),
        };
        let ring_fault = ring.is_none().then_some("bad_keyring");
        let mut app: Vec<Source> = ring.unwrap_or_default();
        let active = first(&["APP_ENCRYPTION_KEY_ID", "SECRET_ENCRYPTION_KEY_ID"]);
        let active = active.map(|id| KeyId::new(id.trim()).map(|id| id.to_string()));
        let mut seal_fault = match &active {
            Some(Err(_)) => Some("bad_active_key_id"),
            _ => ring_fault.filter(|_| active.is_some()),
        };
        let has_active_id = active.is_some();
        let active = active.and_then(Result::ok);

        let names = ["APP_ENCRYPTION_KEY", "SSO_ENCRYPTION_KEY", "SECRET_ENCRYPTION_KEY"];
        let dedicated = first(&names);
        if let Some(source) = &dedicated {
            let free = active.clone().filter(|id| app.iter().all(|(known, ..)| known != id));
            app.push((free.unwrap_or("0.dedicated".into()), source.clone(), true));
        }
        let mut legacy: Vec<(&str, String)> = Vec::new();
        if dedicated.is_none() && !is("production") {
            legacy.extend(get("JWT_SECRET").map(|v| ("0.jwt", v.to_owned())));
            legacy.extend(get("SESSION_SECRET").map(|v| ("0.session", v.to_owned())));
            if is("test") {
                legacy.push(("0.test", "test-only-secret-encryption-key".into()));
            }
        }
        for (id, name) in [("0.jwt-trimmed", "JWT_SECRET"), ("0.session-trimmed", "SESSION_SECRET")]
        {
            let trimmed = get(name).map(str::trim).filter(|v| !v.is_empty());
            legacy.extend(trimmed.map(|v| (id, v.to_owned())));
        }
        let fallback = if is("production") { None } else { legacy.first().map(|(id, _)| *id) };
        app.extend(legacy.iter().map(|(id, source)| ((*id).to_owned(), source.clone(), true)));

        let primary = match &active {
            Some(id) => app.iter().position(|(known, ..)| known == id),
            None if dedicated.is_some() => app.iter().position(|(id, ..)| id == "0.dedicated"),
            None => fallback.and_then(|id| app.iter().position(|(known, ..)| known == id)),
        };
        if primary.is_none() {
            let fault = if active.is_some() { "unknown_key_id" } else { "no_key" };
            seal_fault = seal_fault.or(Some(fault));
        }
        let mfa = get("MFA_ENCRYPTION_KEY")
            .or(is("test").then_some("test-only-mfa-encryption-key"))
            .map(|source| ("0.mfa".to_owned(), source.to_owned(), true));
        let mfa_fault = mfa.is_none().then_some("no_key");
        let mfa: Vec<_> = mfa.into_iter().collect();

        let chain = Keychain::new(Epoch(1))
            .with(Secret::AppEncryptionKey, AnyKeyring::Sealing(keyring(&app, primary)))
            .with(
                Secret::MfaEncryptionKey,
                AnyKeyring::Sealing(keyring(&mfa, mfa.first().map(|_| 0))),
            );
        Self { chain, ring_fault, seal_fault, mfa_fault, has_active_id, app, mfa }
    }

    /// Whether the key of `value` can be looked up at all.
    pub fn can_look_up(&self, value: &str) -> Result<(), String> {
        let is_named = Form::of(value).is_some_and(|form| form.names_key() && !form.is_mfa());
        self.ring_fault.filter(|_| is_named).map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// What `envelope` holds, by the independent reader alone.
    pub fn open_independently(&self, aad: &str, envelope: &str) -> Option<String> {
        let (prefix, id, _) = independent::split(envelope)?;
        let sources = if prefix.starts_with("mfa:") { &self.mfa } else { &self.app };
        let mut tried = sources.iter().filter(|(known, _, unnamed)| match id {
            Some(id) => known == id,
            None => *unnamed,
        });
        tried.find_map(|(_, source, _)| independent::open(source, aad, envelope))
    }
}

/// A keyring of these keys; where none can be primary, a stand-in that seals nothing.
fn keyring(sources: &[Source], primary: Option<usize>) -> Keyring<Sealing> {
    let mut keys: Vec<_> = sources
        .iter()
        .enumerate()
        .map(|(index, (id, source, unnamed))| {
            let state = if Some(index) == primary { KeyState::Primary } else { KeyState::Retiring };
            key(id, source, state, *unnamed)
        })
        .collect();
    if primary.is_none() {
        keys.push(key("0.stand-in", "stands in for no key", KeyState::Primary, false));
    }
    Keyring::new(keys).unwrap()
}

pub fn key(id: &str, source: &str, state: KeyState, unnamed: bool) -> Key<Sealing> {
    let budget = Arc::new(SealBudget::default());
    Key::sealing(KeyId::new(id).unwrap(), state, unnamed, &Material::new(source).unwrap(), budget)
}

/// Ids trimmed and valid, sources non-empty; the last of equal ids wins.
fn parse_ring(json: &str) -> Option<Vec<Source>> {
    let Pairs(pairs) = serde_json::from_str(json).ok()?;
    let mut ring: Vec<Source> = Vec::new();
    for (id, source) in pairs {
        let id = KeyId::new(id.trim()).ok()?.to_string();
        ring.retain(|(known, ..)| *known != id);
        ring.push((id, Some(source).filter(|source| !source.is_empty())?, false));
    }
    Some(ring)
}

/// The entries of a JSON object of strings, in the order in which they stand.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
