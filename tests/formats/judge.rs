//! What this crate does with one vector, by the operation that the vector names.

use breeze_rollover::{
    catalog::Secret,
    column::{Column, Kind, Registry, Rewrap, RowKey},
    envelope::{self, Envelope, Form, OpenError, Target},
    keyring::{Keyring, Sealing},
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{keys::Keys, vectors::Vector};

/// What the crate answers, or the class of its refusal.
type Answer = Result<Value, String>;

/// Whether this crate agrees with Breeze on `v`; if not, how it differs.
pub fn judge(v: &Vector) -> Result<(), String> {
    let keys = Keys::of(&v.env);
    let value = if v.op == "encryptColumnValueForWrite" { v.args.get(2) } else { v.args.first() };
    if value == Some(&Value::Null) && v.is_ok() {
        return Ok(()); // NULL stays NULL: it never reaches the crate.
    }
    let answer = match v.op.as_str() {
        "encryptSecret" => encrypt(v, &keys, v.text(0), &v.aad()),
        "decryptSecret" => open(&keys, v.text(0), &v.aad(), v.is_strict()),
        "isEncryptedSecret" => Ok(json!(v.form(0).is_some_and(|form| !form.is_mfa()))),
        "getEncryptedSecretKeyId" => key_id(v.text(0)),
        "shouldReencryptSecret" => is_stale(v, &keys),
        "reencryptSecret" => reencrypt(v, &keys),
        "transformEncryptedColumnValue" => transform(v, &keys),
        "encryptColumnValueForWrite" => write(v, &keys),
        "sealSecretEnv" => {
            let plaintext = format!(r#"{{"v":1,"env":{}}}"#, v.args[0]);
            encrypt(v, &keys, &plaintext, &script_aad(&v.args[1]))
        }
        "openSecretEnv" => open(&keys, v.text(0), &script_aad(&v.args[1]), true)
            .and_then(|json| as_json(json.as_str()).ok_or("malformed".into()))
            .map(|opened| opened["env"].clone()),
        "buildSecretEnvAad" => Ok(json!(script_aad(&v.args[0]))),
        "encryptMfaTotpSecret" => mfa_encrypt(v, &keys),
        "decryptMfaTotpSecret" | "decryptMfaTotpSecretForMigration" => mfa_decrypt(v, &keys),
        other => return Err(format!("no such operation is known: {other}")),
    };
    match (v.expected.get("ok"), &answer) {
        (Some(expected), Ok(ours)) if expected == ours => Ok(()),
        (None, Err(class)) => match v.expected["class"].as_str() {
            Some(breeze) if !same_class(breeze, class) => Err(format!("refused as {class}")),
            _ => Ok(()),
        },
        _ => Err(format!("answered {answer:?}")),
    }
}

/// Whether both refuse, for reasons that fit.
fn same_class(breeze: &str, ours: &str) -> bool {
    match breeze {
        // A strict reader refuses some of these before it tries a key.
        "auth_failed" => ["authentication", "malformed"].contains(&ours),
        "malformed" | "bad_tag_length" => ours == "malformed",
        "unknown_key_id" => ["unknown_key", "unknown_key_id"].contains(&ours),
        "row_id_required" => ours == "row_required",
        "aad_required" | "bad_keyring" | "bad_active_key_id" => ours == breeze,
        _ => true,
    }
}

/// A column that binds its values to `aad`, and the row it does so for.
fn column_of(aad: &str) -> (Column, RowKey) {
    let (name, row) = aad.split_once(':').map_or((aad, ""), |(name, row)| (name, row));
    let (table, column) = name.split_once('.').unwrap_or(("vectors", "unbound"));
    let column = Column::text(table.to_owned(), column.to_owned());
    (if row.is_empty() { column } else { column.bound_by_row() }, row.into())
}

fn app_ring(keys: &Keys) -> &Keyring<Sealing> {
    keys.chain.sealing(Secret::AppEncryptionKey).unwrap()
}

fn as_json(text: Option<&str>) -> Option<Value> {
    serde_json::from_str(text?).ok()
}

fn open(keys: &Keys, value: &str, aad: &str, is_strict: bool) -> Answer {
    keys.can_look_up(value)?;
    let form = Form::of(value).filter(|form| !form.is_mfa());
    let opened = if !aad.is_empty() {
        let (column, row) = column_of(aad);
        let column = if is_strict { column.migrated() } else { column };
        column
            .open(&keys.chain, &row, value, Target::Bound)
            .map(|opened| opened.plaintext.expose_secret().to_owned())
    } else if form.is_some() {
        Envelope::parse(value)
            .map_err(OpenError::from)
            .and_then(|envelope| envelope::open(app_ring(keys), "", &envelope.unwrap()))
            .map(|unsealed| unsealed.plaintext.expose_secret().to_owned())
    } else {
        Ok(value.to_owned())
    };
    opened.map(|plaintext| json!(plaintext)).map_err(|error| error.class().into())
}

/// Nonces are random, so no ciphertext is compared: Breeze's opens here, and ours
/// opens by the independent reader, both to the plaintext.
fn encrypt(v: &Vector, keys: &Keys, plaintext: &str, aad: &str) -> Answer {
    if let Some(fault) = keys.seal_fault.filter(|_| !plaintext.is_empty()) {
        return Err(fault.into());
    }
    let form = if aad.is_empty() { Form::EncV2 } else { Form::EncV3 };
    let ours =
        envelope::seal(app_ring(keys), form, aad, plaintext).map_err(|error| error.to_string())?;
    let here = |breeze: &str| Some(open(keys, breeze, aad, false).ok()?.as_str()?.to_owned());
    agree_on(v, keys, plaintext, aad, &ours, here)
}

/// Answers what Breeze did when both envelopes hold `plaintext`, by both readers, and
/// ours has Breeze's form and key wherever Breeze's names a key.
fn agree_on(
    v: &Vector,
    keys: &Keys,
    plaintext: &str,
    aad: &str,
    ours: &str,
    open_here: impl Fn(&str) -> Option<String>,
) -> Answer {
    let breeze = v.expected["ok"].as_str().unwrap_or_default();
    let is_it = |opened: Option<String>| match opened {
        // The order of a JSON object's keys is the vector file's, not the writer's.
        Some(text) if v.op == "sealSecretEnv" => as_json(Some(&text)) == as_json(Some(plaintext)),
        opened => opened.as_deref() == Some(plaintext),
    };
    let agree = is_it(keys.open_independently(aad, ours))
        && is_it(keys.open_independently(aad, breeze))
        && is_it(open_here(breeze))
        && (head(breeze) == head(ours) || Form::of(breeze) == Some(Form::EncV1));
    Ok(json!(if agree { breeze } else { ours }))
}

/// Form and key of an envelope.
fn head(text: &str) -> Option<(Form, Option<&str>)> {
    Envelope::parse(text).ok().flatten().map(|envelope| (envelope.form(), envelope.key_id()))
}

fn key_id(value: &str) -> Answer {
    let envelope = Envelope::parse(value).map_err(|error| OpenError::from(error).class())?;
    Ok(json!(envelope.filter(|e| !e.form().is_mfa()).and_then(|envelope| envelope.key_id())))
}

fn is_stale(v: &Vector, keys: &Keys) -> Answer {
    let value = v.text(0);
    key_id(value)?;
    let with_aad = v.option("targetWithAad") == json!(true);
    let target = if with_aad { Target::Bound } else { Target::Compatible };
    let aim = Column::text("vectors", "any").aim(&keys.chain, target).unwrap();
    let is_final = aim.prefixes.iter().any(|prefix| value.starts_with(prefix));
    Ok(json!(!value.is_empty() && !is_final))
}

fn reencrypt(v: &Vector, keys: &Keys) -> Answer {
    let aad = v.aad();
    let (column, row) = column_of(&aad);
    let column = if v.is_strict() { column.migrated() } else { column };
    let target = if aad.is_empty() { Target::Compatible } else { Target::Bound };
    rewrap(v, keys, &column, &row, &v.args[0], target)
}

fn transform(v: &Vector, keys: &Keys) -> Answer {
    let spec = &v.args[0];
    let kind = match spec["kind"].as_str() {
        Some("text-array") => Kind::TextArray,
        Some("json") => Kind::Json,
        _ => Kind::Text,
    };
    let name = |field: &str| spec[field].as_str().unwrap().to_owned();
    let column = Column::new(name("table"), name("column"), kind);
    let column = if spec["aadBinding"] == "row" { column.bound_by_row() } else { column };
    rewrap(v, keys, &column, &v.text(2).into(), &v.args[1], v.target())
}

/// Rewraps `value`, and answers what Breeze did when all that differs is the nonce.
fn rewrap(
    v: &Vector,
    keys: &Keys,
    column: &Column,
    row: &RowKey,
    value: &Value,
    target: Target,
) -> Answer {
    let text = match (column.kind(), value) {
        (_, Value::Null) => return Ok(Value::Null),
        (Kind::Text, value) => value.as_str().unwrap_or_default().to_owned(),
        (_, value) => value.to_string(),
    };
    if let Some(fault) = keys.seal_fault.filter(|_| keys.has_active_id) {
        return Err(fault.into());
    }
    let ours = match column.rewrap(&keys.chain, row, &text, target) {
        Ok(Rewrap::Final) => value.clone(),
        Ok(Rewrap::Changed(text)) if column.kind() == Kind::Text => json!(text),
        Ok(Rewrap::Changed(text)) => serde_json::from_str(&text).unwrap(),
        Err(unopenable) => return Err(unopenable.leaves[0].1.class().into()),
    };
    Ok(breeze_if_equivalent(v, keys, &column.aad(row), ours))
}

fn breeze_if_equivalent(v: &Vector, keys: &Keys, aad: &str, ours: Value) -> Value {
    let breeze = &v.expected["ok"];
    if equivalent(keys, aad, breeze, &ours) { breeze.clone() } else { ours }
}

/// Equal, but for the nonces.
fn equivalent(keys: &Keys, aad: &str, breeze: &Value, ours: &Value) -> bool {
    match (breeze, ours) {
        (Value::String(a), Value::String(b)) if a != b => {
            let opened = keys.open_independently(aad, a);
            opened.is_some()
                && opened == keys.open_independently(aad, b)
                && (head(a) == head(b) || Form::of(a) == Some(Form::EncV1))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equivalent(keys, aad, a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equivalent(keys, aad, a, b)))
        }
        (a, b) => a == b,
    }
}

/// What a handler does: a registered column is sealed, another is not the crate's.
fn write(v: &Vector, keys: &Keys) -> Answer {
    let (registry, value, row) = (Registry::breeze(), &v.args[2], RowKey::from(v.text(3)));
    let Some(column) = registry.column(v.text(0), v.text(1)) else { return Ok(value.clone()) };
    let seals = || keys.seal_fault.map_or(Ok(()), Err);
    let chain = &keys.chain;
    let ours = match (column.kind(), value.as_str()) {
        (Kind::Text, Some("")) => json!(""),
        (Kind::Text, Some(text)) => {
            seals()?;
            json!(column.seal(chain, &row, text, v.target()).map_err(|_| "row_required")?)
        }
        (Kind::Text, None) => value.clone(),
        _ => {
            seals()?;
            let sealed = column.seal_document(chain, &row, &value.to_string(), v.target());
            as_json(sealed.ok().as_deref()).ok_or("malformed")?
        }
    };
    Ok(breeze_if_equivalent(v, keys, &column.aad(&row), ours))
}

fn script_aad(context: &Value) -> String {
    let [command, device] =
        ["commandId", "deviceId"].map(|id| context[id].as_str().unwrap_or_default());
    format!("device_commands.payload|secretEnvEnvelope|v1|script|{command}|{device}")
}

fn mfa_open(keys: &Keys, value: &str) -> Result<(String, bool), String> {
    keys.can_look_up(value)?;
    let registry = Registry::breeze();
    let column = registry.column("users", "mfa_secret").unwrap();
    let opened = column
        .open(&keys.chain, &"a-user".into(), value, Target::Compatible)
        .map_err(|error| error.class().to_owned())?;
    Ok((opened.plaintext.expose_secret().to_owned(), opened.is_stale))
}

fn mfa_encrypt(v: &Vector, keys: &Keys) -> Answer {
    if let Some(fault) = keys.mfa_fault.filter(|_| !v.text(0).is_empty()) {
        return Err(fault.into());
    }
    let registry = Registry::breeze();
    let column = registry.column("users", "mfa_secret").unwrap();
    let ours = column
        .seal(&keys.chain, &"a-user".into(), v.text(0), Target::Compatible)
        .map_err(|error| error.to_string())?;
    let here = |breeze: &str| Some(mfa_open(keys, breeze).ok()?.0);
    agree_on(v, keys, v.text(0), "", &ours, here)
}

fn mfa_decrypt(v: &Vector, keys: &Keys) -> Answer {
    let for_migration = v.op == "decryptMfaTotpSecretForMigration";
    let is_mfa = v.form(0).is_some_and(Form::is_mfa);
    if !for_migration && !v.is_ok() && !is_mfa {
        // Breeze's plain reader knows one form; ours is the migrating one throughout.
        return Err("malformed".into());
    }
    if let Some(fault) = keys.mfa_fault.filter(|_| !v.text(0).is_empty()) {
        return Err(fault.into());
    }
    let (plaintext, is_stale) = mfa_open(keys, v.text(0))?;
    if !for_migration {
        return Ok(json!(plaintext));
    }
    // Breeze hands back a fresh `mfa:v1`; here the value is stale, and rewrapped.
    let migrated = v.expected["ok"]["migratedSecret"].clone();
    let holds_it = migrated
        .as_str()
        .is_some_and(|m| keys.open_independently("", m).as_ref() == Some(&plaintext));
    let ours = if is_stale && holds_it { migrated } else { json!(is_stale.then_some("stale")) };
    Ok(json!({ "plaintext": plaintext, "migratedSecret": ours }))
}
