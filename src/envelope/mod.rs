//! Sealed text: an envelope opens to exactly what was sealed, under the key and
//! the context that it was sealed with, or not at all.
//!
//! | form | key | bound to | bytes after the prefix |
//! |---|---|---|---|
//! | `enc:v1:` | any that names none | – | `payload` |
//! | `enc:v2:` | the named one | – | `key id` `:` `payload` |
//! | `enc:v3:` | the named one | AAD | `key id` `:` `payload` |
//! | `mfa:v1:` | any | – | `payload` |
//! | `mfa:v2:` | the named one | AAD | `key id` `:` `payload` |
//!
//! `payload` is `b64url(nonce)` `.` `b64url(tag)` `.` `b64url(ciphertext)`: AES-256-GCM,
//! a nonce of 12 bytes, a tag of 16, no padding (FORMATS sections 1, 2 and 4).
//!
//! 1. A named key is used exactly, and an unknown one fails closed. Only forms
//!    that name none are tried on several keys, the likeliest first.
//! 2. The nonce is made inside [`seal`]; each seal is counted against its key's budget,
//!    and handed out only while the lease of the process runs.
//! 3. A bound form is neither sealed nor opened without its AAD.
//! 4. What a hand edit leaves (padding, the standard alphabet, surrounding white
//!    space) opens, and is told apart: [`Unsealed::is_canonical`] is false.
//!
//! Refused, where Breeze is lenient: a nonce that is not 12 bytes, a tag that is
//! not 16, characters outside base64, and plaintext that is not UTF-8
//! (FORMATS section 0.1).
//!
//! The layers, each on the one before: `cipher` (bytes), `payload` (its text),
//! `grammar` (the whole text), `protocol` (which key, which AAD).

mod cipher;
mod error;
mod grammar;
mod nonce;
mod payload;
mod protocol;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use error::{Malformed, OpenError, SealError};
pub use grammar::{Envelope, Form};
pub use protocol::{Unsealed, open, seal};

/// What sealed columns are rewrapped to (FORMATS section 0.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// `enc:v3` bound to the column or row, `mfa:v2` bound to the user.
    #[default]
    Bound,
    /// `enc:v2` and `mfa:v1` where Breeze's own services still read.
    Compatible,
}

/// One value of a sealed column, opened.
#[derive(Debug)]
pub struct Opened {
    /// The plaintext.
    pub plaintext: SecretString,
    /// Whether a rewrap would change how it is stored.
    pub is_stale: bool,
}
