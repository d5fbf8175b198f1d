//! Sealed columns: which there are, and how their values are opened, sealed and rewrapped.

mod aim;
mod registry;
mod row;

pub use aim::Aim;
pub use registry::{Binding, Column, Kind, Registry, Table};
pub use row::RowKey;
