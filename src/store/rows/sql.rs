//! What both databases need to write a statement about a user's table.

use crate::column::Column;

/// An identifier, quoted: whatever it holds, it names and never commands.
pub(crate) fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// The parameters of one statement, all text, numbered as they are added.
#[derive(Debug)]
pub(crate) struct Binds {
    mark: char,
    values: Vec<String>,
}

impl Binds {
    /// No parameters yet; `mark` is what the database writes before their numbers.
    pub(crate) const fn new(mark: char) -> Self {
        Self { mark, values: Vec::new() }
    }

    /// Adds one, and answers how the statement names it.
    pub(crate) fn add(&mut self, value: impl Into<String>) -> String {
        self.values.push(value.into());
        format!("{}{}", self.mark, self.values.len())
    }

    /// The values, in order.
    pub(crate) fn into_values(self) -> Vec<String> {
        self.values
    }
}

/// Whether values of `column` may be in the `mfa:` grammar: elsewhere it is plaintext.
pub(crate) fn knows_mfa(column: &Column) -> bool {
    column.is_mfa()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_identifier_ends_only_at_its_end() {
        assert_eq!(quote("trigger"), r#""trigger""#);
        assert_eq!(quote(r#"a"; DROP TABLE b; --"#), r#""a""; DROP TABLE b; --""#);
    }
}
