//! The name of one row, whatever its primary key is made of.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The primary key of a row: each part as the database prints it, in the key's order.
///
/// A `uuid` is lower-case canonical text, an integer is decimal. Kept as text, so
/// that one cursor, one quarantine and one AAD serve every kind of key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowKey(Vec<String>);

impl RowKey {
    /// A key of several parts, in the order of the primary key.
    #[must_use]
    pub const fn composite(parts: Vec<String>) -> Self {
        Self(parts)
    }

    /// Whether it names no row: no part, or every part empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(String::is_empty)
    }

    /// Its parts, in the order of the primary key.
    #[must_use]
    pub fn parts(&self) -> &[String] {
        &self.0
    }
}

impl From<&str> for RowKey {
    fn from(part: &str) -> Self {
        Self(vec![part.to_owned()])
    }
}

impl From<String> for RowKey {
    fn from(part: String) -> Self {
        Self(vec![part])
    }
}

impl From<Uuid> for RowKey {
    fn from(part: Uuid) -> Self {
        Self(vec![part.to_string()])
    }
}

impl From<i64> for RowKey {
    fn from(part: i64) -> Self {
        Self(vec![part.to_string()])
    }
}

/// The row id of an AAD (FORMATS section 2.4): a key of one part verbatim; the parts
/// of a composite key joined by `:`, with `:` and `\` inside them escaped by `\`, so
/// that two rows never share one.
impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [part] = self.0.as_slice() {
            return f.write_str(part);
        }
        for (index, part) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            for char in part.chars() {
                if matches!(char, ':' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{char}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rows_never_share_an_id() {
        let id = |parts: &[&str]| {
            RowKey::composite(parts.iter().map(|&part| part.into()).collect()).to_string()
        };
        assert_eq!(id(&["a:b"]), "a:b");
        assert_eq!(id(&["a", "b", "c"]), "a:b:c");
        assert_eq!(id(&["a:b", "c"]), "a\\:b:c");
        assert_eq!(id(&["a\\", "b"]), "a\\\\:b");
        assert_eq!(RowKey::from(7).to_string(), "7");
    }
}
