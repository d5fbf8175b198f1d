//! What a handler opens and seals with.

use std::{fmt, sync::Arc};

use secrecy::SecretString;

use crate::{
    column::{Column, DocumentError, Registry, RowKey},
    envelope::{OpenError, SealError, Target},
    keyring::Keychain,
};

/// A row in which something stale was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleRow {
    /// Which table.
    pub table: String,
    /// Which row.
    pub row: RowKey,
}

/// Where stale rows are offered for a lazy rewrap.
pub trait StaleSink: fmt::Debug + Send + Sync + 'static {
    /// Takes `stale`, or drops and counts it. Never waits.
    fn offer(&self, stale: StaleRow);
}

/// Opens and seals values with one snapshot of the keychain. In the extensions of
/// every request behind a [`SealedLayer`](super::SealedLayer); cheap to clone.
#[derive(Debug, Clone)]
pub struct Sealed {
    pub(super) keys: Arc<Keychain>,
    pub(super) registry: Arc<Registry>,
    pub(super) target: Target,
    pub(super) lazy: Option<Arc<dyn StaleSink>>,
}

impl Sealed {
    /// The plaintext of one text value of `table`.`column` in `row`.
    ///
    /// # Errors
    /// [`SealedError`]: the column is not registered, or the value does not open.
    pub fn open(
        &self,
        table: &str,
        column: &str,
        row: impl Into<RowKey>,
        value: &str,
    ) -> Result<SecretString, SealedError> {
        let (column, row) = (self.column(table, column)?, row.into());
        let opened = column.open(&self.keys, &row, value, self.target)?;
        self.note(column, row, opened.is_stale);
        Ok(opened.plaintext)
    }

    /// `plaintext` sealed for `table`.`column` in `row`.
    ///
    /// # Errors
    /// [`SealedError`]: the column is not registered, or there is no key to seal with.
    pub fn seal(
        &self,
        table: &str,
        column: &str,
        row: impl Into<RowKey>,
        plaintext: &str,
    ) -> Result<String, SealedError> {
        let column = self.column(table, column)?;
        Ok(column.seal(&self.keys, &row.into(), plaintext, self.target)?)
    }

    /// A document, or a JSON array of text, with its secrets opened.
    ///
    /// # Errors
    /// [`SealedError`]: the column is not registered, or something does not open.
    pub fn open_document(
        &self,
        table: &str,
        column: &str,
        row: impl Into<RowKey>,
        json: &str,
    ) -> Result<SecretString, SealedError> {
        let (column, row) = (self.column(table, column)?, row.into());
        let opened = column.open_document(&self.keys, &row, json, self.target)?;
        self.note(column, row, opened.is_stale);
        Ok(opened.json)
    }

    /// A document, or a JSON array of text, with its secrets sealed.
    ///
    /// # Errors
    /// [`SealedError`]: the column is not registered, or something cannot be sealed.
    pub fn seal_document(
        &self,
        table: &str,
        column: &str,
        row: impl Into<RowKey>,
        json: &str,
    ) -> Result<String, SealedError> {
        let column = self.column(table, column)?;
        Ok(column.seal_document(&self.keys, &row.into(), json, self.target)?)
    }

    /// The keychain of this moment.
    #[must_use]
    pub const fn keychain(&self) -> &Arc<Keychain> {
        &self.keys
    }

    fn column(&self, table: &str, column: &str) -> Result<&Column, SealedError> {
        self.registry
            .column(table, column)
            .ok_or_else(|| SealedError::NotRegistered(format!("{table}.{column}")))
    }

    fn note(&self, column: &Column, row: RowKey, is_stale: bool) {
        if is_stale && let Some(lazy) = &self.lazy {
            lazy.offer(StaleRow { table: column.table().to_owned(), row });
        }
    }
}

/// A value was not opened or sealed. Never holds any part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// The column is not in the registry.
    #[error("{0} is not registered; add it to the registry, or correct its name")]
    NotRegistered(String),
    /// The value does not open.
    #[error("the value does not open: {0}")]
    Open(#[from] OpenError),
    /// There is no way to seal.
    #[error("the value was not sealed: {0}")]
    Seal(#[from] SealError),
    /// A document does not open, or cannot be sealed.
    #[error("the document was not opened or sealed: {0}")]
    Document(#[from] DocumentError),
}

/// The cause goes to the log; the caller learns that it is not its fault.
#[cfg(feature = "admin")]
impl axum::response::IntoResponse for SealedError {
    fn into_response(self) -> axum::response::Response {
        tracing::error!(error = %self, "a sealed value could not be used");
        crate::problem::Problem::internal().into_response()
    }
}
