//! While something ails, no rollover begins, unless it is forced by name.

use std::time::Duration;

use breeze_rollover::{
    catalog::Secret,
    embed::Database,
    ids::ReplicaId,
    operator::{Check, Refusal, Request},
    rollover::Mode,
    store::Beat,
};

use crate::support::app::{TestApp, on_both_databases, request};

/// A replica that keeps its lease, and stays at the epoch of before.
async fn lag(database: &Database) {
    let beat = Beat {
        replica: ReplicaId::new(),
        name: "the slow one".to_owned(),
        version: "0".to_owned(),
        applied: breeze_rollover::ids::Epoch(0),
        settled: breeze_rollover::ids::Epoch(0),
        root_keys: vec![],
        lease: Duration::from_secs(60),
        accepts_while_fenced: false,
        columns: [].into(),
    };
    database.store().renew(&beat).await.unwrap();
}

async fn a_rollover_does_not_begin_while_a_replica_lags(database: Database) {
    let app = TestApp::start(database).await;
    assert_eq!(app.rollovers.operator().ailments().await.unwrap(), []);
    lag(&app.database).await;
    let ask = || request(Secret::JwtSecret, Mode::Graceful);
    let Err(Refusal::Unhealthy(ailments)) = app.begin(ask()).await else { panic!("it began") };
    assert_eq!(ailments.len(), 1, "{ailments:?}");
    assert_eq!(ailments[0].check, Check::Replicas);
    let told = Refusal::Unhealthy(ailments).to_string();
    assert!(told.contains("the slow one lags behind"), "{told}");
    assert!(told.ends_with(r#"or send "force": ["replicas"]"#), "{told}");
    assert_eq!(app.database.store().rollovers(None, 9).await.unwrap(), []);
    // Another name forces nothing; a dry run changes nothing.
    let other = Request { force: [Check::Queue].into(), ..ask() };
    assert!(matches!(app.begin(other).await, Err(Refusal::Unhealthy(_))));
    app.begin(Request { dry_run: true, ..ask() }).await.unwrap();
    app.begin(Request { force: [Check::Replicas].into(), ..ask() }).await.unwrap();
    app.rollovers.leave().await;
}

on_both_databases!(a_rollover_does_not_begin_while_a_replica_lags);
