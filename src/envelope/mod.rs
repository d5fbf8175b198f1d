//! Sealed text.

use serde::{Deserialize, Serialize};

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
