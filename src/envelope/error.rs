//! Why something is not opened, or not sealed.

use crate::{
    ids::KeyId,
    keyring::{BudgetSpent, Fenced, NoKeyring},
    material::NoEntropy,
};

/// Why a value does not open. Never holds any part of the value but its key id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It names a key that is not accepted.
    #[error("it names key {0}, which is not in the keyring; add that key, or restore the value")]
    UnknownKey(KeyId),
    /// The key is there, and the value is not what that key sealed here.
    #[error(
        "it does not authenticate: another key, another column or row, or altered; restore the value"
    )]
    Authentication,
    /// It begins as an envelope and is none.
    #[error("it is no envelope: {0}")]
    Malformed(#[from] Malformed),
    /// It opens to bytes that are no text.
    #[error("it opens to bytes that are not UTF-8; restore the value")]
    NotUtf8,
    /// It has an older, unbound form, or is plaintext, in a column that was migrated.
    #[error("the column is migrated, and refuses older forms and plaintext; restore the value")]
    DowngradeRefused,
    /// A bound form, and no context to open it in.
    #[error("its form is bound to a context, and none was given")]
    AadRequired,
    /// The column is bound by row, and the row has no name.
    #[error("the column is bound by row; name the row")]
    RowRequired,
    /// The document or array that holds it is not what its column says.
    #[error("{0}")]
    Document(&'static str),
    /// There are no keys.
    #[error(transparent)]
    NoKeyring(#[from] NoKeyring),
    /// It opened, and could not be sealed again.
    #[error("it opens, and cannot be sealed again: {0}")]
    Seal(#[from] SealError),
}

impl OpenError {
    /// Its class, for records and metrics: one word that stays the same.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::UnknownKey(_) => "unknown_key",
            Self::Authentication => "authentication",
            Self::Malformed(_) => "malformed",
            Self::NotUtf8 => "not_utf8",
            Self::DowngradeRefused => "downgrade_refused",
            Self::AadRequired => "aad_required",
            Self::RowRequired => "row_required",
            Self::Document(_) => "document",
            Self::NoKeyring(_) => "no_keyring",
            Self::Seal(_) => "seal",
        }
    }
}

/// How text that begins as an envelope fails to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The key id is missing, or holds another character than `[A-Za-z0-9._-]`.
    #[error("its key id is missing or holds a forbidden character")]
    KeyId,
    /// Not three parts, or one is empty.
    #[error("its payload is not three parts that hold something")]
    Parts,
    /// A part is not base64.
    #[error("a part of its payload is not base64")]
    Base64,
    /// The nonce is not 12 bytes.
    #[error("its nonce is not 12 bytes")]
    Nonce,
    /// The tag is not 16 bytes.
    #[error("its tag is not 16 bytes")]
    Tag,
}

/// Why nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The lease of this process has run out.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// The key has sealed as often as it may.
    #[error(transparent)]
    BudgetSpent(#[from] BudgetSpent),
    /// No nonce can be made.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    /// There are no keys.
    #[error(transparent)]
    NoKeyring(#[from] NoKeyring),
    /// A bound form, and no context to seal it in.
    #[error("this form is bound to a context, and none was given")]
    AadRequired,
    /// The column is bound by row, and the row has no name.
    #[error("the column is bound by row; name the row")]
    RowRequired,
    /// Longer than AES-GCM seals under one nonce.
    #[error("the value is longer than 64 GiB; split it")]
    TooLong,
}
