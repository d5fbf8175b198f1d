//! An emergency goes on when its process is killed, and many replicas begin nothing twice.

use std::{collections::BTreeSet, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    clock::Timestamp,
    embed::Database,
    incident::{Incident, Progress, State},
    operator::Exposure,
    store::{Actor, Store},
};
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    app::{Api, KEYS},
    support::app::{TestApp, on_both_databases},
};

async fn many_replicas_begin_each_step_once(database: Database) {
    let mut apps = vec![];
    for _ in 0..3 {
        apps.push(TestApp::start(database.clone()).await);
    }
    let exposure = Exposure {
        secrets: vec![Secret::JwtSecret, Secret::AppEncryptionKey],
        since: Timestamp::from_seconds(1_700_000_000),
        reason: "a test".to_owned(),
    };
    let operator = apps[0].rollovers.operator();
    let incident = operator.open_incident(exposure, Actor::System).await.unwrap();
    operator.confirm_incident(incident.id, Actor::System).await.unwrap();
    // All at once, again and again, beside the workers.
    let mut driving = JoinSet::new();
    for app in &apps {
        let operator = app.rollovers.operator().clone();
        driving.spawn(async move {
            for _ in 0..200 {
                // One that loses a race may be told so by the database: the next look.
                drop(operator.drive_incident().await);
                sleep(Duration::from_millis(20)).await;
            }
        });
    }
    driving.join_all().await;
    let done = ends(database.store().as_ref()).await;
    assert_each_step_once(database.store().as_ref(), &done).await;
    for app in apps {
        app.rollovers.leave().await;
    }
}

/// The one incident, once it is at its end.
async fn ends(store: &dyn Store) -> Incident {
    for _ in 0..600 {
        let incident = store.incidents(1).await.unwrap().remove(0);
        if incident.state == State::Done {
            return incident;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not end: {:?}", store.incidents(1).await.unwrap());
}

async fn assert_each_step_once(store: &dyn Store, incident: &Incident) {
    let steps: Vec<_> = incident.steps.iter().map(|step| (step.secret, &step.progress)).collect();
    assert!(
        steps.iter().all(|(_, p)| matches!(p, Progress::Done { .. } | Progress::Off)),
        "{steps:?}"
    );
    let begun: BTreeSet<_> = incident.steps.iter().filter_map(|step| step.rollover()).collect();
    let rollovers = store.rollovers(None, 50).await.unwrap();
    let found: BTreeSet<_> = rollovers.iter().map(|rollover| rollover.id).collect();
    assert_eq!(found, begun, "{rollovers:?}");
    assert_eq!(rollovers.len(), begun.len());
}

on_both_databases!(many_replicas_begin_each_step_once);

async fn a_killed_process_is_carried_on_by_the_next(api: Api) {
    let admin = api.as_administrator().await;
    let body = json!({ "secrets": ["JWT_SECRET", "MFA_ENCRYPTION_KEY"], "exposedSince": 0, "reason": "a test" });
    let opened = admin.post("/admin/incidents", body).await;
    let path = opened.header("location").unwrap().to_owned();
    admin.post(&format!("{path}/confirm"), json!({})).await.expect(202);
    let store = Database::connect(&api.db.url(), 2).await.unwrap().store();
    while store.rollovers(None, 1).await.unwrap().is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    let db = api.kill().await;
    let next = Api::on(db, &KEYS).await;
    let incident = ends(store.as_ref()).await;
    assert_eq!(incident.steps.len(), 4);
    assert_each_step_once(store.as_ref(), &incident).await;
    next.end().await;
}

mod killed {
    use super::{Api, a_killed_process_is_carried_on_by_the_next};

    #[tokio::test]
    async fn on_sqlite() {
        a_killed_process_is_carried_on_by_the_next(Api::on_sqlite().await).await;
    }

    #[tokio::test]
    #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
    async fn on_postgres() {
        a_killed_process_is_carried_on_by_the_next(Api::on_postgres().await).await;
    }
}
