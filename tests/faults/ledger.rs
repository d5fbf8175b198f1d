//! What one client was told of its rows, and what it must therefore read.
//!
//! 1. Only this client edits the row, and every edit names the version that it
//!    expects, so that exactly one edit leads from one version to the next.
//! 2. An edit that was acknowledged is what is read from then on.
//! 3. An edit whose answer was lost may have been done, or be done later, but only
//!    while the row has the version that it named.

use uuid::Uuid;

/// One row, as its client knows it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: Uuid,
    version: i64,
    value: String,
    /// Edits of this version whose answers were lost.
    doubtful: Vec<String>,
}

/// The row is not as its client was told.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("version {read} was read of row {id}, which has version {known}{}", or_later(*doubtful))]
    Version { id: Uuid, known: i64, read: i64, doubtful: usize },
    #[error("version {version} of row {id} does not hold what was acknowledged")]
    Value { id: Uuid, version: i64 },
    #[error("an edit of version {known} of row {id} was refused, and nobody else edits it")]
    Refused { id: Uuid, known: i64 },
}

const fn or_later(doubtful: usize) -> &'static str {
    if doubtful == 0 { "" } else { " or the next one" }
}

impl Row {
    /// A row that was made, as it was acknowledged.
    pub(crate) const fn made(id: Uuid, version: i64, value: String) -> Self {
        Self { id, version, value, doubtful: Vec::new() }
    }

    /// The version that an edit must name.
    pub(crate) const fn version(&self) -> i64 {
        self.version
    }

    /// An edit was acknowledged, and led to `version`.
    pub(crate) fn edited(&mut self, version: i64, value: String) -> Result<(), Wrong> {
        if version != self.version + 1 {
            let Self { id, version: known, .. } = *self;
            return Err(Wrong::Version { id, known: known + 1, read: version, doubtful: 0 });
        }
        *self = Self::made(self.id, version, value);
        Ok(())
    }

    /// The answer to an edit was lost.
    pub(crate) fn edit_lost(&mut self, value: String) {
        self.doubtful.push(value);
    }

    /// An edit was refused, because the row has another version: an earlier one whose
    /// answer was lost must have been done.
    pub(crate) const fn edited_meanwhile(&self) -> Result<(), Wrong> {
        if self.doubtful.is_empty() {
            return Err(Wrong::Refused { id: self.id, known: self.version });
        }
        Ok(())
    }

    /// The row was read: of `version`, with a value of which `is` knows whether it is
    /// the one.
    pub(crate) fn read(&mut self, version: i64, is: impl Fn(&str) -> bool) -> Result<(), Wrong> {
        let (id, known) = (self.id, self.version);
        if version == known {
            return if is(&self.value) { Ok(()) } else { Err(Wrong::Value { id, version }) };
        }
        if version != known + 1 || self.doubtful.is_empty() {
            let doubtful = self.doubtful.len();
            return Err(Wrong::Version { id, known, read: version, doubtful });
        }
        match self.doubtful.iter().find(|value| is(value)) {
            Some(value) => *self = Self::made(id, version, value.clone()),
            None => return Err(Wrong::Value { id, version }),
        }
        Ok(())
    }

    /// What was read without a version: the value of this one, or one in doubt.
    pub(crate) fn shows(&self, is: impl Fn(&str) -> bool) -> Result<(), Wrong> {
        if is(&self.value) || self.doubtful.iter().any(|value| is(value)) {
            return Ok(());
        }
        Err(Wrong::Value { id: self.id, version: self.version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row::made(Uuid::nil(), 1, "first".to_owned())
    }

    #[test]
    fn what_was_acknowledged_is_what_must_be_read() {
        let mut row = row();
        row.edited(2, "second".to_owned()).unwrap();
        row.read(2, |value| value == "second").unwrap();
        let lost = row.read(1, |value| value == "first").unwrap_err();
        assert!(matches!(lost, Wrong::Version { known: 2, read: 1, .. }), "{lost}");
        let lost = row.read(2, |value| value == "first").unwrap_err();
        assert!(matches!(lost, Wrong::Value { version: 2, .. }), "{lost}");
        assert!(row.edited(4, "third".to_owned()).is_err(), "it was done twice");
        assert!(row.edited_meanwhile().is_err(), "nobody else edits it");
    }

    #[test]
    fn an_edit_whose_answer_was_lost_may_have_been_done_and_no_other() {
        let mut row = row();
        row.edit_lost("second".to_owned());
        row.edit_lost("another".to_owned());
        row.read(1, |value| value == "first").expect("not done yet");
        assert!(row.read(2, |value| value == "third").is_err());
        row.shows(|value| value == "another").expect("it may be there");
        row.edited_meanwhile().expect("one of them was done");
        row.read(2, |value| value == "another").expect("done");
        assert!(row.read(3, |value| value == "second").is_err(), "it named version 1");
        row.edited(3, "third".to_owned()).unwrap();
    }
}
