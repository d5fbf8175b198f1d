//! What may be stale, as SQL: nothing stale is missed, and what is final is left out.
//!
//! A value is final when it begins with a prefix of its aim, to the letter, and holds
//! no character that a canonical envelope has not (`=`, `+`, `/` and white space among
//! the rest). Aims travel as parameters, so that one statement a table is planned once
//! whatever the key is called.

use crate::{
    column::{Aim, Column, Kind},
    store::{
        TableShape,
        rows::sql::{Binds, knows_mfa},
    },
};

use super::sql;

/// How deep arrays may nest under a secret key before they are taken for stale unseen.
const UNWRAPPED: &str = "[*][*][*][*][*][*][*][*]";

/// Whether some column of a row may be stale.
pub(super) fn any_stale(table: &TableShape, aims: &[Aim], binds: &mut Binds) -> String {
    let mut stale = Vec::new();
    for ((column, sql_type), aim) in table.columns().iter().zip(&table.types).zip(aims) {
        stale.push(match column.kind() {
            Kind::Text => stale_text(&sql::value_as_text(column.name(), sql_type), aim, binds),
            Kind::TextArray => format!(
                "EXISTS (SELECT FROM unnest({}) AS e(v) WHERE {})",
                sql::column(column.name()),
                stale_text("(e.v COLLATE \"C\")", aim, binds),
            ),
            Kind::Json => stale_document(column, sql_type, aim, binds),
        });
    }
    // No column, nothing stale.
    if stale.is_empty() { "false".to_owned() } else { format!("({})", stale.join(" OR ")) }
}

fn stale_text(value: &str, aim: &Aim, binds: &mut Binds) -> String {
    let mut prefixed: Vec<_> = aim
        .prefixes
        .iter()
        .map(|prefix| format!("starts_with({value}, {})", binds.add(prefix.as_str())))
        .collect();
    prefixed.push("false".to_owned());
    format!("({value} <> '' AND (NOT ({}) OR {value} ~ '[^A-Za-z0-9._:-]'))", prefixed.join(" OR "))
}

fn stale_document(column: &Column, sql_type: &str, aim: &Aim, binds: &mut Binds) -> String {
    let (document, odd) = document(column, sql_type);
    let fin = final_pattern(aim).replace('\\', "\\\\");
    let envelopes = binds.add(format!(
        "strict $.** ? (@ like_regex \"{}\" && !(@ like_regex \"{fin}\"))",
        envelope_pattern(column)
    ));
    let secrets = binds.add(format!(
        "{}.value{UNWRAPPED} ? (@.type() == \"array\" || \
         (@.type() == \"string\" && @ != \"\" && !(@ like_regex \"{fin}\")))",
        secret_members(column, "lax")
    ));
    // The paths are parsed once a statement, not once a row.
    let walk = format!(
        "(jsonb_path_exists({document}, (SELECT {envelopes}::jsonpath)) \
         OR jsonb_path_exists({document}, (SELECT {secrets}::jsonpath)))"
    );
    match odd {
        Some(odd) => format!("(CASE WHEN {odd} THEN true ELSE {walk} END)"),
        None => walk,
    }
}

/// A document as `jsonb`, and, for `json`, when that would lose something or fail:
/// escapes that `jsonb` refuses, numbers beyond its range, and keys that repeat (each
/// takes quotes with it).
pub(super) fn document(column: &Column, sql_type: &str) -> (String, Option<String>) {
    let column = sql::column(column.name());
    if sql_type == "jsonb" {
        return (column, None);
    }
    let quotes = |text: &str| format!("length({text}) - length(replace({text}, '\"', ''))");
    let odd = format!(
        "CASE WHEN {column}::text ~ '[\\\\]u|[eE][+-]?[0-9]{{4}}|[0-9]{{255}}' THEN true \
         ELSE {} <> {} END",
        quotes(&format!("{column}::text")),
        quotes(&format!("{column}::jsonb::text")),
    );
    (format!("{column}::jsonb"), Some(odd))
}

/// The members of objects, at any depth, whose keys are secret.
pub(super) fn secret_members(column: &Column, mode: &str) -> String {
    let keys: Vec<_> = column.secret_keys().iter().map(|key| literal(key)).collect();
    let pattern =
        if keys.is_empty() { "^(?!)".to_owned() } else { format!("^({})$", keys.join("|")) };
    format!(
        "{mode} $.** ? (@.type() == \"object\").keyvalue() ? (@.key like_regex \"{}\")",
        pattern.replace('\\', "\\\\")
    )
}

/// The strings in a value, through nested arrays, as a path from it.
pub(super) fn strings(condition: &str) -> String {
    format!("lax ${UNWRAPPED} ? (@.type() == \"string\" && {condition})")
}

/// What every envelope that may stand in `column` begins with.
pub(super) fn envelope_pattern(column: &Column) -> &'static str {
    if knows_mfa(column) { "^(enc:v[123]|mfa:v[12]):" } else { "^enc:v[123]:" }
}

/// What a final string of a document matches: a path takes no list of prefixes.
fn final_pattern(aim: &Aim) -> String {
    if aim.prefixes.is_empty() {
        return "^(?!)".to_owned();
    }
    let prefixes: Vec<_> = aim.prefixes.iter().map(|prefix| literal(prefix)).collect();
    format!("^({})[A-Za-z0-9._-]*$", prefixes.join("|"))
}

/// A pattern that matches `text` and nothing else.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-') {
            pattern.push(c);
        } else {
            pattern += &format!("\\U{:08x}", u32::from(c));
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_matched_as_it_is_written() {
        let aim = Aim { prefixes: vec!["enc:v3:k.1:".into(), "mfa:v2:a_b-c:".into()] };
        assert_eq!(final_pattern(&aim), r"^(enc:v3:k\U0000002e1:|mfa:v2:a_b-c:)[A-Za-z0-9._-]*$");
    }

    #[test]
    fn without_an_aim_nothing_is_final() {
        assert_eq!(final_pattern(&Aim { prefixes: Vec::new() }), "^(?!)");
    }
}
