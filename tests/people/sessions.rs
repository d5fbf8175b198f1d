//! Browser sessions while `SESSION_SECRET` rolls over.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::{
    jar::Browser,
    support::{
        breeze_api::Process,
        deployment::{Administrator, Db, administrator_of, on_both_databases},
        free_port,
        http::Client,
    },
};

on_both_databases!(
    a_graceful_rollover_ends_no_session,
    a_hard_rollover_ends_every_session,
    a_rollover_that_is_rolled_back_ends_no_session,
    a_dry_run_changes_no_key,
    a_session_ends_by_proof_and_for_good,
    a_bad_cookie_opens_nothing,
);

const SESSION: &str = "/api/v1/auth/session";
const COOKIE: &str = "breeze_session";

struct Api {
    process: Process,
    client: Client,
    told: Administrator,
}

/// A server whose sessions last `lifetime` seconds.
async fn serve(db: &Db, lifetime: &str) -> Api {
    db.migrate().await;
    let port = free_port();
    let mut process = db
        .run(["serve"])
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .env("JWT_REFRESH_TTL_SECONDS", lifetime)
        .start();
    process.listens_on(port).await;
    let told = administrator_of(&process.stdout());
    Api { process, client: Client::on(port), told }
}

impl Api {
    /// The administrator's browser, logged in, and what operates with their token.
    async fn log_in(&self) -> (Browser, Client) {
        let mut browser = Browser::on(&self.client);
        let body = json!({
            "email": self.told.email, "password": self.told.password, "mfaCode": self.told.code(),
        });
        let answer = browser.send(Method::POST, "/api/v1/auth/login", Some(body)).await;
        let token = answer.expect(200)["tokens"]["accessToken"].as_str().unwrap().to_owned();
        (browser, self.client.bearing(&token))
    }

    async fn end(self) {
        let ended = self.process.terminate().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

/// Begins a rollover of `SESSION_SECRET`, and answers its path.
async fn begin(operator: &Client, options: Value) -> String {
    let mut body = json!({ "secret": "SESSION_SECRET", "reason": "a test" });
    body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let answer = operator.post("/admin/rollovers", body).await;
    assert!(answer.status.is_success(), "{:?}", answer.body);
    format!("/admin/rollovers/{}", answer.json()["id"].as_str().unwrap())
}

/// Waits until it is in one of `phases`, while `browser` goes on.
async fn reaches(operator: &Client, path: &str, phases: &[&str], browser: &mut Browser) -> Value {
    for _ in 0..600 {
        let _ = browser.get(SESSION).await.expect(200);
        let found = operator.get(path).await.expect(200);
        if phases.contains(&found["phase"].as_str().unwrap()) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never became {phases:?}: {}", operator.get(path).await.json());
}

/// The key that a cookie names.
fn key(browser: &Browser) -> String {
    let signed = browser.cookie(COOKIE).unwrap().rsplitn(3, '.').nth(2).unwrap();
    signed.strip_prefix("v1.").unwrap().to_owned()
}

async fn a_graceful_rollover_ends_no_session(db: Db) {
    let api = serve(&db, "20").await;
    let (mut browser, operator) = api.log_in().await;
    let before = key(&browser);
    let expires = browser.get(SESSION).await.expect(200)["expiresAt"].clone();
    let path = begin(&operator, json!({ "mode": "graceful" })).await;
    reaches(&operator, &path, &["promoted"], &mut browser).await;
    // The next answer has a cookie of the new key, with the same end.
    for _ in 0..100 {
        if key(&browser) != before {
            break;
        }
        browser.get(SESSION).await.expect(200);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_ne!(key(&browser), before);
    assert_eq!(browser.get(SESSION).await.expect(200)["expiresAt"], expires);
    // The old key is not retired before the longest lifetime that it signed is over.
    let now = operator.get(&path).await.expect(200);
    assert_eq!(now["phase"], "promoted", "{now}");
    api.end().await;
}

async fn a_hard_rollover_ends_every_session(db: Db) {
    let api = serve(&db, "600").await;
    let (mut browser, operator) = api.log_in().await;
    browser.get(SESSION).await.expect(200);
    let path = begin(&operator, json!({ "mode": "hard" })).await;
    for _ in 0..600 {
        if operator.get(&path).await.expect(200)["phase"] == "retired" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let refused = browser.get(SESSION).await;
    assert_eq!(refused.expect(401)["code"], "session_required");
    api.end().await;
}

async fn a_rollover_that_is_rolled_back_ends_no_session(db: Db) {
    let api = serve(&db, "600").await;
    let (mut browser, operator) = api.log_in().await;
    let before = key(&browser);
    let path = begin(&operator, json!({ "mode": "graceful" })).await;
    reaches(&operator, &path, &["promoted"], &mut browser).await;
    browser.get(SESSION).await.expect(200);
    let back = format!("{path}/roll-back");
    operator.post(&back, json!({ "reason": "the test goes back" })).await.expect(200);
    for _ in 0..200 {
        browser.get(SESSION).await.expect(200);
        if key(&browser) == before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(key(&browser), before, "the old key signs again");
    api.end().await;
}

async fn a_dry_run_changes_no_key(db: Db) {
    let api = serve(&db, "600").await;
    let (mut browser, operator) = api.log_in().await;
    let before = key(&browser);
    let path = begin(&operator, json!({ "mode": "hard", "dryRun": true })).await;
    for _ in 0..100 {
        if !operator.get(&path).await.expect(200)["report"].is_null() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    browser.get(SESSION).await.expect(200);
    assert_eq!(key(&browser), before);
    api.end().await;
}

async fn a_session_ends_by_proof_and_for_good(db: Db) {
    let api = serve(&db, "600").await;
    let (mut browser, _) = api.log_in().await;
    let mut copy = browser.clone();
    for proof in [None, Some("forged")] {
        let refused = browser.ask(Method::DELETE, SESSION, None, proof).await;
        assert_eq!(refused.expect(403)["code"], "csrf_required");
    }
    browser.get(SESSION).await.expect(200);
    browser.send(Method::DELETE, SESSION, None).await.expect(204);
    assert_eq!(browser.cookie(COOKIE), None, "the cookie is taken back");
    assert_eq!(browser.get(SESSION).await.expect(401)["code"], "session_required");
    // Also where somebody kept the cookie.
    assert_eq!(copy.get(SESSION).await.expect(401)["code"], "session_ended");
    api.end().await;
}

async fn a_bad_cookie_opens_nothing(db: Db) {
    let api = serve(&db, "4").await;
    let (mut browser, _) = api.log_in().await;
    let good = browser.cookie(COOKIE).unwrap().to_owned();
    let unknown = good.replacen(&key(&browser), "another", 1);
    let changed = good.replacen('.', ".x", 2);
    for bad in [&good[..good.len() - 1], unknown.as_str(), changed.as_str(), "nonsense"] {
        browser.tamper(COOKIE, bad);
        assert_eq!(browser.get(SESSION).await.expect(401)["code"], "session_required", "{bad}");
    }
    browser.tamper(COOKIE, good.as_str());
    browser.get(SESSION).await.expect(200);
    // Kept beyond its age, it is as good as none.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let request = http::Request::get(SESSION).header("cookie", format!("{COOKIE}={good}"));
    let expired = api.client.send(request.body(String::new()).unwrap()).await.unwrap();
    assert_eq!(expired.expect(401)["code"], "session_required");
    api.end().await;
}
