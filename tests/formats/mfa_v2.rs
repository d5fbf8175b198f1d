//! `mfa:v2` by vectors that were made apart from this crate, must-fail ones included.

use std::collections::{BTreeMap, HashSet};

use breeze_rollover::{
    catalog::Secret,
    column::{Registry, RowKey},
    envelope::Target,
    ids::Epoch,
    keyring::{AnyKeyring, KeyState, Keychain, Keyring},
};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::keys::key;

#[derive(Deserialize)]
struct File {
    keys: BTreeMap<String, String>,
    primary: String,
    count: usize,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    row: String,
    value: String,
    ok: Option<String>,
    #[serde(default)]
    stale: bool,
    error: Option<String>,
}

#[test]
fn every_vector_opens_or_is_refused_as_it_says() {
    let file: File = serde_json::from_str(include_str!("../vectors/mfa-v2.json")).unwrap();
    assert_eq!(file.vectors.len(), file.count);
    let names: HashSet<_> = file.vectors.iter().map(|v| &v.name).collect();
    assert_eq!(names.len(), file.count, "each name stands once");

    let ring = || {
        let keys = file.keys.iter().map(|(id, source)| {
            let state = if *id == file.primary { KeyState::Primary } else { KeyState::Retiring };
            key(id, source, state, true)
        });
        AnyKeyring::Sealing(Keyring::new(keys.collect()).unwrap())
    };
    // The general ring knows other keys: a seed that claims to be its own finds none.
    let app = vec![key("k-2026", "the general key", KeyState::Primary, true)];
    let chain = Keychain::new(Epoch(1))
        .with(Secret::MfaEncryptionKey, ring())
        .with(Secret::AppEncryptionKey, AnyKeyring::Sealing(Keyring::new(app).unwrap()));
    let registry = Registry::breeze();
    let column = registry.column("users", "mfa_secret").unwrap();

    for v in &file.vectors {
        let row = RowKey::from(v.row.as_str());
        match (column.open(&chain, &row, &v.value, Target::Bound), &v.ok) {
            (Ok(opened), Some(plaintext)) => {
                assert_eq!(opened.plaintext.expose_secret(), plaintext, "{}", v.name);
                assert_eq!(opened.is_stale, v.stale, "{}", v.name);
            }
            (Ok(_), None) => panic!("{} opened", v.name),
            (Err(error), _) => assert_eq!(Some(error.class()), v.error.as_deref(), "{}", v.name),
        }
    }
}
