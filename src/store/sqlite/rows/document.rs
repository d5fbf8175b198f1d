//! Documents and arrays, which are JSON text on SQLite.
//!
//! Text that is no JSON fails no statement: it is asked about first.

use crate::column::Column;

/// A query over `walk(key, type, value)`: every value of the valid document `text` with
/// the key that it stands under, which nested arrays hand down (FORMATS section 3.2).
/// Text outside any key has the key NULL.
pub(super) fn walk(text: &str, select: &str) -> String {
    format!(
        "(WITH RECURSIVE walk(key, type, value) AS (\
            SELECT NULL, json_type({text}), \
                CASE json_type({text}) WHEN 'text' THEN {text} ->> '$' ELSE {text} END \
            UNION ALL \
            SELECT CASE walk.type WHEN 'array' THEN walk.key ELSE e.key END, e.type, e.value \
            FROM walk, json_each(\
                CASE WHEN walk.type IN ('array', 'object') THEN walk.value ELSE '[]' END) AS e\
         ) {select})"
    )
}

/// The keys under which strings are secrets, as a list for `IN`.
pub(super) fn secret_keys(column: &Column) -> String {
    let keys: Vec<_> =
        column.secret_keys().iter().map(|key| format!("'{}'", key.replace('\'', "''"))).collect();
    format!("({})", keys.join(", "))
}

/// Whether `value` is an envelope.
pub(super) fn is_envelope(value: &str, mfa: bool) -> String {
    let enc = format!("{value} GLOB 'enc:v[123]:*'");
    if mfa { format!("({enc} OR {value} GLOB 'mfa:v[12]:*')") } else { enc }
}
