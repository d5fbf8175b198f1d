//! Requests that outlive the lease of their process: no code is spent for an answer that
//! cannot be made, and no session is ended.

use serde_json::json;

use crate::{
    enrolment::{device_of, enable, enrolled, set_up},
    service::{PASSWORD, Service, bearing, refresh, refused},
    support::{
        deployment::{Db, on_both_databases},
        halt::{halt, lease_is_over},
    },
};

on_both_databases!(with oathtool_tests, "needs oathtool; tests/run installs it":
    a_process_without_its_lease_spends_no_code_and_ends_no_session,
);

async fn a_process_without_its_lease_spends_no_code_and_ends_no_session(db: Db) {
    let service = Service::start(db, &[("BREEZE_LEASE_SECONDS", "8")]).await;
    let ([sound, slow], database) = (&service.clients, service.db.open().await);
    let (mut ann, tokens) = enrolled(&service).await;
    let me = bearing(sound, &tokens);
    let mut next = device_of(&set_up(&me, None).await.expect(200));
    // Not the first one: that may be about to end.
    next.code().await;
    let (code, of_next) = (ann.device.as_mut().unwrap().code().await, next.code().await);
    let login = json!({ "email": ann.email, "password": PASSWORD, "mfaCode": code });
    let change = json!({ "password": PASSWORD, "code": code });
    let there = bearing(slow, &tokens);
    let calls = [
        slow.begin("/api/v1/auth/login", login).await,
        there.begin("/api/v1/auth/mfa/step-up", json!({ "code": code })).await,
        there.begin("/api/v1/auth/mfa/setup", change.clone()).await,
        there.begin("/api/v1/auth/mfa/enable", json!({ "code": of_next })).await,
        there.begin("/api/v1/auth/mfa/disable", change).await,
    ];
    halt(&service.processes[1], &database).await;
    lease_is_over(&database, slow.port()).await;
    service.processes[1].signal("CONT").await;
    for call in calls {
        refused(&call.finish().await, 503, "fenced");
    }
    ann.log_in_with(sound, Some(code)).await.expect(200);
    let tokens = refresh(sound, &tokens).await.expect(200)["tokens"].clone();
    enable(&bearing(sound, &tokens), &of_next).await.expect(200);
}
