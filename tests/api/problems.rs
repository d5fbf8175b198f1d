//! Every error is a problem that says what to do, and quotes nothing.

use http::{Method, Request};
use serde_json::json;

use crate::{
    app::{Api, assert_problem},
    on_both_databases,
};

on_both_databases!(every_error_is_a_problem, a_value_of_ten_megabytes_gets_a_clear_answer);

/// Method, path, content type and body; status and code.
type Case = (Method, &'static str, Option<&'static str>, &'static str, u16, &'static str);

async fn every_error_is_a_problem(api: &Api) {
    let admin = api.as_administrator().await;
    let bearer = format!("Bearer {}", admin.bearer().unwrap());
    let json = Some("application/json");
    let id = "/api/v1/webhooks/00000000-0000-4000-8000-000000000001";
    let cases: &[Case] = &[
        (Method::GET, "/", None, "", 404, "not_found"),
        (Method::GET, "/api/v1/nothing", None, "", 404, "not_found"),
        (Method::GET, "/admin/nothing", None, "", 404, "not_found"),
        (Method::GET, id, None, "", 404, "not_found"),
        (Method::PUT, "/api/v1/webhooks", json, "{}", 405, "method_not_allowed"),
        (Method::DELETE, "/health", None, "", 405, "method_not_allowed"),
        (Method::POST, "/api/v1/webhooks", None, "{}", 415, "unsupported_media_type"),
        (Method::POST, "/api/v1/webhooks", Some("text/plain"), "{}", 415, "unsupported_media_type"),
        (Method::POST, "/api/v1/webhooks", json, "{", 400, "bad_request"),
        (Method::POST, "/api/v1/webhooks", json, "", 400, "bad_request"),
        (Method::POST, "/api/v1/webhooks", json, "[]", 422, "unprocessable"),
        (Method::POST, "/api/v1/webhooks", json, r#"{"name":"a"}"#, 422, "unprocessable"),
        (
            Method::POST,
            "/api/v1/webhooks",
            json,
            r#"{"name":" ","url":"https://e.test"}"#,
            422,
            "unprocessable",
        ),
        (
            Method::POST,
            "/api/v1/tenant-variables",
            json,
            r#"{"name":"a","value":"v","admin":true}"#,
            422,
            "unprocessable",
        ),
        (Method::GET, "/api/v1/webhooks/not-a-uuid", None, "", 400, "bad_request"),
        (Method::GET, "/api/v1/webhooks?limit=many", None, "", 400, "bad_request"),
        (Method::GET, "/api/v1/webhooks?offset=1", None, "", 400, "bad_request"),
        (Method::POST, "/api/v1/auth/login", json, r#"{"email":"a"}"#, 422, "unprocessable"),
    ];
    for (method, path, content_type, body, status, code) in cases {
        let request = Request::builder()
            .method(method)
            .uri(*path)
            .header("authorization", &bearer)
            .header("x-request-id", "test-1");
        let request = match content_type {
            Some(kind) => request.header("content-type", *kind),
            None => request,
        };
        let answer = api.client.send(request.body((*body).to_owned()).unwrap()).await.unwrap();
        assert_problem(&answer, *status, code);
        assert_eq!(answer.header("x-request-id"), Some("test-1"));
    }
    assert_problem(&api.client.get("/api/v1/webhooks").await, 401, "unauthorized");
    assert_problem(&api.client.get("/admin/secrets").await, 401, "unauthorized");

    // A value of the wrong type is not quoted.
    let secret = api.secret("a password in the wrong place");
    let body = json!({ "name": secret, "url": { "secret": secret } });
    let answer = admin.post("/api/v1/webhooks", body).await;
    assert_problem(&answer, 422, "unprocessable");
    let body = json!({ "name": "n", "url": "https://e.test", "headers": {}, "orgId": secret });
    let answer = admin.post("/api/v1/webhooks", body).await;
    assert_problem(&answer, 422, "unprocessable");
    assert!(!answer.json().to_string().contains(secret), "{:?}", answer.json());

    // An id that would break out of its line in the log is replaced.
    let request = Request::get("/health").header("x-request-id", "a b\tc");
    let answer = api.client.send(request.body(String::new()).unwrap()).await.unwrap();
    assert!(answer.header("x-request-id").is_some_and(|id| id.len() == 36));
}

async fn a_value_of_ten_megabytes_gets_a_clear_answer(api: &Api) {
    let admin = api.as_administrator().await;
    let body = json!({ "name": "V", "value": "x".repeat(10 << 20) });
    let answer = admin.post("/api/v1/tenant-variables", body).await;
    assert_problem(&answer, 413, "too_large");
    assert_eq!(answer.json()["limit"], 1 << 20);
    // What fits is sealed and opened whole.
    let value = "x".repeat(1_000_000);
    let made = admin.post("/api/v1/tenant-variables", json!({ "name": "V", "value": value })).await;
    assert_eq!(made.expect(201)["value"], value);
}
