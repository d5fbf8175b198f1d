use proptest::prelude::*;

use super::*;
use crate::{catalog::Secret, ids::Epoch};

const APP: Secret = Secret::AppEncryptionKey;
const JWT: Secret = Secret::JwtSecret;
const MFA: Secret = Secret::MfaEncryptionKey;

/// Two tokens' keys, two seals' keys, each long enough for anything.
const J1: &str = "jwt-one-0123456789abcdef0123456789";
const J2: &str = "jwt-two-0123456789abcdef0123456789";
const A1: &str = "app-one-0123456789abcdef0123456789";
const A2: &str = "app-two-0123456789abcdef0123456789";
const A3: &str = "app-three-0123456789abcdef01234567";

type Variables<'a> = &'a [(&'a str, &'a str)];

const PRODUCTION: (&str, &str) = ("NODE_ENV", "production");

fn read(variables: Variables<'_>) -> Result<Declared, Faults> {
    Declared::read(&Environment::given(variables.iter().copied()), &[])
}

/// Each key in the order of trial: its id (`*` when derived), its text, `!` when
/// it is primary, `?` when it may have made values that name no key.
fn keys(variables: Variables<'_>, secret: Secret) -> Vec<String> {
    let declared = read(variables).unwrap();
    let shown = declared.keys(secret).iter().map(|key| {
        let id = if key.is_derived() { "*" } else { key.id.as_str() };
        let (primary, unnamed) =
            (if key.is_primary { "!" } else { "" }, if key.unnamed { "?" } else { "" });
        format!("{id}={}{primary}{unnamed}", key.material.expose_source())
    });
    shown.collect()
}

fn faults(variables: Variables<'_>) -> Vec<String> {
    match read(variables) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(|fault| format!("{fault:?}")).collect(),
    }
}

fn ring(entries: &[(&str, &str)]) -> String {
    let entries: Vec<_> = entries.iter().map(|(id, key)| format!("{id:?}:{key:?}")).collect();
    format!("{{{}}}", entries.join(","))
}

#[test]
fn sealing_keys_are_those_of_breeze_in_breeze_s_order() {
    let two = ring(&[("k1", A1), ("k2", A2)]);
    let cases: &[(&str, Variables<'_>, &[&str])] = &[
        ("one key", &[("APP_ENCRYPTION_KEY", A1)], &["*=A1!?"]),
        (
            "verbatim",
            &[("APP_ENCRYPTION_KEY", "  spaced out, kept  ")],
            &["*=  spaced out, kept  !?"],
        ),
        ("first alias", &[("SSO_ENCRYPTION_KEY", A1), ("SECRET_ENCRYPTION_KEY", A2)], &["*=A1!?"]),
        (
            "empty is unset",
            &[("APP_ENCRYPTION_KEY", ""), ("SECRET_ENCRYPTION_KEY", A2)],
            &["*=A2!?"],
        ),
        (
            "id without ring",
            &[("APP_ENCRYPTION_KEY", A1), ("APP_ENCRYPTION_KEY_ID", "solo-1")],
            &["solo-1=A1!?"],
        ),
        (
            "ring and key",
            &[
                ("APP_ENCRYPTION_KEY", A3),
                ("APP_ENCRYPTION_KEYRING", &two),
                ("APP_ENCRYPTION_KEY_ID", " k2\n"),
            ],
            &["k2=A2!", "*=A3?", "k1=A1"],
        ),
        (
            "id that the ring lacks",
            &[
                ("APP_ENCRYPTION_KEY", A3),
                ("APP_ENCRYPTION_KEYRING", &two),
                ("APP_ENCRYPTION_KEY_ID", "k3"),
            ],
            &["k3=A3!?", "k1=A1", "k2=A2"],
        ),
        (
            "ring without id",
            &[("APP_ENCRYPTION_KEY", A3), ("APP_ENCRYPTION_KEYRING", &two)],
            &["*=A3!?", "k1=A1", "k2=A2"],
        ),
        (
            "blank ring",
            &[
                ("APP_ENCRYPTION_KEY", A1),
                ("APP_ENCRYPTION_KEYRING", "  "),
                ("APP_ENCRYPTION_KEY_ID", "k"),
            ],
            &["k=A1!?"],
        ),
        (
            "ring alias",
            &[("SECRET_ENCRYPTION_KEYRING", &two), ("SECRET_ENCRYPTION_KEY_ID", "k1")],
            &["k1=A1!", "k2=A2"],
        ),
        (
            "the key stands in the ring too",
            &[
                ("APP_ENCRYPTION_KEY", A1),
                ("APP_ENCRYPTION_KEYRING", &two),
                ("APP_ENCRYPTION_KEY_ID", "k2"),
            ],
            &["k2=A2!", "k1=A1?"],
        ),
        (
            "previous values, newest first, then the alias",
            &[
                ("APP_ENCRYPTION_KEY", A1),
                ("APP_ENCRYPTION_KEY_PREVIOUS", r#"["newer","older"]"#),
                ("OLD_ENCRYPTION_KEY", "oldest"),
            ],
            &["*=A1!?", "*=newer?", "*=older?", "*=oldest?"],
        ),
        (
            "a previous value that is the present one",
            &[("APP_ENCRYPTION_KEY", A1), ("OLD_ENCRYPTION_KEY", A1)],
            &["*=A1!?"],
        ),
        (
            "legacy secrets open, trimmed and last",
            &[
                ("APP_ENCRYPTION_KEY", A1),
                ("JWT_SECRET", &format!(" {J1} ")),
                ("SESSION_SECRET", &format!(" {A3}")),
                ("OLD_ENCRYPTION_KEY", "o"),
            ],
            &["*=A1!?", "*=o?", "*=J1?", "*=A3?"],
        ),
        (
            "two ids of one key",
            &[
                ("APP_ENCRYPTION_KEYRING", &ring(&[("k1", A1), ("k2", A1)])),
                ("APP_ENCRYPTION_KEY_ID", "k2"),
            ],
            &["k2=A1!", "k1=A1"],
        ),
    ];
    for (case, variables, expected) in cases {
        let variables: Vec<_> = [PRODUCTION].iter().chain(*variables).copied().collect();
        let expected: Vec<_> = expected.iter().map(|key| long(key)).collect();
        assert_eq!(keys(&variables, APP), expected, "{case}");
    }
}

#[test]
fn outside_production_breeze_s_fallbacks_stand_in_and_nobody_chose_them() {
    let cases: &[(Variables<'_>, &[&str])] = &[
        (&[("JWT_SECRET", J1), ("SESSION_SECRET", A1)], &["*=J1!?", "*=A1?"]),
        (&[("SESSION_SECRET", A1)], &["*=A1!?"]),
        (&[], &[]),
        (&[("NODE_ENV", "test")], &["*=test-only-secret-encryption-key!?"]),
        (&[("NODE_ENV", "test"), ("JWT_SECRET", J1)], &["*=J1!?"]),
        (&[("NODE_ENV", "production"), ("JWT_SECRET", J1)], &["*=J1?"]),
    ];
    for (variables, expected) in cases {
        let expected: Vec<_> = expected.iter().map(|key| long(key)).collect();
        assert_eq!(keys(variables, APP), expected, "{variables:?}");
        let declared = read(variables).unwrap();
        assert!(declared.primary(APP).is_none_or(|key| key.is_fallback));
    }
    assert_eq!(keys(&[("NODE_ENV", "test")], MFA), ["*=test-only-mfa-encryption-key!?"]);
    assert!(!read(&[("APP_ENCRYPTION_KEY", A1)]).unwrap().primary(APP).unwrap().is_fallback);
}

#[test]
fn signing_keys_are_those_of_breeze_in_breeze_s_order() {
    let two = ring(&[(" k1 ", J1), ("k2", J2)]);
    let cases: &[(&str, Variables<'_>, &[&str])] = &[
        ("one key", &[("JWT_SECRET", J1)], &["*=J1!?"]),
        ("previous", &[("JWT_SECRET", J1), ("JWT_SECRET_PREVIOUS", J2)], &["*=J1!?", "*=J2?"]),
        ("ring", &[("JWT_SIGNING_KEYRING", &two), ("JWT_ACTIVE_KID", "k1")], &["k1=J1!", "k2=J2"]),
        (
            "JWT_SECRET beside a ring verifies tokens without kid",
            &[
                ("JWT_SIGNING_KEYRING", &two),
                ("JWT_ACTIVE_KID", "k2"),
                ("JWT_SECRET", A1),
                ("JWT_SECRET_PREVIOUS", A2),
            ],
            &["k2=J2!", "*=A1?", "*=A2?", "k1=J1"],
        ),
        (
            "JWT_SECRET of the ring",
            &[("JWT_SIGNING_KEYRING", &two), ("JWT_ACTIVE_KID", "k2"), ("JWT_SECRET", J2)],
            &["k2=J2!?", "k1=J1"],
        ),
        ("blank ring", &[("JWT_SIGNING_KEYRING", " "), ("JWT_SECRET", J1)], &["*=J1!?"]),
    ];
    for (case, variables, expected) in cases {
        let expected: Vec<_> = expected.iter().map(|key| long(key)).collect();
        assert_eq!(keys(variables, JWT), expected, "{case}");
    }
}

#[test]
fn each_fault_is_told_by_its_variable() {
    let two = ring(&[("k1", J1), ("k2", J2)]);
    let cases: &[(Variables<'_>, &str)] = &[
        (
            &[("JWT_SECRET", "0123456789abcdef0123456789abcde")],
            r#"Short { name: "JWT_SECRET", min: 32 }"#,
        ),
        (
            &[("APP_ENCRYPTION_KEY", "0123456789abcde")],
            r#"Short { name: "APP_ENCRYPTION_KEY", min: 16 }"#,
        ),
        (&[("SSO_ENCRYPTION_KEY", "short")], r#"Short { name: "SSO_ENCRYPTION_KEY", min: 16 }"#),
        (&[("MFA_ENCRYPTION_KEY", "changeme")], r#"Placeholder { name: "MFA_ENCRYPTION_KEY" }"#),
        (
            &[("JWT_SECRET", J1), ("JWT_SECRET_PREVIOUS", "secret")],
            r#"Placeholder { name: "JWT_SECRET_PREVIOUS" }"#,
        ),
        (
            &[("JWT_SECRET", J1), ("MFA_ENCRYPTION_KEY", J1)],
            r#"Shared { first: "JWT_SECRET", second: "MFA_ENCRYPTION_KEY" }"#,
        ),
        (
            &[("APP_ENCRYPTION_KEY", A1), ("MFA_ENCRYPTION_KEY", A1)],
            r#"Shared { first: "APP_ENCRYPTION_KEY", second: "MFA_ENCRYPTION_KEY" }"#,
        ),
        (
            &[("BREEZE_ROOT_KEY", A1), ("APP_ENCRYPTION_KEY", A1)],
            r#"Shared { first: "BREEZE_ROOT_KEY", second: "APP_ENCRYPTION_KEY" }"#,
        ),
        (
            &[("MFA_ENCRYPTION_KEY", J2), ("JWT_SIGNING_KEYRING", &two), ("JWT_ACTIVE_KID", "k1")],
            r#"Shared { first: "JWT_SIGNING_KEYRING", second: "MFA_ENCRYPTION_KEY" }"#,
        ),
        (
            &[("JWT_SIGNING_KEYRING", "{bad")],
            r#"Ring { name: "JWT_SIGNING_KEYRING", fault: NotJson }"#,
        ),
        (&[("JWT_SIGNING_KEYRING", "{}")], r#"Ring { name: "JWT_SIGNING_KEYRING", fault: Empty }"#),
        (
            &[("APP_ENCRYPTION_KEYRING", "[]")],
            r#"Ring { name: "APP_ENCRYPTION_KEYRING", fault: NotAnObject }"#,
        ),
        (
            &[("APP_ENCRYPTION_KEYRING", r#"{"k":null}"#)],
            r#"Ring { name: "APP_ENCRYPTION_KEYRING", fault: BadValue }"#,
        ),
        (
            &[("SECRET_ENCRYPTION_KEYRING", r#"{"k 1":"v"}"#)],
            r#"Ring { name: "SECRET_ENCRYPTION_KEYRING", fault: BadId }"#,
        ),
        (
            &[("APP_ENCRYPTION_KEY", A1), ("OLD_ENCRYPTION_KEY", "[1]")],
            r#"Previous { name: "OLD_ENCRYPTION_KEY" }"#,
        ),
        (
            &[("APP_ENCRYPTION_KEY", A1), ("APP_ENCRYPTION_KEY_ID", "bad id")],
            r#"ActiveIdInvalid { name: "APP_ENCRYPTION_KEY_ID" }"#,
        ),
        (
            &[("APP_ENCRYPTION_KEY", A1), ("APP_ENCRYPTION_KEY_ID", "   ")],
            r#"ActiveIdInvalid { name: "APP_ENCRYPTION_KEY_ID" }"#,
        ),
        (
            &[("APP_ENCRYPTION_KEY_ID", "kk")],
            r#"ActiveIdUnknown { name: "APP_ENCRYPTION_KEY_ID", ring: "APP_ENCRYPTION_KEYRING" }"#,
        ),
        (
            &[("APP_ENCRYPTION_KEYRING", &two)],
            r#"ActiveIdMissing { name: "APP_ENCRYPTION_KEY_ID", ring: "APP_ENCRYPTION_KEYRING" }"#,
        ),
        (
            &[("JWT_SIGNING_KEYRING", &two), ("JWT_ACTIVE_KID", " k1 ")],
            r#"ActiveIdUnknown { name: "JWT_ACTIVE_KID", ring: "JWT_SIGNING_KEYRING" }"#,
        ),
        (
            &[("JWT_SIGNING_KEYRING", &two), ("JWT_ACTIVE_KID", "")],
            r#"ActiveIdMissing { name: "JWT_ACTIVE_KID", ring: "JWT_SIGNING_KEYRING" }"#,
        ),
        (
            &[("JWT_SECRET", J1), ("JWT_ACTIVE_KID", "k1")],
            r#"ActiveIdWithoutRing { name: "JWT_ACTIVE_KID", ring: "JWT_SIGNING_KEYRING" }"#,
        ),
        (
            &[("SESSION_SECRET", "s"), ("SESSION_SECRET_FILE", file!())],
            r#"GivenTwice { first: "SESSION_SECRET", second: "SESSION_SECRET_FILE" }"#,
        ),
        (
            &[("MFA_ENCRYPTION_KEY_FILE", "/nonexistent")],
            r#"Unreadable { name: "MFA_ENCRYPTION_KEY_FILE", kind: NotFound }"#,
        ),
    ];
    for (variables, fault) in cases {
        assert_eq!(faults(variables), [*fault], "{variables:?}");
    }
}

#[test]
fn all_faults_are_told_at_once_and_a_missing_secret_is_one() {
    let environment = Environment::given([
        ("NODE_ENV", "production"),
        ("JWT_SECRET", "short"),
        ("JWT_SIGNING_KEYRING", "{bad"),
        ("APP_ENCRYPTION_KEY_ID", "bad id"),
        ("BREEZE_ROOT_KEY_FILE", "/nonexistent"),
    ]);
    let told = Declared::read(&environment, &[JWT, APP, MFA]).unwrap_err().to_string();
    let begins: Vec<_> =
        told.lines().skip(1).map(|line| line.split(' ').nth(1).unwrap_or_default()).collect();
    assert_eq!(
        begins,
        [
            "BREEZE_ROOT_KEY_FILE",
            "JWT_SIGNING_KEYRING",
            "JWT_SECRET",
            "APP_ENCRYPTION_KEY_ID",
            "MFA_ENCRYPTION_KEY"
        ]
    );
    assert!(
        Declared::read(&Environment::given([PRODUCTION]), &[]).is_ok(),
        "the store may hold it"
    );
}

#[test]
fn what_one_rolls_over_from_may_be_weak_or_shared() {
    let variables = [
        PRODUCTION,
        ("APP_ENCRYPTION_KEY", A2),
        ("APP_ENCRYPTION_KEY_PREVIOUS", r#"["changeme","app-one-0123456789abcdef0123456789"]"#),
        ("MFA_ENCRYPTION_KEY", A1),
        ("JWT_SECRET", J1),
        ("ENROLLMENT_KEY_PEPPER", J2),
        ("ENROLLMENT_KEY_PEPPER_PREVIOUS", "pepper"),
    ];
    assert_eq!(faults(&variables), <[String; 0]>::default());
}

#[test]
fn a_credential_is_all_of_its_variables_or_none() {
    let s3 = Secret::S3SecretKey;
    let (access, key) = (("S3_ACCESS_KEY", "AKIA\"EXAMPLE"), ("S3_SECRET_KEY", "a secret key"));
    assert_eq!(
        keys(&[access, key], s3),
        [r#"*={"S3_ACCESS_KEY":"AKIA\"EXAMPLE","S3_SECRET_KEY":"a secret key"}!?"#]
    );
    assert_eq!(keys(&[], s3), <[String; 0]>::default());
    assert_eq!(
        faults(&[key]),
        [r#"PartMissing { name: "S3_ACCESS_KEY", beside: "S3_SECRET_KEY" }"#]
    );
}

#[test]
fn previous_values_of_a_credential_stand_whole_or_part_by_part() {
    let s3 = Secret::S3SecretKey;
    let pair = |access: &str, key: &str| {
        format!(r#"*={{"S3_ACCESS_KEY":"{access}","S3_SECRET_KEY":"{key}"}}"#)
    };
    let present = [("S3_ACCESS_KEY", "AKIANEW"), ("S3_SECRET_KEY", "the new secret key")];
    let previous = |more: Variables<'_>| {
        let mut keys = keys(&[&present[..], more].concat(), s3);
        assert_eq!(keys.remove(0), format!("{}!?", pair("AKIANEW", "the new secret key")));
        keys
    };
    let (access, key) = ("S3_ACCESS_KEY_PREVIOUS", "S3_SECRET_KEY_PREVIOUS");
    let old = format!("{}?", pair("AKIAOLD", "s"));
    let whole = r#"{ "S3_SECRET_KEY": "s", "S3_ACCESS_KEY": "AKIAOLD" }"#;
    assert_eq!(previous(&[(key, whole)]), [&*old]);
    assert_eq!(previous(&[(key, "s"), (access, "AKIAOLD")]), [&*old]);
    let rotated = format!("{}?", pair("AKIANEW", "s"));
    assert_eq!(previous(&[(key, "s")]), [&*rotated], "the id is the same still");
    assert_eq!(
        previous(&[(key, r#"["s","t"]"#), (access, r#"["AKIAOLD","AKIAOLDER"]"#)]),
        [old.clone(), format!("{}?", pair("AKIAOLDER", "t"))]
    );
    let list = serde_json::json!([whole, "t"]).to_string();
    assert_eq!(previous(&[(key, &list)]), [old, format!("{}?", pair("AKIANEW", "t"))]);
    assert_eq!(previous(&[(access, "AKIAOLD")]), <[String; 0]>::default());
    assert_eq!(keys(&[(key, "s")], s3), ["*=s?"], "nothing tells the other part");
    assert_eq!(
        faults(&[&present[..], &[(key, r#"["s","t"]"#), (access, "AKIAOLD")]].concat()),
        [r#"PreviousUneven { name: "S3_ACCESS_KEY_PREVIOUS", beside: "S3_SECRET_KEY_PREVIOUS" }"#]
    );
}

#[test]
fn of_a_credential_what_is_secret_in_it_is_judged() {
    let user = ("SMTP_USER", "a-user-that-is-long-enough");
    let cases: &[(Variables<'_>, &str)] = &[
        (&[user, ("SMTP_PASS", "changeme")], r#"Placeholder { name: "SMTP_PASS" }"#),
        (
            &[("JWT_SECRET", J1), user, ("SMTP_PASS", J1)],
            r#"Shared { first: "JWT_SECRET", second: "SMTP_PASS" }"#,
        ),
        (
            &[("REDIS_URL", "redis://:p%40ssw0rd@cache"), user, ("SMTP_PASS", "p@ssw0rd")],
            r#"Shared { first: "REDIS_URL", second: "SMTP_PASS" }"#,
        ),
        (
            &[
                ("DATABASE_URL", "postgres://api:p@ssw0rd@db/breeze"),
                ("REDIS_URL", "redis://:p%40ssw0rd@cache"),
            ],
            r#"Shared { first: "DATABASE_URL", second: "REDIS_URL" }"#,
        ),
        (
            &[("BREEZE_ROOT_KEY", A1), user, ("SMTP_PASS", A1)],
            r#"Shared { first: "BREEZE_ROOT_KEY", second: "SMTP_PASS" }"#,
        ),
    ];
    for (variables, fault) in cases {
        assert_eq!(faults(variables), [*fault], "{variables:?}");
    }
    // What a server lets in today is accepted at start.
    let (database, cache) = ("postgres://api:change%2Dme@db/breeze", "redis://api:short@cache");
    let known: [Variables<'_>; 3] =
        [&[user, ("SMTP_PASS", "short")], &[("DATABASE_URL", database)], &[("REDIS_URL", cache)]];
    for known in known {
        assert_eq!(faults(known), <[String; 0]>::default(), "{known:?}");
    }
    let known = [("SMTP_USER", A1), ("SMTP_PASS", A2), ("APP_ENCRYPTION_KEY", A1)];
    assert_eq!(faults(&known), <[String; 0]>::default(), "a user is no secret");
}

#[test]
fn peppers_are_trimmed_and_do_with_breeze_s_legacy_ones() {
    let pepper = Secret::EnrollmentKeyPepper;
    let own = ("ENROLLMENT_KEY_PEPPER", &*format!("  {A1}\n"));
    let previous = ("ENROLLMENT_KEY_PEPPER_PREVIOUS", " o\n");
    assert_eq!(
        keys(&[own, previous, ("APP_ENCRYPTION_KEY", A2), ("JWT_SECRET", J1)], pepper),
        [long("*=A1!?"), "*=o?".to_owned(), long("*=A2?"), long("*=J1?")]
    );
    let alone = keys(&[("APP_ENCRYPTION_KEY", A2)], pepper);
    assert_eq!(alone, [long("*=A2?")], "a legacy one is accepted, and no primary");
    let test = ("NODE_ENV", "test");
    assert_eq!(keys(&[test], pepper), ["*=test-enrollment-key-pepper!?"]);
    assert_eq!(
        faults(&[("ENROLLMENT_KEY_PEPPER", "short")]),
        [r#"Short { name: "ENROLLMENT_KEY_PEPPER", min: 32 }"#]
    );
}

#[test]
fn of_a_url_the_credential_alone_is_declared() {
    let variables = [
        ("DATABASE_URL", "postgres://api_b:the-new-one@db-1/breeze"),
        (
            "DATABASE_URL_PREVIOUS",
            r#"["postgres://api:old-one@db-2/breeze","api:older","api%5Fb:the%2dnew%2done"]"#,
        ),
    ];
    assert_eq!(
        keys(&variables, Secret::DatabaseUrl),
        ["*=api_b:the-new-one!?", "*=api:old-one?", "*=api:older?"]
    );
    let none = keys(&[("DATABASE_URL", "sqlite://breeze.db")], Secret::DatabaseUrl);
    assert_eq!(none, <[String; 0]>::default());
}

#[test]
fn what_is_issued_is_declared_nowhere() {
    assert_eq!(keys(&[("USER_API_KEYS", A1)], Secret::UserApiKeys), <[String; 0]>::default());
}

#[test]
fn a_ring_that_takes_a_derived_id_for_another_key_is_a_fault() {
    let taken = derived_id(crate::material::Material::new(A1).unwrap().fingerprint());
    let ring = ring(&[(taken.as_str(), A2), ("k2", A3)]);
    let variables = [
        ("APP_ENCRYPTION_KEY", A1),
        ("APP_ENCRYPTION_KEYRING", &*ring),
        ("APP_ENCRYPTION_KEY_ID", "k2"),
    ];
    let told = faults(&variables);
    assert!(told.len() == 1 && told[0].starts_with("SameId"), "{told:?}");
}

#[test]
fn the_environment_alone_makes_a_keychain_and_leaves_out_what_has_no_primary_key() {
    let declared = read(&[PRODUCTION, ("JWT_SECRET", J1), ("MFA_ENCRYPTION_KEY", A1)]).unwrap();
    let chain = declared.keychain(Epoch(7)).unwrap();
    assert_eq!(chain.epoch(), Epoch(7));
    let secrets: Vec<_> = chain.secrets().map(|(secret, _)| secret).collect();
    assert_eq!(secrets, [JWT, MFA], "JWT_SECRET alone opens old values, and seals none");
}

#[test]
fn a_digest_changes_when_a_file_does_and_only_then() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwt");
    let environment = Environment::given([("JWT_SECRET_FILE", path.to_str().unwrap())]);
    let digest = || Declared::read(&environment, &[]).unwrap().digest();
    std::fs::write(&path, J1).unwrap();
    let first = digest();
    std::fs::write(&path, format!("{J1}\n")).unwrap();
    assert_eq!(digest(), first, "the same key");
    std::fs::write(&path, J2).unwrap();
    assert_ne!(digest(), first);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_being_shown(
        texts in proptest::collection::vec(r#"[\[{]?("?[a-z0-9":,{}\[\]\\ ü\n]{12,40})|k1|\PC{12,40}"#, 8),
        node_env in prop::sample::select(vec!["production", "development", "test"]),
    ) {
        let names = [
            "JWT_SECRET", "JWT_SECRET_PREVIOUS", "JWT_SIGNING_KEYRING", "JWT_ACTIVE_KID",
            "APP_ENCRYPTION_KEY", "OLD_ENCRYPTION_KEY", "APP_ENCRYPTION_KEYRING", "APP_ENCRYPTION_KEY_ID",
        ];
        let variables: Vec<_> = names.into_iter().zip(texts.iter().map(String::as_str))
            .chain([("NODE_ENV", node_env)]).collect();
        let Err(faults) = read(&variables) else { return Ok(()) };
        let shown = format!("{faults} {faults:?}");
        for text in texts.iter().filter(|text| text.len() >= 12) {
            prop_assert!(!shown.contains(text.as_str()));
        }
    }
}

/// `J1` and the like, written out.
fn long(key: &str) -> String {
    [("=J1", J1), ("=J2", J2), ("=A1", A1), ("=A2", A2), ("=A3", A3)]
        .iter()
        .fold(key.to_owned(), |key, (short, long)| key.replace(short, &format!("={long}")))
}
