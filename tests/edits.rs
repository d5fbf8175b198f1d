//! No lost write: a row edited meanwhile keeps the edit, whoever rewraps it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    layer::sealed::{SealedLayer, StaleRow, StaleSink},
    rollover::{Mode, Phase},
    store::{Actor, StoreError, Window},
    worker::lazy_rewrap,
};
use support::{
    app::{TestApp, execute, fill, on_both_databases, plaintexts, registry, request},
    by_hand::ByHand,
    double::{Call, Double, Script},
};

const ROWS: u32 = 400;

/// As a handler does it: seals `text` for one row, and keeps the keychain until the
/// database has acknowledged the write.
async fn edit(database: &Database, layer: &SealedLayer, row: &str, text: &str) {
    let sealed = layer.sealed();
    let value = sealed.seal("variables", "value", row, text).unwrap();
    execute(database, &format!("UPDATE variables SET value = '{value}' WHERE id = '{row}'")).await;
}

fn named(row: &str) -> String {
    format!("variables.value {row}")
}

/// Editors with rows of their own, until they are told to end. Each answers what it
/// last wrote to each row.
struct Editors {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<BTreeMap<String, String>>>,
}

impl Editors {
    fn begin(app: &TestApp, editors: u32) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let tasks = (0..editors).map(|editor| {
            let (database, layer) = (app.database.clone(), app.rollovers.sealed());
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                let mut last = BTreeMap::new();
                // A step that shares no divisor with the rows: every row has its turn.
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let row = format!("v{}", (turn * 7 * editors + editor) % ROWS);
                    let text = format!("edit {turn} of {editor}");
                    edit(&database, &layer, &row, &text).await;
                    last.insert(named(&row), text);
                }
                last
            })
        });
        Self { tasks: tasks.collect(), stop }
    }

    async fn end(self) -> BTreeMap<String, String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut last = BTreeMap::new();
        for task in self.tasks {
            last.append(&mut task.await.unwrap());
        }
        last
    }
}

async fn edits_during_a_bulk_rewrap_are_kept(database: Database) {
    fill(&database, ROWS).await;
    let app = TestApp::start(database).await;
    let mut expected = app.plaintexts().await;
    let editors = Editors::begin(&app, 4);
    let rollover = app.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap();
    app.reaches(rollover.id, Phase::Retired).await;
    let edits = editors.end().await;
    assert!(edits.len() > 10, "{} rows were edited", edits.len());
    expected.extend(edits);
    assert_eq!(app.plaintexts().await, expected);
    app.rollovers.leave().await;
}

/// Edits one row of every batch between its reading and its writing.
#[derive(Debug)]
struct EditsBetween {
    database: Database,
    layer: Mutex<Option<SealedLayer>>,
    edits: Mutex<BTreeMap<String, String>>,
}

#[async_trait]
impl Script for EditsBetween {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        let Call::Write(table, updates) = call else { return Ok(()) };
        let layer = self.layer.lock().unwrap().clone();
        let (Some(layer), "variables", [first, ..]) = (layer, table.table.name(), updates) else {
            return Ok(());
        };
        let row = &first.key.parts()[0];
        edit(&self.database, &layer, row, &format!("edited {row}")).await;
        self.edits.lock().unwrap().insert(named(row), format!("edited {row}"));
        Ok(())
    }
}

async fn an_edit_between_reading_and_writing_a_batch_is_kept_and_counted(database: Database) {
    fill(&database, 30).await;
    let script = Arc::new(EditsBetween {
        database: database.clone(),
        layer: Mutex::default(),
        edits: Mutex::default(),
    });
    let process = ByHand::join(Double::on(database.store(), Arc::clone(&script))).await.unwrap();
    let replica = process.worker.replica();
    *script.layer.lock().unwrap() = Some(SealedLayer::new(replica.keychain(), registry()));
    let mut expected = plaintexts(replica).await;

    let ask = request(Secret::AppEncryptionKey, Mode::Graceful);
    let id = process.operator().begin(ask, Actor::System).await.unwrap().id;
    process.carry(id).await.unwrap();

    let edits = script.edits.lock().unwrap().clone();
    assert!(!edits.is_empty());
    let rollover = process.operator().inspect(id).await.unwrap();
    assert_eq!(rollover.rollover.phase, Phase::Retired);
    let report = rollover.rollover.report.unwrap();
    assert_eq!(report["rowsThatKeptAnEdit"], edits.len(), "{report}");
    assert_eq!(report["rowsRewrapped"], 60 - edits.len(), "{report}");
    expected.extend(edits);
    assert_eq!(plaintexts(replica).await, expected);
}

/// Reads every variable as a handler does, so that what is stale is offered.
async fn read_all(app: &TestApp, layer: &SealedLayer) -> Duration {
    let store = app.database.store();
    let survey = store.survey(&registry()).await.unwrap();
    let shape = survey.tables.iter().find(|table| table.table.name() == "variables").unwrap();
    let every = [breeze_rollover::column::Aim { prefixes: vec![] }];
    let rows = store.stale(shape, &every, Window::default(), ROWS * 2).await.unwrap();
    let sealed = layer.sealed();
    let began = Instant::now();
    for row in &rows {
        let value = row.values[0].as_deref().unwrap();
        sealed.open("variables", "value", row.key.clone(), value).unwrap();
    }
    began.elapsed() / rows.len() as u32
}

async fn raw(app: &TestApp, row: &str) -> String {
    let sql = sqlx::AssertSqlSafe(format!("SELECT value FROM variables WHERE id = '{row}'"));
    match &app.database {
        Database::Postgres(store) => sqlx::query_scalar(sql).fetch_one(store.pool()).await,
        Database::Sqlite(store) => sqlx::query_scalar(sql).fetch_one(store.pool()).await,
        _ => unreachable!("both databases are named"),
    }
    .unwrap()
}

async fn a_stale_value_that_is_read_is_rewrapped_within_a_second(database: Database) {
    fill(&database, ROWS).await;
    let app = TestApp::start(database).await;
    let layer = app.rollovers.sealed();
    let old = raw(&app, "v7").await;
    let began = Instant::now();
    for _ in 0..100 {
        // Opening is not async: it cannot wait for the database.
        layer.sealed().open("variables", "value", "v7", &old).unwrap();
    }
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
    while raw(&app, "v7").await == old {
        assert!(began.elapsed() < Duration::from_secs(1), "it is still stale");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let new = raw(&app, "v7").await;
    assert!(new.starts_with("enc:v3:k-2024:"), "{new}");
    // Whatever is left of the hundred is in the queue for a moment.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let totals = app.rollovers.lazy_totals();
    assert_eq!((totals.rewrapped, totals.dropped), (1, 0), "a hundred reads are one rewrap");
    assert_eq!(raw(&app, "v7").await, new, "and what is final is left alone");
    app.rollovers.leave().await;
}

async fn edits_during_a_lazy_rewrap_are_kept(database: Database) {
    fill(&database, ROWS).await;
    let app = TestApp::start(database).await;
    let layer = app.rollovers.sealed();
    let mut expected = app.plaintexts().await;
    let editors = Editors::begin(&app, 4);
    let took = read_all(&app, &layer).await;
    assert!(took < Duration::from_millis(5), "{took:?} a read");
    let began = Instant::now();
    while !all_final(&app).await {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", app.rollovers.lazy_totals());
        read_all(&app, &layer).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    expected.extend(editors.end().await);
    assert_eq!(app.plaintexts().await, expected);
    let totals = app.rollovers.lazy_totals();
    assert!(totals.rewrapped > 0 && totals.dropped == 0, "{totals:?}");
    app.rollovers.leave().await;
}

async fn all_final(app: &TestApp) -> bool {
    let census = app.rollovers.operator().census().await.unwrap();
    let variables = census.columns.iter().find(|c| c.column == "variables.value").unwrap();
    variables.values.keys().all(|form| form == "enc:v3:k-2024")
}

#[test]
fn a_full_queue_drops_and_counts() {
    let (lazy, worker) = lazy_rewrap();
    let row = |id: i64| StaleRow { table: "variables".into(), row: id.into() };
    let began = Instant::now();
    for id in 0..10_000 {
        lazy.offer(row(id));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "offering never waits");
    assert_eq!(lazy.totals().dropped, 10_000 - 8192);
    drop(worker);
    lazy.offer(row(0));
    assert_eq!(lazy.totals().dropped, 10_001 - 8192, "nobody takes it any more");
}

/// A database that refuses every rewrap without an error.
async fn a_pass_that_changes_nothing_never_ends_in_success(database: Database) {
    fill(&database, 5).await;
    let refuse = match database {
        Database::Postgres(_) => {
            "CREATE FUNCTION ignore() RETURNS trigger AS 'BEGIN RETURN NULL; END' LANGUAGE plpgsql;
             CREATE TRIGGER ignore BEFORE UPDATE ON variables FOR EACH ROW EXECUTE FUNCTION ignore();
             CREATE TRIGGER ignore BEFORE UPDATE ON integrations FOR EACH ROW EXECUTE FUNCTION ignore();"
        }
        _ => {
            "CREATE TRIGGER ignore_v BEFORE UPDATE ON variables BEGIN SELECT RAISE(IGNORE); END;
             CREATE TRIGGER ignore_i BEFORE UPDATE ON integrations BEGIN SELECT RAISE(IGNORE); END;"
        }
    };
    execute(&database, refuse).await;
    let app = TestApp::start(database).await;
    let rollover = app.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap();
    let blocked = app.blocked(rollover.id, "10 row(s) stay stale").await;
    assert_eq!((blocked.phase, blocked.pass), (Phase::Promoted, 1));
    app.rollovers.leave().await;
}

on_both_databases!(
    edits_during_a_bulk_rewrap_are_kept,
    an_edit_between_reading_and_writing_a_batch_is_kept_and_counted,
    a_stale_value_that_is_read_is_rewrapped_within_a_second,
    edits_during_a_lazy_rewrap_are_kept,
    a_pass_that_changes_nothing_never_ends_in_success,
);
