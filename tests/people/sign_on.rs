//! Sign-on at an OpenID provider: how it goes, with and without a second factor.

use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use serde_json::json;
use sha2::Sha256;

use crate::{
    idp::{CALLBACK, COOKIE, Company, parameter},
    jar::Browser,
    person::{Person, session},
    support::deployment::{Db, on_both_databases},
};

on_both_databases!(with openid_tests, "needs an OpenID provider; tests/run installs one":
    a_browser_is_sent_away_as_breeze_sends_it,
    a_sign_on_answers_as_a_login_does,
    who_is_enrolled_sends_a_code,
    a_state_counts_once_whoever_is_first,
);

/// The cookie that Breeze sets beside `state`, with this source text of its key.
pub fn breeze_cookie(key: &str, state: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key.trim().as_bytes()).unwrap();
    let tag = mac.chain_update(format!("sso-login-state:{state}")).finalize().into_bytes();
    tag.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The primary key of the tests.
pub const KEY: &str = "an application key of 2024 4567";

async fn a_browser_is_sent_away_as_breeze_sends_it(db: Db) {
    let company = Company::start(db).await;
    let sign_on = company.begin(&company.replicas.clients[0]).await;
    let value = breeze_cookie(KEY, &sign_on.parameter("state"));
    assert_eq!(
        sign_on.answer.header("set-cookie").unwrap(),
        format!("{COOKIE}={value}; Path=/api/v1/sso/callback; HttpOnly; SameSite=Lax; Max-Age=600")
    );
    assert_eq!(sign_on.answer.header("cache-control"), Some("no-store"));
    assert!(sign_on.to.starts_with(&format!("{}/oauth2/authorize?", company.idp.issuer())));
    let callback = CALLBACK.replace(':', "%3A").replace('/', "%2F");
    for (name, value) in [
        ("response_type", "code"),
        ("scope", "openid+email"),
        ("redirect_uri", &callback),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(sign_on.parameter(name), value);
    }
    for random in ["state", "nonce", "code_challenge"] {
        assert_eq!(sign_on.parameter(random).len(), 43, "{}", sign_on.to);
    }
}

async fn a_sign_on_answers_as_a_login_does(db: Db) {
    let company = Company::start(db).await;
    let ann = company.has("ann").await;
    let (mut browser, answer) = company.signs_on("ann").await;
    let signed_on = answer.expect(200);
    assert_eq!(signed_on["user"]["email"], json!(ann.email));
    let client = session(&company.replicas.clients[0], &signed_on);
    assert_eq!(client.get("/api/v1/users/me").await.expect(200)["email"], json!(ann.email));
    let shown = browser.get("/api/v1/auth/session").await.expect(200);
    assert_eq!(shown["mfa"], false);
    assert_eq!(browser.cookie(COOKIE), None, "it is taken back");
    let refreshed = browser.send(Method::POST, "/api/v1/auth/refresh", None).await;
    refreshed.expect(200);
    // What is kept meanwhile is gone, and nobody can read a state from it.
    let kept = company.replicas.database().await.number("SELECT count(*) FROM api_sign_ons").await;
    assert_eq!(kept, 0);
    company.replicas.end([&company.secret]).await;
}

async fn who_is_enrolled_sends_a_code(db: Db) {
    let company = Company::start(db).await;
    let [one, other] = company.replicas.clients.clone();
    let bea = Person::of_breeze(&company.replicas, "bea", &["ABCD-1234", "EFGH-5678"]).await;
    company.vouches_for("bea", &bea.email).await;
    let sign_on = company.begin(&one).await;
    let back = company.comes_back(&sign_on, "bea").await;
    let mut browser = sign_on.browser.at(&other);
    let asked = browser.get(&back).await.expect(401);
    assert_eq!((&asked["code"], &asked["mfaRequired"]), (&json!("mfa_required"), &json!(true)));
    assert_eq!(browser.get("/api/v1/auth/session").await.status, 401, "no session yet");
    // The provider's word was taken, and is not taken again.
    assert_eq!(browser.get(&back).await.expect(401)["code"], "sso_state_spent");
    let state = parameter(&back, "state");
    let path = "/api/v1/sso/callback";
    let send = |code: &str| Some(json!({ "state": state, "recoveryCode": code }));
    let wrong = browser.send(Method::POST, path, send("WXYZ-0000")).await;
    assert_eq!(wrong.expect(401)["code"], "mfa_invalid");
    let nothing = browser.send(Method::POST, path, Some(json!({ "state": state }))).await;
    assert_eq!(nothing.expect(401)["code"], "mfa_required");
    let both = json!({ "state": state, "recoveryCode": "ABCD-1234", "mfaCode": "123456" });
    assert_eq!(browser.send(Method::POST, path, Some(both)).await.status, 422);
    let elsewhere = Browser::on(&one).send(Method::POST, path, send("ABCD-1234")).await;
    assert_eq!(elsewhere.expect(401)["code"], "sso_state_invalid");
    let mut copy = browser.at(&other);
    browser.at(&one).send(Method::POST, path, send("ABCD-1234")).await.expect(200);
    let again = copy.send(Method::POST, path, send("EFGH-5678")).await;
    assert_eq!(again.expect(401)["code"], "sso_state_spent");
    let secrets = [company.secret.clone(), state.clone(), parameter(&back, "code")];
    company.replicas.end(&secrets).await;
}

async fn a_state_counts_once_whoever_is_first(db: Db) {
    let company = Company::start(db).await;
    company.has("ann").await;
    let [one, other] = &company.replicas.clients;
    let sign_on = company.begin(one).await;
    let back = company.comes_back(&sign_on, "ann").await;
    let (mut here, mut there) = (sign_on.browser.at(one), sign_on.browser.at(other));
    let answers = tokio::join!(here.get(&back), there.get(&back));
    let mut statuses = [answers.0.status.as_u16(), answers.1.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
}
