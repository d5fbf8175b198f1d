//! What is around a rollover: an application with bad rows and edits, a provider, and a
//! gate that keeps the rollover on its course.
//!
//! 1. Every process works in the same scene: who takes over finds it as it was left.
//! 2. A step that leads off the course is held at the gate. Whoever was about to do it
//!    does then what the course waits for ([`Ground::carry`]).

use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use breeze_rollover::{
    column::{Column, Registry, RowKey},
    envelope::Target,
    keyring::Keychain,
    store::{Change, StoreError},
    worker::DriveError,
};
use play::{Edit, Play};

use super::*;
use support::{
    app::execute,
    double::{Call, Script},
};

/// Rows of [`NOTES`] that a key opens.
pub(crate) const OPENABLE: u64 = 2;

/// One row that no key opens; one that the database refuses to change while it is held;
/// and one that is edited between the reading and the writing of its batch.
const NOTES: &str = "
    CREATE TABLE notes (
        id varchar(20) PRIMARY KEY, body text NOT NULL, held text,
        CHECK (held IS NULL OR held = body)
    );
    INSERT INTO notes (id, body) VALUES
        ('bad', 'enc:v2:k-lost:AAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA.AAAA');";

/// The columns of every test, and the notes.
pub(crate) fn columns() -> Registry {
    registry().with(Column::text("notes", "body"))
}

#[derive(Debug)]
pub(crate) struct Scene {
    database: Database,
    play: Mutex<Play>,
}

impl Scene {
    /// Beside the tables of `database`.
    pub(crate) async fn of(course: &Course, database: Database) -> Self {
        execute(&database, NOTES).await;
        let play = Mutex::new(Play::of(course, "edited".to_owned()));
        Self { database, play }
    }

    /// Writes the notes that `keys` open.
    pub(crate) async fn fill(&self, keys: &Keychain) {
        for row in ["stubborn", "edited"] {
            let body = sealed(keys, row, row);
            let sql = format!("INSERT INTO notes (id, body) VALUES ('{row}', '{body}')");
            execute(&self.database, &sql).await;
        }
    }

    /// A rollover is about to begin; `keys` are those of before.
    pub(crate) async fn begins(&self, course: &Course, keys: &Keychain) {
        let mut next = Play::of(course, self.play().note.clone());
        if course.class() == Class::Sealing {
            let edit = || {
                let text = format!("an edit {}", Uuid::now_v7());
                Some(Edit { sealed: sealed(keys, "edited", &text), text })
            };
            (next.edit, next.late) = (edit(), edit());
            execute(&self.database, "UPDATE notes SET held = body WHERE id = 'stubborn'").await;
        }
        *self.play() = next;
    }

    /// Someone sees to the row that the database refused to change.
    pub(crate) async fn yields(&self) {
        execute(&self.database, "UPDATE notes SET held = NULL").await;
    }

    /// Someone writes what was sealed before the rollover, once.
    pub(crate) async fn straggles(&self) {
        let late = self.play().late.take();
        self.write(late).await;
    }

    async fn write(&self, edit: Option<Edit>) {
        let Some(Edit { text, sealed }) = edit else { return };
        let sql = format!("UPDATE notes SET body = '{sealed}' WHERE id = 'edited'");
        execute(&self.database, &sql).await;
        self.play().note = text;
    }

    pub(crate) fn play(&self) -> MutexGuard<'_, Play> {
        self.play.lock().unwrap()
    }
}

/// Whether the gate held the step.
pub(crate) fn is_held(refused: &Refusal) -> bool {
    matches!(refused, Refusal::Drive(DriveError::Store(StoreError::Corrupt { table: GATE, .. })))
}

/// No control table has this name.
const GATE: &str = "gate";

fn sealed(keys: &Keychain, row: &str, text: &str) -> String {
    let columns = columns();
    let column = columns.column("notes", "body").unwrap();
    column.seal(keys, &RowKey::from(row), text, Target::Bound).unwrap()
}

#[async_trait]
impl Script for Scene {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        if self.play().holds(call) {
            return Err(StoreError::Corrupt { table: GATE, what: "it is shut".to_owned() });
        }
        if let Call::Write(_, rows) = call
            && rows.iter().any(|row| row.key == RowKey::from("edited"))
        {
            let edit = self.play().edit.take();
            self.write(edit).await;
        }
        Ok(())
    }

    async fn after(&self, call: Call<'_>) -> Result<(), StoreError> {
        self.play().made(call);
        Ok(())
    }

    fn committed(&self, change: &Change) {
        self.play().committed(change);
    }
}
