//! Which columns hold sealed values, and how.

use std::{borrow::Cow, fmt};

use super::breeze::SECRET_KEYS;
use crate::catalog::Secret;

type Name = Cow<'static, str>;

/// What one column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One value.
    Text,
    /// An array of text, each element a value (a JSON array of text on SQLite).
    TextArray,
    /// A JSON document with sealed leaves (FORMATS section 3.2).
    Json,
}

/// What a value is bound to by its AAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binding {
    /// `<table>.<column>`.
    Column,
    /// `<table>.<column>:<row id>`.
    Row,
}

/// One sealed column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    table: Name,
    name: Name,
    kind: Kind,
    binding: Binding,
    secret: Secret,
    migrated: bool,
    /// Whether only what `APP_ENCRYPTION_KEY` sealed in it is looked at: seeds of one-time
    /// codes from before `MFA_ENCRYPTION_KEY`.
    legacy_alone: bool,
    secret_keys: Cow<'static, [Name]>,
    /// `<table>.<column>`, since it is the AAD of nearly every value.
    qualified: String,
}

impl Column {
    /// A column of `kind`, bound by column, under `APP_ENCRYPTION_KEY`.
    #[must_use]
    pub fn new(table: impl Into<Name>, name: impl Into<Name>, kind: Kind) -> Self {
        let (table, name) = (table.into(), name.into());
        let qualified = format!("{table}.{name}");
        Self {
            table,
            name,
            kind,
            binding: Binding::Column,
            secret: Secret::AppEncryptionKey,
            migrated: false,
            legacy_alone: false,
            secret_keys: Cow::Borrowed(SECRET_KEYS),
            qualified,
        }
    }

    /// A text column.
    #[must_use]
    pub fn text(table: impl Into<Name>, name: impl Into<Name>) -> Self {
        Self::new(table, name, Kind::Text)
    }

    /// A column of arrays of text.
    #[must_use]
    pub fn text_array(table: impl Into<Name>, name: impl Into<Name>) -> Self {
        Self::new(table, name, Kind::TextArray)
    }

    /// A column of JSON documents whose secrets stand under [`SECRET_KEYS`].
    #[must_use]
    pub fn json(table: impl Into<Name>, name: impl Into<Name>) -> Self {
        Self::new(table, name, Kind::Json)
    }

    /// The keys of a document under which a string is a secret, in place of
    /// [`SECRET_KEYS`]. With none, only what is an envelope already is one.
    #[must_use]
    pub fn with_secret_keys<N: Into<Name>>(mut self, keys: impl IntoIterator<Item = N>) -> Self {
        self.secret_keys = keys.into_iter().map(Into::into).collect();
        self
    }

    /// Binds each value to its row.
    #[must_use]
    pub const fn bound_by_row(mut self) -> Self {
        self.binding = Binding::Row;
        self
    }

    /// Seals under the keyring of `secret`.
    #[must_use]
    pub const fn under(mut self, secret: Secret) -> Self {
        self.secret = secret;
        self
    }

    /// Refuses the older, unbound formats and plaintext from now on (FORMATS section
    /// 0.1), and writes the bound one whatever the target, since it reads no other.
    #[must_use]
    pub const fn migrated(mut self) -> Self {
        self.migrated = true;
        self
    }

    /// This column as far as keys of `secret` may have sealed what is in it. Old seeds of
    /// one-time codes are under `APP_ENCRYPTION_KEY`, wherever they stand.
    fn as_sealed_by(&self, secret: Secret) -> Option<Self> {
        let legacy_alone = secret == Secret::AppEncryptionKey && self.is_mfa();
        let concerns = self.secret == secret || legacy_alone;
        concerns.then(|| Self { legacy_alone, ..self.clone() })
    }

    /// The table's name.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The column's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it holds.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What its values are bound to.
    #[must_use]
    pub const fn binding(&self) -> Binding {
        self.binding
    }

    /// Whose keyring seals it.
    #[must_use]
    pub const fn secret(&self) -> Secret {
        self.secret
    }

    /// The keys of a document under which a string is a secret.
    #[must_use]
    pub fn secret_keys(&self) -> &[Name] {
        &self.secret_keys
    }

    /// Whether a string under `key` is a secret.
    pub(super) fn is_secret_key(&self, key: &str) -> bool {
        self.secret_keys.iter().any(|secret| secret == key)
    }

    /// `<table>.<column>`.
    pub(super) fn qualified(&self) -> &str {
        &self.qualified
    }

    /// Whether it holds seeds of one-time codes.
    pub(crate) fn is_mfa(&self) -> bool {
        self.secret == Secret::MfaEncryptionKey
    }

    /// Whether only what is under `APP_ENCRYPTION_KEY` is looked at in it.
    pub(super) const fn is_legacy_alone(&self) -> bool {
        self.legacy_alone
    }

    /// Whether it refuses the older, unbound formats.
    #[must_use]
    pub const fn is_migrated(&self) -> bool {
        self.migrated
    }
}

/// `<table>.<column>`.
impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.qualified)
    }
}

/// All sealed columns of one table: one pass covers them together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    name: Name,
    columns: Vec<Column>,
}

impl Table {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its sealed columns, in the order of registration.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// This table with only the columns that `sound` picks.
    #[cfg(feature = "store")]
    pub(crate) fn only(&self, sound: impl Fn(&Column) -> bool) -> Self {
        let columns = self.columns.iter().filter(|&column| sound(column)).cloned().collect();
        Self { name: self.name.clone(), columns }
    }
}

/// Every sealed column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    tables: Vec<Table>,
}

impl Registry {
    /// A registry without columns.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// This registry with `column`; one that is there already is replaced.
    #[must_use]
    pub fn with(mut self, column: Column) -> Self {
        match self.tables.iter_mut().find(|table| table.name == column.table) {
            Some(table) => match table.columns.iter_mut().find(|c| c.name == column.name) {
                Some(known) => *known = column,
                None => table.columns.push(column),
            },
            None => self.tables.push(Table { name: column.table.clone(), columns: vec![column] }),
        }
        self
    }

    /// What a rollover of `secret` works on, and nothing else: the columns that its keys
    /// seal, and of seeds of one-time codes those that `APP_ENCRYPTION_KEY` once sealed.
    #[must_use]
    pub fn sealed_by(&self, secret: Secret) -> Self {
        self.columns()
            .filter_map(|column| column.as_sealed_by(secret))
            .fold(Self::empty(), Self::with)
    }

    /// The tables, in the order of registration.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The table of this name.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// The column of this name.
    #[must_use]
    pub fn column(&self, table: &str, name: &str) -> Option<&Column> {
        self.table(table)?.columns.iter().find(|column| column.name == name)
    }

    /// The name of every column, `<table>.<column>`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.columns().map(ToString::to_string).collect()
    }

    /// Every column.
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        self.tables.iter().flat_map(|table| &table.columns)
    }
}
