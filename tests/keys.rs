//! From the variables of a process to the keys that it serves with, through the
//! public API alone.

#![cfg(feature = "store")]
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use breeze_rollover::{
    catalog::{Class, Secret},
    clock::Timestamp,
    ids::{Epoch, KeyId},
    keyring::{
        KeyState, Keychain, Origin,
        reconcile::{Action, Agreement, reconcile},
        sources::{Declared, DeclaredKey, Environment, check_value, derived_id},
    },
    material::Material,
    store::{
        Custody,
        custody::{NewKey, RootKeys, Usage, keychain, stored},
    },
};

const APP: Secret = Secret::AppEncryptionKey;
const JWT: Secret = Secret::JwtSecret;

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::given(variables.iter().copied())
}

fn root() -> RootKeys {
    RootKeys::new(Material::new("root-key-0123456789abcdef0123456789").unwrap(), Vec::new())
}

/// What a start does with an agreement, short of the database.
fn carry_out(custody: &mut Custody, agreement: &Agreement<'_>) {
    for action in &agreement.actions {
        let generated;
        let (secret, id, material, origin, state, unnamed, rank) = match action {
            Action::Adopt { secret, key, state, rank } => {
                let (id, origin) = (key.id.clone(), key.origin.clone());
                (*secret, id, &key.material, origin, *state, key.unnamed, *rank)
            }
            Action::Generate { secret, rank } => {
                generated = Material::generate().unwrap();
                let id = derived_id(generated.fingerprint());
                (*secret, id, &generated, Origin::Generated, KeyState::Primary, true, *rank)
            }
            Action::RollOver { secret, to, .. } => {
                let (id, origin) = (to.id.clone(), to.origin.clone());
                (*secret, id, &to.material, origin, KeyState::Staged, to.unnamed, -1)
            }
        };
        let key = NewKey { secret, id, material, origin, state, unnamed, rank };
        custody.keys.push(key.into_record(&root(), Timestamp::from_seconds(1)).unwrap());
    }
}

fn start(custody: &mut Custody, variables: &[(&str, &str)]) -> Keychain {
    let declared = Declared::read(&environment(variables), &[]).unwrap();
    let stored = stored(custody, &root());
    carry_out(custody, &reconcile(&declared, &stored).unwrap());
    keychain(custody, &root(), &Usage::default(), &[]).unwrap()
}

fn empty() -> Custody {
    Custody { epoch: Epoch(1), keys: Vec::new() }
}

#[test]
fn a_rolling_deployment_with_a_new_value_keeps_the_old_one_primary() {
    const OLD: &str = "jwt-old-0123456789abcdef0123456789";
    const NEW: &str = "jwt-new-0123456789abcdef0123456789";
    let fingerprint = |text: &str| Material::new(text).unwrap().fingerprint();
    let mut custody = empty();
    start(&mut custody, &[("JWT_SECRET", OLD)]);

    let variables = [("JWT_SECRET", NEW), ("JWT_SECRET_PREVIOUS", OLD)];
    for replica in ["first", "second"] {
        let chain = start(&mut custody, &variables);
        let ring = chain.signing(JWT).unwrap();
        assert_eq!(ring.primary().fingerprint(), fingerprint(OLD), "{replica}");
        assert!(ring.get(derived_id(fingerprint(NEW)).as_str()).is_some(), "{replica}");
        assert_eq!(ring.keys().count(), 2, "{replica}");
    }
}

#[test]
fn the_store_and_the_environment_alone_make_the_same_keyrings() {
    let variables = [
        ("NODE_ENV", "production"),
        ("APP_ENCRYPTION_KEY_ID", "k-2026"),
        (
            "APP_ENCRYPTION_KEYRING",
            r#"{"k-2023":"ring secret of 2023","k-2026":"ring secret of 2026"}"#,
        ),
        ("APP_ENCRYPTION_KEY", "app-encryption-key-generation-2"),
        ("APP_ENCRYPTION_KEY_PREVIOUS", "app-encryption-key-generation-1"),
        ("JWT_SECRET", "jwt-secret-used-as-encryption-key-2c2c"),
        ("MFA_ENCRYPTION_KEY", "mfa-encryption-key-3d3d3d3d"),
        ("ENROLLMENT_KEY_PEPPER", "enrollment-key-pepper-4e4e4e4e4e4e4e"),
        ("MFA_RECOVERY_CODE_PEPPER", "mfa-recovery-code-pepper-5f5f5f5f5f5f"),
        ("AGENT_ENROLLMENT_SECRET", "agent-enrollment-secret-6a6a6a6a6a6a"),
        ("SESSION_SECRET", "session-secret-7b7b7b7b7b7b7b7b7b7b7b"),
    ];
    let declared = Declared::read(&environment(&variables), &[JWT, APP]).unwrap();
    let alone = declared.keychain(Epoch(1)).unwrap();
    let stored = start(&mut empty(), &variables);
    let shown = |chain: &Keychain| -> Vec<_> {
        let declared = chain.secrets().filter(|(secret, _)| secret.entry().class != Class::Issued);
        declared.map(|(secret, ring)| format!("{secret}: {ring:?}")).collect()
    };
    assert_eq!(shown(&stored), shown(&alone));

    let ring = alone.sealing(APP).unwrap();
    assert_eq!(ring.primary().id(), &KeyId::new("k-2026").unwrap());
    assert_eq!(ring.unnamed().count(), 4, "two generations, JWT_SECRET and SESSION_SECRET");
    assert_eq!(ring.keys().count(), 6);
}

/// Opens `enc:` text as FORMATS sections 1 and 2 say, with any of `keys`.
fn open(sealed: &str, aad: &str, keys: &[DeclaredKey]) -> Option<String> {
    let mut head: Vec<_> = sealed.split(':').collect();
    let payload = head.pop()?;
    let part = |part| base64_simd::URL_SAFE_NO_PAD.decode_to_vec(part).ok();
    let parts: Vec<_> = payload.split('.').map(part).collect::<Option<_>>()?;
    let [nonce, tag, text] = &parts[..] else { return None };
    let aad = if head[1] == "v3" { aad } else { "" };
    let may_open = |key: &&DeclaredKey| match head.get(2) {
        Some(id) => key.id.as_str() == *id,
        None => key.unnamed,
    };
    keys.iter().filter(may_open).find_map(|key| {
        let cipher = Aes256Gcm::new(&(*key.material.derive_aes256()).into());
        let nonce: [u8; 12] = nonce.as_slice().try_into().ok()?;
        let msg = &[text.as_slice(), tag].concat();
        let opened = cipher.decrypt(&nonce.into(), Payload { msg, aad: aad.as_bytes() }).ok()?;
        String::from_utf8(opened).ok()
    })
}

#[test]
fn the_declared_keys_open_what_breeze_sealed_in_the_same_environment() {
    let file = include_str!("vectors/breeze-vectors.json");
    let file: serde_json::Value = serde_json::from_str(file).unwrap();
    let (mut sealed, mut opened) = (0, 0);
    for vector in file["vectors"].as_array().unwrap() {
        let (argument, answer) = (&vector["args"][0], &vector["expected"]["ok"]);
        let (Some(argument), Some(answer)) = (argument.as_str(), answer.as_str()) else { continue };
        let variables: Vec<_> = vector["env"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str().unwrap()))
            .collect();
        let declare = || Declared::read(&environment(&variables), &[]).unwrap();
        let aad = vector["args"][1]["aad"].as_str().unwrap_or_default();
        match vector["op"].as_str().unwrap() {
            // The key that Breeze seals with is the primary one.
            "encryptSecret" if !argument.starts_with("enc:") => {
                let declared = declare();
                let primary = declared.keys(APP).iter().position(|key| key.is_primary).unwrap();
                let primary = &declared.keys(APP)[primary..=primary];
                assert_eq!(open(answer, aad, primary).as_deref(), Some(argument), "{vector}");
                sealed += 1;
            }
            // What Breeze opens, an accepted key opens.
            "decryptSecret" if argument.starts_with("enc:") && is_canonical(argument) => {
                let plaintext = open(argument, aad, declare().keys(APP));
                assert_eq!(plaintext.as_deref(), Some(answer), "{vector}");
                opened += 1;
            }
            _ => {}
        }
    }
    assert!(sealed > 30 && opened > 10, "{sealed} sealed, {opened} opened");
}

/// Whether a value is as Breeze writes it, and not one of the odd ones that it reads.
fn is_canonical(sealed: &str) -> bool {
    let payload = sealed.rsplit(':').next().unwrap();
    let lengths: Vec<_> = payload.split('.').map(str::len).collect();
    let is_base64url = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    payload.chars().all(is_base64url) && matches!(lengths[..], [16, 22, _])
}

/// Every fault, refusal and Debug of a whole start, none of which may show a key.
#[test]
fn no_output_shows_a_key() {
    let keys = [
        "wrong-shape-0a1b2c3d4e5f60718293a4b5",
        "short-0a1b2c",
        "your-0123456789abcdef0123456789abcdef",
        "shared-0a1b2c3d4e5f60718293a4b5c6d7e8",
        "ring-0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "older-0a1b2c3d4e5f60718293a4b5c6d7e8f",
        "another-0a1b2c3d4e5f60718293a4b5c6d7e8",
    ];
    let [wrong, short, placeholder, shared, ring, older, another] = keys;
    let backwards = format!("{{{wrong:?}:\"k1\", \"{wrong}=\":\"k2\"}}");
    let broken = format!("{{\"k1\":{ring:?},\"k2\":[{wrong:?}]}}");
    let unclosed = format!("[{older:?}");
    let good = format!("{{\"k1\":{ring:?},\"k2\":{another:?}}}");
    let mut output = String::new();
    let mut show = |shown: &dyn std::fmt::Debug, told: &dyn std::fmt::Display| {
        output.push_str(&format!("{shown:?}\n{shown:#?}\n{told}\n"));
    };
    for variables in [
        vec![("JWT_SECRET", short), ("MFA_ENCRYPTION_KEY", placeholder)],
        vec![("JWT_SECRET", shared), ("MFA_ENCRYPTION_KEY", shared)],
        vec![("APP_ENCRYPTION_KEYRING", &*backwards), ("APP_ENCRYPTION_KEY_ID", wrong)],
        vec![("APP_ENCRYPTION_KEYRING", &*broken), ("APP_ENCRYPTION_KEY_ID", "k1")],
        vec![("JWT_SIGNING_KEYRING", &*good), ("JWT_ACTIVE_KID", wrong)],
        vec![("APP_ENCRYPTION_KEY", another), ("APP_ENCRYPTION_KEY_PREVIOUS", &*unclosed)],
        vec![
            ("JWT_SECRET_FILE", wrong),
            ("MFA_ENCRYPTION_KEY", another),
            ("MFA_ENCRYPTION_KEY_FILE", wrong),
        ],
    ] {
        let environment = environment(&variables);
        let faults = Declared::read(&environment, &[]).unwrap_err();
        show(&(&environment, &faults), &faults);
    }

    let declared = Declared::read(
        &environment(&[
            ("JWT_SIGNING_KEYRING", &good),
            ("JWT_ACTIVE_KID", "k1"),
            ("JWT_SECRET", older),
        ]),
        &[],
    )
    .unwrap();
    let agreement = reconcile(&declared, &[]).unwrap();
    show(&(&declared, &agreement), &"");
    let mut custody = empty();
    carry_out(&mut custody, &agreement);
    let chain = keychain(&custody, &root(), &Usage::default(), &[]).unwrap();
    show(&(&chain, root()), &"");
    let other = Declared::read(&environment(&[("JWT_SECRET", another)]), &[]).unwrap();
    let stored = stored(&custody, &root());
    let refusals = reconcile(&other, &stored[..1]).unwrap_err();
    show(&refusals, &refusals);
    for (secret, value) in [(JWT, short), (APP, placeholder)] {
        let fault = check_value(secret, value.into(), &[]).unwrap_err();
        show(&fault, &fault);
    }

    let hex = |key: &str| key.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    // Base64 of the middle, whatever the text around it: all three alignments.
    let base64 = |key: &str| {
        (0..3).map(|at| base64_simd::STANDARD_NO_PAD.encode_to_string(&key[at..at + 9])).collect()
    };
    for key in keys.into_iter().chain(["root-key-0123456789abcdef0123456789"]) {
        let forms: Vec<String> = base64(key);
        for form in [key.to_owned(), hex(key)].into_iter().chain(forms) {
            assert!(!output.contains(&form), "a key is shown as {form}");
        }
    }
    assert!(output.contains("JWT_SECRET is too short"), "the output is looked at");
}
