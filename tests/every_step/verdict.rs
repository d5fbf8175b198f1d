//! A rollover ended as its course says, everything was done, and once.

use super::*;
use breeze_rollover::column::RowKey;
use secrecy::ExposeSecret;
use std::fmt;

impl Course {
    /// Rows that are rewrapped: all of them, what was written when nothing was left, and
    /// on the way back all of them again.
    pub(crate) fn rewrapped(&self) -> u64 {
        if self.class() != Class::Sealing {
            return 0;
        }
        let forward = self.events.iter().map(|event| match event {
            Event::AllReplicasRead => ALL,
            Event::SomethingLeft => 1,
            _ => 0,
        });
        forward.sum::<u64>() + if self.end() == Phase::RolledBack { ALL } else { 0 }
    }
}

impl Ground {
    pub(crate) async fn assert_done(
        &self,
        course: &Course,
        rollover: &Rollover,
        what: impl fmt::Debug,
    ) {
        let what = format!("{course:?}: {what:?}: {rollover:?}");
        assert_eq!(rollover.phase, course.end(), "{what}");
        let (from, to) = match course.end() {
            Phase::Destroyed => (KeyState::Destroyed, KeyState::Primary),
            _ => (KeyState::Primary, KeyState::Retired),
        };
        self.survivor.worker.replica().refresh().await.unwrap();
        let custody = self.store.custody().await.unwrap();
        for key in custody.keys.iter().filter(|key| key.secret == course.secret) {
            let is_right = match &key.id {
                id if *id == rollover.from_key => key.state == from,
                id if Some(id) == rollover.to_key.as_ref() => key.state == to,
                _ => !matches!(key.state, KeyState::Primary | KeyState::Staged),
            };
            assert!(is_right, "{what}: {key:?}");
            assert_eq!(key.sealed.is_none(), key.state == KeyState::Destroyed, "{what}: {key:?}");
        }
        if course.rewrapped() > 0 {
            let report = rollover.report.as_ref().unwrap();
            assert_eq!(report["rowsRewrapped"], course.rewrapped(), "{what}");
            assert!(report["rowsScanned"].as_u64() >= Some(course.rewrapped()), "{what}");
            assert!(report["rowsThatKeptAnEdit"].as_u64() <= Some(1), "{what}");
            let census = self.survivor.operator().census().await.unwrap();
            assert_eq!((census.stale, census.quarantined.len()), (1, 1), "{what}: the bad row");
        }
        if course.class() == Class::Sealing {
            assert_eq!(self.note().await, self.scene.play().note, "{what}: the edit is kept");
        }
    }

    /// What the edited row holds.
    async fn note(&self) -> String {
        let replica = self.survivor.worker.replica();
        let registry = columns();
        let survey = self.store.survey(&registry).await.unwrap();
        let table = survey.tables.iter().find(|table| table.table.name() == "notes").unwrap();
        let rows = self.store.fetch(table, &[RowKey::from("edited")]).await.unwrap();
        let value = rows[0].values[0].as_deref().unwrap();
        let column = registry.column("notes", "body").unwrap();
        let opened = column.open(&replica.opening_keychain(), &rows[0].key, value, Target::Bound);
        opened.unwrap().plaintext.expose_secret().to_owned()
    }
}
