//! How tables, keys and values are spelled. The table is always `t`.
//!
//! SQLite checks no type and compares under the column's collation: so everything is
//! read through `CAST(… AS TEXT)`, and compared as it was read under `BINARY`.

use crate::{
    column::RowKey,
    store::{
        TableShape,
        rows::sql::{Binds, quote},
    },
};

/// A registered table, quoted.
pub(super) fn table(shape: &TableShape) -> String {
    quote(shape.table.name())
}

/// One column of `t`.
pub(super) fn column(name: &str) -> String {
    format!("t.{}", quote(name))
}

/// A part of a key, from text to what the primary key's index holds.
pub(super) fn key_from_text(text: &str, sql_type: &str) -> String {
    if sql_type == "INTEGER" { format!("CAST({text} AS INTEGER)") } else { text.to_owned() }
}

/// The key's columns, for ORDER BY.
pub(super) fn key_columns(shape: &TableShape) -> String {
    let columns: Vec<_> = shape.key.iter().map(|(name, _)| column(name)).collect();
    columns.join(", ")
}

/// A value as text: the one form in which it is read and compared.
pub(super) fn value_as_text(name: &str) -> String {
    format!("CAST({} AS TEXT)", column(name))
}

/// The key's parts and then the values, as text, for SELECT.
pub(super) fn row_as_text(shape: &TableShape) -> String {
    let keys = shape.key.iter().map(|(name, _)| value_as_text(name));
    let values = shape.columns().iter().map(|column| value_as_text(column.name()));
    keys.chain(values).collect::<Vec<_>>().join(", ")
}

/// `(t.a, t.b) > (?1, ?2)`: a row comparison, which the primary key's index serves,
/// under the collation of its columns.
pub(super) fn compare_key(
    shape: &TableShape,
    operator: &str,
    key: &RowKey,
    binds: &mut Binds,
) -> String {
    let bounds: Vec<_> = shape
        .key
        .iter()
        .zip(key.parts())
        .map(|((_, sql_type), part)| key_from_text(&binds.add(part.as_str()), sql_type))
        .collect();
    format!("({}) {operator} ({})", key_columns(shape), bounds.join(", "))
}

/// `t` joined to the keys of `u`.
pub(super) fn join_key(shape: &TableShape) -> String {
    let parts: Vec<_> = shape
        .key
        .iter()
        .enumerate()
        .map(|(index, (name, sql_type))| {
            format!("{} = {}", column(name), key_from_text(&format!("u.k{index}"), sql_type))
        })
        .collect();
    parts.join(" AND ")
}
