//! Logging in, staying logged in, and not any more.

use std::collections::BTreeMap;

use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::{
    app::{Api, assert_problem, text},
    on_both_databases,
    support::http::{Answer, Client},
};

on_both_databases!(
    only_a_code_opens_the_door_and_only_once,
    a_refresh_token_counts_once,
    of_refreshes_at_once_one_wins,
    a_browser_refreshes_by_cookie_and_proves_where_it_is,
    a_new_password_and_a_logout_end_sessions,
    a_user_enrols_in_mfa,
);

const ORG: &str = "7c0c3b1e-0c7e-4c0a-9b36-3a6f1f0e7a12";

async fn refresh(api: &Api, token: &Value) -> Answer {
    let body = json!({ "refreshToken": token });
    let answer = api.client.post("/api/v1/auth/refresh", body).await;
    if answer.status == 200 {
        api.note_tokens(&answer);
    }
    answer
}

fn claims(token: &Value) -> Value {
    let payload = text(token).split('.').nth(1).unwrap().to_owned();
    let json = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(payload).unwrap();
    serde_json::from_slice(&json).unwrap()
}

async fn only_a_code_opens_the_door_and_only_once(api: &Api) {
    let admin = api.administrator().unwrap();
    let log_in = async |password: &str, code: Option<&str>| {
        api.log_in(json!({ "email": admin.email, "password": password, "mfaCode": code })).await
    };
    let unknown = json!({ "email": "nobody@example.test", "password": admin.password });
    let (unknown, wrong) = (api.log_in(unknown).await, log_in("wrong password", None).await);
    assert_problem(&unknown, 401, "invalid_credentials");
    assert_eq!(unknown.body, wrong.body, "who exists is not told");

    let no_code = log_in(&admin.password, None).await;
    assert_problem(&no_code, 401, "mfa_required");
    assert!(no_code.header("set-cookie").is_none());
    assert_problem(&log_in(&admin.password, Some("12345")).await, 401, "mfa_invalid");

    let code = api.code(&admin.otpauth);
    let answer = log_in(&admin.password, Some(&code)).await;
    let body = answer.expect(200);
    assert_eq!(body["user"]["email"], admin.email);
    let access = claims(&body["tokens"]["accessToken"]);
    assert_eq!((&access["mfa"], &access["scope"]), (&json!(true), &json!("system")));
    assert_eq!(access["exp"].as_i64().unwrap() - access["iat"].as_i64().unwrap(), 15 * 60);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_problem(&log_in(&admin.password, Some(&code)).await, 401, "mfa_invalid");

    let me = api.client.bearing(&text(&body["tokens"]["accessToken"]));
    for path in ["/api/v1/auth/me", "/api/v1/users/me"] {
        let me = me.get(path).await.expect(200);
        assert_eq!(me["email"], admin.email);
        assert!(me.get("passwordHash").is_none() && me.get("mfaSecret").is_none(), "{me}");
    }
}

async fn a_refresh_token_counts_once(api: &Api) {
    let admin = api.as_administrator().await;
    let first = api.user(&admin, "ann@example.test", ORG).await["tokens"].clone();
    assert_eq!(claims(&first["accessToken"])["mfa"], false);

    // Each kind opens its own door only.
    let as_access = api.client.bearing(&text(&first["refreshToken"]));
    assert_problem(&as_access.get("/api/v1/auth/me").await, 401, "unauthorized");
    assert_problem(&refresh(api, &first["accessToken"]).await, 401, "refresh_invalid");
    assert_problem(&refresh(api, &json!("a.b.c")).await, 401, "refresh_invalid");

    let second = refresh(api, &first["refreshToken"]).await.expect(200)["tokens"].clone();
    let third = refresh(api, &second["refreshToken"]).await.expect(200)["tokens"].clone();
    assert_eq!(claims(&third["refreshToken"])["fam"], claims(&first["refreshToken"])["fam"]);
    assert_ne!(claims(&third["refreshToken"])["jti"], claims(&first["refreshToken"])["jti"]);

    // The thief and the owner are both out.
    assert_problem(&refresh(api, &first["refreshToken"]).await, 401, "refresh_reused");
    assert_problem(&refresh(api, &third["refreshToken"]).await, 401, "refresh_invalid");
}

async fn of_refreshes_at_once_one_wins(api: &Api) {
    let admin = api.as_administrator().await;
    let tokens = api.user(&admin, "ann@example.test", ORG).await["tokens"].clone();
    let attempts = (0..8).map(|_| refresh(api, &tokens["refreshToken"]));
    let mut outcomes = BTreeMap::new();
    for answer in futures_util::future::join_all(attempts).await {
        *outcomes.entry(answer.status).or_insert(0) += 1;
    }
    assert_eq!(outcomes, BTreeMap::from([(StatusCode::OK, 1), (StatusCode::UNAUTHORIZED, 7)]));
}

async fn a_browser_refreshes_by_cookie_and_proves_where_it_is(api: &Api) {
    let admin = api.as_administrator().await;
    api.user(&admin, "ann@example.test", ORG).await;
    let body = json!({ "email": "Ann@Example.test", "password": "correct horse battery staple" });
    let answer = api.log_in(body).await;
    let cookies: Vec<_> =
        answer.headers.get_all("set-cookie").iter().map(|c| c.to_str().unwrap()).collect();
    let [refresh, csrf, _session] = cookies[..] else { panic!("{cookies:?}") };
    assert!(refresh.ends_with("; Path=/api/v1/auth; HttpOnly; SameSite=Lax; Max-Age=604800"));
    let pair = |cookie: &str| cookie.split(';').next().unwrap().to_owned();
    let csrf_token = pair(csrf).split_once('=').unwrap().1.to_owned();

    let by_cookie = async |header: Option<&str>| {
        let request = Request::post("/api/v1/auth/refresh")
            .header("cookie", format!("{}; {}", pair(refresh), pair(csrf)));
        let request = match header {
            Some(token) => request.header("x-breeze-csrf", token),
            None => request,
        };
        api.client.send(request.body(String::new()).unwrap()).await.unwrap()
    };
    assert_problem(&by_cookie(None).await, 403, "csrf_required");
    assert_problem(&by_cookie(Some("forged")).await, 403, "csrf_required");
    let answer = by_cookie(Some(&csrf_token)).await;
    api.note_tokens(&answer);
    let none = api.client.post("/api/v1/auth/refresh", json!({})).await;
    assert_problem(&none, 401, "refresh_required");
}

async fn a_new_password_and_a_logout_end_sessions(api: &Api) {
    let admin = api.as_administrator().await;
    let user = api.user(&admin, "ann@example.test", ORG).await;
    let bearing = |tokens: &Value| api.client.bearing(&text(&tokens["accessToken"]));
    let password = "correct horse battery staple";
    let log_in = async |password: &str| {
        let body = json!({ "email": "ann@example.test", "password": password });
        api.log_in(body).await.expect(200)["tokens"].clone()
    };
    let (phone, laptop) = (log_in(password).await, log_in(password).await);

    // A logout ends one session.
    let answer = bearing(&phone).post("/api/v1/auth/logout", json!(null)).await;
    answer.expect(204);
    assert!(answer.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_problem(&refresh(api, &phone["refreshToken"]).await, 401, "refresh_invalid");
    let laptop = refresh(api, &laptop["refreshToken"]).await.expect(200)["tokens"].clone();

    // A new password ends them all.
    let new = api.secret("a wholly new password");
    let change = async |client: Client, current: &str| {
        let body = json!({ "currentPassword": current, "newPassword": new });
        client.post("/api/v1/auth/change-password", body).await
    };
    assert_problem(&change(bearing(&laptop), "wrong one").await, 401, "invalid_credentials");
    change(bearing(&laptop), password).await.expect(204);
    assert_problem(&refresh(api, &laptop["refreshToken"]).await, 401, "session_ended");
    assert_problem(
        &api.log_in(json!({ "email": "ann@example.test", "password": password })).await,
        401,
        "invalid_credentials",
    );
    let renewed = log_in(new).await;

    // So does one that an administrator sets.
    let path = format!("/api/v1/users/{}", text(&user["user"]["id"]));
    let body = json!({ "password": api.secret("set by the administrator") });
    admin.patch(&path, body).await.expect(200);
    assert_problem(&refresh(api, &renewed["refreshToken"]).await, 401, "session_ended");
}

async fn a_user_enrols_in_mfa(api: &Api) {
    let admin = api.as_administrator().await;
    let before = api.user(&admin, "ann@example.test", ORG).await["tokens"].clone();
    let password = "correct horse battery staple";
    let ann = api.client.bearing(&text(&before["accessToken"]));
    let offer = ann.post("/api/v1/auth/mfa/setup", json!({ "password": password })).await;
    let offer = offer.expect(200);
    api.secret(&text(&offer["secret"]));
    let code = |ahead| {
        let totp = totp_rs::Totp::from_url(text(&offer["otpauthUrl"])).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        totp.generate(now.as_secs() + ahead).to_string()
    };
    // Not demanded before the user has shown a code.
    let log_in = async |code: Option<String>| {
        let body = json!({ "email": "ann@example.test", "password": password, "mfaCode": code });
        api.log_in(body).await
    };
    log_in(None).await.expect(200);
    let wrong = ann.post("/api/v1/auth/mfa/enable", json!({ "code": "12345" })).await;
    assert_problem(&wrong, 401, "mfa_invalid");
    let enabled = ann.post("/api/v1/auth/mfa/enable", json!({ "code": code(0) })).await;
    api.note_tokens(&enabled);
    assert_eq!(claims(&enabled.expect(200)["tokens"]["accessToken"])["mfa"], true);
    assert_problem(&log_in(None).await, 401, "mfa_required");
    let tokens = log_in(Some(code(30))).await.expect(200)["tokens"].clone();
    assert_eq!(claims(&tokens["accessToken"])["mfa"], true);

    // A session that began without MFA is over, and sets up no other seed.
    assert_problem(&refresh(api, &before["refreshToken"]).await, 401, "session_ended");
    let again = ann.post("/api/v1/auth/mfa/setup", json!({ "password": password })).await;
    assert_problem(&again, 401, "session_ended");
    let stored = api.db.texts("SELECT mfa_secret FROM users WHERE mfa_enabled").await;
    assert!(stored.len() == 2 && stored.iter().all(|seed| seed.starts_with("mfa:v2:")));
}
