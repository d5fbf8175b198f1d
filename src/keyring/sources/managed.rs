//! What a secrets manager holds: one secret of many fields, each of which stands for the
//! variable of its name.
//!
//! 1. A field is text, or an array or object that stands for its own JSON: previous values,
//!    a ring. Anything else is a fault of the variable, for whoever asks for it.
//! 2. Readers share the version that was read last. A manager that is away takes nothing
//!    from them.
//! 3. What nobody asks for is kept as it is, whatever it holds.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    environment::Value,
    fault::{Fault, RingFault},
    json,
};
use crate::keyring::Origin;

/// The fields of one secret, in its own order. Not shown by `Debug`.
#[derive(Clone, Default)]
pub struct Fields(Vec<Field>);

#[derive(Clone)]
struct Field {
    name: String,
    /// Its value, as JSON.
    json: SecretString,
}

impl Field {
    /// The text that it stands for; `None` for a number, a truth value and null.
    fn text(&self) -> Option<SecretString> {
        let json = self.json.expose_secret();
        match json.as_bytes().first()? {
            b'"' => serde_json::from_str::<String>(json).ok().map(SecretString::from),
            b'[' | b'{' => Some(self.json.clone()),
            _ => None,
        }
    }

    fn holds_the_same(&self, other: &Self) -> bool {
        match (self.text(), other.text()) {
            (Some(one), Some(two)) if self.is_text() && other.is_text() => {
                one.expose_secret().as_bytes().ct_eq(two.expose_secret().as_bytes()).into()
            }
            // A manager may write JSON in another way than it was given.
            _ => {
                let value = |field: &Self| {
                    serde_json::from_str::<serde_json::Value>(field.json.expose_secret()).ok()
                };
                value(self).is_some_and(|one| value(other) == Some(one))
            }
        }
    }

    fn is_text(&self) -> bool {
        self.json.expose_secret().starts_with('"')
    }
}

impl Fields {
    /// The members of a JSON object. Of names that are equal, the last counts.
    ///
    /// # Errors
    /// [`UnfitFields`] for anything else.
    pub fn parse(json: &str) -> Result<Self, UnfitFields> {
        let entries = json::entries(json).map_err(|fault| match fault {
            RingFault::NotJson => UnfitFields::NotJson,
            _ => UnfitFields::NotAnObject,
        })?;
        let mut fields = Self::default();
        for (name, raw) in entries {
            fields.put(&name, raw.get().into());
        }
        Ok(fields)
    }

    /// The JSON object of them.
    #[must_use]
    pub fn to_json(&self) -> SecretString {
        let members = self.0.iter().map(|field| {
            let name = serde_json::Value::from(field.name.as_str());
            Zeroizing::new(format!("{name}:{}", field.json.expose_secret()))
        });
        let members: Vec<_> = members.collect();
        let members: Vec<&str> = members.iter().map(|member| member.as_str()).collect();
        format!("{{{}}}", Zeroizing::new(members.join(",")).as_str()).into()
    }

    /// The texts that are long enough to be a secret: what must not be told of them.
    #[must_use]
    pub fn secrets(&self) -> Vec<SecretString> {
        let is_long = |text: &SecretString| text.expose_secret().len() >= 8;
        self.0.iter().filter_map(Field::text).filter(is_long).collect()
    }

    /// Whether there is such a field.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|field| field.name == name)
    }

    /// The text of the field `name`: `Some(None)` when it is neither text nor stands for one.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Option<SecretString>> {
        self.0.iter().find(|field| field.name == name).map(Field::text)
    }

    /// Sets the field `name` to a text, in the place that it has.
    pub fn set(&mut self, name: &str, text: &str) {
        self.put(name, serde_json::Value::from(text).to_string().into());
    }

    /// Takes the field `name` away.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|field| field.name != name);
    }

    /// Whether these are the same fields with the same values, in any order. Texts are
    /// compared in constant time.
    #[must_use]
    pub fn hold_the_same(&self, other: &Self) -> bool {
        let same = |field: &Field| {
            let found = other.0.iter().find(|found| found.name == field.name);
            found.is_some_and(|found| found.holds_the_same(field))
        };
        self.0.len() == other.0.len() && self.0.iter().filter(|field| !same(field)).count() == 0
    }

    fn put(&mut self, name: &str, json: SecretString) {
        match self.0.iter_mut().find(|field| field.name == name) {
            Some(field) => field.json = json,
            None => self.0.push(Field { name: name.to_owned(), json }),
        }
    }
}

/// How many, and nothing of them: a secret that is written the wrong way round has the keys
/// where the names should be.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fields({})", self.0.len())
    }
}

/// What holds no fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnfitFields {
    /// Not JSON.
    #[error("it is not JSON; write an object of variables and their values")]
    NotJson,
    /// JSON of another type.
    #[error("it is not a JSON object; write an object of variables and their values")]
    NotAnObject,
}

/// The fields at one version.
#[derive(Debug, Clone)]
pub struct Revision {
    /// The manager's own name of it.
    pub version: String,
    /// The fields.
    pub fields: Fields,
}

/// The version that was read last. Clones share it.
#[derive(Debug, Clone)]
pub struct Managed {
    last: Arc<ArcSwap<Revision>>,
    is_away: Arc<AtomicBool>,
}

impl Managed {
    /// What was read first.
    #[must_use]
    pub fn holding(revision: Revision) -> Self {
        Self { last: Arc::new(ArcSwap::from_pointee(revision)), is_away: Arc::default() }
    }

    /// The version that was read last.
    #[must_use]
    pub fn load(&self) -> Arc<Revision> {
        self.last.load_full()
    }

    /// Takes over what was read: the manager is not away.
    pub fn replace(&self, revision: Revision) {
        self.last.store(Arc::new(revision));
        self.is_away.store(false, Ordering::Relaxed);
    }

    /// Notes that the manager gave nothing that can be used.
    pub fn note_away(&self) {
        self.is_away.store(true, Ordering::Relaxed);
    }

    /// Whether the manager gave nothing when it was last asked, so that this is older.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    pub(super) fn at_this_moment(&self) -> Self {
        let last = Arc::new(ArcSwap::new(self.load()));
        Self { last, is_away: Arc::clone(&self.is_away) }
    }

    pub(super) fn lookup(&self, name: &str) -> Result<Option<Value>, Fault> {
        match self.last.load().fields.text(name) {
            None => Ok(None),
            Some(Some(text)) => Ok(Value::new(text, Origin::Manager(name.to_owned()))),
            Some(None) => Err(Fault::NotText { name: format!("{name} in the secrets manager") }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::sources::Environment;

    const SECRET: &str = r#"{"A":"a\u00e9","LIST":["x","y"],"RING":{"k":"v"},"N":1.10,"T":true,"NULL":null,"E":"","A":"last"}"#;

    fn environment(json: &str) -> Environment {
        let revision = Revision { version: "3".into(), fields: Fields::parse(json).unwrap() };
        let local = [("LOCAL", "here"), ("RING", "")];
        Environment::given(local).managed_by(Managed::holding(revision))
    }

    fn shown(environment: &Environment, name: &str) -> Result<Option<(String, Origin)>, Fault> {
        let value = environment.lookup(name)?;
        Ok(value.map(|value| (value.expose_text().to_owned(), value.origin().clone())))
    }

    #[test]
    fn a_field_stands_for_the_variable_of_its_name() {
        let environment = environment(SECRET);
        assert!(environment.can_change());
        for (name, text) in [("A", "last"), ("LIST", r#"["x","y"]"#), ("RING", r#"{"k":"v"}"#)] {
            let expected = (text.to_owned(), Origin::Manager(name.to_owned()));
            assert_eq!(shown(&environment, name), Ok(Some(expected)));
        }
        for unset in ["E", "ABSENT"] {
            assert_eq!(shown(&environment, unset), Ok(None), "{unset}");
        }
        for unfit in ["N", "T", "NULL"] {
            let name = format!("{unfit} in the secrets manager");
            assert_eq!(shown(&environment, unfit), Err(Fault::NotText { name }));
        }
    }

    #[test]
    fn a_variable_and_a_field_together_are_a_fault() {
        let twice = environment(r#"{"LOCAL":"there"}"#);
        let (first, second) = ("LOCAL".to_owned(), "LOCAL in the secrets manager".to_owned());
        assert_eq!(shown(&twice, "LOCAL"), Err(Fault::GivenTwice { first, second }));
    }

    #[test]
    fn what_is_replaced_is_seen_by_every_clone_but_not_within_one_moment() {
        let environment = environment(SECRET);
        let (clone, moment) = (environment.clone(), environment.at_this_moment());
        let fields = Fields::parse(r#"{"A":"new"}"#).unwrap();
        environment.managed().unwrap().replace(Revision { version: "4".into(), fields });
        assert_eq!(shown(&clone, "A").unwrap().unwrap().0, "new");
        assert_eq!(shown(&moment, "A").unwrap().unwrap().0, "last");
    }

    #[test]
    fn fields_are_compared_by_what_they_hold_and_edited_one_by_one() {
        let mut fields = Fields::parse(SECRET).unwrap();
        let again = Fields::parse(
            r#" {"N": 1.1, "T":true,"NULL" :null,"E":"","A":"\u006cast","RING":{ "k":"v"},"LIST":["x", "y"]}"#,
        );
        assert!(fields.hold_the_same(&again.unwrap()));
        for other in
            ["{}", r#"{"A":"last"}"#, &SECRET.replace("last", "Last"), &SECRET.replace("1.10", "2")]
        {
            assert!(!fields.hold_the_same(&Fields::parse(other).unwrap()), "{other}");
        }
        fields.set("A", "quo\"ted");
        fields.set("NEW", "n");
        fields.remove("LIST");
        assert_eq!(
            fields.to_json().expose_secret(),
            r#"{"A":"quo\"ted","RING":{"k":"v"},"N":1.10,"T":true,"NULL":null,"E":"","NEW":"n"}"#
        );
        assert_eq!(format!("{fields:?}"), "Fields(7)");
    }

    #[test]
    fn what_is_no_object_holds_no_fields() {
        for (text, unfit) in [
            ("", UnfitFields::NotJson),
            ("{", UnfitFields::NotJson),
            ("JWT_SECRET=x", UnfitFields::NotJson),
            ("\"text\"", UnfitFields::NotAnObject),
            ("[]", UnfitFields::NotAnObject),
            ("null", UnfitFields::NotAnObject),
        ] {
            assert_eq!(Fields::parse(text).err(), Some(unfit), "{text}");
        }
    }
}
