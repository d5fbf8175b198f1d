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

/// What this crate does with a vector: what it answers, or the class of its refusal.
type Answer = Result<Value, String>;

/// Whether both refuse, for reasons that fit.
fn same_class(breeze: &str, ours: &str) -> bool {
    match breeze {
        // A strict reader refuses some of these before it tries a key.
        "auth_failed" => ["authentication", "malformed"].contains(&ours),
        "malformed" | "bad_tag_length" => ours == "malformed",
        "unknown_key_id" => ["unknown_key", "unknown_key_id"].contains(&ours),
        // A column always knows its context, so that it finds the wrong one.
        "aad_required" => ["aad_required", "authentication"].contains(&ours),
        "row_id_required" => ours == "row_required",
        "bad_keyring" | "bad_active_key_id" => ours == breeze,
        _ => true,
    }
}

/// Whether this crate agrees with Breeze on `v`; if not, how it differs.
pub fn judge(v: &Vector) -> Result<(), String> {
    let keys = Keys::of(&v.env);
    if v.args.first() == Some(&Value::Null) && v.is_ok() {
        return Ok(()); // NULL stays NULL: no value ever reaches the crate.
    }
    let answer = match v.op.as_str() {
        "encryptSecret" => encrypt(v, &keys, v.text(0), &v.aad()),
        "decryptSecret" => open(&keys, v.text(0), &v.aad(), v.option("strict") == json!(true)),
        "isEncryptedSecret" => Ok(json!(v.form(0).is_some_and(|form| !form.is_mfa()))),
        "getEncryptedSecretKeyId" => match Envelope::parse(v.text(0)) {
            Ok(envelope) => Ok(json!(envelope.and_then(|envelope| envelope.key_id()))),
            Err(error) => Err(OpenError::from(error).class().into()),
        },
        "shouldReencryptSecret" => Ok(json!(is_stale(v, &keys))),
        "reencryptSecret" => {
            let aad = v.aad();
            let target = if aad.is_empty() { Target::Compatible } else { Target::Bound };
            rewrap(v, &keys, &column_of(&aad).0, &column_of(&aad).1, target)
        }
        "transformEncryptedColumnValue" => transform(v, &keys),
        "encryptColumnValueForWrite" => {
            let registry = Registry::breeze();
            match registry.column(v.text(0), v.text(1)) {
                Some(column) => encrypt(v, &keys, v.text(2), &column.aad(&v.text(3).into())),
                None => Ok(v.args[2].clone()),
            }
        }
        "sealSecretEnv" => {
            let plaintext = format!(r#"{{"v":1,"env":{}}}"#, v.args[0]);
            encrypt(v, &keys, &plaintext, &script_aad(&v.args[1]))
        }
        "openSecretEnv" => open(&keys, v.text(0), &script_aad(&v.args[1]), false)
            .map(|opened| serde_json::from_str::<Value>(opened.as_str().unwrap()).unwrap())
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

/// A column that binds its values to `aad`, and the row it does so for.
fn column_of(aad: &str) -> (Column, RowKey) {
    let (name, row) = aad.split_once(':').map_or((aad, ""), |(name, row)| (name, row));
    let (table, column) = name.split_once('.').unwrap_or(("vectors", "unbound"));
    let column = Column::text(table.to_owned(), column.to_owned());
    (if row.is_empty() { column } else { column.bound_by_row() }, row.into())
}

fn open(keys: &Keys, value: &str, aad: &str, strict: bool) -> Answer {
    let form = Form::of(value).filter(|form| !form.is_mfa());
    if let Some(fault) = keys.ring_fault.filter(|_| form.is_some_and(Form::names_key)) {
        return Err(fault.into());
    }
    let opened = if aad.is_empty() {
        match Envelope::parse(value).map_err(OpenError::from) {
            Ok(Some(envelope)) if form.is_some() => {
                envelope::open(app_ring(keys), "", &envelope).map(|o| o.plaintext.to_string())
            }
            Ok(_) => Ok(value.to_owned()),
            Err(_) if form.is_none() => Ok(value.to_owned()),
            Err(error) => Err(error),
        }
    } else {
        let (column, row) = column_of(aad);
        let column = if strict { column.migrated() } else { column };
        column
            .open(&keys.chain, &row, value, Target::Bound)
            .map(|opened| opened.plaintext.expose_secret().to_owned())
    };
    opened.map(|plaintext| json!(plaintext)).map_err(|error| error.class().into())
}

fn app_ring(keys: &Keys) -> &Keyring<Sealing> {
    keys.chain.sealing(Secret::AppEncryptionKey).unwrap()
}

/// Nonces are random, so no ciphertext is compared: Breeze's opens here, and ours
/// opens by the independent reader, both to the plaintext.
fn encrypt(v: &Vector, keys: &Keys, plaintext: &str, aad: &str) -> Answer {
    if let Some(fault) = keys.seal_fault.filter(|_| !plaintext.is_empty()) {
        return Err(fault.into());
    }
    let form = if aad.is_empty() { Form::EncV2 } else { Form::EncV3 };
    let ours =
        envelope::seal(app_ring(keys), form, aad, plaintext).map_err(|error| format!("{error}"))?;
    agree_on(v, keys, plaintext, aad, ours, keys.has_active_id)
}

/// Answers what Breeze did when both envelopes hold `plaintext`, and have the same
/// form and key where `same_head`.
fn agree_on(
    v: &Vector,
    keys: &Keys,
    plaintext: &str,
    aad: &str,
    ours: String,
    same_head: bool,
) -> Answer {
    let Some(breeze) = v.expected["ok"].as_str() else { return Ok(json!(ours)) };
    let same = |text: &str| keys.open_independently(aad, text).as_deref() == Some(plaintext);
    let here = match Form::of(breeze) {
        Some(form) if form.is_mfa() => mfa_open(keys, breeze).map(|(plaintext, _)| plaintext),
        _ => open(keys, breeze, aad, false).map(|opened| opened.as_str().unwrap().to_owned()),
    };
    let agree = same(&ours)
        && same(breeze)
        && here.as_deref() == Ok(plaintext)
        && (!same_head || head(breeze) == head(&ours));
    Ok(if agree { json!(breeze) } else { json!(ours) })
}

/// Form and key of an envelope.
fn head(text: &str) -> Option<(Form, Option<&str>)> {
    Envelope::parse(text).ok().flatten().map(|envelope| (envelope.form(), envelope.key_id()))
}

fn is_stale(v: &Vector, keys: &Keys) -> bool {
    let target =
        if v.option("targetWithAad") == json!(true) { Target::Bound } else { Target::Compatible };
    let aim = Column::text("vectors", "any").aim(&keys.chain, target).unwrap();
    let value = v.text(0);
    !value.is_empty() && !aim.prefixes.iter().any(|prefix| value.starts_with(prefix))
}

fn transform(v: &Vector, keys: &Keys) -> Answer {
    let spec = &v.args[0];
    let kind = match spec["kind"].as_str() {
        Some("text-array") => Kind::TextArray,
        Some("json") => Kind::Json,
        _ => Kind::Text,
    };
    let name = |field: &str| spec[field].as_str().unwrap().to_owned();
    let mut column = Column::new(name("table"), name("column"), kind);
    if spec["aadBinding"] == "row" {
        column = column.bound_by_row();
    }
    let bound = v.env.get("ENABLE_AAD_V3").is_some_and(|flag| flag == "true");
    let target = if bound { Target::Bound } else { Target::Compatible };
    rewrap(v, keys, &column, &v.text(2).into(), target)
}

/// Rewraps the vector's value, and answers what Breeze did when all that differs is
/// the nonce.
fn rewrap(v: &Vector, keys: &Keys, column: &Column, row: &RowKey, target: Target) -> Answer {
    let value = if v.op == "reencryptSecret" { &v.args[0] } else { &v.args[1] };
    let text = match (column.kind(), value) {
        (_, Value::Null) => return Ok(Value::Null),
        (Kind::Text, value) => value.as_str().unwrap().to_owned(),
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
    let Some(breeze) = v.expected.get("ok") else { return Ok(ours) };
    Ok(if equivalent(keys, &column.aad(row), breeze, &ours) { breeze.clone() } else { ours })
}

/// Equal, but for the nonces.
fn equivalent(keys: &Keys, aad: &str, breeze: &Value, ours: &Value) -> bool {
    match (breeze, ours) {
        (Value::String(a), Value::String(b)) if a != b => {
            let opened = keys.open_independently(aad, a);
            opened.is_some() && opened == keys.open_independently(aad, b) && head(a) == head(b)
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

fn script_aad(context: &Value) -> String {
    let [command, device] = ["commandId", "deviceId"].map(|id| context[id].as_str().unwrap());
    format!("device_commands.payload|secretEnvEnvelope|v1|script|{command}|{device}")
}

fn mfa_open(keys: &Keys, value: &str) -> Result<(String, bool), String> {
    let registry = Registry::breeze();
    let column = registry.column("users", "mfa_secret").unwrap();
    let opened = column
        .open(&keys.chain, &"a-user".into(), value, Target::Compatible)
        .map_err(|error| error.class().to_owned())?;
    Ok((opened.plaintext.expose_secret().to_owned(), opened.is_stale))
}

fn mfa_encrypt(v: &Vector, keys: &Keys) -> Answer {
    if let Some(fault) = keys.mfa_fault {
        return Err(fault.into());
    }
    let registry = Registry::breeze();
    let column = registry.column("users", "mfa_secret").unwrap();
    let ours = column
        .seal(&keys.chain, &"a-user".into(), v.text(0), Target::Compatible)
        .map_err(|error| error.to_string())?;
    agree_on(v, keys, v.text(0), "", ours, true)
}

fn mfa_decrypt(v: &Vector, keys: &Keys) -> Answer {
    let for_migration = v.op == "decryptMfaTotpSecretForMigration";
    let value = v.text(0);
    let is_mfa = v.form(0).is_some_and(Form::is_mfa);
    if !for_migration && !v.is_ok() && !is_mfa {
        // Breeze's plain reader knows one form; ours is the migrating one throughout.
        return Err("malformed".into());
    }
    let (plaintext, is_stale) = mfa_open(keys, value)?;
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
