//! A session whose token says nothing of MFA presents a code, and gets one that does.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    service::{Service, bearing, claims, refresh, refused},
    support::{
        deployment::{Db, on_both_databases},
        http::{Answer, Client},
    },
};

on_both_databases!(with oathtool_tests, "needs oathtool; tests/run installs it":
    administration_demands_a_code_that_is_fresh,
    a_code_steps_up_once_on_whichever_replica,
);

async fn step_up(client: &Client, code: &str) -> Answer {
    client.post("/api/v1/auth/mfa/step-up", json!({ "code": code })).await
}

async fn administration_demands_a_code_that_is_fresh(db: Db) {
    let mut service = Service::start(db, &[("MFA_STEP_UP", "1")]).await;
    let mut admin = service.administrator.take().unwrap();
    let [client, other] = &service.clients;
    let tokens = admin.session(client).await;
    bearing(client, &tokens).get("/admin/secrets").await.expect(200);

    let later = refresh(client, &tokens).await.expect(200)["tokens"].clone();
    assert_eq!(claims(&later["accessToken"])["mfa"], false);
    let me = bearing(client, &later);
    let user = json!({ "email": "a@example.test", "name": "A", "scope": "system",
        "password": "correct horse battery staple" });
    refused(&me.get("/admin/secrets").await, 403, "mfa_required");
    refused(&me.post("/api/v1/users", user.clone()).await, 403, "mfa_required");
    me.get("/api/v1/users/me").await.expect(200);

    refused(&step_up(&me, "12345").await, 401, "mfa_invalid");
    let code = admin.device.as_mut().unwrap().code().await;
    let answer = step_up(&me, &code).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let up = answer.expect(200);
    let says = claims(&up["accessToken"]);
    assert_eq!((&says["mfa"], &says["sid"]), (&json!(true), &claims(&later["accessToken"])["sid"]));
    let me = bearing(other, &up);
    me.get("/admin/secrets").await.expect(200);
    me.post("/api/v1/users", user).await.expect(201);
    // The session itself is what it was.
    let later = refresh(other, &later).await.expect(200)["tokens"].clone();
    assert_eq!(claims(&later["accessToken"])["mfa"], false);

    // A session that has ended steps up no more, though its access token lives.
    let me = bearing(client, &later);
    me.post("/api/v1/auth/logout", Value::Null).await.expect(204);
    let code = admin.device.as_mut().unwrap().code().await;
    refused(&step_up(&me, &code).await, 401, "session_ended");
    admin.log_in_with(client, Some(code)).await.expect(200);
}

async fn a_code_steps_up_once_on_whichever_replica(db: Db) {
    let mut service = Service::start(db, &[]).await;
    let mut admin = service.administrator.take().unwrap();
    let [client, other] = &service.clients;
    let tokens = admin.session(client).await;
    let [here, there] = [client, other].map(|client| bearing(client, &tokens));
    let device = admin.device.as_mut().unwrap();
    // Used to log in.
    refused(&step_up(&there, &device.again().await).await, 401, "mfa_invalid");
    let code = device.code().await;
    let at_once = [&here, &there, &here, &there].map(|client| step_up(client, &code));
    let mut outcomes = BTreeMap::new();
    for answer in futures_util::future::join_all(at_once).await {
        *outcomes.entry(answer.status).or_insert(0) += 1;
    }
    assert_eq!(outcomes, BTreeMap::from([(StatusCode::OK, 1), (StatusCode::UNAUTHORIZED, 3)]));
    refused(&admin.log_in_with(other, Some(code)).await, 401, "mfa_invalid");

    let mut ann = service.person("ann@example.test").await;
    let me = bearing(client, &ann.session(client).await);
    refused(&step_up(&me, "12345").await, 409, "mfa_not_set_up");
}
