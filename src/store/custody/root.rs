//! The root key, and those that it replaced.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{error::RootKeyError, root_file, sealed};
use crate::{
    keyring::sources::{
        Environment, Faults, ROOT_KEY, ROOT_KEY_PREVIOUS, Strictness, previous, told, weakness,
    },
    material::{Fingerprint, Material},
};

/// The fewest characters of a root key.
const MIN_LENGTH: usize = 32;

/// The root key that seals the key store, and previous ones that still open it. A clone
/// shares the keys, and does not copy them.
#[derive(Debug, Clone)]
pub struct RootKeys {
    primary: Arc<Material>,
    previous: Vec<Arc<Material>>,
    /// The file of its own that the primary one is kept in, in development.
    file: Option<PathBuf>,
}

impl RootKeys {
    /// A root key and those that it replaced.
    #[must_use]
    pub fn new(primary: Material, previous: Vec<Material>) -> Self {
        let previous = previous.into_iter().map(Arc::new).collect();
        Self { primary: Arc::new(primary), previous, file: None }
    }

    /// The root keys of `BREEZE_ROOT_KEY` and `BREEZE_ROOT_KEY_PREVIOUS`. Outside
    /// production, where none is set, that of the file at `path`, which is made if
    /// it is not there ([`Self::load_or_create`]).
    ///
    /// # Errors
    /// [`RootKeyError`], `Missing` in production or without a path.
    pub fn open(environment: &Environment, path: Option<&Path>) -> Result<Self, RootKeyError> {
        let (given, previous) = given(environment)?;
        match (given, path) {
            (Some(primary), _) => Ok(Self::new(primary, previous)),
            (None, Some(path)) if environment.strictness() != Strictness::Production => {
                let own = Self::load_or_create(path)?;
                Ok(Self { previous: previous.into_iter().map(Arc::new).collect(), ..own })
            }
            (None, _) => Err(RootKeyError::Missing),
        }
    }

    /// The root key of the file at `path`, of mode 0600. If there is none, one is
    /// made: of several processes that begin at once, all get the same.
    ///
    /// # Errors
    /// [`RootKeyError`] when others can read the file, or it holds no key.
    pub fn load_or_create(path: &Path) -> Result<Self, RootKeyError> {
        let primary = strong(root_file::load_or_create(path)?)?;
        Ok(Self { file: Some(path.to_owned()), ..Self::new(primary, Vec::new()) })
    }

    /// The root keys as they are now where these came from, and after them these: what
    /// was sealed under one of them still opens. No file is made.
    ///
    /// # Errors
    /// [`RootKeyError`] as [`Self::open`], and when the file is gone.
    pub fn reread(&self, environment: &Environment) -> Result<Self, RootKeyError> {
        let (given, previous) = given(environment)?;
        let primary = match (given, &self.file) {
            (Some(primary), _) => primary,
            (None, Some(path)) => strong(root_file::load(path)?)?,
            (None, None) => return Err(RootKeyError::Missing),
        };
        let mut now = Self { file: self.file.clone(), ..Self::new(primary, previous) };
        let older: Vec<_> = self.all().filter(|key| !now.holds(key)).cloned().collect();
        now.previous.extend(older);
        Ok(now)
    }

    /// Whether they can change while the process runs, because they come from a file or from
    /// a secrets manager.
    #[must_use]
    pub fn can_change(&self, environment: &Environment) -> bool {
        self.file.is_some() || environment.can_change()
    }

    /// The root key that seals.
    #[must_use]
    pub fn primary(&self) -> &Material {
        &self.primary
    }

    /// The same root keys, of which that of `fingerprint` seals; `None` if it is not
    /// among them.
    #[must_use]
    pub fn led_by(&self, fingerprint: Fingerprint) -> Option<Self> {
        let leads = |key: &&Arc<Material>| key.fingerprint() == fingerprint;
        let primary = Arc::clone(self.all().find(leads)?);
        let previous = self.all().filter(|key| !leads(key)).cloned().collect();
        Some(Self { primary, previous, file: self.file.clone() })
    }

    /// The fingerprint of each root key, the primary one first.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        self.all().map(|key| key.fingerprint())
    }

    /// Whether a sealed key is under the primary root key.
    #[must_use]
    pub fn is_current(&self, sealed: &str) -> bool {
        sealed::root_of(sealed) == Some(self.primary.fingerprint())
    }

    pub(super) fn get(&self, fingerprint: Fingerprint) -> Option<&Material> {
        self.all().find(|key| key.fingerprint() == fingerprint).map(|key| &**key)
    }

    fn holds(&self, key: &Material) -> bool {
        self.all().any(|held| **held == *key)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Material>> {
        std::iter::once(&self.primary).chain(&self.previous)
    }
}

/// The root key of a file, if it is long enough and no placeholder.
fn strong(primary: Material) -> Result<Material, RootKeyError> {
    match weakness(primary.expose_source(), MIN_LENGTH) {
        Some(weak) => Err(RootKeyError::File(weak.of("the root key", MIN_LENGTH))),
        None => Ok(primary),
    }
}

/// The root key of the environment, and the previous ones.
fn given(environment: &Environment) -> Result<(Option<Material>, Vec<Material>), Faults> {
    let environment = &environment.at_this_moment();
    let mut faults = Vec::new();
    let primary = told(environment.lookup(ROOT_KEY), &mut faults);
    let previous = told(previous(environment, &[ROOT_KEY_PREVIOUS]), &mut faults);
    if let Some(value) = &primary {
        let weak = weakness(value.expose_text(), MIN_LENGTH);
        faults.extend(weak.map(|weak| weak.of(value.name(), MIN_LENGTH)));
    }
    let primary = primary.map(|value| value.into_key().0);
    let previous = previous.into_iter().map(|(material, _)| material).collect();
    Faults::none_or(faults, (primary, previous))
}
