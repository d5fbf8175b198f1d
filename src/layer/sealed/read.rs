//! Reads what was sealed under a key that is retired by now, as well.
//!
//! 1. A value that opens under the keychain of the request is opened without waiting.
//! 2. One that lacks nothing but a key opens when a [`Custodian`] gives that key, by all
//!    the rules of its column: its context, and the forms that it takes.
//! 3. Such a row is offered for rewrapping, and the custodian is told.

use std::{collections::BTreeSet, sync::Arc};

use secrecy::SecretString;

use super::{
    access::{Sealed, SealedError},
    straggler::{Custodian, Straggler},
};
use crate::{
    column::{Column, DocumentError, RowKey},
    envelope::{OpenError, Opened},
    ids::KeyId,
    keyring::Keychain,
};

impl Sealed {
    /// Opens one text value, as [`Sealed::open`] does; one under a key that was retired
    /// since too, if that key is in custody and not compromised. Such a value was sealed
    /// before and written after: its row is offered for rewrapping, and it is told.
    ///
    /// Waits only for such a value.
    ///
    /// # Errors
    /// As [`Sealed::open`].
    ///
    /// # Cancel safety
    /// Cancel safe: nothing changes but what is told.
    pub async fn read(
        &self,
        table: &str,
        column: &str,
        row: impl Into<RowKey>,
        value: &str,
    ) -> Result<SecretString, SealedError> {
        let (column, row) = (self.column(table, column)?, row.into());
        let open = |keychain: &Keychain| self.text_under(keychain, column, &row, value);
        self.open_or_fetch(column, &row, open).await
    }

    /// Opens a document, or an array of text, as [`Sealed::open_document`] does, and
    /// what is in it as [`Sealed::read`] does.
    ///
    /// # Errors
    /// As [`Sealed::open_document`].
    ///
    /// # Cancel safety
    /// Cancel safe: nothing changes but what is told.
    pub async fn read_document(
        &self,
        table: &str,
        column: &str,
        row: impl Into<RowKey>,
        json: &str,
    ) -> Result<SecretString, SealedError> {
        let (column, row) = (self.column(table, column)?, row.into());
        let open = |keychain: &Keychain| self.document_under(keychain, column, &row, json);
        self.open_or_fetch(column, &row, open).await
    }

    /// What `open` opens of a row, under the keychain of the request or, if nothing is
    /// wrong but that a key is retired, under one that has it.
    async fn open_or_fetch(
        &self,
        column: &Column,
        row: &RowKey,
        open: impl Fn(&Keychain) -> Result<Opened, SealedError>,
    ) -> Result<SecretString, SealedError> {
        let refused = match self.in_time(open(self.keychain())) {
            Ok(Opened { plaintext, is_stale }) => {
                self.offer_if(is_stale, column.table(), row);
                return Ok(plaintext);
            }
            Err(refused) => refused,
        };
        let Some(fetched) = self.fetch(&refused).await else { return self.in_time(Err(refused)) };
        let Opened { plaintext, .. } = self.in_time(open(&fetched.keychain))?;
        self.tell(fetched, column, row).await;
        Ok(plaintext)
    }

    /// A keychain with the keys for want of which something was refused.
    async fn fetch(&self, refused: &SealedError) -> Option<Fetched<'_>> {
        let custodian = self.shared.custodian.as_deref()?;
        let keys = refused.unknown_keys()?;
        let keychain = custodian.fetch(&keys).await?;
        Some(Fetched { custodian, keys, keychain })
    }

    /// Tells of a straggler, and has it rewrapped.
    async fn tell(&self, fetched: Fetched<'_>, column: &Column, row: &RowKey) {
        self.offer_if(true, column.table(), row);
        let Fetched { custodian, keys, .. } = fetched;
        let (secret, row) = (column.secret(), row.clone());
        custodian.opened(Straggler { column: column.to_string(), secret, row, keys }).await;
    }
}

/// Retired keys, fetched for one value.
struct Fetched<'a> {
    custodian: &'a dyn Custodian,
    keys: Vec<KeyId>,
    keychain: Arc<Keychain>,
}

impl SealedError {
    /// The keys that would be needed, if nothing is wrong but that they are not at hand.
    fn unknown_keys(&self) -> Option<Vec<KeyId>> {
        let unknown = |error: &OpenError| match error {
            OpenError::UnknownKey(key) => Some(key.clone()),
            _ => None,
        };
        match self {
            Self::Open { error, .. } => Some(vec![unknown(error)?]),
            Self::Document { error: DocumentError::Unopenable(bad), .. } => {
                let keys: Option<BTreeSet<_>> =
                    bad.leaves.iter().map(|(_, error)| unknown(error)).collect();
                Some(keys?.into_iter().collect())
            }
            _ => None,
        }
    }
}
