//! `MFA_ENCRYPTION_KEY` rolls over under logins, and nobody is locked out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    crowd::{Crowd, FORMS, census, seeds, slowly, stored},
    service::Service,
    support::deployment::{Db, KEYS, on_both_databases},
};

on_both_databases!(with oathtool_tests, "needs oathtool; tests/run installs it":
    nobody_is_locked_out_at_any_moment_of_a_graceful_rollover,
    nobody_is_locked_out_while_it_is_rolled_back,
    a_hard_rollover_locks_nobody_out_for_good,
    both_keys_at_once_touch_what_is_their_own_alone,
    a_rollover_of_the_application_key_moves_old_seeds_and_no_others,
);

const MFA: &str = "MFA_ENCRYPTION_KEY";
const APP: &str = "APP_ENCRYPTION_KEY";

fn environment() -> Vec<(String, String)> {
    KEYS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A service, and so many people of every form.
async fn with_people(db: Db, each: usize) -> (Service, Crowd) {
    let service = Service::start(db, &[]).await;
    let database = service.db.open().await;
    let crowd = Crowd::join(&database, &environment(), "k-2023", each).await;
    (service, crowd)
}

/// Asserts that every seed is what it was, and final under the primary key.
async fn all_are_final(service: &Service, before: &BTreeMap<String, String>) {
    let database = service.db.open().await;
    assert_eq!(&seeds(&database).await, before);
    let form = format!("mfa:v2:{}", service.primary(MFA).await);
    let expected = BTreeMap::from([(form, before.len() as u64)]);
    assert_eq!(census(&service.operator).await, expected);
}

async fn nobody_is_locked_out_at_any_moment_of_a_graceful_rollover(db: Db) {
    let (service, mut crowd) = with_people(db, 30).await;
    let database = service.db.open().await;
    let before = seeds(&database).await;
    let old = service.primary(MFA).await;
    let forms = census(&service.operator).await;
    assert_eq!(forms.len(), 6, "{forms:?}");

    // Before: each form opens, and is rewrapped because it was read.
    crowd.all_forms_log_in(&service.clients).await;
    let (were, read) = (1 + 30, 2 * (FORMS.len() as u64 - 1));
    lazily(&service, &old, were + read).await;

    let mut traffic = None;
    let body = slowly(MFA, 20);
    let id = service.begin(body).await;
    let mut phases = vec![];
    let began = std::time::Instant::now();
    let mut crowd = Some(crowd);
    loop {
        let rollover = service.rollover(&id).await;
        let phase = rollover["phase"].as_str().unwrap().to_owned();
        if phases.last() != Some(&phase) {
            phases.push(phase.clone());
        }
        if phase == "promoted" && traffic.is_none() {
            // The bulk rewrap has hours of patience; what is read comes first.
            let mut crowd = crowd.take().unwrap();
            crowd.all_forms_log_in(&service.clients).await;
            traffic = Some(crowd.keep_logging_in(service.clients.clone()));
        }
        if let Some(traffic) = &traffic {
            assert!(traffic.goes_on(), "somebody was locked out");
        }
        if phase == "retired" && !rollover["cutOff"]["at"].is_null() {
            break;
        }
        assert!(began.elapsed().as_secs() < 100, "it is still {rollover}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let lazy: u64 = lazily_rewrapped(&service).await;
    assert!(lazy > 0, "what was read was rewrapped");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let logins = traffic.unwrap().end().await;
    assert!(logins > 20, "{logins} logins");
    all_are_final(&service, &before).await;
    assert_ne!(service.primary(MFA).await, old);
}

/// Waits until `count` seeds are under `key`, of which nothing but reading told.
async fn lazily(service: &Service, key: &str, count: u64) {
    let form = format!("mfa:v2:{key}");
    for _ in 0..100 {
        let at_least = census(&service.operator).await.get(&form).copied().unwrap_or(0);
        if at_least >= count {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{count} are never under {key}: {:?}", census(&service.operator).await);
}

async fn lazily_rewrapped(service: &Service) -> u64 {
    let mut sum = 0;
    for client in &service.clients {
        let operator = client.bearing(service.operator.bearer().unwrap());
        let totals = operator.get("/admin/lazy").await.expect(200);
        sum += totals["rewrapped"].as_u64().unwrap();
    }
    sum
}

async fn nobody_is_locked_out_while_it_is_rolled_back(db: Db) {
    let (service, crowd) = with_people(db, 20).await;
    let database = service.db.open().await;
    let (before, old) = (seeds(&database).await, service.primary(MFA).await);
    let traffic = crowd.keep_logging_in(service.clients.clone());
    let id = service.begin(slowly(MFA, 20)).await;
    service.reaches(&id, "promoted").await;
    service.until(&id, |rollover| rollover["progress"]["rewrapped"].as_u64() > Some(10)).await;
    let back = json!({ "reason": "the test goes back" });
    service.tell(&id, "roll-back", back).await.expect(200);
    service.ends(&id, "rolled_back").await;
    traffic.end().await;
    assert_eq!(service.primary(MFA).await, old);
    all_are_final(&service, &before).await;
}

/// While it lasts, who is not rewrapped yet does not get in: it says so beforehand.
async fn a_hard_rollover_locks_nobody_out_for_good(db: Db) {
    let (service, mut crowd) = with_people(db, 10).await;
    let database = service.db.open().await;
    let before = seeds(&database).await;
    let dry = service.begin(json!({ "secret": MFA, "mode": "hard", "dryRun": true })).await;
    let told = service.reaches(&dry, "rehearsed").await;
    let disruption = told["report"]["disruption"].as_str().unwrap();
    assert!(disruption.contains("not yet rewrapped"), "{disruption}");
    let columns = told["report"]["columns"].as_array().unwrap();
    let names: Vec<_> = columns.iter().map(|column| column["column"].as_str().unwrap()).collect();
    assert_eq!(names, ["users.mfa_secret", "api_mfa_offers.secret"], "and nothing else");

    let id = service.begin(json!({ "secret": MFA, "mode": "hard" })).await;
    service.ends(&id, "retired").await;
    service.until(&id, |_| true).await;
    for _ in 0..200 {
        let forms = census(&service.operator).await;
        if forms.len() == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    all_are_final(&service, &before).await;
    crowd.all_forms_log_in(&service.clients).await;
}

async fn both_keys_at_once_touch_what_is_their_own_alone(db: Db) {
    let (service, crowd) = with_people(db, 20).await;
    let database = service.db.open().await;
    let seeds_before = seeds(&database).await;
    let values = database.fill(200).await;
    let traffic = crowd.keep_logging_in(service.clients.clone());
    let app = service.begin(slowly(APP, 50)).await;
    let refused = json!({ "secret": MFA, "mode": "graceful", "reason": "a test" });
    let refused = service.operator.post("/admin/rollovers", refused).await.expect(409);
    assert!(refused["detail"].as_str().unwrap().contains(&app), "{refused}");
    let forced = json!({
        "secret": MFA, "alongside": true, "force": ["database", "replicas", "quarantine", "queue"],
        "maxRowsPerSecond": 20,
    });
    let mfa = service.begin(forced).await;
    service.ends(&mfa, "retired").await;
    service.ends(&app, "retired").await;
    traffic.end().await;
    all_are_final(&service, &seeds_before).await;
    assert_eq!(database.plaintexts().await, values);
    // Of what each had to do with, nothing was the other's.
    let app_key = service.primary(APP).await;
    let all = service.operator.get("/admin/census").await.expect(200);
    for column in all["columns"].as_array().unwrap() {
        let names = column["values"].as_object().unwrap().keys();
        let key = if column["column"] == "users.mfa_secret" {
            format!("mfa:v2:{}", service.primary(MFA).await)
        } else {
            format!("enc:v3:{app_key}")
        };
        assert!(names.into_iter().all(|form| *form == key), "{column}");
    }
}

async fn a_rollover_of_the_application_key_moves_old_seeds_and_no_others(db: Db) {
    let (service, mut crowd) = with_people(db, 10).await;
    let database = service.db.open().await;
    let (before, written) = (seeds(&database).await, stored(&database).await);
    let mfa = service.primary(MFA).await;
    let id = service.begin(json!({ "secret": APP })).await;
    let ended = service.ends(&id, "retired").await;
    let now = stored(&database).await;
    let expected = written.values().filter(|value| value.starts_with("enc:")).count();
    assert_eq!(ended["report"]["rowsRewrapped"], Value::from(expected));
    for (id, old) in &written {
        if old.starts_with("enc:") {
            assert!(now[id].starts_with(&format!("mfa:v2:{mfa}:")), "{}", now[id]);
        } else {
            assert_eq!(&now[id], old, "it is the other key's");
        }
    }
    assert_eq!(seeds(&database).await, before);
    crowd.all_forms_log_in(&service.clients).await;
}
