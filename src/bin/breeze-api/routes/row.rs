//! Opens and seals the columns of one row for a route.
//!
//! 1. A value that no key opens hides neither its row nor the rest of a page: the view
//!    names it in `unreadable`, and the log says why.
//! 2. One that this process could not open for want of its lease is named in `unread`: of
//!    a row that was written, what was written is told, and nobody is asked to mend it.

use breeze_rollover::{
    keyring::Fenced,
    layer::sealed::{Sealed, SealedError},
    problem::Problem,
};
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::{data::RowId, extract::Columns};

/// The sealed columns of one row.
pub(super) struct Row<'a> {
    sealed: &'a Sealed,
    table: &'static str,
    id: RowId,
}

/// A column that does not open, by its name in views.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// The process has lost its lease: another one may open it.
    fenced: Option<Fenced>,
}

impl Unreadable {
    /// What is answered, for want of the value: `problem`, unless it is to be asked for
    /// again.
    pub(super) fn or(self, problem: impl FnOnce() -> Problem) -> Problem {
        self.fenced.map_or_else(problem, Problem::from)
    }
}

impl<'a> Row<'a> {
    pub(super) const fn new(columns: &'a Columns, table: &'static str, id: RowId) -> Self {
        Self { sealed: &columns.0, table, id }
    }

    /// The plaintext of a text column.
    pub(super) async fn text(
        &self,
        column: &str,
        value: Option<&str>,
    ) -> Result<Option<SecretString>, Unreadable> {
        let Some(value) = value else { return Ok(None) };
        let opened = self.sealed.read(self.table, column, self.id, value).await;
        opened.map(Some).map_err(|error| self.unreadable(column, &error))
    }

    /// The plaintext of an array or document, as JSON.
    pub(super) async fn document(
        &self,
        column: &str,
        value: Option<&str>,
    ) -> Result<Option<Value>, Unreadable> {
        let Some(value) = value else { return Ok(None) };
        let json = self
            .sealed
            .read_document(self.table, column, self.id, value)
            .await
            .map_err(|error| self.unreadable(column, &error))?;
        serde_json::from_str(json.expose_secret()).map(Some).map_err(|_| {
            tracing::warn!(table = self.table, column, row = %self.id, "a document is no JSON");
            Unreadable { fenced: None }
        })
    }

    /// A text column, sealed for this row.
    pub(super) fn seal(
        &self,
        column: &str,
        text: Option<&SecretString>,
    ) -> Result<Option<String>, Problem> {
        let seal = |text: &SecretString| {
            self.sealed.seal(self.table, column, self.id, text.expose_secret())
        };
        text.map(seal).transpose().map_err(|error| self.unsealed(column, error))
    }

    /// An array or document, its secrets sealed.
    pub(super) fn seal_document(
        &self,
        column: &str,
        json: Option<&RawValue>,
    ) -> Result<Option<String>, Problem> {
        let seal =
            |json: &RawValue| self.sealed.seal_document(self.table, column, self.id, json.get());
        json.map(seal).transpose().map_err(|error| self.unsealed(column, error))
    }

    fn unreadable(&self, column: &str, error: &SealedError) -> Unreadable {
        tracing::warn!(table = self.table, column, row = %self.id, %error, "a value does not open");
        Unreadable { fenced: error.fenced() }
    }

    fn unsealed(&self, column: &str, error: SealedError) -> Problem {
        tracing::error!(table = self.table, column, row = %self.id, %error, "a value cannot be sealed");
        error.into()
    }
}

/// The members of a view that do not open.
#[derive(Default, Serialize)]
pub(super) struct Unread {
    /// With any key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<&'static str>,
    /// Here: the process has lost its lease. They are there to be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unread: Vec<&'static str>,
}

impl Unread {
    /// What `read` is, or nothing, its `member` noted.
    pub(super) fn note<T>(
        &mut self,
        member: &'static str,
        read: Result<Option<T>, Unreadable>,
    ) -> Option<T> {
        read.unwrap_or_else(|Unreadable { fenced }| {
            let members = if fenced.is_some() { &mut self.unread } else { &mut self.unreadable };
            members.push(member);
            None
        })
    }
}

/// A secret that an action needs and nobody can read.
impl From<Unreadable> for Problem {
    fn from(unreadable: Unreadable) -> Self {
        unreadable.or(|| {
            Self::new(
                StatusCode::CONFLICT,
                "secret_unreadable",
                "Secret unreadable",
                "no key opens the stored secret; set it again, or bring back the key that sealed it",
            )
        })
    }
}

/// The last four characters of a secret, and never more than half of it.
pub(super) fn hint(secret: &SecretString) -> String {
    let secret = secret.expose_secret();
    let shown = (secret.chars().count() / 2).min(4);
    let start = secret.char_indices().rev().take(shown).last().map_or(secret.len(), |(i, _)| i);
    secret[start..].to_owned()
}

/// The shape of a document, every text in it masked: which of them are secrets is
/// not for a view to guess.
pub(super) fn masked(document: Value) -> Value {
    match document {
        Value::String(text) if !text.is_empty() => Value::String("********".to_owned()),
        Value::Array(items) => items.into_iter().map(masked).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(key, value)| (key, masked(value))).collect()
        }
        other => other,
    }
}

/// Demands that `json` is an object.
pub(super) fn require_object(member: &str, json: Option<&RawValue>) -> Result<(), Problem> {
    match json {
        Some(json) if !json.get().starts_with('{') => {
            Err(Problem::unprocessable(format!("{member} must be an object")))
        }
        _ => Ok(()),
    }
}

/// Demands that `text` is there and not blank.
pub(super) fn require_text(member: &str, text: Option<&str>) -> Result<(), Problem> {
    match text {
        Some(text) if text.trim().is_empty() => {
            Err(Problem::unprocessable(format!("{member} must not be empty")))
        }
        Some(text) if text.chars().count() > 255 => {
            Err(Problem::unprocessable(format!("{member} has at most 255 characters")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hint_is_four_characters_and_never_more_than_half() {
        for (secret, shown) in
            [("correct-horse", "orse"), ("abcdef", "def"), ("ab", "b"), ("a", ""), ("", "")]
        {
            assert_eq!(hint(&secret.into()), shown);
        }
        assert_eq!(hint(&"ключ-ключ".into()), "ключ");
    }

    #[test]
    fn a_view_tells_what_no_key_opens_from_what_this_process_may_not_open() {
        let mut unread = Unread::default();
        assert_eq!(serde_json::to_value(&unread).unwrap(), json!({}));
        assert_eq!(unread.note("url", Ok(Some(1))), Some(1));
        assert_eq!(unread.note("secret", Err::<Option<()>, _>(Unreadable { fenced: None })), None);
        let fenced = Unreadable { fenced: Some(Fenced) };
        assert_eq!(unread.note("headers", Err::<Option<()>, _>(fenced)), None);
        let told = serde_json::to_value(&unread).unwrap();
        assert_eq!(told, json!({ "unreadable": ["secret"], "unread": ["headers"] }));
    }

    #[test]
    fn a_masked_document_keeps_its_shape_and_no_text() {
        let document = json!({"user": "u", "port": 161, "list": ["a", ""], "deep": {"x": true}});
        assert_eq!(
            masked(document),
            json!({"user": "********", "port": 161, "list": ["********", ""], "deep": {"x": true}})
        );
    }
}
