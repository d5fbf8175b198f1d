//! Values that were sealed before their key was retired, and written after.

use std::{pin::Pin, sync::Arc};

use crate::{catalog::Secret, column::RowKey, ids::KeyId, keyring::Keychain};

/// A value under a key that is not accepted any more. Never holds the value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Straggler {
    /// `<table>.<column>`.
    pub column: String,
    /// Whose keyring seals the column.
    pub secret: Secret,
    /// Which row.
    pub row: RowKey,
    /// The keys that it names.
    pub keys: Vec<KeyId>,
}

/// What a [`Custodian`] is at.
pub type Fetching<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Has what is retired, and not in a keychain any more.
pub trait Custodian: Send + Sync + 'static {
    /// A keychain that opens under `keys` too; `None` when one of them is unknown, or
    /// nothing is to be opened with it. Asked for ids that anybody may have written, it
    /// must bound what it asks in its turn.
    fn fetch<'a>(&'a self, keys: &'a [KeyId]) -> Fetching<'a, Option<Arc<Keychain>>>;

    /// Notes that `straggler` was opened.
    fn opened(&self, straggler: Straggler) -> Fetching<'_, ()>;
}
