//! Keys that cannot be used end the start, before anything is stored.

use breeze_rollover::{
    embed::{Database, StartError},
    keyring::sources::Environment,
    material::Material,
};

use crate::{
    assert_says,
    support::app::{MFA_KEY, on_both_databases, setup, variables},
};

/// A sound environment but for `changes`.
fn changed(changes: &[(&'static str, &'static str)]) -> Environment {
    let mut variables = variables();
    variables.extend(changes.iter().copied());
    Environment::given(variables)
}

/// Starts with `changes` to a sound environment: empty unsets a variable.
async fn start(database: &Database, changes: &[(&'static str, &'static str)]) -> StartError {
    let values = variables().into_iter().chain(changes.iter().copied());
    let values: Vec<_> = values.map(|(_, value)| value).filter(|value| value.len() > 5).collect();
    let refused = setup(database).environment(changed(changes)).start().await.unwrap_err();
    for value in values {
        assert!(!refused.to_string().contains(value), "{refused} tells a value");
        assert!(!format!("{refused:?}").contains(value), "{refused:?} tells a value");
    }
    refused
}

async fn a_key_that_is_unfit_is_named_by_its_variable(database: Database) {
    for (changes, says) in [
        (vec![("JWT_SECRET", "too-short-a-secret")], ["JWT_SECRET is too short", "at least 32"]),
        (
            vec![("JWT_SECRET", "change-me-change-me-change-me-change-me")],
            ["JWT_SECRET is a placeholder", "openssl rand"],
        ),
        (
            vec![("APP_ENCRYPTION_KEY", MFA_KEY)],
            ["APP_ENCRYPTION_KEY and MFA_ENCRYPTION_KEY", "give each a value of its own"],
        ),
        (
            vec![("JWT_SECRET_FILE", "/nonexistent/jwt")],
            ["JWT_SECRET_FILE names what cannot be read", "correct the path"],
        ),
        (vec![("JWT_SECRET_FILE", "/dev/null/never")], ["JWT_SECRET_FILE", "correct the path"]),
        (
            vec![("NODE_ENV", "production"), ("JWT_SECRET", "")],
            ["JWT_SECRET is neither in the environment nor in the key store", "JWT_SECRET_FILE"],
        ),
        (
            vec![("NODE_ENV", "production"), ("BREEZE_ROOT_KEY", "")],
            ["BREEZE_ROOT_KEY is not set", "openssl rand"],
        ),
        (
            vec![("BREEZE_ROOT_KEY", "short root key")],
            ["BREEZE_ROOT_KEY is too short", "at least 32"],
        ),
        (vec![("BREEZE_ROOT_KEY", MFA_KEY)], ["BREEZE_ROOT_KEY", "give each a value of its own"]),
    ] {
        assert_says(&start(&database, &changes).await, &says);
    }
    assert_eq!(database.store().custody().await.unwrap().keys, [], "nothing was stored");
}

async fn a_keyring_that_is_malformed_is_named_by_its_variable(database: Database) {
    const RING: &str = "APP_ENCRYPTION_KEYRING";
    let no_key = ("APP_ENCRYPTION_KEY", "");
    for (ring, says) in [
        ("not JSON at all", "it is not JSON"),
        (r#"["a key in a list"]"#, "it is not a JSON object"),
        (r#"{"an id!":"ring secret of 2023"}"#, "one of its key ids"),
        (r#"{"k-2024":2024}"#, "one of its keys is empty or not text"),
        (r#"{"k-2024":""}"#, "one of its keys is empty or not text"),
        (r#"{"k-2023":"ring secret of 2023"}"#, "names no key of APP_ENCRYPTION_KEYRING"),
    ] {
        assert_says(&start(&database, &[(RING, ring), no_key]).await, &[RING, says]);
    }
    const SIGNING: &str = r#"{"k-1":"a signing key of a ring, 0123456789abcdef"}"#;
    for (ring, id, says) in [
        ("{}", "k-1", "JWT_SIGNING_KEYRING is malformed: it holds no key"),
        (SIGNING, "", "JWT_SIGNING_KEYRING is set and JWT_ACTIVE_KID is not"),
        (SIGNING, "k-2", "JWT_ACTIVE_KID names no key of JWT_SIGNING_KEYRING"),
        ("", "k-2", "JWT_ACTIVE_KID is set and JWT_SIGNING_KEYRING is not"),
    ] {
        let changes = [("JWT_SIGNING_KEYRING", ring), ("JWT_ACTIVE_KID", id)];
        assert_says(&start(&database, &changes).await, &[says]);
    }
    assert_eq!(database.store().custody().await.unwrap().keys, [], "nothing was stored");
}

async fn a_root_key_that_does_not_open_the_store_is_refused(database: Database) {
    const OTHER: &str = "another root key of sufficient length 123";
    setup(&database).start().await.unwrap().leave().await;
    let before = database.store().custody().await.unwrap().keys;
    // A key that the store does not have yet is not left there under the other root key.
    let more = ("MFA_ENCRYPTION_KEY_PREVIOUS", "a key that nobody has declared so far");
    let refused = start(&database, &[("BREEZE_ROOT_KEY", OTHER), more]).await;
    assert_says(
        &refused,
        &[
            "the root key does not open the key store",
            "BREEZE_ROOT_KEY_PREVIOUS if it was replaced",
        ],
    );
    assert_eq!(database.store().custody().await.unwrap().keys, before, "nothing was stored");

    // With the one that seals it beside the new one, it opens, and rolls over.
    let mut variables = variables();
    let previous = variables.insert("BREEZE_ROOT_KEY", OTHER);
    variables.insert("BREEZE_ROOT_KEY_PREVIOUS", previous.unwrap());
    let both = setup(&database).environment(Environment::given(variables)).start().await.unwrap();
    let other = Material::new(OTHER).unwrap().fingerprint();
    while database.store().sealed_under().await.unwrap().into_keys().ne([other]) {
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    both.leave().await;
    // From now on it is the previous one that does not do alone.
    assert_says(
        &start(&database, &[]).await,
        &["the root key does not open the key store", "BREEZE_ROOT_KEY to it if it is the newer"],
    );
    setup(&database)
        .environment(changed(&[("BREEZE_ROOT_KEY", OTHER)]))
        .start()
        .await
        .unwrap()
        .leave()
        .await;
}

on_both_databases!(
    a_key_that_is_unfit_is_named_by_its_variable,
    a_keyring_that_is_malformed_is_named_by_its_variable,
    a_root_key_that_does_not_open_the_store_is_refused,
);
