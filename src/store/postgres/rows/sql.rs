//! How tables, keys and values are spelled. The table is always `t`.

use crate::store::{
    TableShape,
    rows::sql::{Binds, quote},
};

/// Schema and name of a registered table: `public` unless the name has a prefix.
pub(in crate::store::postgres) fn resolve(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or(("public", name))
}

/// A registered table, quoted.
pub(super) fn table(shape: &TableShape) -> String {
    let (schema, name) = resolve(shape.table.name());
    format!("{}.{}", quote(schema), quote(name))
}

/// One column of `t`.
pub(super) fn column(name: &str) -> String {
    format!("t.{}", quote(name))
}

/// A part of a key, from text to a type that the primary key's index compares with.
/// Every integer is a `bigint`: a number that the column cannot hold is then no
/// error, only in no row.
pub(super) fn key_from_text(text: &str, sql_type: &str) -> String {
    match sql_type {
        "uuid" => format!("{text}::uuid"),
        "smallint" | "integer" | "bigint" => format!("{text}::bigint"),
        _ => format!("{text}::text"),
    }
}

/// The key's columns, for ORDER BY.
pub(super) fn key_columns(shape: &TableShape) -> String {
    let columns: Vec<_> = shape.key.iter().map(|(name, _)| column(name)).collect();
    columns.join(", ")
}

/// The key's parts as text, for SELECT.
pub(super) fn key_as_text(shape: &TableShape) -> String {
    let parts: Vec<_> =
        shape.key.iter().map(|(name, _)| format!("{}::text", column(name))).collect();
    parts.join(", ")
}

/// `(t.a, t.b) > ($1, $2)`: a row comparison, which the primary key's index serves,
/// under the collation of its columns.
pub(super) fn compare_key(
    shape: &TableShape,
    operator: &str,
    key: &[String],
    binds: &mut Binds,
) -> String {
    let bounds: Vec<_> = shape
        .key
        .iter()
        .zip(key)
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

/// A value as text, to the letter whatever the column's collation: the one form in
/// which it is read and compared.
///
/// An array whose first index is not 1 gets another pair of brackets, so that it is
/// no array of text to anyone, and never loses its bounds.
pub(super) fn value_as_text(name: &str, sql_type: &str) -> String {
    let column = column(name);
    if sql_type.ends_with("[]") {
        let json = format!("array_to_json({column})::text");
        format!(
            "(CASE WHEN array_lower({column}, 1) <> 1 THEN '[' || {json} || ']' \
             ELSE {json} END COLLATE \"C\")"
        )
    } else {
        format!("({column}::text COLLATE \"C\")")
    }
}

/// A value from that text. Elements that are null stay so, and `[]` is `{}`.
pub(super) fn value_from_text(text: &str, sql_type: &str) -> String {
    if sql_type.ends_with("[]") {
        format!("ARRAY(SELECT json_array_elements_text({text}::json))::{sql_type}")
    } else if matches!(sql_type, "json" | "jsonb") {
        format!("{text}::{sql_type}")
    } else {
        text.to_owned()
    }
}

/// Every value as text, for SELECT.
pub(super) fn values_as_text(shape: &TableShape) -> String {
    let values: Vec<_> = shape
        .columns()
        .iter()
        .zip(&shape.types)
        .map(|(column, sql_type)| value_as_text(column.name(), sql_type))
        .collect();
    values.join(", ")
}
