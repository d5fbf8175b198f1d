//! What may be stale, as SQL: nothing stale is missed, and what is final is left out.
//!
//! A value is final when it begins with a prefix of its aim, to the letter, and holds
//! no character that a canonical envelope has not (`=`, `+`, `/`, white space, NUL).

use super::{
    document::{is_envelope, secret_keys, walk},
    sql,
};
use crate::{
    column::{Aim, Column, Kind},
    store::{
        TableShape,
        rows::sql::{Binds, knows_mfa},
    },
};

/// Whether some column of a row may be stale.
pub(super) fn any_stale(table: &TableShape, aims: &[Aim], binds: &mut Binds) -> String {
    let mut stale = Vec::new();
    for (column, aim) in table.columns().iter().zip(aims) {
        let prefixes: Vec<_> =
            aim.prefixes.iter().map(|prefix| binds.add(prefix.as_str())).collect();
        let text = sql::value_as_text(column.name());
        stale.push(match column.kind() {
            Kind::Text => stale_text(&text, &prefixes),
            Kind::TextArray => stale_array(&text, &prefixes),
            Kind::Json => stale_document(column, &text, &prefixes),
        });
    }
    // No column, nothing stale.
    if stale.is_empty() { "FALSE".to_owned() } else { format!("({})", stale.join(" OR ")) }
}

fn stale_text(value: &str, prefixes: &[String]) -> String {
    format!("({value} <> '' AND NOT {})", is_final(value, prefixes))
}

/// What is no array of text is handed on too: it is told of, never passed over.
fn stale_array(text: &str, prefixes: &[String]) -> String {
    format!(
        "(CASE WHEN {text} IS NULL THEN FALSE \
         WHEN NOT json_valid({text}) THEN TRUE \
         WHEN json_type({text}) <> 'array' THEN TRUE \
         ELSE EXISTS (SELECT 1 FROM json_each({text}) AS e \
            WHERE e.type IN ('array', 'object') OR e.type = 'text' AND {}) END)",
        stale_text("e.value", prefixes)
    )
}

fn stale_document(column: &Column, text: &str, prefixes: &[String]) -> String {
    let stale_leaf = format!(
        "SELECT 1 FROM walk WHERE type = 'text' AND value <> '' AND NOT {} AND ({} OR key IN {})",
        is_final("value", prefixes),
        is_envelope("value", knows_mfa(column)),
        secret_keys(column),
    );
    format!(
        "(CASE WHEN {text} IS NULL THEN FALSE WHEN NOT json_valid({text}) THEN TRUE \
         ELSE EXISTS {} END)",
        walk(text, &stale_leaf)
    )
}

fn is_final(value: &str, prefixes: &[String]) -> String {
    if prefixes.is_empty() {
        return "FALSE".to_owned();
    }
    let prefixed: Vec<_> = prefixes
        .iter()
        .map(|prefix| format!("substr({value}, 1, length({prefix})) = {prefix}"))
        .collect();
    format!(
        "(({}) AND {value} NOT GLOB '*[^A-Za-z0-9._:-]*' AND instr({value}, char(0)) = 0)",
        prefixed.join(" OR ")
    )
}
