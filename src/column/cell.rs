//! One column of one row under one keychain: opens and seals single values.

use std::borrow::Cow;

use secrecy::{ExposeSecret, SecretString};

use super::{
    registry::{Binding, Column},
    row::RowKey,
};
use crate::{
    catalog::Secret,
    envelope::{self, Envelope, Form, OpenError, Opened, SealError, Target, Unsealed},
    keyring::{Keychain, Keyring, NoKeyring, Sealing},
};

impl Column {
    /// What values in `row` are bound to: `<table>.<column>`, or
    /// `<table>.<column>:<row id>` (FORMATS section 2.4).
    #[must_use]
    pub fn aad(&self, row: &RowKey) -> String {
        self.aad_in(row).into_owned()
    }

    /// Seals one text value. Empty text stays empty; text that itself begins as an
    /// envelope is sealed like any other.
    ///
    /// # Errors
    /// [`SealError`]: no keys, a spent budget, no randomness, or no row to bind to.
    pub fn seal(
        &self,
        chain: &Keychain,
        row: &RowKey,
        plaintext: &str,
        target: Target,
    ) -> Result<String, SealError> {
        Cell::new(self, chain, row, target)?.seal(plaintext)
    }

    /// Opens one text value. Plaintext opens as itself, and is stale, unless the
    /// column is migrated; empty text is empty.
    ///
    /// # Errors
    /// [`OpenError`] tells why it does not open here.
    pub fn open(
        &self,
        chain: &Keychain,
        row: &RowKey,
        value: &str,
        target: Target,
    ) -> Result<Opened, OpenError> {
        Cell::new(self, chain, row, target)?.open(value)
    }

    fn aad_in(&self, row: &RowKey) -> Cow<'_, str> {
        match self.binding() {
            Binding::Column => Cow::Borrowed(self.qualified()),
            Binding::Row => Cow::Owned(format!("{}:{row}", self.qualified())),
        }
    }
}

/// The forms that are final in `column`, the one that is written first.
pub(super) fn final_forms(column: &Column, target: Target) -> &'static [Form] {
    let bound = target == Target::Bound || column.is_migrated();
    match (column.secret(), bound, column.binding()) {
        (Secret::MfaEncryptionKey, true, _) => &[Form::MfaV2],
        (Secret::MfaEncryptionKey, false, _) => &[Form::MfaV1],
        (_, true, _) | (_, _, Binding::Row) => &[Form::EncV3],
        // Breeze leaves `enc:v3` alone when it writes `enc:v2`.
        (_, false, Binding::Column) => &[Form::EncV2, Form::EncV3],
    }
}

/// One column of one row under one keychain, with all that opening and sealing need.
pub(super) struct Cell<'a> {
    column: &'a Column,
    chain: &'a Keychain,
    ring: &'a Keyring<Sealing>,
    aad: Cow<'a, str>,
    final_forms: &'static [Form],
}

/// What keeps a cell from being worked on at all.
pub(super) enum NoCell {
    NoKeyring(NoKeyring),
    RowRequired,
}

impl<'a> Cell<'a> {
    pub(super) fn new(
        column: &'a Column,
        chain: &'a Keychain,
        row: &RowKey,
        target: Target,
    ) -> Result<Self, NoCell> {
        if column.binding() == Binding::Row && row.is_empty() {
            return Err(NoCell::RowRequired);
        }
        let ring = chain.sealing(column.secret()).map_err(NoCell::NoKeyring)?;
        let final_forms = final_forms(column, target);
        Ok(Self { column, chain, ring, aad: column.aad_in(row), final_forms })
    }

    pub(super) const fn column(&self) -> &'a Column {
        self.column
    }

    pub(super) fn seal(&self, plaintext: &str) -> Result<String, SealError> {
        envelope::seal(self.ring, self.final_forms[0], &self.aad, plaintext)
    }

    pub(super) fn open(&self, value: &str) -> Result<Opened, OpenError> {
        if value.is_empty() {
            return Ok(Opened { plaintext: SecretString::default(), is_stale: false });
        }
        let Some(form) = self.form_of(value) else {
            return match self.column.is_migrated() {
                true => Err(OpenError::DowngradeRefused),
                false => Ok(Opened { plaintext: SecretString::from(value), is_stale: true }),
            };
        };
        if self.column.is_migrated() && !self.final_forms.contains(&form) {
            return Err(OpenError::DowngradeRefused);
        }
        let Unsealed { plaintext, key, is_canonical } = self.unseal(form, value)?;
        let is_final = self.final_forms.contains(&form)
            && is_canonical
            && key.id() == self.ring.primary().id();
        Ok(Opened { plaintext, is_stale: !is_final })
    }

    /// The value rewrapped; `None` when it is final.
    pub(super) fn rewrap(&self, value: &str) -> Result<Option<String>, OpenError> {
        let is_anothers = self.column.is_legacy_alone() && !self.is_legacy(value);
        if value.is_empty() || is_anothers || self.is_final(value) {
            return Ok(None);
        }
        let opened = self.open(value)?;
        if !opened.is_stale {
            return Ok(None);
        }
        Ok(Some(self.seal(opened.plaintext.expose_secret())?))
    }

    /// Whether `value` is an envelope here, rather than plaintext.
    pub(super) fn is_envelope(&self, value: &str) -> bool {
        self.form_of(value).is_some()
    }

    /// Whether `value` is final by its looks: what SQL need not select is not opened.
    fn is_final(&self, value: &str) -> bool {
        let Ok(Some(envelope)) = Envelope::parse(value) else { return false };
        self.final_forms.contains(&envelope.form())
            && envelope.key_id() == Some(self.ring.primary().id().as_str())
            && envelope.is_canonical()
    }

    /// `mfa:` text is plaintext to every other secret, as it is to Breeze.
    fn form_of(&self, value: &str) -> Option<Form> {
        Form::of(value).filter(|form| !form.is_mfa() || self.seals_mfa())
    }

    /// Whether `value` is a seed from before `mfa:`.
    fn is_legacy(&self, value: &str) -> bool {
        self.seals_mfa() && Form::of(value).is_some_and(|form| !form.is_mfa())
    }

    fn seals_mfa(&self) -> bool {
        self.column.is_mfa()
    }

    fn unseal(&self, form: Form, value: &str) -> Result<Unsealed<'a>, OpenError> {
        let envelope = Envelope::parse_as(form, value)?;
        if self.is_legacy(value) {
            // Under the general key, bound by column.
            let ring = self.chain.sealing(Secret::AppEncryptionKey)?;
            return envelope::open(ring, self.column.qualified(), &envelope);
        }
        envelope::open(self.ring, &self.aad, &envelope)
    }
}

impl From<NoCell> for OpenError {
    fn from(no_cell: NoCell) -> Self {
        match no_cell {
            NoCell::NoKeyring(error) => Self::NoKeyring(error),
            NoCell::RowRequired => Self::RowRequired,
        }
    }
}

impl From<NoCell> for SealError {
    fn from(no_cell: NoCell) -> Self {
        match no_cell {
            NoCell::NoKeyring(error) => Self::NoKeyring(error),
            NoCell::RowRequired => Self::RowRequired,
        }
    }
}
