//! `AGENT_ENROLLMENT_SECRET`.

use http::Request;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    agent::{Agent, Traffic, enrolment},
    service::{SECRET, Service},
    support::deployment::{Db, on_both_databases},
};

const NAME: &str = "AGENT_ENROLLMENT_SECRET";
const NEXT: &str = "the next enrolment secret of the tests 4567";

fn supplied(mode: &str) -> Value {
    json!({ "secret": NAME, "mode": mode, "value": NEXT, "reason": "a test" })
}

async fn agents_enrol_with_the_old_secret_until_nobody_presents_it(db: Db) {
    let service = Service::start(db).await;
    let key = service.enrolment_key("any").await;
    let traffic = Traffic::of(&service.clients, &key, SECRET);
    let id = service.begin_as(supplied("graceful")).await;
    service.reaches(&id, "promoted").await;
    service.waits_for(&id, "grace period").await;
    service.refuses_to_retire(&id, "grace period").await;
    traffic.present(NEXT);
    Agent::enrol(&service.clients, &key, Some(SECRET)).await.ok().unwrap();

    service.ends(&id, "retired").await;
    let refused = Agent::enrol(&service.clients, &key, Some(SECRET)).await.err().unwrap();
    assert_eq!(refused.expect(403)["code"], "enrolment_secret");
    Agent::enrol(&service.clients, &key, Some(NEXT)).await.ok().unwrap();
    traffic.end().await;
    let keys = service.keys(NAME).await;
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in keys {
        assert!(key["presented"].as_u64().unwrap() > 0 && key["presentedAt"].is_string(), "{key}");
    }
}

async fn a_hard_rollover_refuses_the_old_secret_and_touches_no_enrolled_agent(db: Db) {
    let service = Service::start(db).await;
    let key = service.enrolment_key("any").await;
    let mut agent = service.enrol(&key).await.unwrap();
    service.rehearses(NAME).await;
    let id = service.begin_as(supplied("hard")).await;
    service.ends(&id, "retired").await;
    assert_eq!(service.enrol(&key).await.err().unwrap().status, 403);
    Agent::enrol(&service.clients, &key, Some(NEXT)).await.ok().unwrap();
    agent.beat().await.unwrap();
}

async fn both_secrets_enrol_while_it_rolls_back_and_the_old_one_after(db: Db) {
    let service = Service::start(db).await;
    let key = service.enrolment_key("any").await;
    let id = service.begin_as(supplied("graceful")).await;
    service.reaches(&id, "promoted").await;
    let told = service.tell(&id, "roll-back", json!({ "reason": "a test" })).await;
    assert_eq!(told.status, 200, "{told:?}");
    service.enrol(&key).await.unwrap();
    service.ends(&id, "rolled_back").await;
    service.enrol(&key).await.unwrap();
    let refused = Agent::enrol(&service.clients, &key, Some(NEXT)).await.err().unwrap();
    assert_eq!(refused.status, 403);
}

async fn a_secret_of_its_own_takes_precedence_and_a_header_will_do(db: Db) {
    let service = Service::start(db).await;
    let body = json!({ "name": "own", "orgId": Uuid::nil(), "secret": "its own" });
    let own = service.enrolment_key_as(body).await["key"].as_str().unwrap().to_owned();
    let any = service.enrolment_key("any").await;
    for (key, secret, status) in [
        (&own, Some(SECRET), 403),
        (&own, Some(" its own\n"), 201),
        (&own, None, 403),
        (&any, Some("its own"), 403),
        (&any, None, 403),
        (&any, Some(SECRET), 201),
        (&"0".repeat(64), Some(SECRET), 401),
    ] {
        let answer = service.clients[1].post("/api/v1/agents/enroll", enrolment(key, secret)).await;
        assert_eq!(answer.status, status, "{secret:?} {answer:?}");
    }
    let request = Request::post("/api/v1/agents/enroll")
        .header("content-type", "application/json")
        .header("x-agent-enrollment-secret", SECRET)
        .body(enrolment(&any, None).to_string())
        .unwrap();
    assert_eq!(service.clients[0].send(request).await.unwrap().status, 201);
}

on_both_databases!(
    agents_enrol_with_the_old_secret_until_nobody_presents_it,
    a_hard_rollover_refuses_the_old_secret_and_touches_no_enrolled_agent,
    both_secrets_enrol_while_it_rolls_back_and_the_old_one_after,
    a_secret_of_its_own_takes_precedence_and_a_header_will_do,
);
