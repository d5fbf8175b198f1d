//! What a handler gets: sealed columns by name.

use std::{fmt, sync::Arc};

use secrecy::SecretString;

use super::{layer::Shared, stale::StaleRow};
use crate::{
    column::{Column, DocumentError, Opened, OpenedDocument, RowKey},
    envelope::{OpenError, SealError},
    keyring::{Fenced, Keychain},
    problem::Problem,
};

/// Opens and seals the values of registered columns, all under one keychain.
///
/// The keychain is kept for as long as this or a clone of it: drop it with the
/// request, since a rollover waits for older keychains to be out of use.
#[derive(Clone)]
pub struct Sealed {
    keychain: Arc<Keychain>,
    pub(super) shared: Arc<Shared>,
}

impl Sealed {
    pub(super) const fn new(keychain: Arc<Keychain>, shared: Arc<Shared>) -> Self {
        Self { keychain, shared }
    }

    /// The keychain of this request.
    #[must_use]
    pub const fn keychain(&self) -> &Arc<Keychain> {
        &self.keychain
    }

    /// Whether values may be opened: the lease under which the keys were read runs, or
    /// [`SealedLayer::accepting_while_fenced`](super::SealedLayer::accepting_while_fenced)
    /// was asked for.
    ///
    /// # Errors
    /// [`Fenced`] from the end of that lease on, for ever.
    pub fn check(&self) -> Result<(), Fenced> {
        if self.shared.accepts_while_fenced { Ok(()) } else { self.keychain.fence().check() }
    }

    /// What came of using keys of this request, if it came in time: whatever looks into a
    /// [`Sealed::keychain`] on its own judges what it found by this, afterwards. A key that
    /// is not there may be the one that others make things with; so a refusal never passes
    /// without the lease, and a success only where [`Sealed::check`] lets it.
    ///
    /// # Errors
    /// [`Fenced`] in the place of an outcome that came too late.
    pub fn in_time<T, E: From<Fenced>>(&self, outcome: Result<T, E>) -> Result<T, E> {
        self.keychain.fence().in_time(outcome, self.shared.accepts_while_fenced)
    }

    /// Opens one text value, and offers its row for rewrapping if it is stale. What
    /// names a key that was retired is refused: [`Sealed::read`] looks further.
    ///
    /// # Errors
    /// [`SealedError`]: the column is not registered, the value does not open there, or
    /// the process has lost its lease since the request was let in.
    pub fn open(
        &self,
        table: &str,
        column: &str,
        row: impl Into<RowKey>,
        value: &str,
    ) -> Result<SecretString, SealedError> {
        let (column, row) = (self.column(table, column)?, row.into());
        let opened = self.text_under(&self.keychain, column, &row, value);
        let Opened { plaintext, is_stale } = self.in_time(opened)?;
        self.offer_if(is_stale, table, &row);
        Ok(plaintext)
    }

    /// Seals one text value.
    ///
    /// # Errors
    /// [`SealedError`]: the column is not registered, or nothing can be sealed.
    pub fn seal(
        &self,
        table: &str,
        column: &str,
        row: impl Into<RowKey>,
        plaintext: &str,
    ) -> Result<String, SealedError> {
        let column = self.column(table, column)?;
        column
            .seal(&self.keychain, &row.into(), plaintext, self.shared.target)
            .map_err(|error| SealedError::Seal { column: column.to_string(), error })
    }

    /// Opens the secrets of a JSON document, or of a JSON array of text, as
    /// [`Column::open_document`] does, and offers its row if anything in it is stale.
    ///
    /// # Errors
    /// [`SealedError`]: the column is not registered, or something does not open there.
    pub fn open_document(
        &self,
        table: &str,
        column: &str,
        row: impl Into<RowKey>,
        json: &str,
    ) -> Result<SecretString, SealedError> {
        let (column, row) = (self.column(table, column)?, row.into());
        let opened = self.document_under(&self.keychain, column, &row, json);
        let Opened { plaintext, is_stale } = self.in_time(opened)?;
        self.offer_if(is_stale, table, &row);
        Ok(plaintext)
    }

    /// Seals the secrets of a JSON document, or of a JSON array of text, as
    /// [`Column::seal_document`] does.
    ///
    /// # Errors
    /// [`SealedError`]: the column is not registered, or the document cannot be sealed.
    pub fn seal_document(
        &self,
        table: &str,
        column: &str,
        row: impl Into<RowKey>,
        json: &str,
    ) -> Result<String, SealedError> {
        let column = self.column(table, column)?;
        column
            .seal_document(&self.keychain, &row.into(), json, self.shared.target)
            .map_err(|error| SealedError::Document { column: column.to_string(), error })
    }

    /// Opens one text value of `column` under `keychain`.
    pub(super) fn text_under(
        &self,
        keychain: &Keychain,
        column: &Column,
        row: &RowKey,
        value: &str,
    ) -> Result<Opened, SealedError> {
        column
            .open(keychain, row, value, self.shared.target)
            .map_err(|error| SealedError::Open { column: column.to_string(), error })
    }

    /// Opens a document, or an array of text, of `column` under `keychain`.
    pub(super) fn document_under(
        &self,
        keychain: &Keychain,
        column: &Column,
        row: &RowKey,
        json: &str,
    ) -> Result<Opened, SealedError> {
        let OpenedDocument { json, is_stale } = column
            .open_document(keychain, row, json, self.shared.target)
            .map_err(|error| SealedError::Document { column: column.to_string(), error })?;
        Ok(Opened { plaintext: json, is_stale })
    }

    pub(super) fn column(&self, table: &str, column: &str) -> Result<&Column, SealedError> {
        self.shared.registry.column(table, column).ok_or_else(|| SealedError::Unregistered {
            table: table.to_owned(),
            column: column.to_owned(),
        })
    }

    pub(super) fn offer_if(&self, is_stale: bool, table: &str, row: &RowKey) {
        if let Some(sink) = self.shared.sink.as_deref().filter(|_| is_stale) {
            sink.offer(StaleRow { table: table.to_owned(), row: row.clone() });
        }
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("epoch", &self.keychain.epoch()).finish_non_exhaustive()
    }
}

/// Why a handler does not get what it asked for. Never holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealedError {
    /// The registry has no such column.
    #[error("{table}.{column} is not a registered sealed column; register it")]
    Unregistered {
        /// Which table.
        table: String,
        /// Which column.
        column: String,
    },
    /// The value does not open.
    #[error("{column} does not open: {error}")]
    Open {
        /// `<table>.<column>`.
        column: String,
        /// Why.
        error: OpenError,
    },
    /// The value cannot be sealed.
    #[error("{column} cannot be sealed: {error}")]
    Seal {
        /// `<table>.<column>`.
        column: String,
        /// Why.
        error: SealError,
    },
    /// Nothing is opened without the lease.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// The document is neither opened nor sealed.
    #[error("{column}: {error}")]
    Document {
        /// `<table>.<column>`.
        column: String,
        /// Why.
        error: DocumentError,
    },
}

impl SealedError {
    /// Whether nothing is at fault but that this process has lost its lease.
    #[must_use]
    pub const fn fenced(&self) -> Option<Fenced> {
        match self {
            Self::Fenced(fenced)
            | Self::Seal { error: SealError::Fenced(fenced), .. }
            | Self::Document {
                error: DocumentError::Seal { error: SealError::Fenced(fenced), .. },
                ..
            } => Some(*fenced),
            _ => None,
        }
    }
}

/// The cause goes to the log; the caller learns that it is not its fault, or to try
/// again.
impl From<SealedError> for Problem {
    fn from(error: SealedError) -> Self {
        if let Some(fenced) = error.fenced() {
            return fenced.into();
        }
        tracing::error!(%error, "a sealed value could not be used");
        Self::internal()
    }
}

#[cfg(feature = "admin")]
impl axum::response::IntoResponse for SealedError {
    fn into_response(self) -> axum::response::Response {
        Problem::from(self).into_response()
    }
}
