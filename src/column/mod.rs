//! Sealed columns: which there are, and how their values are opened, sealed and rewrapped.
//!
//! 1. A value is bound to its column, or to its row ([`Column::aad`]); in another
//!    place it does not open.
//! 2. A migrated column opens its bound form and nothing else.
//! 3. A document or array keeps every byte outside the strings that change.
//! 4. [`Column::rewrap`] changes a value whole or not at all: one string that does
//!    not open leaves it as it is, and every such string is named.
//! 5. A rewrapped value is final: rewrapping it again changes nothing.
//!
//! Everything here is pure: text and keys in, text out.

mod aim;
mod breeze;
mod cell;
mod document;
mod json;
mod registry;
mod rewrap;
mod row;

pub use aim::Aim;
pub use breeze::SECRET_KEYS;
pub use document::{DocumentError, OpenedDocument};
pub use registry::{Binding, Column, Kind, Registry, Table};
pub use rewrap::{Rewrap, Unopenable};
pub use row::RowKey;

pub use crate::envelope::Opened;
