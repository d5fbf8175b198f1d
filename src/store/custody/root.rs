//! The root key, and those that it replaced.

use std::path::Path;

use super::{error::RootKeyError, root_file, sealed};
use crate::{
    keyring::sources::{
        Environment, Faults, ROOT_KEY, ROOT_KEY_PREVIOUS, Strictness, previous, told, weakness,
    },
    material::{Fingerprint, Material},
};

/// The fewest characters of a root key.
const MIN_LENGTH: usize = 32;

/// The root key that seals the key store, and previous ones that still open it.
#[derive(Debug)]
pub struct RootKeys {
    primary: Material,
    previous: Vec<Material>,
}

impl RootKeys {
    /// A root key and those that it replaced.
    #[must_use]
    pub const fn new(primary: Material, previous: Vec<Material>) -> Self {
        Self { primary, previous }
    }

    /// The root keys of `BREEZE_ROOT_KEY` and `BREEZE_ROOT_KEY_PREVIOUS`. Outside
    /// production, where none is set, that of the file at `path`, which is made if
    /// it is not there ([`Self::load_or_create`]).
    ///
    /// # Errors
    /// [`RootKeyError`], `Missing` in production or without a path.
    pub fn open(environment: &Environment, path: Option<&Path>) -> Result<Self, RootKeyError> {
        let (given, previous) = given(environment)?;
        let primary = match (given, path) {
            (Some(primary), _) => primary,
            (None, Some(path)) if environment.strictness() != Strictness::Production => {
                Self::load_or_create(path)?.primary
            }
            (None, _) => return Err(RootKeyError::Missing),
        };
        Ok(Self::new(primary, previous))
    }

    /// The root key of the file at `path`, of mode 0600. If there is none, one is
    /// made: of several processes that begin at once, all get the same.
    ///
    /// # Errors
    /// [`RootKeyError`] when others can read the file, or it holds no key.
    pub fn load_or_create(path: &Path) -> Result<Self, RootKeyError> {
        let primary = root_file::load_or_create(path)?;
        match weakness(primary.expose_source(), MIN_LENGTH) {
            Some(weak) => Err(RootKeyError::File(weak.of("the root key", MIN_LENGTH))),
            None => Ok(Self::new(primary, Vec::new())),
        }
    }

    /// The root key that seals.
    #[must_use]
    pub const fn primary(&self) -> &Material {
        &self.primary
    }

    /// The fingerprint of each root key, the primary one first.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        self.all().map(Material::fingerprint)
    }

    /// Whether a sealed key is under the primary root key.
    #[must_use]
    pub fn is_current(&self, sealed: &str) -> bool {
        sealed::root_of(sealed) == Some(self.primary.fingerprint())
    }

    pub(super) fn get(&self, fingerprint: Fingerprint) -> Option<&Material> {
        self.all().find(|key| key.fingerprint() == fingerprint)
    }

    fn all(&self) -> impl Iterator<Item = &Material> {
        std::iter::once(&self.primary).chain(&self.previous)
    }
}

/// The root key of the environment, and the previous ones.
fn given(environment: &Environment) -> Result<(Option<Material>, Vec<Material>), Faults> {
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
