//! A database that is read-only, gone, or of another version.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use breeze_rollover::{
    catalog::Secret,
    embed::{Database, DatabaseError},
    rollover::{Mode, Phase},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    assert_says,
    support::{
        self,
        app::{TestApp, execute, fill, on_both_databases, request, setup},
    },
};

async fn a_newer_schema_is_left_to_the_newer_version(database: Database) {
    let meta = match database {
        Database::Postgres(_) => "rollover.meta",
        _ => "rollover_meta",
    };
    execute(&database, &format!("UPDATE {meta} SET needs = 9999")).await;
    let refused = setup(&database).start().await.unwrap_err();
    assert_says(&refused, &["the schema has changed with migration 9999", "run the newer version"]);
    let refused = database.migrate().await.unwrap_err();
    assert_says(&refused, &["run the newer version"]);
}

on_both_databases!(a_newer_schema_is_left_to_the_newer_version);

#[tokio::test]
async fn a_file_that_takes_no_writes_is_refused_at_start() {
    let file = support::sqlite::file();
    let database = Database::connect(&file.url(), 2).await.unwrap();
    database.migrate().await.unwrap();
    let read_only = Database::connect(&format!("{}?mode=ro", file.url()), 2).await.unwrap();
    let refused = setup(&read_only).start().await.unwrap_err();
    assert_says(&refused, &["the database is read-only", "make the file writable"]);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}/no/such/folder/app.db", folder.path().display());
    let server = format!("postgres://t:pw@127.0.0.1:{}/app", support::free_port());
    for url in [file, server] {
        let began = Instant::now();
        let refused = Database::connect(&url, 2).await.unwrap_err();
        assert_says(&refused, &["the database does not answer", "that DATABASE_URL names it"]);
        assert!(!refused.to_string().contains("pw@"), "{refused}");
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    }
    let refused = Database::connect("mysql://localhost/app", 2).await.unwrap_err();
    assert!(matches!(refused, DatabaseError::Scheme));
    assert_says(&refused, &["DATABASE_URL must begin with postgres:// or sqlite://"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_not_there_are_to_be_made() {
    let file = support::sqlite::file();
    let database = Database::connect(&file.url(), 2).await.unwrap();
    let refused = setup(&database).start().await.unwrap_err();
    assert_says(&refused, &["the control tables are missing", "breeze-api migrate"]);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_server_that_takes_no_writes_is_refused_at_start() {
    let own = support::postgres::database().await;
    Database::connect(&own.url(), 2).await.unwrap().migrate().await.unwrap();
    own.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on',
            current_database()); END $$",
    )
    .await;
    let read_only = Database::connect(&own.url(), 2).await.unwrap();
    let refused = setup(&read_only).start().await.unwrap_err();
    assert_says(&refused, &["the database is read-only", "point DATABASE_URL at the primary"]);
    let (server, _) =
        own.url().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let nowhere = format!("{server}/that_is_not_there");
    let none = Database::connect(&nowhere, 2).await.unwrap_err();
    assert_says(&none, &["the database does not answer", "does not exist"]);
}

/// A way to a server that can be cut.
struct Way {
    port: u16,
    open: Arc<watch::Sender<bool>>,
}

impl Way {
    async fn to(server: String) -> Self {
        let open = Arc::new(watch::Sender::new(true));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (server, mut cut) = (server.clone(), way.subscribe());
                tokio::spawn(async move {
                    let through = async {
                        let mut far = TcpStream::connect(&server).await?;
                        copy_bidirectional(&mut near, &mut far).await
                    };
                    tokio::select! {
                        _ = through => {}
                        _ = cut.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { port, open }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_replica_serves_on_while_the_server_is_away_and_recovers() {
    let own = support::postgres::database().await;
    let url = own.url();
    let (before, rest) = url.split_once('@').unwrap();
    let (server, path) = rest.split_once('/').unwrap();
    let way = Way::to(server.to_owned()).await;
    let database =
        Database::connect(&format!("{before}@127.0.0.1:{}/{path}", way.port), 8).await.unwrap();
    database.migrate().await.unwrap();
    fill(&database, 60).await;
    let app = TestApp::start(database).await;
    let plaintexts = app.plaintexts().await;
    let layer = app.rollovers.sealed();
    let value = layer.sealed().seal("variables", "value", "v1", "a plaintext").unwrap();
    let rollover = app.begin(request(Secret::AppEncryptionKey, Mode::Graceful)).await.unwrap();

    way.open.send_replace(false);
    for _ in 0..20 {
        layer.sealed().open("variables", "value", "v1", &value).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let refused = app.begin(request(Secret::JwtSecret, Mode::Graceful)).await.unwrap_err();
    assert_says(&refused, &["the database does not answer"]);

    way.open.send_replace(true);
    app.reaches(rollover.id, Phase::Retired).await;
    assert_eq!(app.plaintexts().await, plaintexts);
    app.rollovers.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn leaving_ends_although_the_server_is_away() {
    let own = support::postgres::database().await;
    let url = own.url();
    let (before, rest) = url.split_once('@').unwrap();
    let (server, path) = rest.split_once('/').unwrap();
    let way = Way::to(server.to_owned()).await;
    let database =
        Database::connect(&format!("{before}@127.0.0.1:{}/{path}", way.port), 8).await.unwrap();
    database.migrate().await.unwrap();
    let app = TestApp::start(database).await;
    way.open.send_replace(false);
    tokio::time::timeout(Duration::from_secs(60), app.rollovers.leave()).await.unwrap();
}
