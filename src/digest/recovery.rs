//! A recovery code as it is hashed, however it was typed.

use zeroize::Zeroizing;

/// Without outer white space and in upper case, as JavaScript understands both; a dash
/// that is missing stays missing.
#[must_use]
pub fn normal_recovery_code(typed: &str) -> Zeroizing<String> {
    Zeroizing::new(trim(typed).to_uppercase())
}

/// `text` without the outer white space of JavaScript, which counts U+FEFF among it and
/// U+0085 not.
#[must_use]
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_space_and_case_count_for_nothing_and_the_dash_does() {
        assert_eq!(*normal_recovery_code("\u{feff} abcd-1234\n"), "ABCD-1234");
        assert_eq!(*normal_recovery_code("abcd1234"), "ABCD1234");
        assert_eq!(*normal_recovery_code("straße"), "STRASSE");
        assert_eq!(*normal_recovery_code("\u{85}a"), "\u{85}A");
    }
}
