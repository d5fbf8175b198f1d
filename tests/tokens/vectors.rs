//! Vectors that Breeze's own code made: `tests/vectors/breeze-vectors.json`, or
//! another file of its form, named by `BREEZE_VECTORS`.

use std::collections::BTreeMap;

use breeze_rollover::{
    clock::Timestamp,
    ids::KeyId,
    keyring::{Key, KeyState, Keyring, Signing},
    material::Material,
    token::{Claims, Lifetimes, NewToken, ViewerClaims, sign, verify, verify_viewer},
};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Opened, decode, open};

const GROUPS: [&str; 5] =
    ["jwt-verify", "jwt-verify-later", "jwt-sign", "jwt-config", "jwt-viewer"];

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    group: String,
    note: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    now: i64,
    #[serde(default)]
    op: String,
    #[serde(default)]
    args: Vec<Value>,
    expected: Value,
}

type Covers = fn(&Opened) -> bool;

/// What we refuse although Breeze accepts it (FORMATS section 0.5): each reason
/// with the tokens that it covers, told by what they hold.
const REFUSED: &[(&str, Covers)] = &[
    ("exp is required", |token| token.payload.get("exp").is_none()),
    ("sub is required", |token| token.payload["sub"].as_str().is_none_or(str::is_empty)),
    ("type is access or refresh", |token| {
        !matches!(token.payload["type"].as_str(), Some("access" | "refresh"))
            && token.payload["purpose"] != "viewer"
    }),
    ("kid is text, if it is there", |token| {
        token.header.get("kid").is_some_and(|kid| !kid.is_string())
    }),
    ("crit and b64 are not understood", |token| {
        token.header.get("crit").is_some() || token.header.get("b64").is_some()
    }),
];

#[test]
fn breeze_and_we_agree_on_every_token() {
    let path = std::env::var("BREEZE_VECTORS").unwrap_or_else(|_| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/breeze-vectors.json").into()
    });
    let file: File = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let ours = file.vectors.iter().filter(|vector| GROUPS.contains(&vector.group.as_str()));
    let mut judged = 0;
    let wrong: Vec<_> = ours
        .inspect(|_| judged += 1)
        .filter_map(|vector| Some((&vector.id, &vector.note, judge(vector).err()?)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(judged > 0, "the file has no vector of ours");
}

fn judge(vector: &Vector) -> Result<(), String> {
    let now = Timestamp::from_seconds(vector.now);
    match vector.op.as_str() {
        "verifyToken" => {
            let token = vector.args[0].as_str().unwrap_or_default();
            let ours = verifying(&vector.env)
                .and_then(|ring| Some(api_json(&verify(&ring, token, now).ok()?.claims)));
            compare(token, ours, &vector.expected["ok"])
        }
        "verifyViewerAccessToken" => {
            let token = vector.args[0].as_str().unwrap_or_default();
            let lifetime = lifetimes(&vector.env).viewer;
            let ours = verifying(&vector.env).and_then(|ring| {
                let verified = verify_viewer(&ring, token, now, lifetime).ok()?;
                Some(viewer_json(&verified.claims))
            });
            compare(token, ours, &vector.expected["ok"])
        }
        "createAccessToken" => signs_alike(vector, now),
        op => Err(format!("this test knows no operation {op}")),
    }
}

/// Whether both read the same claims, or both refuse, or we refuse for a reason.
fn compare(token: &str, ours: Option<Value>, breeze: &Value) -> Result<(), String> {
    match (ours, breeze) {
        (None, Value::Null) => Ok(()),
        (Some(ours), breeze) if ours == plain(breeze) => Ok(()),
        (None, _) if open(token).is_some_and(|token| is_refused(&token)) => Ok(()),
        (ours, breeze) => Err(format!("we read {ours:?}, Breeze {breeze}")),
    }
}

fn is_refused(token: &Opened) -> bool {
    REFUSED.iter().any(|(_, covers)| covers(token))
}

/// Breeze's claims without those that say nothing.
fn plain(claims: &Value) -> Value {
    let Value::Object(mut claims) = claims.clone() else { return claims.clone() };
    claims.retain(|_, value| !value.is_null() && value != "");
    Value::Object(claims)
}

/// As JavaScript writes a number: a fraction only where there is one.
fn seconds(time: Timestamp) -> Value {
    match time.as_millis() % 1000 {
        0 => json!(time.as_seconds()),
        _ => json!(time.as_millis() as f64 / 1000.0),
    }
}

fn api_json(claims: &Claims) -> Value {
    plain(&json!({
        "sub": claims.sub, "email": claims.email, "roleId": claims.role_id,
        "orgId": claims.org_id, "partnerId": claims.partner_id, "scope": claims.scope,
        "type": claims.kind, "mfa": claims.mfa, "mdid": claims.mdid, "fam": claims.fam,
        "sid": claims.sid, "jti": claims.jti, "aep": claims.aep, "mep": claims.mep,
        "iat": claims.iat.map(seconds),
    }))
}

fn viewer_json(claims: &ViewerClaims) -> Value {
    plain(&json!({
        "sub": claims.sub, "email": claims.email, "sessionId": claims.session_id,
        "purpose": "viewer", "jti": claims.jti, "exp": seconds(claims.exp),
        "iat": claims.iat.map(seconds),
        "mfaSatisfied": claims.assured_until.map(|_| true),
        "assuranceAbsoluteExpiresAt": claims.assured_until.map(seconds),
    }))
}

/// Our token for the same claims says the same as Breeze's, and is the same text
/// where Breeze names its key and gives its claims in our order. Breeze's is
/// accepted here.
fn signs_alike(vector: &Vector, now: Timestamp) -> Result<(), String> {
    let (ring, breeze) = match (signing(&vector.env), vector.expected["ok"].as_str()) {
        (None, None) => return Ok(()),
        (Some(ring), Some(token)) => (ring, token),
        (ring, _) => return Err(format!("we sign: {}, Breeze does not agree", ring.is_some())),
    };
    let lifetime = lifetimes(&vector.env).access;
    let ours = sign(&ring, &new_token(&vector.args[0]).lifetime(lifetime), now).unwrap();
    let ours = ours.expose_secret();
    let (mine, theirs) = (open(ours).unwrap(), open(breeze).unwrap());
    if mine.payload != theirs.payload {
        return Err(format!("we sign {}, Breeze {}", mine.payload, theirs.payload));
    }
    let alike = theirs.header.get("kid").is_some() && members(ours) == members(breeze);
    if alike && ours != breeze {
        return Err("the same claims in the same order make another token".into());
    }
    for token in [ours, breeze] {
        verify(&ring, token, now).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn new_token(payload: &Value) -> NewToken {
    let text = |name: &str| payload[name].as_str().map(str::to_owned);
    NewToken::access(text("sub").unwrap(), text("scope").unwrap().parse().unwrap())
        .email(text("email"))
        .role_id(text("roleId"))
        .org_id(text("orgId"))
        .partner_id(text("partnerId"))
        .mfa(payload["mfa"] == true)
        .mdid(text("mdid"))
        .aep(payload["aep"].as_i64())
        .mep(payload["mep"].as_i64())
        .sid(text("sid"))
        .fam(text("fam"))
}

/// The names of a token's claims, in its order.
fn members(token: &str) -> Vec<String> {
    let payload = String::from_utf8(decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    let mut names: Vec<String> = open(token)
        .unwrap()
        .payload
        .as_object()
        .unwrap()
        .keys()
        .map(|name| format!("\"{name}\":"))
        .collect();
    names.sort_by_key(|name| payload.find(name.as_str()));
    names
}

fn lifetimes(env: &BTreeMap<String, String>) -> Lifetimes {
    let hours = |n: u64| std::time::Duration::from_secs(n * 3600);
    match env.get("E2E_MODE").map(String::as_str) {
        Some("1" | "true") => {
            Lifetimes { access: hours(24), refresh: hours(30 * 24), viewer: hours(24) }
        }
        _ => Lifetimes::BREEZE,
    }
}

/// What FORMATS section 5 makes of Breeze's variables.
struct Environment {
    /// `None` without a ring, an error with one that is malformed.
    ring: Option<Result<BTreeMap<String, String>, ()>>,
    active: String,
    legacy: Option<String>,
}

impl Environment {
    fn read(env: &BTreeMap<String, String>) -> Self {
        let text = |name: &str| env.get(name).cloned().unwrap_or_default();
        let is_long = |secret: &String| secret.encode_utf16().count() >= 32;
        let ring = text("JWT_SIGNING_KEYRING");
        let parse = || {
            let ring: BTreeMap<String, String> = serde_json::from_str(&ring).map_err(drop)?;
            let ring: BTreeMap<_, _> =
                ring.into_iter().map(|(kid, secret)| (kid.trim().to_owned(), secret)).collect();
            let is_valid = !ring.is_empty()
                && ring.iter().all(|(kid, secret)| !kid.is_empty() && is_long(secret));
            if is_valid { Ok(ring) } else { Err(()) }
        };
        Self {
            ring: (!ring.trim().is_empty()).then(parse),
            active: text("JWT_ACTIVE_KID"),
            legacy: Some(text("JWT_SECRET")).filter(is_long),
        }
    }

    /// A keyring whose primary is the active key, or `JWT_SECRET` without a ring.
    fn keyring(self, active: Option<&str>) -> Option<Keyring<Signing>> {
        let ring = self.ring.and_then(Result::ok).unwrap_or_default();
        let named = ring.iter().map(|(id, secret)| (id.as_str(), secret, false));
        let unnamed = self.legacy.iter().map(|secret| ("JWT_SECRET", secret, true));
        let keys: Vec<_> = named.chain(unnamed).collect();
        let primary = active.or_else(|| Some(keys.last()?.0))?;
        let key = |(id, secret, unnamed): &(&str, &String, bool)| {
            let state = if *id == primary { KeyState::Primary } else { KeyState::Retiring };
            let material = Material::new(secret.as_str()).ok()?;
            Some(Key::signing(KeyId::new(id).ok()?, state, *unnamed, &material))
        };
        Keyring::new(keys.iter().filter_map(key).collect()).ok()
    }
}

/// Keys to verify with: neither a bad active id nor a bad ring is in the way.
fn verifying(env: &BTreeMap<String, String>) -> Option<Keyring<Signing>> {
    Environment::read(env).keyring(None)
}

/// Keys to sign with: here both must be good.
fn signing(env: &BTreeMap<String, String>) -> Option<Keyring<Signing>> {
    let env = Environment::read(env);
    let active = match &env.ring {
        Some(Ok(ring)) => ring.contains_key(&env.active).then(|| env.active.clone())?,
        Some(Err(())) => return None,
        None => env.legacy.as_ref().map(|_| "JWT_SECRET".to_owned())?,
    };
    env.keyring(Some(&active))
}
