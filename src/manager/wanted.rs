//! What a secrets manager should hold, once custody has other keys than it. Pure.
//!
//! 1. A secret is written only where all of it stands in the manager, and every key of it
//!    there is known to custody and past its staging: an edit that is not acted on yet, or
//!    that asks for a rollover, stays.
//! 2. Written are the primary key, and every key that is accepted beside it. What is retired
//!    is taken out. Every other field stays as it is.
//! 3. Nothing is written that a start would refuse, or take for a wish.

use super::{
    Fields,
    form::{Kept, write},
};
use crate::{
    catalog::{Entry, Secret},
    keyring::{
        KeyState, Origin,
        reconcile::{Action, Stored, reconcile},
        sources::{Declared, DeclaredKey, Environment, Identity, Managed, Revision, canonical},
    },
    material::Fingerprint,
    store::{
        Custody, KeyRecord,
        custody::{self, CustodyError, RootKeys},
    },
};

/// Fields that hold what custody does.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) fields: Fields,
    /// The secrets that differ from what is held.
    pub(crate) secrets: Vec<Renewed>,
}

/// One secret, as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Renewed {
    pub(crate) secret: Secret,
    pub(crate) primary: Fingerprint,
    pub(crate) previous: Vec<Fingerprint>,
}

/// What the manager should hold in place of `held`, beside the variables of `local`. `None`
/// when it is as it should be, or not to be touched now.
///
/// # Errors
/// [`CustodyError`] when a key does not open.
pub(crate) fn wanted(
    held: &Fields,
    local: &Environment,
    custody: &Custody,
    root: &RootKeys,
) -> Result<Option<Wanted>, CustodyError> {
    let Some(declared) = declared(held, local) else { return Ok(None) };
    let mut wanted = Wanted { fields: held.clone(), secrets: vec![] };
    for secret in Secret::all() {
        let keys = declared.keys(secret);
        let of_secret = known(secret, custody, root);
        let Some(primary) = stale(secret.entry(), keys, held, local, &of_secret) else { continue };
        let previous: Vec<_> = of_secret
            .iter()
            .map(|(key, _)| *key)
            .filter(|key| is_accepted_beside(key, secret.entry()))
            .collect();
        wanted.secrets.push(Renewed {
            secret,
            primary: primary.fingerprint,
            previous: previous.iter().map(|key| key.fingerprint).collect(),
        });
        let primary = kept(primary, root)?;
        let previous: Vec<_> =
            previous.into_iter().map(|key| kept(key, root)).collect::<Result<_, _>>()?;
        write(secret.entry(), &mut wanted.fields, &primary, &previous);
    }
    let is_sound = !wanted.secrets.is_empty()
        && is_settled(&wanted.fields, local, &custody::stored(custody, root));
    Ok(is_sound.then_some(wanted))
}

/// What `held` declares beside `local`; nothing while there is a fault in it.
fn declared(held: &Fields, local: &Environment) -> Option<Declared> {
    let revision = Revision { version: String::new(), fields: held.clone() };
    let environment = local.clone().managed_by(Managed::holding(revision));
    Declared::read(&environment, &[]).ok()
}

/// Whether a start with `fields` would go on with the keys of custody, and ask for nothing.
fn is_settled(fields: &Fields, local: &Environment, stored: &[Stored]) -> bool {
    declared(fields, local).is_some_and(|declared| {
        reconcile(&declared, stored).is_ok_and(|agreement| {
            !agreement.actions.iter().any(|action| matches!(action, Action::RollOver { .. }))
        })
    })
}

/// The keys of a secret, the primary one first, and by what each is known.
fn known<'a>(
    secret: Secret,
    custody: &'a Custody,
    root: &RootKeys,
) -> Vec<(&'a KeyRecord, Identity)> {
    let of_secret = custody.keys.iter().filter(|key| key.secret == secret);
    let mut known: Vec<_> = of_secret.map(|key| (key, custody::identity(root, key))).collect();
    known.sort_by_key(|(key, _)| key.state != KeyState::Primary);
    known
}

/// A key as it is written: in the form that the variables give it.
fn kept(key: &KeyRecord, root: &RootKeys) -> Result<Kept, CustodyError> {
    let material = canonical(key.secret, &custody::open(root, key)?);
    Ok(Kept { id: key.id.clone(), unnamed: key.unnamed, material })
}

/// The variables of a secret's own domain.
fn variables(entry: &'static Entry) -> impl Iterator<Item = &'static str> {
    [entry.name]
        .into_iter()
        .chain([entry.aliases, entry.parts, entry.previous, entry.keyring].concat())
}

/// The primary key of custody, where the manager holds the secret and does not have it, or
/// has what is retired.
fn stale<'a>(
    entry: &'static Entry,
    keys: &[DeclaredKey],
    held: &Fields,
    local: &Environment,
    of_secret: &[(&'a KeyRecord, Identity)],
) -> Option<&'a KeyRecord> {
    let stands_elsewhere = |name: &&str| !matches!(local.lookup(name), Ok(None));
    if variables(entry).chain(entry.active_id.iter().copied()).any(|name| stands_elsewhere(&name))
        || !entry.parts.iter().all(|part| held.has(part))
    {
        return None;
    }
    let own = keys.iter().filter(|key| variables(entry).any(|name| name == key.variable()));
    let own: Vec<_> = own.filter(|key| !key.is_fallback).collect();
    let declared = own.iter().find(|key| key.is_primary)?;
    let (primary, current) = of_secret.first().filter(|(key, _)| key.state == KeyState::Primary)?;
    let mut states = vec![];
    for key in &own {
        let (known, _) = of_secret.iter().find(|(_, known)| known.is(&key.identity))?;
        states.push(known.state);
    }
    let asks = |state: &KeyState| matches!(state, KeyState::Staged | KeyState::Unknown);
    let is_over = |state: &KeyState| matches!(state, KeyState::Retired | KeyState::Destroyed);
    if states.iter().any(asks) {
        return None;
    }
    let is_current = current.is(&declared.identity);
    (!is_current || states.iter().any(is_over)).then_some(*primary)
}

/// Whether a key is accepted beside the primary one as a previous key of this very secret,
/// and not as one that once did its work under another name.
fn is_accepted_beside(key: &KeyRecord, entry: &'static Entry) -> bool {
    let is_own = match &key.origin {
        Origin::Environment(name) | Origin::File(name) | Origin::Manager(name) => {
            let name = name.strip_suffix("_FILE").unwrap_or(name);
            variables(entry).any(|own| own == name)
        }
        Origin::Generated | Origin::Supplied | Origin::Unknown(_) => true,
    };
    key.state == KeyState::Retiring && is_own
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;
    use crate::{
        clock::Timestamp, ids::Epoch, keyring::sources::derived_id, material::Material,
        store::custody::NewKey,
    };

    const OLD: &str = "an old signing secret, long enough 0123456789";
    const NEW: &str = "a new signing secret, long enough 0123456789ab";
    const HELD: &str = r#"{"JWT_SECRET":"an old signing secret, long enough 0123456789","NOTE":1}"#;

    fn root() -> RootKeys {
        RootKeys::new(Material::new("a root key of the tests, long enough").unwrap(), vec![])
    }

    fn custody(secret: Secret, keys: &[(&str, KeyState, Origin)]) -> Custody {
        let record = |(rank, (text, state, origin)): (usize, &(&str, KeyState, Origin))| {
            let material = Material::new(*text).unwrap();
            let key = NewKey {
                secret,
                id: derived_id(material.fingerprint()),
                material: &material,
                origin: origin.clone(),
                state: *state,
                unnamed: false,
                rank: rank as i64,
            };
            key.into_record(&root(), Timestamp::from_millis(0)).unwrap()
        };
        Custody { epoch: Epoch(1), keys: keys.iter().enumerate().map(record).collect() }
    }

    fn jwt(
        held: &str,
        keys: &[(&str, KeyState, Origin)],
        local: &[(&str, &str)],
    ) -> Option<String> {
        let local = Environment::given(local.iter().copied());
        let held = Fields::parse(held).unwrap();
        let custody = custody(Secret::JwtSecret, keys);
        let wanted = wanted(&held, &local, &custody, &root()).unwrap();
        wanted.map(|wanted| wanted.fields.to_json().expose_secret().to_owned())
    }

    fn manager() -> Origin {
        Origin::Manager("JWT_SECRET".to_owned())
    }

    #[test]
    fn what_custody_made_is_wanted_and_what_it_retired_is_not() {
        let (new, old) =
            ((NEW, KeyState::Primary, Origin::Generated), |state| (OLD, state, manager()));
        assert_eq!(
            jwt(HELD, &[new.clone(), old(KeyState::Retiring)], &[]).unwrap(),
            format!(r#"{{"JWT_SECRET":"{NEW}","NOTE":1,"JWT_SECRET_PREVIOUS":"[\"{OLD}\"]"}}"#)
        );
        assert_eq!(
            jwt(HELD, &[new.clone(), old(KeyState::Retired)], &[]).unwrap(),
            format!(r#"{{"JWT_SECRET":"{NEW}","NOTE":1}}"#)
        );
        assert_eq!(jwt(HELD, &[old(KeyState::Primary)], &[]), None, "it is as it should be");
    }

    #[test]
    fn a_pair_is_written_and_settled_however_it_was_handed_in() {
        let old = r#"{"S3_ACCESS_KEY":"old","S3_SECRET_KEY":"the secret of old"}"#;
        // As a version stored it that kept what it was handed in.
        let new = r#"{ "S3_SECRET_KEY": "the secret of new", "S3_ACCESS_KEY": "new" }"#;
        let keys = [
            (new, KeyState::Primary, Origin::Supplied),
            (old, KeyState::Retiring, Origin::Manager("S3_SECRET_KEY".to_owned())),
        ];
        let (custody, local) =
            (custody(Secret::S3SecretKey, &keys), Environment::given([("", "")]));
        let written = wanted(&Fields::parse(old).unwrap(), &local, &custody, &root()).unwrap();
        let Wanted { fields, secrets } = written.expect("the manager has the old pair");
        let expected = json!({
            "S3_ACCESS_KEY": "new",
            "S3_SECRET_KEY": "the secret of new",
            "S3_SECRET_KEY_PREVIOUS": json!([old]).to_string(),
        });
        assert!(fields.hold_the_same(&Fields::parse(&expected.to_string()).unwrap()));
        assert_eq!(secrets[0].primary, custody.keys[0].fingerprint, "by its name in the store");
        assert!(wanted(&fields, &local, &custody, &root()).unwrap().is_none(), "it is settled");
    }

    #[test]
    fn a_key_that_did_its_work_under_another_name_is_no_previous_one() {
        let elsewhere = Origin::Environment("SESSION_SECRET".to_owned());
        let keys = [
            (NEW, KeyState::Primary, Origin::Generated),
            (OLD, KeyState::Retired, manager()),
            ("another signing secret, long enough 01234", KeyState::Retiring, elsewhere),
        ];
        assert_eq!(jwt(HELD, &keys, &[]).unwrap(), format!(r#"{{"JWT_SECRET":"{NEW}","NOTE":1}}"#));
    }

    #[test]
    fn an_edit_that_is_not_acted_on_and_a_wish_stay() {
        let primary = (NEW, KeyState::Primary, Origin::Generated);
        assert_eq!(
            jwt(HELD, std::slice::from_ref(&primary), &[]),
            None,
            "custody does not know it"
        );
        let staged = (OLD, KeyState::Staged, manager());
        assert_eq!(jwt(HELD, &[primary.clone(), staged], &[]), None, "it asks for a rollover");
        let previous = format!(
            r#"{{"JWT_SECRET":"{NEW}","JWT_SECRET_PREVIOUS":"unknown, and long enough 0123456"}}"#
        );
        assert_eq!(jwt(&previous, &[primary], &[]), None);
    }

    #[test]
    fn what_stands_elsewhere_or_is_faulty_is_left_alone() {
        let keys =
            [(NEW, KeyState::Primary, Origin::Generated), (OLD, KeyState::Retired, manager())];
        assert!(jwt(HELD, &keys, &[]).is_some());
        assert_eq!(jwt(HELD, &keys, &[("JWT_SECRET_PREVIOUS", OLD)]), None);
        assert_eq!(jwt(HELD, &keys, &[("JWT_SECRET_FILE", "/nonexistent")]), None);
        assert_eq!(jwt(r#"{"NOTE":1}"#, &keys, &[]), None, "it holds no such secret");
        let faulty = format!(r#"{{"JWT_SECRET":"{OLD}","MFA_ENCRYPTION_KEY":"changeme"}}"#);
        assert_eq!(jwt(&faulty, &keys, &[]), None);
    }
}
