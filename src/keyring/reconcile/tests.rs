use proptest::prelude::*;

use super::*;
use crate::{keyring::sources::Environment, material::Material};

const JWT: Secret = Secret::JwtSecret;

const VALUES: [&str; 4] = [
    "value-zero-0123456789abcdef01234567",
    "value-one-0123456789abcdef012345678",
    "value-two-0123456789abcdef012345678",
    "value-three-0123456789abcdef0123456",
];

fn print(value: usize) -> Fingerprint {
    Material::new(VALUES[value]).unwrap().fingerprint()
}

fn declared(variables: &[(&str, &str)]) -> Declared {
    // The other secrets agree already: what is told is of JWT_SECRET alone.
    Declared::read(&Environment::given(variables.iter().copied()), &[]).unwrap()
}

fn stored(id: &str, value: usize, state: KeyState, rank: i64) -> Stored {
    let id = KeyId::new(id).unwrap();
    Stored { secret: JWT, id, identity: Identity::plain(print(value)), state, rank }
}

/// What it shows, the variables, the store, and what is done.
type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, Vec<Stored>, Vec<&'a str>);

/// What is done to `JWT_SECRET`, in words; refusals begin with `refused`.
fn agree(variables: &[(&str, &str)], stored: &[Stored]) -> Vec<String> {
    let declared = declared(variables);
    let value = |key: &DeclaredKey| {
        VALUES.iter().position(|value| key.material.expose_source() == *value).unwrap()
    };
    match reconcile(&declared, stored) {
        Ok(Agreement { actions, notes }) => {
            let done = actions.iter().filter_map(|action| match action {
                Action::Adopt { secret: JWT, key, state, rank } => {
                    Some(format!("adopt {} as {} at {rank}", value(key), state.as_str()))
                }
                Action::Generate { secret: JWT, rank } => Some(format!("generate at {rank}")),
                Action::RollOver { secret: JWT, from, to } => {
                    Some(format!("roll over from {from} to {}", value(to)))
                }
                _ => None,
            });
            done.chain(notes.iter().map(|_| "note".to_owned())).collect()
        }
        Err(Refusals(refusals)) => refusals
            .iter()
            .filter_map(|refusal| match refusal {
                Refusal::Missing(JWT) => Some("refused: missing".to_owned()),
                Refusal::NoPrimary(JWT) => Some("refused: no primary".to_owned()),
                Refusal::Unrelated { .. } => Some("refused: unrelated".to_owned()),
                Refusal::IdTaken { id, .. } => Some(format!("refused: {id} is taken")),
                _ => None,
            })
            .collect(),
    }
}

#[test]
fn environment_and_store_agree_or_say_why_not() {
    use KeyState::{Destroyed, Primary, Retired, Retiring, Staged};
    let [v0, v1, v2, _] = VALUES;
    let ring = |entries: &[(&str, &str)]| {
        let entries: Vec<_> = entries.iter().map(|(id, key)| format!("{id:?}:{key:?}")).collect();
        format!("{{{}}}", entries.join(","))
    };
    let swapped = ring(&[("a", v1), ("b", v0)]);
    let in_use = || stored("a", 0, Primary, 5);
    let cases: Vec<Case<'_>> = vec![
        (
            "a first start adopts all",
            vec![("JWT_SECRET", v0), ("JWT_SECRET_PREVIOUS", v1)],
            vec![],
            vec!["adopt 0 as primary at 0", "adopt 1 as retiring at 1"],
        ),
        ("a first start without a key makes one", vec![], vec![], vec!["generate at 0"]),
        (
            "a previous value alone is kept beside the generated key",
            vec![("JWT_SECRET_PREVIOUS", v1)],
            vec![],
            vec!["generate at 0", "adopt 1 as retiring at 1"],
        ),
        (
            "production makes no key",
            vec![("NODE_ENV", "production")],
            vec![],
            vec!["refused: missing"],
        ),
        (
            "the store holds what the environment lacks",
            vec![
                ("NODE_ENV", "production"),
                ("APP_ENCRYPTION_KEY", v1),
                ("MFA_ENCRYPTION_KEY", v2),
            ],
            vec![in_use()],
            vec![],
        ),
        ("the same value", vec![("JWT_SECRET", v0)], vec![in_use()], vec![]),
        (
            "a new value beside the one in use asks for a rollover",
            vec![("JWT_SECRET", v1), ("JWT_SECRET_PREVIOUS", v0)],
            vec![in_use()],
            vec!["roll over from a to 1"],
        ),
        (
            "the second replica of a rolling deployment",
            vec![("JWT_SECRET", v1), ("JWT_SECRET_PREVIOUS", v0)],
            vec![in_use(), stored("b", 1, Staged, 4)],
            vec![],
        ),
        (
            "the last replica with the old environment, after promotion",
            vec![("JWT_SECRET", v0)],
            vec![stored("a", 0, Retiring, 5), stored("b", 1, Primary, 4)],
            vec!["note"],
        ),
        (
            "a retired key stays retired",
            vec![("JWT_SECRET", v1), ("JWT_SECRET_PREVIOUS", v0)],
            vec![stored("a", 0, Retired, 5), stored("b", 1, Primary, 4)],
            vec![],
        ),
        (
            "a destroyed key does not come back",
            vec![("JWT_SECRET", v0)],
            vec![stored("a", 0, Destroyed, 5), stored("b", 1, Primary, 4)],
            vec!["note"],
        ),
        ("a new value alone", vec![("JWT_SECRET", v1)], vec![in_use()], vec!["refused: unrelated"]),
        (
            "a new value beside one that is not in use",
            vec![("JWT_SECRET", v2), ("JWT_SECRET_PREVIOUS", v0)],
            vec![stored("a", 0, Retiring, 5), stored("b", 1, Primary, 4)],
            vec!["refused: unrelated"],
        ),
        (
            "an unknown previous value is accepted, last",
            vec![("JWT_SECRET", v0), ("JWT_SECRET_PREVIOUS", v2)],
            vec![in_use(), stored("b", 1, Retiring, 9)],
            vec!["adopt 2 as retiring at 10"],
        ),
        (
            "a key id whose key was exchanged",
            vec![("JWT_SIGNING_KEYRING", &swapped), ("JWT_ACTIVE_KID", "b")],
            vec![in_use()],
            vec!["refused: a is taken"],
        ),
        (
            "a store without a primary key",
            vec![],
            vec![stored("a", 0, Retired, 0)],
            vec!["refused: no primary"],
        ),
    ];
    for (case, variables, stored, expected) in cases {
        assert_eq!(agree(&variables, &stored), expected, "{case}");
    }
}

#[test]
fn a_value_that_nobody_chose_never_asks_for_a_rollover() {
    // In development JWT_SECRET stands in for APP_ENCRYPTION_KEY.
    let declared = declared(&[("JWT_SECRET", VALUES[1])]);
    let app = Stored { secret: Secret::AppEncryptionKey, ..stored("a", 0, KeyState::Primary, 0) };
    let agreement = reconcile(&declared, &[app, stored("j", 1, KeyState::Primary, 0)]).unwrap();
    let is_of_app = |action: &&Action<'_>| match action {
        Action::Adopt { secret, .. }
        | Action::Generate { secret, .. }
        | Action::RollOver { secret, .. } => *secret == Secret::AppEncryptionKey,
    };
    let of_app: Vec<_> = agreement.actions.iter().filter(is_of_app).collect();
    assert!(matches!(of_app[..], [Action::Adopt { state: KeyState::Retiring, .. }]));
}

/// A key as a version that kept values as they were written stored it.
fn as_written(secret: Secret, text: &str, state: KeyState) -> Stored {
    let material = Material::new(text).unwrap();
    let id = crate::keyring::sources::derived_id(material.fingerprint());
    let identity = match state {
        KeyState::Destroyed => Identity::plain(material.fingerprint()),
        _ => Identity::of(secret, &material),
    };
    Stored { secret, id, identity, state, rank: 0 }
}

#[test]
fn a_credential_is_known_however_it_was_written_and_stored() {
    use KeyState::{Destroyed, Primary, Retired, Retiring, Staged};
    let (s3, redis) = (Secret::S3SecretKey, Secret::RedisUrl);
    let pair = |access: &str| {
        format!(r#"{{ "S3_SECRET_KEY": "secret of {access}", "S3_ACCESS_KEY": "{access}" }}"#)
    };
    let variables = [("S3_ACCESS_KEY", "new"), ("S3_SECRET_KEY", "secret of new")];
    let url = [("REDIS_URL", "redis://api:p@ssw0rd@cache")];
    let previous = pair("old");
    let old = [&variables[..], &[("S3_SECRET_KEY_PREVIOUS", &*previous)]].concat();
    let at = |secret, text: &str, state| as_written(secret, text, state);
    for (case, variables, stored, expected) in [
        ("the pair in use", &variables[..], vec![at(s3, &pair("new"), Primary)], 0),
        (
            "the pair that is coming",
            &old,
            vec![at(s3, &pair("old"), Primary), at(s3, &pair("new"), Staged)],
            0,
        ),
        (
            "a rolling deployment that is over",
            &old,
            vec![at(s3, &pair("old"), Retired), at(s3, &pair("new"), Primary)],
            0,
        ),
        (
            "of one pair that was stored twice, the one in use",
            &variables,
            vec![
                at(s3, r#"{"S3_ACCESS_KEY":"new","S3_SECRET_KEY":"secret of new"}"#, Retired),
                at(s3, &pair("new"), Primary),
            ],
            0,
        ),
        ("the login in use", &url, vec![at(redis, "api:p%40%73sw0rd", Primary)], 0),
        (
            "one that is destroyed, and of which the fingerprint is left",
            &url,
            vec![at(redis, "api:p@ssw0rd", Destroyed), at(redis, "api:another", Primary)],
            1,
        ),
    ] {
        let declared = declared(variables);
        let secret = stored[0].secret;
        let agreement = reconcile(&declared, &stored).unwrap_or_else(|refusals| {
            panic!("{case}: {refusals}");
        });
        let is_of_it = |action: &&Action<'_>| match action {
            Action::Adopt { secret: of, .. }
            | Action::Generate { secret: of, .. }
            | Action::RollOver { secret: of, .. } => *of == secret,
        };
        assert_eq!(
            agreement.actions.iter().find(is_of_it).map(|it| format!("{it:?}")),
            None,
            "{case}"
        );
        assert_eq!(agreement.notes.len(), expected, "{case}");
    }
    let stored = [at(s3, &pair("old"), Primary), at(s3, &pair("older"), Retiring)];
    let new = declared(&old);
    let wish = reconcile(&new, &stored).unwrap();
    let rolls_over = |action: &Action<'_>| matches!(action, Action::RollOver { from, .. } if *from == stored[0].id);
    assert!(wish.actions.iter().any(rolls_over), "the old pair is known beside the new one");
}

/// The store after every adoption of `actions`; a rollover has staged its key.
fn carried_out(mut stored: Vec<Stored>, actions: &[Action<'_>]) -> Vec<Stored> {
    for action in actions {
        let (secret, id, identity, state, rank) = match action {
            Action::Adopt { secret, key, state, rank } => {
                (*secret, key.id.clone(), key.identity, *state, *rank)
            }
            Action::RollOver { secret, to, .. } => {
                (*secret, to.id.clone(), to.identity, KeyState::Staged, -1)
            }
            Action::Generate { secret, rank } => {
                let made = Identity::plain(Material::generate().unwrap().fingerprint());
                (*secret, KeyId::new("made").unwrap(), made, KeyState::Primary, *rank)
            }
        };
        stored.push(Stored { secret, id, identity, state, rank });
    }
    stored
}

proptest! {
    #[test]
    fn the_primary_key_never_changes_and_never_gets_a_second(
        own in proptest::option::of(0..4usize),
        previous in proptest::collection::vec(0..4usize, 0..3),
        // Which states the store knows the values by; one of them primary, or none at all.
        known in proptest::collection::vec(0..5usize, 0..4),
        primary in 0..4usize,
    ) {
        let list = format!("{:?}", previous.iter().map(|value| VALUES[*value]).collect::<Vec<_>>());
        let mut variables = vec![("JWT_SECRET_PREVIOUS", list.as_str())];
        variables.extend(own.map(|value| ("JWT_SECRET", VALUES[value])));
        let states =
            [KeyState::Staged, KeyState::Retiring, KeyState::Retired, KeyState::Destroyed];
        let before: Vec<_> = known.iter().enumerate().filter_map(|(value, state)| {
            let state = if !known.is_empty() && value == primary % known.len() {
                KeyState::Primary
            } else {
                *states.get(*state)?
            };
            Some(stored(&format!("s{value}"), value, state, i64::try_from(value).unwrap()))
        }).collect();

        let declared = declared(&variables);
        let Ok(agreement) = reconcile(&declared, &before) else {
            // It refuses only a value that it must not use.
            prop_assert!(own.is_some_and(|own| own >= known.len() || known[own] > 3));
            return Ok(());
        };
        let after = carried_out(before.clone(), &agreement.actions);
        for secret in Secret::all() {
            let primaries = |keys: &[Stored]| keys.iter()
                .filter(|key| (key.secret, key.state) == (secret, KeyState::Primary))
                .map(|key| key.identity.written()).collect::<Vec<_>>();
            let expected = usize::from(secret.entry().absence != Absence::Off);
            prop_assert_eq!(primaries(&after).len(), expected);
            if before.iter().any(|key| key.secret == secret) {
                prop_assert_eq!(primaries(&after), primaries(&before));
            }
        }
        prop_assert_eq!(&after[..before.len()], &before[..], "what is stored stays");

        let again = reconcile(&declared, &after).unwrap();
        prop_assert!(again.actions.is_empty(), "agreeing twice does nothing more: {:?}", again);
    }
}
