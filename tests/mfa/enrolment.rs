//! Enrolling, another device, and none any more.

use serde_json::{Value, json};

use crate::{
    device::Device,
    service::{PASSWORD, Person, Service, bearing, claims, refresh, refused},
    support::{
        deployment::{Db, on_both_databases},
        http::{Answer, Client},
    },
};

on_both_databases!(with oathtool_tests, "needs oathtool; tests/run installs it":
    a_seed_counts_once_a_code_of_it_is_sent_and_other_sessions_end,
    another_device_takes_over_once_it_is_proven_and_not_before,
    a_second_factor_ends_by_proof,
    a_new_password_ends_what_an_old_token_may_change,
    wrong_codes_are_throttled,
);

pub async fn set_up(client: &Client, code: Option<String>) -> Answer {
    let body = json!({ "password": PASSWORD, "code": code });
    client.post("/api/v1/auth/mfa/setup", body).await
}

pub async fn enable(client: &Client, code: &str) -> Answer {
    client.post("/api/v1/auth/mfa/enable", json!({ "code": code })).await
}

pub fn device_of(offer: &Value) -> Device {
    let secret = offer["secret"].as_str().unwrap();
    assert!(offer["otpauthUrl"].as_str().unwrap().contains(&format!("secret={secret}")));
    Device::new(secret)
}

/// Ann, enrolled, and the tokens that she got for it.
pub async fn enrolled(service: &Service) -> (Person, Value) {
    let [client, _] = &service.clients;
    let mut ann = service.person("ann@example.test").await;
    let me = bearing(client, &ann.session(client).await);
    let mut device = device_of(&set_up(&me, None).await.expect(200));
    let tokens = enable(&me, &device.code().await).await.expect(200)["tokens"].clone();
    ann.device = Some(device);
    (ann, tokens)
}

async fn a_seed_counts_once_a_code_of_it_is_sent_and_other_sessions_end(db: Db) {
    let service = Service::start(db, &[]).await;
    let (database, [client, other]) = (service.db.open().await, &service.clients);
    let mut ann = service.person("ann@example.test").await;
    let (phone, laptop) = (ann.session(client).await, ann.session(other).await);
    let me = bearing(client, &laptop);

    let wrong = json!({ "password": "a wrong password" });
    refused(&me.post("/api/v1/auth/mfa/setup", wrong).await, 401, "invalid_credentials");
    refused(&enable(&me, "123456").await, 409, "mfa_not_set_up");
    let offer = set_up(&me, None).await;
    assert_eq!(offer.header("cache-control"), Some("no-store"));
    let mut device = device_of(&offer.expect(200));
    // Sealed where it waits, and demanded nowhere.
    let offered = database.texts("SELECT secret FROM api_mfa_offers").await;
    assert!(offered.len() == 1 && offered[0].starts_with("mfa:v2:"), "{offered:?}");
    ann.log_in(client).await.expect(200);
    refused(&enable(&me, "12345").await, 401, "mfa_invalid");

    // Offered by one process, proven to the other.
    let code = device.code().await;
    let enabled = enable(&bearing(other, &laptop), &code).await.expect(200);
    let tokens = enabled["tokens"].clone();
    assert_eq!(claims(&tokens["accessToken"])["mfa"], true);
    assert_eq!(enabled["user"]["mfaEnabled"], true);
    assert!(database.texts("SELECT secret FROM api_mfa_offers").await.is_empty());
    let stored = database.texts("SELECT mfa_secret FROM users WHERE email LIKE 'ann%'").await;
    assert!(stored[0].starts_with("mfa:v2:") && stored != offered, "sealed for its own place");
    refused(&enable(&me, &code).await, 401, "session_ended");
    for ended in [&phone, &laptop] {
        refused(&refresh(client, ended).await, 401, "session_ended");
    }
    refresh(client, &tokens).await.expect(200);

    // From now on a code is demanded, and that one was used.
    refused(&ann.log_in(client).await, 401, "mfa_required");
    refused(&ann.log_in_with(client, Some(code)).await, 401, "mfa_invalid");
    ann.device = Some(device);
    let tokens = ann.session(other).await;
    assert_eq!(claims(&tokens["accessToken"])["mfa"], true);
}

async fn another_device_takes_over_once_it_is_proven_and_not_before(db: Db) {
    let service = Service::start(db, &[("MFA_STEP_UP", "1")]).await;
    let [client, other] = &service.clients;
    let (mut ann, tokens) = enrolled(&service).await;
    // A refreshed token says nothing of MFA here, so that a code is asked for.
    let me = bearing(client, &refresh(client, &tokens).await.expect(200)["tokens"]);
    refused(&set_up(&me, None).await, 401, "mfa_required");
    refused(&set_up(&me, Some("12345".into())).await, 401, "mfa_invalid");
    let code = ann.device.as_mut().unwrap().code().await;
    let mut lost = device_of(&set_up(&me, Some(code.clone())).await.expect(200));
    refused(&set_up(&me, Some(code)).await, 401, "mfa_invalid");

    // The present device goes on; what opened with a code needs no other.
    let me = bearing(other, &ann.session(other).await);
    let mut next = device_of(&set_up(&me, None).await.expect(200));
    refused(&enable(&me, &lost.code().await).await, 401, "mfa_invalid");
    let code = next.code().await;
    let at_once = (0..4).map(|_| enable(&me, &code));
    let answers = futures_util::future::join_all(at_once).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");

    refused(&ann.log_in(client).await, 401, "mfa_invalid");
    ann.device = Some(next);
    ann.log_in(client).await.expect(200);
}

async fn a_second_factor_ends_by_proof(db: Db) {
    let service = Service::start(db, &[("MFA_STEP_UP", "1")]).await;
    let [client, other] = &service.clients;
    let (mut ann, tokens) = enrolled(&service).await;
    let plain = refresh(client, &tokens).await.expect(200)["tokens"].clone();
    let disable =
        async |client: Client, body: Value| client.post("/api/v1/auth/mfa/disable", body).await;
    let me = bearing(client, &plain);
    let password = json!({ "password": PASSWORD });
    refused(&disable(me.clone(), password.clone()).await, 401, "mfa_required");
    let code = ann.device.as_mut().unwrap().code().await;
    let wrong = json!({ "password": "a wrong password", "code": code });
    refused(&disable(me.clone(), wrong).await, 401, "invalid_credentials");
    let with_code = json!({ "password": PASSWORD, "code": code });
    let ended = disable(me, with_code).await.expect(200);
    assert_eq!(claims(&ended["tokens"]["accessToken"])["mfa"], false);
    refused(&refresh(client, &plain).await, 401, "session_ended");
    ann.device = None;
    let me = bearing(other, &ann.session(other).await);
    refused(&disable(me, password).await, 409, "mfa_disabled");
    let stored = service.db.open().await;
    assert!(
        stored
            .texts(
                "SELECT mfa_secret FROM users WHERE email LIKE 'ann%' AND mfa_secret IS NOT NULL"
            )
            .await
            .is_empty()
    );
}

async fn a_new_password_ends_what_an_old_token_may_change(db: Db) {
    let service = Service::start(db, &[]).await;
    let [client, _] = &service.clients;
    let mut ann = service.person("ann@example.test").await;
    let stolen = bearing(client, &ann.session(client).await);
    let body = json!({ "currentPassword": PASSWORD, "newPassword": "a wholly new password" });
    let me = bearing(client, &ann.session(client).await);
    me.post("/api/v1/auth/change-password", body).await.expect(204);
    refused(&set_up(&stolen, None).await, 401, "session_ended");
    refused(&enable(&stolen, "123456").await, 401, "session_ended");
}

async fn wrong_codes_are_throttled(db: Db) {
    let service = Service::start(db, &[]).await;
    let [client, _] = &service.clients;
    let (mut ann, tokens) = enrolled(&service).await;
    let me = bearing(client, &tokens);
    // Right codes do not count, and tries at once do.
    ann.log_in(client).await.expect(200);
    let tries = (0..14).map(|_| me.post("/api/v1/auth/mfa/step-up", json!({ "code": "12345" })));
    let answers = futures_util::future::join_all(tries).await;
    let (wrong, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 401);
    assert_eq!((wrong.len(), refused.len()), (10, 4));
    for answer in refused {
        assert_eq!(answer.expect(429)["code"], "mfa_throttled");
        assert!(answer.header("retry-after").is_some());
    }
    let right = ann.device.as_mut().unwrap().code().await;
    let late = ann.log_in_with(client, Some(right)).await;
    assert_eq!(late.expect(429)["code"], "mfa_throttled", "wherever a code is sent");
}
