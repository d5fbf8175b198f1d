//! What rollovers made is written to a manager: whole, once, and never over an edit.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    keyring::{KeyState, sources::Environment},
    manager::{Fields, Manager, ManagerError, Revision, Sources, replace},
    rollover::{Mode, Phase},
    store::{Actor, AuditRecord},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    api::holds,
    reading::{SECOND, fields, id_of, sources},
    server::{Server, with_both_managers, with_either_manager},
    support::app::{JWT_SECRET, MFA_KEY, TestApp, request, setup},
};

async fn start(server: &Server, database: &Database) -> TestApp {
    let sources = sources(server).await.writing_back();
    TestApp::join(setup(database).sources(sources), database.clone()).await
}

/// What the audit trail tells of writes that ended so.
async fn told(database: &Database, result: &str) -> Vec<AuditRecord> {
    let mut entries = database.store().audit(None, 200).await.unwrap();
    entries.retain(|it| it.action == "secrets_manager.write" && it.result == result);
    entries
}

/// Once the present version of the manager is in the audit trail: a value is seen there
/// before it is read back.
async fn is_told(server: &Server, database: &Database) {
    let (version, _) = server.held().await;
    for _ in 0..400 {
        let entries = told(database, "success").await;
        if entries.iter().any(|it| it.details.as_ref().unwrap()["version"] == *version) {
            return;
        }
        sleep(Duration::from_millis(25)).await;
    }
    panic!("version {version} is not told");
}

async fn the_new_key_is_written_with_the_old_one_beside_it_and_then_alone(
    server: Server,
    database: Database,
) {
    server.holds(&fields(&[])).await;
    let apps = [start(&server, &database).await, start(&server, &database).await];
    let (first, _) = server.held().await;
    sleep(Duration::from_secs(6)).await;
    assert_eq!(server.held().await.0, first, "nothing to write, nothing written");

    let app = &apps[0];
    let begun = app.begin(request(Secret::JwtSecret, Mode::Graceful)).await.unwrap();
    app.reaches(begun.id, Phase::Promoted).await;
    app.rollovers.operator().pause(begun.id, Actor::System, "a test").await.unwrap();
    let both = holds(&server, |fields| fields["JWT_SECRET"] != JWT_SECRET).await;
    assert_eq!(both["JWT_SECRET_PREVIOUS"], json!(json!([JWT_SECRET]).to_string()));
    let new = both["JWT_SECRET"].as_str().unwrap();
    assert_eq!(app.key_state(Secret::JwtSecret, &id_of(new)).await, KeyState::Primary);
    is_told(&server, &database).await;

    app.rollovers.operator().resume(begun.id, Actor::System, "a test").await.unwrap();
    app.reaches(begun.id, Phase::Retired).await;
    let alone = holds(&server, |fields| fields.get("JWT_SECRET_PREVIOUS").is_none()).await;
    assert_eq!(alone, fields(&[("JWT_SECRET", json!(new))]), "and all else is as it was");
    is_told(&server, &database).await;
    sleep(Duration::from_secs(6)).await;
    let written = told(&database, "success").await;
    assert_eq!(written.len(), 2, "of two replicas one writes each: {written:?}");
    assert!(told(&database, "failure").await.is_empty());
    let details = written[0].details.as_ref().unwrap().to_string();
    assert!(details.contains("inPlaceOf") && !details.contains(new), "{details}");

    // One that starts now finds in the manager what is in use.
    let late = start(&server, &database).await;
    assert_eq!(late.rollovers.notes(), []);
    for app in apps.into_iter().chain([late]) {
        app.rollovers.leave().await;
    }
}

async fn a_rollover_that_is_rolled_back_leaves_the_old_key(server: Server, database: Database) {
    server.holds(&fields(&[])).await;
    let app = start(&server, &database).await;
    let begun = app.begin(request(Secret::JwtSecret, Mode::Graceful)).await.unwrap();
    app.reaches(begun.id, Phase::Promoted).await;
    app.rollovers.operator().pause(begun.id, Actor::System, "a test").await.unwrap();
    holds(&server, |fields| fields["JWT_SECRET"] != JWT_SECRET).await;
    app.rollovers.operator().resume(begun.id, Actor::System, "a test").await.unwrap();
    app.rollovers.operator().roll_back(begun.id, Actor::System, "a test").await.unwrap();
    app.reaches(begun.id, Phase::RolledBack).await;
    let back = |held: &Value| *held == fields(&[]);
    holds(&server, back).await;
    app.rollovers.leave().await;
}

async fn what_asks_for_a_rollover_is_not_written_over(server: Server, database: Database) {
    server.holds(&fields(&[])).await;
    let app = start(&server, &database).await;
    let wish = fields(&[
        ("JWT_SECRET", json!(SECOND)),
        ("JWT_SECRET_PREVIOUS", json!(json!([JWT_SECRET]).to_string())),
    ]);
    server.holds(&wish).await;
    let mut seen = vec![];
    let watching = async {
        while seen.len() < 2 {
            let (_, held) = server.held().await;
            if seen.last() != Some(&held) {
                seen.push(held);
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), watching).await.unwrap();
    assert_eq!(
        seen,
        [wish, fields(&[("JWT_SECRET", json!(SECOND))])],
        "the retired one is taken out"
    );
    assert_eq!(app.key_state(Secret::JwtSecret, &id_of(JWT_SECRET)).await, KeyState::Retired);
    app.rollovers.leave().await;
}

/// A manager, in whose way somebody stands.
#[derive(Debug)]
struct Meddled {
    manager: Arc<dyn Manager>,
    /// What an operator writes right before the next write, once.
    edit: Mutex<Option<Revision>>,
    /// Whether what is read back is something else.
    misreads: AtomicBool,
}

impl Meddled {
    fn with(server: &Server) -> Arc<Self> {
        let manager = server.manager();
        Arc::new(Self { manager, edit: Mutex::default(), misreads: AtomicBool::default() })
    }
}

#[async_trait]
impl Manager for Meddled {
    fn name(&self) -> &str {
        self.manager.name()
    }

    async fn read(&self) -> Result<Revision, ManagerError> {
        self.manager.read().await
    }

    async fn read_version(&self, version: &str) -> Result<Revision, ManagerError> {
        let mut read = self.manager.read_version(version).await?;
        if self.misreads.load(Ordering::Relaxed) {
            read.fields.set("JWT_SECRET", "something else, and as long as it has to be");
        }
        Ok(read)
    }

    async fn write(&self, fields: &Fields, present: &str) -> Result<String, ManagerError> {
        let edit = self.edit.lock().unwrap().take();
        if let Some(edit) = edit {
            self.manager.write(&edit.fields, present).await.unwrap();
        }
        self.manager.write(fields, present).await
    }
}

async fn meddled(manager: &Arc<Meddled>, database: &Database) -> TestApp {
    let (local, poll) =
        (Environment::given([("NODE_ENV", "development")]), Duration::from_secs(60));
    let manager = Arc::clone(manager) as Arc<dyn Manager>;
    let sources = Sources::following(local, manager, poll).await.unwrap().writing_back();
    TestApp::join(setup(database).sources(sources), database.clone()).await
}

async fn an_edit_that_comes_in_between_stays(server: Server, database: Database) {
    server.holds(&fields(&[])).await;
    let manager = Meddled::with(&server);
    let mut edit = manager.read().await.unwrap();
    edit.fields.set("NOTE", "an operator was here");
    edit.fields.set("MFA_ENCRYPTION_KEY", "another key for the seeds of one-time codes");
    edit.fields.set("MFA_ENCRYPTION_KEY_PREVIOUS", MFA_KEY);
    *manager.edit.lock().unwrap() = Some(edit);
    let app = meddled(&manager, &database).await;
    let begun = app.begin(request(Secret::JwtSecret, Mode::Hard)).await.unwrap();
    app.reaches(begun.id, Phase::Retired).await;
    let held = holds(&server, |fields| fields["JWT_SECRET"] != JWT_SECRET).await;
    assert!(manager.edit.lock().unwrap().is_none(), "it came in between");
    assert_eq!(held["NOTE"], "an operator was here");
    assert_eq!(held["MFA_ENCRYPTION_KEY"], "another key for the seeds of one-time codes");
    app.rollovers.leave().await;
}

async fn what_is_not_read_back_as_it_was_written_is_told_and_holds_nobody_up(
    server: Server,
    database: Database,
) {
    server.holds(&fields(&[])).await;
    let manager = Meddled::with(&server);
    manager.misreads.store(true, Ordering::Relaxed);
    let app = meddled(&manager, &database).await;
    let begun = app.begin(request(Secret::JwtSecret, Mode::Graceful)).await.unwrap();
    app.reaches(begun.id, Phase::Promoted).await;
    app.rollovers.operator().pause(begun.id, Actor::System, "a test").await.unwrap();
    let failed = async {
        loop {
            if let Some(failed) = told(&database, "failure").await.into_iter().next() {
                return failed.details.unwrap().to_string();
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let failed = tokio::time::timeout(Duration::from_secs(30), failed).await.unwrap();
    assert!(failed.contains("does not hold what was written"), "{failed}");
    assert!(!failed.contains("something else"), "{failed}");
    app.rollovers.operator().resume(begun.id, Actor::System, "a test").await.unwrap();
    app.reaches(begun.id, Phase::Retired).await;
    app.rollovers.leave().await;
}

with_both_managers!(
    the_new_key_is_written_with_the_old_one_beside_it_and_then_alone,
    a_rollover_that_is_rolled_back_leaves_the_old_key,
    what_asks_for_a_rollover_is_not_written_over,
    an_edit_that_comes_in_between_stays,
    what_is_not_read_back_as_it_was_written_is_told_and_holds_nobody_up,
);

async fn of_two_writes_in_place_of_one_version_one_counts(server: Server) {
    server.holds(&fields(&[])).await;
    let manager = server.manager();
    let read = manager.read().await.unwrap();
    let write = async |note: &str| {
        let mut fields = read.fields.clone();
        fields.set("NOTE", note);
        replace(manager.as_ref(), &fields, &read.version).await
    };
    let both = [write("one").await, write("other").await];
    let [Ok(one), Err(ManagerError::Overtaken)] = both else { panic!("{both:?}") };
    let (version, held) = server.held().await;
    assert_eq!((version, &held["NOTE"]), (one.version, &json!("one")));
    assert_eq!(held["JWT_SECRET"], JWT_SECRET);

    let again = manager.read().await.unwrap();
    let together = async |note: &str| {
        let mut fields = again.fields.clone();
        fields.set("NOTE", note);
        replace(manager.as_ref(), &fields, &again.version).await
    };
    let (left, right) = tokio::join!(together("left"), together("right"));
    let count = [&left, &right].iter().filter(|it| it.is_ok()).count();
    assert_eq!(count, 1, "{left:?} {right:?}");
}

with_either_manager!(of_two_writes_in_place_of_one_version_one_counts);
