//! What a rewrap does to one column of one row.

use std::fmt;

use super::{
    cell::Cell,
    document::{self, DocumentError},
    registry::{Column, Kind},
    row::RowKey,
};
use crate::{
    envelope::{OpenError, SealError, Target},
    keyring::Keychain,
};

/// What became of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewrap {
    /// Nothing is left to do.
    Final,
    /// It changes to this.
    Changed(String),
}

/// A value of which something does not open. Nothing of it is rewrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unopenable {
    /// Every string that does not open: where, as a JSON pointer (empty for text),
    /// and why.
    pub leaves: Vec<(String, OpenError)>,
}

impl Unopenable {
    /// Why nothing can be sealed, if that is what failed: then the fault is with the
    /// keys and not with the value.
    #[must_use]
    pub fn seal_error(&self) -> Option<SealError> {
        self.leaves.iter().find_map(|(_, error)| match error {
            OpenError::Seal(error) => Some(*error),
            OpenError::NoKeyring(error) => Some(SealError::NoKeyring(*error)),
            _ => None,
        })
    }
}

impl fmt::Display for Unopenable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.leaves.as_slice() {
            [(path, error)] if path.is_empty() => write!(f, "{error}"),
            [(path, error)] => write!(f, "at {path:?}: {error}"),
            [(path, error), more @ ..] => {
                write!(f, "at {path:?}: {error} (and {} more)", more.len())
            }
            [] => f.write_str("nothing failed"),
        }
    }
}

impl std::error::Error for Unopenable {}

impl From<OpenError> for Unopenable {
    fn from(error: OpenError) -> Self {
        Self { leaves: vec![(String::new(), error)] }
    }
}

impl Column {
    /// Rewraps one value, whatever its kind: opened under the key that it names,
    /// sealed under the primary. A value that is final by its looks is not opened.
    ///
    /// # Errors
    /// [`Unopenable`] names every string that does not open; the value stays as it is.
    pub fn rewrap(
        &self,
        chain: &Keychain,
        row: &RowKey,
        value: &str,
        target: Target,
    ) -> Result<Rewrap, Unopenable> {
        let cell = Cell::new(self, chain, row, target).map_err(OpenError::from)?;
        let changed = match self.kind() {
            Kind::Text => cell.rewrap(value)?,
            Kind::TextArray | Kind::Json => document::rewrap(&cell, value).map_err(unopenable)?,
        };
        Ok(changed.map_or(Rewrap::Final, Rewrap::Changed))
    }
}

fn unopenable(error: DocumentError) -> Unopenable {
    let leaf = |path, why| Unopenable { leaves: vec![(path, OpenError::Document(why))] };
    match error {
        DocumentError::Unopenable(unopenable) => unopenable,
        DocumentError::NotUnicode { path } => leaf(path, "it holds half a surrogate pair"),
        DocumentError::NotTextArray => leaf(String::new(), "it is no array of text"),
        DocumentError::NotJson | DocumentError::NotDocument => {
            leaf(String::new(), "it is no JSON text")
        }
        DocumentError::Seal { path, error } => {
            Unopenable { leaves: vec![(path, OpenError::Seal(error))] }
        }
        DocumentError::NoKeyring(error) => OpenError::NoKeyring(error).into(),
        DocumentError::RowRequired => OpenError::RowRequired.into(),
    }
}
