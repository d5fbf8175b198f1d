use std::sync::Arc;

use super::*;
use crate::{ids::Epoch, keyring::sources::Environment, material::Fingerprint};

const APP: Secret = Secret::AppEncryptionKey;
const JWT: Secret = Secret::JwtSecret;
const ROOT: &str = "root-key-0123456789abcdef0123456789";
const OLDER: &str = "older-root-0123456789abcdef01234567";

fn material(text: &str) -> Material {
    Material::new(text).unwrap()
}

fn print(text: &str) -> Fingerprint {
    material(text).fingerprint()
}

fn id(text: &str) -> KeyId {
    KeyId::new(text).unwrap()
}

fn root(primary: &str, previous: &[&str]) -> RootKeys {
    RootKeys::new(material(primary), previous.iter().map(|text| material(text)).collect())
}

fn record(secret: Secret, key: &str, state: KeyState, rank: i64) -> KeyRecord {
    let material = material(&format!("material of {key}"));
    let (id, origin) = (id(key), Origin::Generated);
    NewKey { secret, id, material: &material, origin, state, unnamed: true, rank }
        .into_record(&root(ROOT, &[]), Timestamp::from_seconds(1))
        .unwrap()
}

fn custody(keys: Vec<KeyRecord>) -> Custody {
    Custody { epoch: Epoch(9), keys }
}

#[test]
fn a_sealed_key_opens_where_it_belongs_and_nowhere_else() {
    let root = root(ROOT, &[]);
    let sealed = seal_material(&root, APP, &id("k1"), &material("the key")).unwrap();
    assert!(sealed.starts_with(&format!("root:v1:{}:", print(ROOT))), "{sealed}");
    let open = |secret, key: &str, sealed: &str| {
        open_material(&root, secret, &id(key), sealed)
            .map(|material| material.expose_source().to_owned())
    };
    assert_eq!(open(APP, "k1", &sealed), Ok("the key".to_owned()));
    let refused = |secret, key: &str| Err(CustodyError::Authentication { secret, id: id(key) });
    assert_eq!(open(APP, "k2", &sealed), refused(APP, "k2"), "swapped between keys");
    assert_eq!(open(JWT, "k1", &sealed), refused(JWT, "k1"), "swapped between secrets");
    let again = seal_material(&root, APP, &id("k1"), &material("the key")).unwrap();
    assert_ne!(again, sealed, "a nonce of its own");
}

#[test]
fn a_sealed_key_that_was_altered_is_refused_wherever_it_was() {
    let root = root(ROOT, &[]);
    let sealed = seal_material(&root, APP, &id("k1"), &material("the key")).unwrap();
    for at in 0..sealed.len() {
        let mut altered = sealed.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        // A hexadecimal digit in capitals names the same root key.
        if altered.eq_ignore_ascii_case(&sealed) {
            continue;
        }
        assert!(open_material(&root, APP, &id("k1"), &altered).is_err(), "{altered}");
    }
    for malformed in [
        "",
        "root:v1:",
        "root:v2:00",
        "enc:v1:AAAA.AAAA.AAAA",
        &sealed[..sealed.len() - 1],
        &format!("{sealed}="),
        &format!("{sealed}.AAAA"),
        &format!("{sealed}\n"),
        sealed.rsplit_once('.').unwrap().0,
    ] {
        let opened = open_material(&root, APP, &id("k1"), malformed);
        assert!(opened.is_err(), "{malformed}");
    }
}

#[test]
fn a_root_key_that_does_not_open_the_store_is_named_with_those_at_hand() {
    let sealed = seal_material(&root(ROOT, &[]), APP, &id("k1"), &material("the key")).unwrap();
    let strangers = root("stranger-0123456789abcdef0123456789", &[OLDER]);
    let refused = open_material(&strangers, APP, &id("k1"), &sealed).unwrap_err();
    assert_eq!(
        refused,
        CustodyError::UnknownRootKey {
            secret: APP,
            id: id("k1"),
            needed: print(ROOT),
            at_hand: vec![print("stranger-0123456789abcdef0123456789"), print(OLDER)],
        }
    );
    assert!(refused.to_string().contains(&print(ROOT).to_string()));
}

#[test]
fn a_root_key_rolls_over_while_the_previous_one_opens() {
    let record = record(APP, "k1", KeyState::Primary, 0);
    let destroyed = KeyRecord { sealed: None, ..self::record(APP, "k0", KeyState::Destroyed, 1) };
    let custody = custody(vec![record.clone(), destroyed]);
    assert!(reseal(&custody, &root(ROOT, &[])).unwrap().is_empty(), "nothing to do");

    let both = root("newer-root-0123456789abcdef01234567", &[ROOT]);
    assert_eq!(open(&both, &record).unwrap(), material("material of k1"));
    let changes = reseal(&custody, &both).unwrap();
    let [KeyChange::Reseal { old, new, .. }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(Some(old), record.sealed.as_ref());
    let alone = root("newer-root-0123456789abcdef01234567", &[]);
    assert!(alone.is_current(new));
    let opened = open_material(&alone, APP, &id("k1"), new).unwrap();
    assert_eq!(opened, material("material of k1"));
}

#[test]
fn a_keychain_holds_what_is_accepted_in_rank_order() {
    use KeyState::{Destroyed, Primary, Retired, Retiring, Staged};
    let keys = vec![
        record(APP, "old", Retiring, 7),
        record(APP, "new", Staged, 1),
        record(APP, "now", Primary, 3),
        record(APP, "gone", Retired, 2),
        KeyRecord { sealed: None, ..record(APP, "erased", Destroyed, 0) },
        record(JWT, "gone", Retired, 0),
    ];
    let custody = custody(keys);
    let ids = |also: &[(Secret, KeyId)]| {
        let chain = keychain(&custody, &root(ROOT, &[]), &Usage::default(), also).unwrap();
        assert_eq!(chain.epoch(), Epoch(9));
        assert!(chain.signing(JWT).is_err(), "none of its keys is accepted");
        let ring = chain.sealing(APP).unwrap();
        assert_eq!(ring.primary().id(), &id("now"));
        ring.keys().map(|key| format!("{} {}", key.id(), key.state().as_str())).collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), ["new staged", "now primary", "old retiring"]);
    assert_eq!(
        ids(&[(APP, id("gone")), (APP, id("erased")), (JWT, id("gone"))]),
        ["new staged", "gone retiring", "now primary", "old retiring"]
    );
}

#[test]
fn what_is_wrong_with_a_key_or_a_ring_is_told() {
    let make = |keys| keychain(&custody(keys), &root(ROOT, &[]), &Usage::default(), &[]);
    let now = || record(APP, "now", KeyState::Primary, 0);
    let other = KeyRecord { fingerprint: print("another"), ..now() };
    let refused = make(vec![other]).unwrap_err();
    assert_eq!(refused, CustodyError::OtherKey { secret: APP, id: id("now") });
    let erased = KeyRecord { sealed: None, ..now() };
    let refused = make(vec![erased]).unwrap_err();
    assert_eq!(refused, CustodyError::NoMaterial { secret: APP, id: id("now") });
    let second = record(APP, "second", KeyState::Primary, 1);
    let refused = make(vec![now(), second]).unwrap_err();
    assert!(matches!(refused, CustodyError::Keyring { secret: APP, .. }));
}

#[test]
fn one_budget_counts_through_every_epoch() {
    let usage = Usage::with_limit(100);
    let chain = |record| {
        let custody = custody(vec![record]);
        keychain(&custody, &root(ROOT, &[]), &usage, &[]).unwrap()
    };
    let budget = |chain: &crate::keyring::Keychain| {
        Arc::clone(chain.sealing(APP).unwrap().primary().prepared().budget())
    };
    let record = KeyRecord { seals: 40, ..record(APP, "k1", KeyState::Primary, 0) };
    let first = budget(&chain(record.clone()));
    assert_eq!((first.spent(), first.limit()), (40, 100));
    first.spend().unwrap();
    let second = budget(&chain(record.clone()));
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(second.spent(), 41, "nothing is counted twice, nothing forgotten");
    budget(&chain(KeyRecord { seals: 90, ..record }));
    assert_eq!(first.spent(), 91, "another replica has sealed");
    assert_eq!(usage.unsettled().len(), 1);
    first.settle(1, 91);
    assert!(usage.unsettled().is_empty());
}

#[test]
fn the_root_key_comes_from_the_environment_or_in_development_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.key");
    let open = |variables: &[(&str, &str)]| {
        RootKeys::open(&Environment::given(variables.iter().copied()), Some(&path))
            .map(|keys| keys.fingerprints().collect::<Vec<_>>())
    };
    let list = format!("[{OLDER:?}]");
    let given = open(&[("BREEZE_ROOT_KEY", ROOT), ("BREEZE_ROOT_KEY_PREVIOUS", &list)]).unwrap();
    assert_eq!(given, [print(ROOT), print(OLDER)]);
    assert!(!path.exists(), "no file is made where a key is given");

    let missing = open(&[("NODE_ENV", "production")]).unwrap_err();
    assert!(matches!(missing, RootKeyError::Missing), "{missing}");
    assert!(!path.exists());

    let told = open(&[("BREEZE_ROOT_KEY", "changeme")]).unwrap_err().to_string();
    assert!(told.contains("BREEZE_ROOT_KEY is a placeholder"), "{told}");
    let told = open(&[("BREEZE_ROOT_KEY", "short but odd")]).unwrap_err().to_string();
    assert!(told.contains("BREEZE_ROOT_KEY is too short"), "{told}");

    let made = open(&[]).unwrap();
    assert_eq!(open(&[]).unwrap(), made, "the same key the next time");
    let beside = open(&[("BREEZE_ROOT_KEY_PREVIOUS", OLDER)]).unwrap();
    assert_eq!(beside, [made[0], print(OLDER)], "the way from the environment to a file");
}

#[test]
#[cfg(unix)]
fn the_root_key_file_is_its_owner_s_alone() {
    use std::{fs, os::unix::fs::PermissionsExt};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.key");
    RootKeys::load_or_create(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "no draft is left");

    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = RootKeys::load_or_create(&path).unwrap_err();
        assert!(matches!(refused, RootKeyError::TooOpen { mode: told } if told == mode));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "\n").unwrap();
    let refused = RootKeys::load_or_create(&path).unwrap_err();
    assert!(matches!(refused, RootKeyError::File(_)), "an empty file is not replaced");
}

#[test]
fn processes_that_begin_at_once_get_one_root_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.key");
    let barrier = std::sync::Barrier::new(8);
    let prints: Vec<_> = std::thread::scope(|scope| {
        let begin = || {
            barrier.wait();
            RootKeys::load_or_create(&path).unwrap().primary().fingerprint()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(prints.iter().all(|print| *print == prints[0]));
}
