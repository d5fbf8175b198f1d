//! `AGENT_TOKENS`.

use std::time::Duration;

use serde_json::json;

use crate::{
    agent::Traffic,
    service::{SECRET, Service},
    support::deployment::{Db, on_both_databases},
};

const NAME: &str = "AGENT_TOKENS";

async fn agents_change_their_tokens_and_nobody_is_locked_out(db: Db) {
    let service = Service::start(db).await;
    let key = service.enrolment_key("any").await;
    let traffic = Traffic::of(&service.clients, &key, SECRET);
    let mut silent = service.enrol(&key).await.unwrap();
    let mut lost = service.enrol(&key).await.unwrap();
    let id = service.begin(NAME, "graceful").await;
    // Every process has heard of the promotion.
    service.waits_for(&id, "row(s) need the old key").await;
    silent.beat().await.unwrap();
    assert_eq!(silent.ask("heartbeat").await.json()["tokenRotationRequired"], false);
    traffic.end().await;

    service.waits_for(&id, "1 row(s) need the old key").await;
    service.refuses_to_retire(&id, "1 row(s) need the old key").await;
    let given_up = json!({ "reason": "it is gone", "acceptLoss": true });
    service.tell(&id, "retire", given_up).await.expect(200);
    service.ends(&id, "retired").await;
    assert_eq!(lost.ask("heartbeat").await.expect(401)["code"], "agent_token");
    silent.beat().await.unwrap();
}

async fn a_hard_rollover_ends_every_token_of_before(db: Db) {
    let service = Service::start(db).await;
    let key = service.enrolment_key("any").await;
    let mut agent = service.enrol(&key).await.unwrap();
    service.rehearses(NAME).await;
    agent.beat().await.unwrap();
    let id = service.begin(NAME, "hard").await;
    service.ends(&id, "retired").await;
    for what in ["heartbeat", "heartbeat", "rotate-token"] {
        assert_eq!(agent.ask(what).await.status, 401);
    }
    service.enrol(&key).await.unwrap().beat().await.unwrap();
}

async fn tokens_of_both_generations_count_while_it_rolls_back(db: Db) {
    let service = Service::start(db).await;
    let key = service.enrolment_key("any").await;
    let mut old = service.enrol(&key).await.unwrap();
    let id = service.begin(NAME, "graceful").await;
    service.waits_for(&id, "1 row(s) need the old key").await;
    let mut new = service.enrol(&key).await.unwrap();
    let told = service.tell(&id, "roll-back", json!({ "reason": "a test" })).await;
    assert_eq!(told.status, 200, "{told:?}");
    service.waits_for(&id, "1 row(s) need the old key").await;
    for _ in 0..2 {
        old.beat().await.unwrap();
        new.beat().await.unwrap();
    }
    service.ends(&id, "rolled_back").await;
    old.beat().await.unwrap();
    new.beat().await.unwrap();
}

async fn a_next_token_takes_its_place_when_it_is_presented_and_no_earlier(db: Db) {
    let service = Service::start(db).await;
    let key = service.enrolment_key("any").await;
    let mut agent = service.enrol(&key).await.unwrap();
    let token = |answer: crate::support::http::Answer| {
        answer.expect(200)["authToken"].as_str().unwrap().to_owned()
    };
    // The first answer is lost on the way.
    let lost = token(agent.ask("rotate-token").await);
    let next = token(agent.ask("rotate-token").await);
    assert_eq!(agent.ask("heartbeat").await.status, 200);
    let mut forgotten = agent.clone();
    forgotten.token = lost;
    assert_eq!(forgotten.ask("heartbeat").await.status, 401);

    let mut before = agent.clone();
    agent.token = next;
    agent.beat().await.unwrap();
    assert_eq!(before.ask("heartbeat").await.expect(200)["tokenRotationRequired"], true);
    assert_eq!(before.ask("rotate-token").await.expect(409)["code"], "token_rotated");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(before.ask("heartbeat").await.status, 401);
    agent.beat().await.unwrap();

    let mut other = service.enrol(&key).await.unwrap();
    other.id.clone_from(&agent.id);
    assert_eq!(other.ask("heartbeat").await.status, 404, "an agent speaks for itself alone");
    let stored = service.db.open().await;
    let columns = "SELECT coalesce(agent_token_hash, '') || coalesce(pending_token_hash, '')
        || coalesce(previous_token_hash, '') FROM devices";
    for row in stored.texts(columns).await {
        assert!(!row.contains(&agent.token[4..]), "a token is stored in the clear");
    }
}

async fn tokens_of_breezes_own_making_belong_to_the_first_generation(db: Db) {
    let service = Service::start(db).await;
    let key = service.enrolment_key("any").await;
    let mut agent = service.enrol(&key).await.unwrap();
    let database = service.db.open().await;
    database.execute("UPDATE devices SET agent_token_generation = NULL").await;
    assert_eq!(agent.ask("heartbeat").await.status, 401);
    let Service { db, .. } = service;
    let again = Service::start(db).await;
    agent.speaks_to(&again.clients);
    agent.beat().await.unwrap();
    let id = again.begin(NAME, "graceful").await;
    again.waits_for(&id, "1 row(s) need the old key, and 0 do not tell").await;
}

on_both_databases!(
    agents_change_their_tokens_and_nobody_is_locked_out,
    a_hard_rollover_ends_every_token_of_before,
    tokens_of_both_generations_count_while_it_rolls_back,
    a_next_token_takes_its_place_when_it_is_presented_and_no_earlier,
    tokens_of_breezes_own_making_belong_to_the_first_generation,
);
