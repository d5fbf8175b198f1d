//! Reads keys from the environment, from files and from a secrets manager, and tells every
//! fault at once.
//!
//! 1. Breeze's own variables mean what they mean to Breeze (FORMATS sections 2.1,
//!    2.2, 4 and 5); every secret also has `_PREVIOUS`, every variable also `_FILE`.
//! 2. A fault names the variable, never its value, nor text that stood in its place.
//! 3. The same value has the same key id in every process: a key without a name is
//!    called by its fingerprint.
//! 4. A value has one form, whichever way it was written: equal credentials are equal keys.
//! 5. What is accepted is not weaker than what signs: a key that verifies tokens is
//!    checked like the one that makes them. A key that only opens may be weak, or
//!    shared, since that is what one rolls over from.
//!
//! | variable | holds | becomes |
//! |---|---|---|
//! | `NAME`, or an alias | one value | the primary key, unless a ring has one |
//! | `NAME_PREVIOUS` | one value, or a JSON array, newest first | keys that are accepted |
//! | ring and active id | a JSON object, and a key id of it | named keys, one of them primary |
//! | another secret (`legacy`) | one value, trimmed | keys that open, tried last |
//! | any of these with `_FILE` | a path | the same, from a file |
//! | `BREEZE_SECRETS_DIR` | a directory | each file in it, as the variable of its name |
//! | a field of the secrets manager | text, an array or an object | the same, as the variable of its name |
//!
//! A variable stands in one of these places; in two of them it is a fault.

mod canonical;
mod check;
mod declared;
mod environment;
mod fault;
mod json;
mod managed;
mod previous;
mod rules;

pub use canonical::Identity;
pub use check::{ValueFault, check_value};
pub use declared::{Declared, DeclaredKey, UnusableKeys, derived_id};
pub use environment::{Environment, SECRETS_DIR, Strictness, Value};
pub use fault::{Fault, Faults, RingFault};
pub use managed::{Fields, Managed, Revision, UnfitFields};

/// The variable of the key that seals the key store.
pub const ROOT_KEY: &str = "BREEZE_ROOT_KEY";

/// The variable of its previous values.
pub const ROOT_KEY_PREVIOUS: &str = "BREEZE_ROOT_KEY_PREVIOUS";

#[cfg(feature = "store")]
pub(crate) use canonical::canonical;
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) use canonical::login;
#[cfg(feature = "providers")]
pub(crate) use canonical::parts;
#[cfg(feature = "store")]
pub(crate) use check::weakness;
#[cfg(feature = "store")]
pub(crate) use environment::user_info;
#[cfg(feature = "store")]
pub(crate) use previous::previous;
#[cfg(feature = "store")]
pub(crate) use rules::told;

#[cfg(test)]
mod tests;
