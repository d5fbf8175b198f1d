//! `ENROLLMENT_KEY_PEPPER`.

use breeze_rollover::{digest::Hash, material::Material};
use serde_json::json;
use uuid::Uuid;

use crate::{
    agent::{Agent, Traffic},
    service::{SECRET, Service},
    support::deployment::{Db, KEYS, on_both_databases},
};

const PEPPERS: &str = "ENROLLMENT_KEY_PEPPER";

async fn enrolment_keys_outlive_a_rollover_of_their_pepper(db: Db) {
    let service = Service::start(db).await;
    let database = service.db.open().await;
    let busy = service.enrolment_key("busy").await;
    let idle = service.enrolment_key("idle").await;
    service.enrolment_key("unknown").await;
    database
        .execute("UPDATE enrollment_keys SET key_pepper_id = NULL WHERE name = 'unknown'")
        .await;
    let ended = service.enrolment_key_as(json!({ "name": "ended", "orgId": Uuid::nil() })).await;
    let ended = ended["id"].as_str().unwrap();
    service.operator.post(&format!("/api/v1/enrollment-keys/{ended}/expire"), json!({})).await;

    let traffic = Traffic::of(&service.clients, &busy, SECRET);
    let id = service.begin(PEPPERS, "graceful").await;
    service.waits_for(&id, "1 row(s) need the old key, and 1 do not tell").await;
    service.refuses_to_retire(&id, "1 row(s) need the old key, and 1 do not tell").await;

    // The one is presented, and hashed anew; the other one ends.
    service.enrol(&idle).await.unwrap();
    let page = service.operator.get("/api/v1/enrollment-keys").await.expect(200);
    let keys = page["data"].as_array().unwrap();
    let unknown = keys.iter().find(|key| key["name"] == "unknown").unwrap()["id"].as_str().unwrap();
    let path = format!("/api/v1/enrollment-keys/{unknown}/expire");
    assert_eq!(service.operator.post(&path, json!({})).await.status, 204);
    service.ends(&id, "retired").await;
    service.enrol(&idle).await.unwrap();
    traffic.end().await;
}

async fn a_key_of_breeze_that_a_legacy_secret_peppered_is_accepted_and_hashed_anew(db: Db) {
    let service = Service::start(db).await;
    let database = service.db.open().await;
    let legacy = KEYS.iter().find(|(name, _)| *name == "JWT_SECRET").unwrap().1;
    let hash = Hash::peppered(&Material::new(legacy).unwrap(), "a key of before");
    database
        .execute(&format!(
            "INSERT INTO enrollment_keys (id, org_id, name, key) VALUES ('{0}', '{0}', 'old', '{hash}')",
            Uuid::from_u128(9)
        ))
        .await;
    service.enrol("a key of before").await.unwrap();
    let primary = service.primary(PEPPERS).await;
    assert_eq!(
        database.texts("SELECT key_pepper_id FROM enrollment_keys").await,
        [primary.as_str().unwrap()]
    );
    assert_ne!(database.texts("SELECT key FROM enrollment_keys").await, [hash.to_string()]);
    service.enrol("a key of before").await.unwrap();
}

async fn a_hard_rollover_ends_the_keys_of_before_and_a_dry_run_ends_none(db: Db) {
    let service = Service::start(db).await;
    let before = service.enrolment_key("before").await;
    service.rehearses(PEPPERS).await;
    service.enrol(&before).await.unwrap();
    let id = service.begin(PEPPERS, "hard").await;
    service.ends(&id, "retired").await;
    assert_eq!(service.enrol(&before).await.err().unwrap().expect(401)["code"], "enrolment_key");
    let after = service.enrolment_key("after").await;
    service.enrol(&after).await.unwrap();
}

async fn what_was_hashed_anew_is_hashed_back_when_the_pepper_rolls_back(db: Db) {
    let service = Service::start(db).await;
    let old = service.primary(PEPPERS).await;
    let (busy, idle) = (service.enrolment_key("busy").await, service.enrolment_key("idle").await);
    let id = service.begin(PEPPERS, "graceful").await;
    service.waits_for(&id, "2 row(s) need the old key").await;
    service.enrol(&busy).await.unwrap();
    let told = service.tell(&id, "roll-back", json!({ "reason": "a test" })).await;
    assert_eq!(told.status, 200, "{told:?}");
    service.waits_for(&id, "1 row(s) need the old key").await;
    assert_eq!(service.primary(PEPPERS).await, old);
    service.enrol(&busy).await.unwrap();
    service.ends(&id, "rolled_back").await;
    service.enrol(&idle).await.unwrap();
    service.enrol(&busy).await.unwrap();
}

async fn an_enrolment_key_enrols_no_more_agents_than_it_allows(db: Db) {
    let service = Service::start(db).await;
    let body = json!({ "name": "three", "orgId": Uuid::nil(), "maxUsage": 3 });
    let created = service.enrolment_key_as(body).await;
    let key = created["key"].as_str().unwrap();
    let enrol = |_| Agent::enrol(&service.clients, key, Some(SECRET));
    let enrolled = futures_util::future::join_all((0..8).map(enrol)).await;
    assert_eq!(enrolled.iter().filter(|agent| agent.is_ok()).count(), 3);
    let listed = service.operator.get("/api/v1/enrollment-keys").await;
    assert!(!String::from_utf8_lossy(&listed.body).contains(key), "it is shown once");
    let listed = listed.expect(200);
    assert_eq!(
        (&listed["data"][0]["usageCount"], &listed["data"][0]["isUsable"]),
        (&json!(3), &json!(false))
    );
    for bad in [json!({ "maxUsage": 0 }), json!({ "ttlMinutes": 0 }), json!({ "secret": " " })] {
        let mut body = json!({ "name": "bad", "orgId": Uuid::nil() });
        body.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        service.operator.post("/api/v1/enrollment-keys", body).await.expect(422);
    }
    assert_eq!(service.clients[0].get("/api/v1/enrollment-keys").await.status, 401);
}

on_both_databases!(
    enrolment_keys_outlive_a_rollover_of_their_pepper,
    a_key_of_breeze_that_a_legacy_secret_peppered_is_accepted_and_hashed_anew,
    a_hard_rollover_ends_the_keys_of_before_and_a_dry_run_ends_none,
    what_was_hashed_anew_is_hashed_back_when_the_pepper_rolls_back,
    an_enrolment_key_enrols_no_more_agents_than_it_allows,
);
