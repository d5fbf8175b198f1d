//! Variables, wherever they are: in the process, in files, or in a test.

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::{self, Read},
    path::Path,
};

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{canonical::Identity, fault::Fault, json::trim, managed::Managed};
use crate::{
    catalog::Secret,
    keyring::Origin,
    material::{Fingerprint, Material},
};

/// The variable that names a directory of secret files, each called like the
/// variable that it stands for, as Docker and Kubernetes mount them.
pub const SECRETS_DIR: &str = "BREEZE_SECRETS_DIR";

/// More than any key or ring.
const FILE_LIMIT: u64 = 1 << 20;

/// Where variables are looked up. Files are read anew by every lookup.
#[derive(Debug, Clone)]
pub struct Environment {
    variables: Variables,
    managed: Option<Managed>,
}

#[derive(Debug, Clone)]
enum Variables {
    Process,
    Given(BTreeMap<String, SecretString>),
}

/// A text that is not empty, and where it came from.
#[derive(Debug)]
pub struct Value {
    text: SecretString,
    origin: Origin,
}

impl Value {
    /// `None` for the empty text.
    pub(super) fn new(text: impl Into<SecretString>, origin: Origin) -> Option<Self> {
        let text = text.into();
        (!text.expose_secret().is_empty()).then_some(Self { text, origin })
    }

    /// The text, verbatim. Search for this name to find every reader of it.
    #[must_use]
    pub fn expose_text(&self) -> &str {
        self.text.expose_secret()
    }

    /// The variable or file that held it.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The name of the variable or file that held it.
    #[must_use]
    pub fn name(&self) -> &str {
        name(&self.origin)
    }

    /// The key that it is.
    #[must_use]
    pub fn into_key(self) -> (Material, Origin) {
        (Material::new(self.text).expect("a value is not empty"), self.origin)
    }

    /// By what it is known again, as a value of `secret`.
    pub(super) fn identity(&self, secret: Secret) -> Identity {
        Identity::of(secret, &Material::new(self.text.clone()).expect("a value is not empty"))
    }

    /// Its name in every output, were it a key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Material::new(self.text.clone()).expect("a value is not empty").fingerprint()
    }

    /// User and password of a URL, as they stand in it: where a server is reached is the
    /// process's own matter. `None` for a URL without a password.
    pub(super) fn user_info(self) -> Option<Self> {
        Self::new(user_info(self.text.expose_secret())?, self.origin)
    }

    /// The same without white space around it; `None` when nothing is left.
    pub(super) fn trimmed(self) -> Option<Self> {
        Self::new(trim(self.text.expose_secret()), self.origin)
    }
}

/// The `user:password` of a URL, if it has a password.
pub(crate) fn user_info(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user_info, _) = authority.rsplit_once('@')?;
    let (_, password) = user_info.split_once(':')?;
    (!password.is_empty()).then_some(user_info)
}

/// The variable, file or field of a key that was read from the environment.
pub(super) fn name(origin: &Origin) -> &str {
    match origin {
        Origin::Environment(name) | Origin::File(name) | Origin::Manager(name) => name,
        Origin::Generated | Origin::Supplied | Origin::Unknown(_) => "",
    }
}

/// How much Breeze lets pass, from `NODE_ENV`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// `NODE_ENV=production`: every secret must be given.
    Production,
    /// Anything else: a missing secret is made up for.
    Development,
    /// `NODE_ENV=test`: Breeze's test literals stand in for missing keys.
    Test,
}

impl Environment {
    /// The variables of this process.
    #[must_use]
    pub const fn process() -> Self {
        Self { variables: Variables::Process, managed: None }
    }

    /// These variables and no others.
    #[must_use]
    pub fn given<N: Into<String>, T: Into<SecretString>>(
        variables: impl IntoIterator<Item = (N, T)>,
    ) -> Self {
        let variables = variables.into_iter().map(|(name, text)| (name.into(), text.into()));
        Self { variables: Variables::Given(variables.collect()), managed: None }
    }

    /// The same, and the fields of a secrets manager beside it.
    #[must_use]
    pub fn managed_by(self, managed: Managed) -> Self {
        Self { managed: Some(managed), ..self }
    }

    /// What its secrets manager holds, if it has one.
    #[must_use]
    pub const fn managed(&self) -> Option<&Managed> {
        self.managed.as_ref()
    }

    /// The same with the manager's fields as they are now, for lookups that belong
    /// together: of a secret that changes meanwhile, they see one version.
    pub(crate) fn at_this_moment(&self) -> Self {
        let managed = self.managed.as_ref().map(Managed::at_this_moment);
        Self { variables: self.variables.clone(), managed }
    }

    /// The value of `name`: from the variable itself, from the file that
    /// `<name>_FILE` names (a trailing newline is dropped), from the file `<name>` in
    /// the directory of [`SECRETS_DIR`], or from the field `<name>` of the secrets
    /// manager. Empty variables are unset, as they are to Breeze.
    ///
    /// # Errors
    /// [`Fault`] when more than one of them is set, or one cannot be read.
    pub fn lookup(&self, name: &str) -> Result<Option<Value>, Fault> {
        let mut found = None;
        let sources = [Self::direct, Self::in_named_file, Self::in_directory, Self::in_manager];
        for source in sources {
            match (source(self, name)?, &found) {
                (Some(second), Some(first)) => return Err(given_twice(first, &second)),
                (Some(value), None) => found = Some(value),
                (None, _) => {}
            }
        }
        Ok(found)
    }

    /// Whether any variable can change while the process runs: it is read from a file,
    /// or from a secrets manager.
    #[must_use]
    pub fn can_change(&self) -> bool {
        let names_a_file = |name: &str| name == SECRETS_DIR || name.ends_with("_FILE");
        if self.managed.is_some() {
            return true;
        }
        match &self.variables {
            Variables::Given(given) => given.keys().any(|name| names_a_file(name)),
            Variables::Process => {
                env::vars_os().any(|(name, _)| name.to_str().is_some_and(names_a_file))
            }
        }
    }

    /// The value of the first of `names` that is set.
    ///
    /// # Errors
    /// [`Fault`] as [`Self::lookup`].
    pub fn first(&self, names: &[&str]) -> Result<Option<Value>, Fault> {
        names.iter().find_map(|name| self.lookup(name).transpose()).transpose()
    }

    /// What `NODE_ENV` says.
    #[must_use]
    pub fn strictness(&self) -> Strictness {
        match self.variable("NODE_ENV") {
            Ok(Some(text)) if *text == "production" => Strictness::Production,
            Ok(Some(text)) if *text == "test" => Strictness::Test,
            _ => Strictness::Development,
        }
    }

    fn direct(&self, name: &str) -> Result<Option<Value>, Fault> {
        let origin = || Origin::Environment(name.to_owned());
        Ok(self.variable(name)?.and_then(|text| Value::new(text.as_str(), origin())))
    }

    fn in_named_file(&self, name: &str) -> Result<Option<Value>, Fault> {
        let name = format!("{name}_FILE");
        let Some(path) = self.variable(&name)? else { return Ok(None) };
        match read(Path::new(path.as_str()), &name)? {
            Some(text) => Ok(Some(Value { text, origin: Origin::File(name) })),
            None => Err(Fault::Unreadable { name, kind: io::ErrorKind::NotFound }),
        }
    }

    fn in_directory(&self, name: &str) -> Result<Option<Value>, Fault> {
        let Some(directory) = self.variable(SECRETS_DIR)? else { return Ok(None) };
        let directory = Path::new(directory.as_str());
        if !directory.is_dir() {
            let kind = io::ErrorKind::NotADirectory;
            return Err(Fault::Unreadable { name: SECRETS_DIR.to_owned(), kind });
        }
        let text = read(&directory.join(name), name)?;
        Ok(text.map(|text| Value { text, origin: Origin::File(name.to_owned()) }))
    }

    fn in_manager(&self, name: &str) -> Result<Option<Value>, Fault> {
        self.managed.as_ref().map_or(Ok(None), |managed| managed.lookup(name))
    }

    fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Fault> {
        let text = match &self.variables {
            Variables::Given(given) => given.get(name).map(|text| text.expose_secret().to_owned()),
            Variables::Process => match env::var(name) {
                Ok(text) => Some(text),
                Err(env::VarError::NotPresent) => None,
                Err(env::VarError::NotUnicode(_)) => {
                    return Err(Fault::NotText { name: name.to_owned() });
                }
            },
        };
        Ok(text.filter(|text| !text.is_empty()).map(Zeroizing::new))
    }
}

fn given_twice(first: &Value, second: &Value) -> Fault {
    let shown = |value: &Value| match &value.origin {
        Origin::File(name) if !name.ends_with("_FILE") => format!("{name} in {SECRETS_DIR}"),
        Origin::Manager(name) => format!("{name} in the secrets manager"),
        _ => value.name().to_owned(),
    };
    Fault::GivenTwice { first: shown(first), second: shown(second) }
}

/// The text of a file without its trailing newline; `None` when there is no file.
fn read(path: &Path, name: &str) -> Result<Option<SecretString>, Fault> {
    let name = || name.to_owned();
    let unreadable = |error: io::Error| Fault::Unreadable { name: name(), kind: error.kind() };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(unreadable)?,
    };
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(Fault::FileTooLarge { name: name() });
    }
    let text = str::from_utf8(&bytes).map_err(|_| Fault::NotText { name: name() })?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() { Err(Fault::EmptyFile { name: name() }) } else { Ok(Some(text.into())) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn shown(environment: &Environment, name: &str) -> Result<Option<(String, Origin)>, Fault> {
        let value = environment.lookup(name)?;
        Ok(value.map(|value| (value.text.expose_secret().to_owned(), value.origin)))
    }

    #[test]
    fn a_file_gives_its_text_without_the_trailing_newline() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        for (content, expected) in
            [("a key", "a key"), (" k \n", " k "), ("k\r\n", "k"), ("k\n\n", "k\n")]
        {
            fs::write(&path, content).unwrap();
            let environment = Environment::given([("X_FILE", path.to_str().unwrap())]);
            let expected = (expected.to_owned(), Origin::File("X_FILE".to_owned()));
            assert_eq!(shown(&environment, "X"), Ok(Some(expected)));
        }
    }

    #[test]
    fn a_file_that_holds_no_key_is_a_fault_by_its_variable() {
        let directory = tempfile::tempdir().unwrap();
        let name = || "X_FILE".to_owned();
        let path = |entry: &str| directory.path().join(entry).to_str().unwrap().to_owned();
        fs::write(path("empty"), "\n").unwrap();
        fs::write(path("binary"), [0xff, 0xfe]).unwrap();
        fs::write(path("large"), vec![b'k'; (1 << 20) + 1]).unwrap();
        for (entry, fault) in [
            ("empty", Fault::EmptyFile { name: name() }),
            ("binary", Fault::NotText { name: name() }),
            ("large", Fault::FileTooLarge { name: name() }),
            ("absent", Fault::Unreadable { name: name(), kind: io::ErrorKind::NotFound }),
            (".", Fault::Unreadable { name: name(), kind: io::ErrorKind::IsADirectory }),
        ] {
            let environment = Environment::given([("X_FILE", path(entry))]);
            assert_eq!(shown(&environment, "X"), Err(fault));
        }
    }

    #[test]
    fn of_a_url_user_and_password_are_the_credential() {
        for (url, user_info) in [
            ("postgres://api:p%40ss@db.example:5432/breeze?sslmode=require", Some("api:p%40ss")),
            ("postgres://api:p@ss@db/breeze", Some("api:p@ss")),
            ("redis://:hunter2@[::1]:6379/0", Some(":hunter2")),
            ("postgres://api@db/breeze?note=a:b@c", None),
            ("postgres://db:5432/breeze", None),
            ("postgres://api:@db", None),
            ("sqlite://breeze.db", None),
            ("neither", None),
        ] {
            let value = Value::new(url, Origin::Supplied).unwrap().user_info();
            let shown = value.map(|value| value.expose_text().to_owned());
            assert_eq!(shown.as_deref(), user_info, "{url}");
        }
    }

    #[test]
    fn a_directory_gives_each_file_under_its_name() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("X"), "mounted\n").unwrap();
        let at = directory.path().to_str().unwrap();
        let environment = Environment::given([(SECRETS_DIR, at)]);
        let mounted = ("mounted".to_owned(), Origin::File("X".to_owned()));
        assert_eq!(shown(&environment, "X"), Ok(Some(mounted)));
        assert_eq!(shown(&environment, "Y"), Ok(None));

        let twice = Environment::given([(SECRETS_DIR, at), ("X", "direct")]);
        let (first, second) = ("X".to_owned(), "X in BREEZE_SECRETS_DIR".to_owned());
        assert_eq!(shown(&twice, "X"), Err(Fault::GivenTwice { first, second }));

        let gone = Environment::given([(SECRETS_DIR, "/nonexistent")]);
        assert!(
            matches!(shown(&gone, "X"), Err(Fault::Unreadable { name, .. }) if name == SECRETS_DIR)
        );
    }

    #[test]
    fn only_a_variable_that_names_a_file_can_change() {
        for (name, can_change) in
            [("X", false), ("X_FILE", true), (SECRETS_DIR, true), ("X_FILES", false)]
        {
            assert_eq!(
                Environment::given([(name, "somewhere")]).can_change(),
                can_change,
                "{name}"
            );
        }
    }

    #[test]
    fn a_variable_and_its_file_together_are_a_fault_and_an_empty_one_is_unset() {
        let twice = Environment::given([("X", "direct"), ("X_FILE", "/dev/null")]);
        assert!(shown(&twice, "X").is_err());
        let both = Environment::given([("X", "direct"), ("X_FILE", file!())]);
        let (first, second) = ("X".to_owned(), "X_FILE".to_owned());
        assert_eq!(shown(&both, "X"), Err(Fault::GivenTwice { first, second }));
        assert_eq!(shown(&Environment::given([("X", "")]), "X"), Ok(None));
    }
}
