//! Finds the strings of a JSON text and puts others in their place, leaving every
//! other byte alone: numbers keep their digits, objects their order and their
//! repeated keys.
//!
//! Neither reading nor replacing recurses, so that depth costs memory in proportion
//! to the text and never the stack.

use std::{borrow::Cow, ops::Range};

use serde_json::value::RawValue;

/// Text that is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotJson;

/// One string value.
#[derive(Debug)]
pub(super) struct Leaf<'a> {
    /// Its place in the text, quotes included.
    pub(super) span: Range<usize>,
    /// Itself, escapes resolved; `None` when it holds half a surrogate pair.
    pub(super) text: Option<Cow<'a, str>>,
    /// Whether its key, or that of the arrays around it, is among the secret ones.
    pub(super) is_secret: bool,
    /// How many arrays and objects it stands in.
    pub(super) depth: usize,
}

/// An array or object that the cursor is in.
#[derive(Debug, Clone, Copy)]
struct Open {
    is_object: bool,
    /// Whether the strings in it are secret: of an object, those of the present key.
    is_secret: bool,
    /// Of an array the present index, of an object the place of the present key.
    at: usize,
}

/// The string values of a JSON text, in order.
pub(super) struct Leaves<'a, K> {
    json: &'a str,
    is_secret_key: K,
    cursor: usize,
    open: Vec<Open>,
    at_key: bool,
}

impl<'a, K: Fn(&str) -> bool> Leaves<'a, K> {
    /// Checks the grammar of all of `json` first.
    pub(super) fn new(json: &'a str, is_secret_key: K) -> Result<Self, NotJson> {
        // A raw value is checked without recursion and without keeping anything.
        serde_json::from_str::<&RawValue>(json).map_err(|_| NotJson)?;
        Ok(Self { json, is_secret_key, cursor: 0, open: Vec::new(), at_key: false })
    }

    /// The place of the present leaf, as a JSON pointer (RFC 6901).
    pub(super) fn pointer(&self) -> String {
        let mut pointer = String::new();
        for open in &self.open {
            pointer.push('/');
            if open.is_object {
                let key = unquoted(self.json, string_at(self.json, open.at));
                let key = key.as_deref().unwrap_or("\u{fffd}");
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            } else {
                pointer.push_str(&open.at.to_string());
            }
        }
        pointer
    }

    fn enter(&mut self, is_object: bool) {
        // The elements of an array belong to the key that it stands under.
        let is_secret = !is_object && self.open.last().is_some_and(|open| open.is_secret);
        self.open.push(Open { is_object, is_secret, at: 0 });
        self.at_key = is_object;
    }

    fn string(&mut self, start: usize) -> Option<Leaf<'a>> {
        let span = string_at(self.json, start);
        self.cursor = span.end;
        let text = unquoted(self.json, span.clone());
        if self.at_key {
            self.at_key = false;
            let is_secret = text.is_some_and(|key| (self.is_secret_key)(&key));
            if let Some(open) = self.open.last_mut() {
                (open.at, open.is_secret) = (start, is_secret);
            }
            return None;
        }
        let is_secret = self.open.last().is_some_and(|open| open.is_secret);
        Some(Leaf { span, text, is_secret, depth: self.open.len() })
    }
}

impl<'a, K: Fn(&str) -> bool> Iterator for Leaves<'a, K> {
    type Item = Leaf<'a>;

    fn next(&mut self) -> Option<Leaf<'a>> {
        while let Some(&byte) = self.json.as_bytes().get(self.cursor) {
            self.cursor += 1;
            match byte {
                b'"' => {
                    if let Some(leaf) = self.string(self.cursor - 1) {
                        return Some(leaf);
                    }
                }
                b'{' | b'[' => self.enter(byte == b'{'),
                b'}' | b']' => {
                    self.open.pop();
                    self.at_key = false;
                }
                b',' => {
                    if let Some(open) = self.open.last_mut() {
                        self.at_key = open.is_object;
                        open.at += usize::from(!open.is_object);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// Whether `json` is an array that holds no array.
pub(super) fn is_flat_array(json: &str) -> bool {
    serde_json::from_str::<Vec<&RawValue>>(json)
        .is_ok_and(|elements| elements.iter().all(|element| !element.get().starts_with('[')))
}

/// The string that begins at `start`, quotes included.
fn string_at(json: &str, start: usize) -> Range<usize> {
    let mut end = start + 1;
    let bytes = json.as_bytes();
    while let Some(&byte) = bytes.get(end) {
        end += 1;
        match byte {
            b'"' => break,
            b'\\' => end += 1,
            _ => {}
        }
    }
    start..end
}

/// The text of the string at `span`.
fn unquoted(json: &str, span: Range<usize>) -> Option<Cow<'_, str>> {
    let quoted = &json[span];
    if quoted.contains('\\') {
        return serde_json::from_str(quoted).ok().map(Cow::Owned);
    }
    quoted.get(1..quoted.len() - 1).map(Cow::Borrowed)
}

/// `json` with each text in place of the string at its span, in one allocation, so
/// that no plaintext is left behind in memory that was outgrown. Spans ascend.
pub(super) fn splice<T>(
    json: &str,
    texts: &[(Range<usize>, T)],
    text_of: impl Fn(&T) -> &str,
) -> String {
    let added: usize = texts.iter().map(|(_, text)| quoted_length(text_of(text))).sum();
    let removed: usize = texts.iter().map(|(span, _)| span.len()).sum();
    let mut spliced = String::with_capacity(json.len() + added - removed);
    let mut copied = 0;
    for (span, text) in texts {
        spliced.push_str(&json[copied..span.start]);
        push_quoted(&mut spliced, text_of(text));
        copied = span.end;
    }
    spliced.push_str(&json[copied..]);
    spliced
}

/// Appends `text` as a JSON string (RFC 8259 section 7).
fn push_quoted(json: &mut String, text: &str) {
    json.push('"');
    for char in text.chars() {
        match short_escape(char) {
            Some(escape) => json.extend(['\\', escape]),
            None if char < ' ' => {
                json.push_str("\\u00");
                json.extend([u32::from(char) >> 4, u32::from(char) & 15].map(hex_digit));
            }
            None => json.push(char),
        }
    }
    json.push('"');
}

/// How many bytes [`push_quoted`] appends.
fn quoted_length(text: &str) -> usize {
    let length = |char| match short_escape(char) {
        Some(_) => 2,
        None if char < ' ' => 6,
        None => char.len_utf8(),
    };
    2 + text.chars().map(length).sum::<usize>()
}

const fn short_escape(char: char) -> Option<char> {
    Some(match char {
        '"' | '\\' => char,
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{c}' => 'f',
        '\r' => 'r',
        _ => return None,
    })
}

fn hex_digit(digit: u32) -> char {
    char::from_digit(digit, 16).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(json: &str) -> Vec<(String, String, bool)> {
        let mut leaves = Leaves::new(json, |key| key == "password").unwrap();
        let mut found = Vec::new();
        while let Some(leaf) = leaves.next() {
            let text = leaf.text.map_or("?".to_owned(), Cow::into_owned);
            found.push((leaves.pointer(), text, leaf.is_secret));
        }
        found
    }

    #[test]
    fn arrays_pass_their_key_on_and_objects_do_not() {
        let json = r#" {"password":["a",[["b"],{"x":"c","password":"d"},"e"]],
            "":"f","password":{"k":"g"},"n":[{},[],"h"],"p\u0061ssword":"i","a/b~":"j"} "#;
        let expected = [
            ("/password/0", "a", true),
            ("/password/1/0/0", "b", true),
            ("/password/1/1/x", "c", false),
            ("/password/1/1/password", "d", true),
            ("/password/1/2", "e", true),
            ("/", "f", false),
            ("/password/k", "g", false),
            ("/n/2", "h", false),
            ("/password", "i", true),
            ("/a~1b~0", "j", false),
        ];
        let expected = expected.map(|(path, text, secret)| (path.into(), text.into(), secret));
        assert_eq!(leaves(json), expected);
    }

    #[test]
    fn strings_end_where_json_says() {
        assert_eq!(leaves(r#""\"\\""#), [(String::new(), r#""\"#.into(), false)]);
        assert_eq!(leaves(r#"["\ud83d\ude00","\ud800"]"#)[0].1, "😀");
        assert_eq!(leaves(r#"["\ud83d\ude00","\ud800"]"#)[1].1, "?");
        assert_eq!(leaves("1.10"), []);
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = 300_000;
        let json = format!("{}\"x\"{}", "[".repeat(deep), "]".repeat(deep));
        let mut found = Leaves::new(&json, |_| false).unwrap();
        assert_eq!(found.next().map(|leaf| leaf.depth), Some(deep));
        assert!(found.next().is_none());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for bad in ["", "{", "[1,]", "{\"a\" 1}", "\"\\x\"", "nul", "[] []", "\"\n\""] {
            assert_eq!(Leaves::new(bad, |_| false).err(), Some(NotJson), "{bad:?}");
        }
    }

    #[test]
    fn a_splice_touches_nothing_else() {
        let json = "{ \"n\": 1.10, \"a\" :\"x\", \"big\":123456789012345678901,\"a\":\"y\"}\n";
        let texts: Vec<_> = Leaves::new(json, |_| false)
            .unwrap()
            .map(|leaf| (leaf.span, "\"\\\n\u{1}\u{1f}é😀\u{7f}"))
            .collect();
        let spliced = splice(json, &texts, |text| text);
        let quoted = serde_json::to_string(texts[0].1).unwrap();
        assert_eq!(spliced, json.replace("\"x\"", &quoted).replace("\"y\"", &quoted));
        assert_eq!(spliced.len(), spliced.capacity(), "in one allocation");
    }
}
