//! Whole documents and arrays: seals and opens the strings in them that are secrets.

use std::ops::Range;

use secrecy::{ExposeSecret, SecretString};

use super::{
    cell::{Cell, NoCell},
    json::{Leaf, Leaves, is_flat_array, splice},
    registry::{Column, Kind},
    rewrap::Unopenable,
    row::RowKey,
};
use crate::{
    envelope::{OpenError, SealError, Target},
    keyring::{Keychain, NoKeyring},
};

impl Column {
    /// Seals the secrets of a JSON document, or every string of a JSON array of
    /// text. All else is kept to the byte; empty strings stay empty.
    ///
    /// In a document, a string is a secret when its key, or the key of the arrays
    /// around it, is one of [`Column::secret_keys`] (FORMATS section 3.2).
    ///
    /// # Errors
    /// [`DocumentError`]: it is not what the column holds, or cannot be sealed.
    pub fn seal_document(
        &self,
        chain: &Keychain,
        row: &RowKey,
        json: &str,
        target: Target,
    ) -> Result<String, DocumentError> {
        let cell = Cell::new(self, chain, row, target)?;
        let Visited { texts, failed } = visit(&cell, json, |plaintext, is_secret| {
            is_secret.then(|| cell.seal(plaintext)).transpose()
        })?;
        match failed.into_iter().next() {
            Some((path, error)) => Err(DocumentError::Seal { path, error }),
            None => Ok(splice(json, &texts, String::as_str)),
        }
    }

    /// Opens every envelope of a JSON document, under whichever key it stands, or
    /// every string of a JSON array of text. All else is kept to the byte.
    ///
    /// An envelope under a key that is not secret opens too, and
    /// [`Column::seal_document`] would not seal it again: name its key with
    /// [`Column::with_secret_keys`].
    ///
    /// # Errors
    /// [`DocumentError`]: it is not what the column holds, or not every string of
    /// it opens; all that do not are named.
    pub fn open_document(
        &self,
        chain: &Keychain,
        row: &RowKey,
        json: &str,
        target: Target,
    ) -> Result<OpenedDocument, DocumentError> {
        let cell = Cell::new(self, chain, row, target)?;
        let mut is_stale = false;
        let visited = visit(&cell, json, |value, _| {
            let opened = cell.open(value)?;
            is_stale |= opened.is_stale;
            Ok(Some(opened.plaintext))
        })?;
        let texts = visited.all_or_unopenable()?;
        let json = splice(json, &texts, SecretString::expose_secret);
        Ok(OpenedDocument { json: json.into(), is_stale })
    }
}

/// A document or array, opened.
#[derive(Debug)]
pub struct OpenedDocument {
    /// The JSON text, each envelope in it replaced by its plaintext.
    pub json: SecretString,
    /// Whether a rewrap would change how it is stored.
    pub is_stale: bool,
}

/// The document or array in `cell` rewrapped; `None` when it is final.
pub(super) fn rewrap(cell: &Cell<'_>, json: &str) -> Result<Option<String>, DocumentError> {
    let texts = visit(cell, json, |value, _| cell.rewrap(value))?.all_or_unopenable()?;
    Ok((!texts.is_empty()).then(|| splice(json, &texts, String::as_str)))
}

/// What became of the values of one document.
struct Visited<T, E> {
    texts: Vec<(Range<usize>, T)>,
    failed: Vec<(String, E)>,
}

impl<T> Visited<T, OpenError> {
    fn all_or_unopenable(self) -> Result<Vec<(Range<usize>, T)>, Unopenable> {
        if self.failed.is_empty() {
            Ok(self.texts)
        } else {
            Err(Unopenable { leaves: self.failed })
        }
    }
}

/// Gives every value of `json` to `change`, with whether it stands where a secret
/// does. Values are the non-empty strings that stand so, or are envelopes already.
fn visit<T, E>(
    cell: &Cell<'_>,
    json: &str,
    mut change: impl FnMut(&str, bool) -> Result<Option<T>, E>,
) -> Result<Visited<T, E>, DocumentError> {
    let column = cell.column();
    let is_array = match column.kind() {
        Kind::Text => return Err(DocumentError::NotDocument),
        Kind::TextArray => true,
        Kind::Json => false,
    };
    let mut leaves =
        Leaves::new(json, |key| column.is_secret_key(key)).map_err(|_| DocumentError::NotJson)?;
    if is_array && !is_flat_array(json) {
        return Err(DocumentError::NotTextArray);
    }
    let mut visited = Visited { texts: Vec::new(), failed: Vec::new() };
    while let Some(Leaf { span, text, is_secret, depth }) = leaves.next() {
        let is_secret = if is_array { depth == 1 } else { is_secret };
        let text = match text {
            Some(text) if is_secret || cell.is_envelope(&text) => text,
            None if is_secret => return Err(DocumentError::NotUnicode { path: leaves.pointer() }),
            _ => continue,
        };
        match change(&text, is_secret) {
            Ok(Some(text)) => visited.texts.push((span, text)),
            Ok(None) => {}
            Err(error) => visited.failed.push((leaves.pointer(), error)),
        }
    }
    Ok(visited)
}

/// Why a document is not sealed or opened. Never holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The text is no JSON.
    #[error("it is no JSON text")]
    NotJson,
    /// The column holds arrays of text, and this is none.
    #[error("it is no JSON array of text without arrays in it")]
    NotTextArray,
    /// The column holds plain text.
    #[error("the column holds plain text; use `seal` and `open`")]
    NotDocument,
    /// A secret holds half a surrogate pair, so it is no Unicode text.
    #[error("the string at {path:?} holds half a surrogate pair; correct it")]
    NotUnicode {
        /// Where, as a JSON pointer.
        path: String,
    },
    /// Some of its strings do not open.
    #[error(transparent)]
    Unopenable(#[from] Unopenable),
    /// A string of it cannot be sealed.
    #[error("the string at {path:?} cannot be sealed: {error}")]
    Seal {
        /// Where, as a JSON pointer.
        path: String,
        /// Why.
        error: SealError,
    },
    /// There are no keys.
    #[error(transparent)]
    NoKeyring(#[from] NoKeyring),
    /// The column is bound by row, and the row has no name.
    #[error("the column is bound by row; name the row")]
    RowRequired,
}

impl From<NoCell> for DocumentError {
    fn from(no_cell: NoCell) -> Self {
        match no_cell {
            NoCell::NoKeyring(error) => Self::NoKeyring(error),
            NoCell::RowRequired => Self::RowRequired,
        }
    }
}
