//! What Breeze's variables mean for one secret.
//!
//! The primary key is the active key of the ring, or else `NAME`; the table of
//! [`Reading::primary`] says when. This is the order of trial:
//!
//! 1. the primary key,
//! 2. `NAME`, which made the values and tokens that name no key,
//! 3. `NAME_PREVIOUS`, newest first,
//! 4. the ring's other keys,
//! 5. the legacy secrets.

use zeroize::Zeroizing;

use super::{
    canonical::{Identity, is_login, secret_part},
    check::weakness,
    declared::DeclaredKey,
    environment::{Environment, Strictness, Value},
    fault::{Fault, RingFault},
    json,
    previous::previous_of,
};
use crate::{
    catalog::{Class, Entry, Secret},
    ids::KeyId,
    keyring::Origin,
    material::Material,
};

/// What one secret's variables hold. A variable that is faulty is absent here,
/// and its fault is told.
pub(super) struct Reading<'a> {
    entry: &'a Entry,
    own: Option<Value>,
    previous: Vec<(Material, Origin)>,
    ring: Option<Ring>,
    active: Option<Value>,
    /// What Breeze seals with outside production when nothing is set.
    fallback: Option<Value>,
    legacy: Vec<Value>,
}

struct Ring {
    origin: Origin,
    name: String,
    keys: Vec<(KeyId, Material)>,
}

/// Which key is primary.
enum Primary {
    /// The ring's key of this id.
    Ring(KeyId),
    /// `NAME`, under this id if one is set.
    Own(Option<KeyId>),
}

impl<'a> Reading<'a> {
    pub(super) fn take(
        environment: &Environment,
        entry: &'a Entry,
        faults: &mut Vec<Fault>,
    ) -> Self {
        let names: Vec<_> = [entry.name].iter().chain(entry.aliases).copied().collect();
        let own = told(own(environment, entry, &names), faults);
        // Ring and active id mean something together only.
        let (ring, active) = match (ring(environment, entry), environment.first(entry.active_id)) {
            (Ok(ring), Ok(active)) => (ring, active),
            (ring, active) => {
                faults.extend(ring.err().into_iter().chain(active.err()));
                (None, None)
            }
        };
        // One that cannot be read is told by the caller.
        let legacy =
            || entry.legacy.iter().filter_map(|name| environment.lookup(name).ok().flatten());
        // Only what seals makes do with a legacy secret.
        let stands_in = || legacy().next().filter(|_| entry.class == Class::Sealing);
        let fallback = match environment.strictness() {
            _ if own.is_some() => None,
            Strictness::Production => None,
            Strictness::Development => stands_in(),
            Strictness::Test => stands_in()
                .or_else(|| Value::new(entry.test_value?, Origin::Environment("NODE_ENV".into()))),
        };
        Self {
            entry,
            own,
            previous: told(previous_of(environment, entry), faults),
            ring,
            active,
            fallback,
            legacy: legacy().filter_map(Value::trimmed).collect(),
        }
    }

    /// The keys of this secret's own domain, each with its variable: no other
    /// secret may have them.
    pub(super) fn domain(&self) -> Vec<(Identity, String)> {
        let secret = self.entry.secret;
        let own = self.own.iter().map(|value| (value.identity(secret), value.name().to_owned()));
        let ring = self.ring.iter().flat_map(|ring| {
            let keys = ring.keys.iter();
            keys.map(move |(_, key)| (Identity::of(secret, key), ring.name.clone()))
        });
        own.chain(ring).collect()
    }

    /// The keys in the order of trial.
    pub(super) fn keys(self, faults: &mut Vec<Fault>) -> Vec<DeclaredKey> {
        let entry = self.entry;
        let primary = self.primary().unwrap_or_else(|fault| {
            faults.push(fault);
            Primary::Own(None)
        });
        let (active, own_is_primary, own_id) = match primary {
            Primary::Ring(id) => (Some(id), false, None),
            Primary::Own(id) => (None, true, id),
        };

        let (mut keys, secret) = (Vec::new(), entry.secret);
        let unnamed = |key: Material, origin| DeclaredKey::new(secret, &key, origin);
        let named =
            |id, key: Material, origin| DeclaredKey { id, unnamed: false, ..unnamed(key, origin) };
        let (first, rest): (Vec<_>, Vec<_>) = self
            .ring
            .into_iter()
            .flat_map(|Ring { origin, keys, .. }| {
                keys.into_iter().map(move |key| (key, origin.clone()))
            })
            .partition(|((id, _), _)| active.as_ref() == Some(id));
        for ((id, material), origin) in first {
            add(&mut keys, DeclaredKey { is_primary: true, ..named(id, material, origin) });
        }
        let is_fallback = self.own.is_none();
        if let Some((material, origin)) = self.own.or(self.fallback).map(Value::into_key) {
            let key = unnamed(material, origin);
            let id = own_id.unwrap_or_else(|| key.id.clone());
            add(&mut keys, DeclaredKey { id, is_primary: own_is_primary, is_fallback, ..key });
        }
        for (material, origin) in self.previous {
            add(&mut keys, unnamed(material, origin));
        }
        for ((id, material), origin) in rest {
            add(&mut keys, named(id, material, origin));
        }
        for (material, origin) in self.legacy.into_iter().map(Value::into_key) {
            add(&mut keys, unnamed(material, origin));
        }
        tell_weak(entry, &keys, faults);
        tell_same_ids(entry, &keys, faults);
        keys
    }

    /// Which key is primary (FORMATS sections 2.2 and 5).
    ///
    /// | ring | active id | sealing | signing |
    /// |---|---|---|---|
    /// | has it | set | that key | that key |
    /// | lacks it, or none | set | `NAME` under that id, else a fault | a fault |
    /// | some | not set | `NAME`, else a fault | a fault |
    /// | none | not set | `NAME` | `NAME` |
    fn primary(&self) -> Result<Primary, Fault> {
        match self.entry.class {
            Class::Sealing => self.sealing_primary(),
            Class::Signing => self.signing_primary(),
            Class::Pepper | Class::Shared | Class::Provider | Class::Issued => {
                Ok(Primary::Own(None))
            }
        }
    }

    fn sealing_primary(&self) -> Result<Primary, Fault> {
        let Some(active) = &self.active else {
            return match &self.ring {
                Some(ring) if self.own.is_none() && self.fallback.is_none() => {
                    Err(self.no_active_id(ring))
                }
                _ => Ok(Primary::Own(None)),
            };
        };
        let id = KeyId::new(json::trim(active.expose_text()))
            .map_err(|_| Fault::ActiveIdInvalid { name: active.name().to_owned() })?;
        if self.ring.iter().flat_map(|ring| &ring.keys).any(|(known, _)| *known == id) {
            Ok(Primary::Ring(id))
        } else if self.own.is_some() {
            Ok(Primary::Own(Some(id)))
        } else {
            Err(self.unknown_active_id(active))
        }
    }

    /// The active id is not trimmed, as Breeze does not trim it.
    fn signing_primary(&self) -> Result<Primary, Fault> {
        match (&self.ring, &self.active) {
            (None, None) => Ok(Primary::Own(None)),
            (None, Some(active)) => Err(Fault::ActiveIdWithoutRing {
                name: active.name().to_owned(),
                ring: first(self.entry.keyring),
            }),
            (Some(ring), None) => Err(self.no_active_id(ring)),
            (Some(ring), Some(active)) => ring
                .keys
                .iter()
                .find(|(id, _)| id.as_str() == active.expose_text())
                .map(|(id, _)| Primary::Ring(id.clone()))
                .ok_or_else(|| self.unknown_active_id(active)),
        }
    }

    fn no_active_id(&self, ring: &Ring) -> Fault {
        Fault::ActiveIdMissing { name: first(self.entry.active_id), ring: ring.name.clone() }
    }

    fn unknown_active_id(&self, active: &Value) -> Fault {
        let ring = self.ring.as_ref().map_or_else(|| first(self.entry.keyring), |r| r.name.clone());
        Fault::ActiveIdUnknown { name: active.name().to_owned(), ring }
    }
}

/// The value itself: of one variable, or of all those that make it up.
fn own(environment: &Environment, entry: &Entry, names: &[&str]) -> Result<Option<Value>, Fault> {
    if entry.class == Class::Issued {
        return Ok(None);
    }
    let value = match entry.parts {
        [] if is_login(entry.secret) => environment.first(names)?.and_then(Value::user_info),
        [] => environment.first(names)?,
        parts => together(environment, parts)?,
    };
    let value = if entry.trimmed { value.and_then(Value::trimmed) } else { value };
    let is_unset = |value: &Value| {
        entry.secret == Secret::MetricsScrapeToken && value.expose_text() == REDACTED
    };
    Ok(value.filter(|value| !is_unset(value)))
}

/// The scrape token of Breeze's templates, which counts as none (FORMATS section 6).
const REDACTED: &str = "REDACTED_DEV_TOKEN";

/// The JSON object of `parts`, which are all set or none.
fn together(environment: &Environment, parts: &[&str]) -> Result<Option<Value>, Fault> {
    let mut found = Vec::new();
    for name in parts {
        found.push((*name, environment.lookup(name)?));
    }
    let missing: Vec<_> =
        found.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
    if missing.len() == parts.len() {
        return Ok(None);
    }
    if let Some(missing) = missing.first() {
        let beside = parts.iter().filter(|name| *name != missing);
        let beside = beside.copied().collect::<Vec<_>>().join(", ");
        return Err(Fault::PartMissing { name: (*missing).to_owned(), beside });
    }
    let origin = found.iter().rev().find_map(|(_, value)| Some(value.as_ref()?.origin().clone()));
    let texts =
        found.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?.expose_text())));
    let text = Zeroizing::new(json::object(texts));
    Ok(origin.and_then(|origin| Value::new(text.as_str(), origin)))
}

/// The ring, if one is set. Blank text is no ring. Breeze wants a signing ring to
/// hold a key; a sealing ring may be empty, and is none then.
fn ring(environment: &Environment, entry: &Entry) -> Result<Option<Ring>, Fault> {
    let Some(value) = environment.first(entry.keyring)? else { return Ok(None) };
    if json::trim(value.expose_text()).is_empty() {
        return Ok(None);
    }
    let name = value.name().to_owned();
    let keys = match json::ring(value.expose_text()) {
        Ok(keys) if !keys.is_empty() => keys,
        Ok(_) if entry.class == Class::Sealing => return Ok(None),
        Ok(_) => return Err(Fault::Ring { name, fault: RingFault::Empty }),
        Err(fault) => return Err(Fault::Ring { name, fault }),
    };
    Ok(Some(Ring { origin: value.origin().clone(), name, keys }))
}

/// Adds `key`, or lets it join one of the same material, where that keeps both
/// meanings: unless both have an id of their own.
fn add(keys: &mut Vec<DeclaredKey>, key: DeclaredKey) {
    let joins = |known: &&mut DeclaredKey| {
        known.material == key.material
            && (known.is_derived() || key.is_derived() || known.id == key.id)
    };
    match keys.iter_mut().find(joins) {
        Some(known) => {
            known.unnamed |= key.unnamed;
            known.is_primary |= key.is_primary;
            if known.is_derived() {
                known.id = key.id;
                known.origin = key.origin;
            }
        }
        None => keys.push(key),
    }
}

/// Keys that sign, seal or verify must be strong: what is secret in them. Keys that only
/// open need not be: a weak one is what one rolls over from. What stands in was judged as
/// what it is.
/// A login that a server lets in is as good as its operator made it: a process that started
/// with it yesterday starts today. One that is handed in is judged.
fn tell_weak(entry: &Entry, keys: &[DeclaredKey], faults: &mut Vec<Fault>) {
    if is_login(entry.secret) {
        return;
    }
    let least = if entry.parts.is_empty() { entry.min_length } else { 1 };
    let counts =
        |key: &&DeclaredKey| !key.is_fallback && (key.is_primary || entry.class == Class::Signing);
    for key in keys.iter().filter(counts) {
        let part = secret_part(entry.secret, &key.material);
        let weak = weakness(part.expose_source(), least);
        faults.extend(weak.map(|weak| weak.of(key.variable(), least)));
    }
}

fn tell_same_ids(entry: &Entry, keys: &[DeclaredKey], faults: &mut Vec<Fault>) {
    for (index, key) in keys.iter().enumerate() {
        if let Some(known) = keys[..index].iter().find(|known| known.id == key.id) {
            faults.push(Fault::SameId {
                secret: entry.name.to_owned(),
                first: known.variable().to_owned(),
                second: key.variable().to_owned(),
            });
        }
    }
}

fn first(names: &[&str]) -> String {
    names.first().copied().unwrap_or_default().to_owned()
}

/// The value, or nothing and its fault told.
pub(crate) fn told<T: Default>(result: Result<T, Fault>, faults: &mut Vec<Fault>) -> T {
    result.unwrap_or_else(|fault| {
        faults.push(fault);
        T::default()
    })
}
