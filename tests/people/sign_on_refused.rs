//! What keeps a sign-on at an OpenID provider from ending in a session, and what is said.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    idp::{COOKIE, Company, parameter},
    jar::Browser,
    person::Person,
    replicas::Replicas,
    support::deployment::{Db, on_both_databases},
};

on_both_databases!(with openid_tests, "needs an OpenID provider; tests/run installs one":
    a_browser_that_was_not_sent_away_is_refused,
    a_state_that_is_over_is_refused,
    whom_the_provider_does_not_vouch_for_is_refused,
    a_provider_that_is_not_as_it_was_set_is_told,
    a_provider_that_is_away_is_told,
    who_has_set_up_no_sign_ons_has_none,
);

/// What a browser that comes back by `path` is refused with.
async fn refused(browser: &mut Browser, path: &str, status: u16) -> String {
    let told = browser.get(path).await.expect(status);
    told["code"].as_str().unwrap().to_owned()
}

async fn a_browser_that_was_not_sent_away_is_refused(db: Db) {
    let company = Company::start(db).await;
    company.has("ann").await;
    let client = &company.replicas.clients[1];
    let sign_on = company.begin(client).await;
    let back = company.comes_back(&sign_on, "ann").await;
    let good = sign_on.browser.cookie(COOKIE).unwrap().to_owned();
    assert_eq!(refused(&mut Browser::on(client), &back, 401).await, "sso_state_invalid");
    let mut browser = sign_on.browser.at(client);
    let another = company.begin(client).await.browser.cookie(COOKIE).unwrap().to_owned();
    for bad in [&good[1..], &good.to_uppercase(), &another, "x"] {
        browser.tamper(COOKIE, bad);
        assert_eq!(refused(&mut browser, &back, 401).await, "sso_state_invalid", "{bad}");
    }
    browser.tamper(COOKIE, good);
    for incomplete in ["/api/v1/sso/callback", "/api/v1/sso/callback?state=s"] {
        assert_eq!(refused(&mut browser, incomplete, 400).await, "bad_request");
    }
    // None of it has spent the state.
    browser.get(&back).await.expect(200);
}

async fn a_state_that_is_over_is_refused(db: Db) {
    let company = Company::with(db, &[("SSO_STATE_TTL_SECONDS", "5")]).await;
    company.has("ann").await;
    let client = &company.replicas.clients[0];
    let sign_on = company.begin(client).await;
    let back = company.comes_back(&sign_on, "ann").await;
    let mut copy = sign_on.browser.at(client);
    sign_on.browser.at(client).get(&back).await.expect(200);
    assert_eq!(refused(&mut copy, &back, 401).await, "sso_state_spent");

    let slow = company.begin(client).await;
    let kept = slow.browser.cookie(COOKIE).unwrap().to_owned();
    let back = company.comes_back(&slow, "ann").await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(refused(&mut slow.browser.at(client), &back, 401).await, "sso_state_invalid");
    // Kept beyond its age, the cookie is as good as none.
    let request = http::Request::get(&back).header("cookie", format!("{COOKIE}={kept}"));
    let late = client.send(request.body(String::new()).unwrap()).await.unwrap();
    assert_eq!(late.expect(401)["code"], "sso_state_spent");
    // The next one forgets it.
    company.begin(client).await;
    let count = company.replicas.database().await.number("SELECT count(*) FROM api_sign_ons").await;
    assert_eq!(count, 1);
}

async fn whom_the_provider_does_not_vouch_for_is_refused(db: Db) {
    let company = Company::start(db).await;
    let client = &company.replicas.clients[0];
    company.has("ann").await;
    // Of another organization.
    let stranger = json!({
        "email": "eve@example.test", "name": "eve", "password": "correct horse battery",
        "orgId": Uuid::from_u128(8),
    });
    company.replicas.operator.post("/api/v1/users", stranger).await.expect(201);
    company.vouches_for("eve", "eve@example.test").await;
    company.vouches_for("nobody", "nobody@example.test").await;
    company.idp.knows("anyone", json!({ "email": "ann@example.test" })).await;
    company
        .idp
        .knows("joker", json!({ "email": "ann@example.test", "email_verified": "true" }))
        .await;
    company.idp.knows("silent", json!({})).await;
    for (name, why) in [
        ("eve", "sso_unknown_user"),
        ("nobody", "sso_unknown_user"),
        ("anyone", "sso_email_unverified"),
        ("joker", "sso_email_unverified"),
        ("silent", "sso_email_unverified"),
    ] {
        let (mut browser, answer) = company.signs_on(name).await;
        assert_eq!(answer.expect(403)["code"], why, "{name}");
        assert_eq!(browser.get("/api/v1/auth/session").await.status, 401);
    }
    // Who changes their mind at the provider.
    let sign_on = company.begin(client).await;
    let back = company.idp.submits(&sign_on.to, "action=deny").await;
    assert_eq!(refused(&mut sign_on.browser.at(client), &back, 401).await, "sso_refused");
    // A code of another sign-on's; a user whose account is closed.
    let sign_on = company.begin(client).await;
    let back = company.comes_back(&sign_on, "ann").await;
    let made_up = back.replace(&parameter(&back, "code"), "made-up");
    assert_eq!(refused(&mut sign_on.browser.at(client), &made_up, 401).await, "sso_refused");
    let closed = Person::join(&company.replicas, "closed").await;
    company.vouches_for("closed", &closed.email).await;
    let sql = format!("UPDATE users SET status = 'suspended' WHERE id = '{}'", closed.id);
    company.replicas.database().await.execute(&sql).await;
    let (_, answer) = company.signs_on("closed").await;
    assert_eq!(answer.expect(403)["code"], "sso_unknown_user");
}

async fn a_provider_that_is_not_as_it_was_set_is_told(db: Db) {
    let company = Company::start(db).await;
    company.has("ann").await;
    let client = &company.replicas.clients[0];
    let login = async |changes: Value, status: u16| {
        let id = company.has_provider(changes).await;
        refused(&mut Browser::on(client), &format!("/api/v1/sso/login/{id}"), status).await
    };
    let issuer = company.idp.issuer();
    assert_eq!(login(json!({ "issuer": format!("{issuer}/") }), 502).await, "sso_issuer_mismatch");
    assert_eq!(login(json!({ "issuer": "http://example.com" }), 502).await, "sso_issuer_mismatch");
    assert_eq!(login(json!({ "issuer": format!("{issuer}/x") }), 502).await, "provider_failed");
    for lacking in ["issuer", "clientId", "clientSecret"] {
        assert_eq!(login(json!({ lacking: null }), 409).await, "sso_incomplete");
    }
    let unknown = format!("/api/v1/sso/login/{}", Uuid::from_u128(1));
    assert_eq!(refused(&mut Browser::on(client), &unknown, 404).await, "not_found");
    // An answer that says that it is another provider's.
    let sign_on = company.begin(client).await;
    let back = company.comes_back(&sign_on, "ann").await;
    let mixed_up = format!("{back}&iss=https://id.example.com");
    assert_eq!(refused(&mut sign_on.browser.at(client), &mixed_up, 401).await, "sso_refused");
    // A client secret that the provider does not know.
    let wrong = "a client secret that is wrong".to_owned();
    let provider = format!("/api/v1/sso/providers/{}", company.provider);
    let edit = json!({ "clientSecret": wrong });
    company.replicas.operator.patch(&provider, edit).await.expect(200);
    let (_, answer) = company.signs_on("ann").await;
    let told = answer.expect(502);
    assert_eq!(told["code"], "provider_failed");
    assert!(!told.to_string().contains(&wrong), "{told}");
    let secrets =
        [wrong, company.secret.clone(), parameter(&back, "code"), parameter(&back, "state")];
    company.replicas.end(&secrets).await;
}

async fn a_provider_that_is_away_is_told(db: Db) {
    let mut company = Company::start(db).await;
    company.has("ann").await;
    let client = company.replicas.clients[0].clone();
    let sign_on = company.begin(&client).await;
    let back = company.comes_back(&sign_on, "ann").await;
    company.idp.ends().await;
    let mut browser = sign_on.browser.at(&client);
    for path in [format!("/api/v1/sso/login/{}", company.provider), back] {
        let answer = browser.get(&path).await;
        assert_eq!(answer.expect(503)["code"], "provider_unreachable");
        assert!(answer.header("retry-after").is_some());
    }
}

/// And no rollover waits for any.
async fn who_has_set_up_no_sign_ons_has_none(db: Db) {
    let replicas = Replicas::start(db).await;
    let id = Uuid::from_u128(1);
    for path in [format!("/api/v1/sso/login/{id}"), "/api/v1/sso/callback?state=s&code=c".into()] {
        let mut browser = Browser::on(&replicas.clients[0]);
        let told = browser.get(&path).await.expect(503);
        assert_eq!(told["code"], "not_configured");
        assert!(told["detail"].as_str().unwrap().contains("SSO_CALLBACK_URL"), "{told}");
    }
    assert_eq!(longest(&replicas).await, 0);
}

/// The longest lifetime that the primary application key has signed, in seconds.
pub async fn longest(replicas: &Replicas) -> u64 {
    let inventory = replicas.operator.get("/admin/secrets").await.expect(200);
    let secrets = inventory["secrets"].as_array().unwrap();
    let found = secrets.iter().find(|view| view["secret"] == "APP_ENCRYPTION_KEY").unwrap();
    let keys = found["keys"].as_array().unwrap();
    let primary = keys.iter().find(|key| key["state"] == "primary").unwrap();
    primary["longestLifetimeSeconds"].as_u64().unwrap()
}
