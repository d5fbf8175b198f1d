//! An emergency: planned, confirmed, carried out across a crash, and reported.

use std::time::Duration;

use http::Request;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    app::{Api, text},
    on_both_databases,
    support::http::Client,
};

on_both_databases!(
    an_emergency_is_planned_confirmed_carried_out_and_reported,
    a_plan_is_dropped_and_what_is_wrong_is_refused,
);

async fn states(admin: &Client, path: &str) -> (String, Vec<(String, String)>) {
    let incident = admin.get(path).await.expect(200);
    let steps = incident["steps"].as_array().unwrap().iter();
    let steps = steps.map(|step| (text(&step["secret"]), text(&step["progress"]["state"])));
    (text(&incident["state"]), steps.collect())
}

fn exposed(secrets: &[&str]) -> Value {
    json!({ "secrets": secrets, "exposedSince": 1_700_000_000_000_i64, "reason": "a | leaked <backup>" })
}

async fn an_emergency_is_planned_confirmed_carried_out_and_reported(api: &Api) {
    let admin = api.as_administrator().await;
    let user = api.user(&admin, "user@example.com", "6a0e21c4-6a3c-4b8e-a5c8-9f4b1b3f7a10").await;
    let user = api.client.bearing(&text(&user["tokens"]["accessToken"]));
    user.get("/api/v1/auth/me").await.expect(200);

    let opened =
        admin.post("/admin/incidents", exposed(&["JWT_SECRET", "MFA_ENCRYPTION_KEY"])).await;
    let path = opened.header("location").unwrap().to_owned();
    assert_eq!(opened.expect(201)["state"], "planned");
    let waiting = |secret: &str| (secret.to_owned(), "waiting".to_owned());
    let (state, steps) = states(&admin, &path).await;
    assert_eq!(state, "planned");
    assert_eq!(
        steps,
        ["JWT_SECRET", "SESSION_SECRET", "MFA_ENCRYPTION_KEY", "MFA_RECOVERY_CODE_PEPPER"]
            .map(waiting)
    );
    // Nothing is done before it is confirmed, and no second one is opened.
    let second = admin.post("/admin/incidents", exposed(&["JWT_SECRET"])).await.expect(409);
    assert_eq!(second["code"], "incident_open");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(admin.get("/admin/rollovers").await.expect(200)["rollovers"], json!([]));

    admin.post(&format!("{path}/confirm"), json!({})).await.expect(202);
    // The token of the administrator ends with the key that signed it.
    for _ in 0..300 {
        if user.get("/api/v1/auth/me").await.status == 401 {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    user.get("/api/v1/auth/me").await.expect(401);
    let admin = api.as_administrator().await;
    let mut reached = String::new();
    for _ in 0..600 {
        reached = states(&admin, &path).await.0;
        if reached == "done" {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let (_, steps) = states(&admin, &path).await;
    assert_eq!(reached, "done", "{steps:?}");
    assert!(steps.iter().all(|(_, state)| state == "done"), "{steps:?}");

    let report = admin.get(&format!("{path}/report")).await.expect(200);
    let invalid = &report["incident"]["steps"][0]["invalidates"]["sessions"];
    assert!(invalid.as_u64().unwrap() >= 1, "{report}");
    let actions: Vec<_> =
        report["timeline"].as_array().unwrap().iter().map(|told| text(&told["action"])).collect();
    assert_eq!(actions[..2], ["incident.open", "incident.confirm"], "{actions:?}");
    assert!(actions.contains(&"incident.done".to_owned()), "{actions:?}");
    let cut_offs = report["cutOffs"].as_array().unwrap();
    assert_eq!(cut_offs.len(), 4, "{report}");
    assert!(cut_offs.iter().all(|cut_off| cut_off["at"].is_i64()), "{cut_offs:?}");
    assert!(report["window"].as_array().unwrap().len() > actions.len());
    let affected: Vec<_> =
        report["affected"].as_array().unwrap().iter().map(|user| text(&user["email"])).collect();
    assert!(affected.contains(&"user@example.com".to_owned()), "{affected:?}");

    let request = Request::get(format!("{path}/report"))
        .header("accept", "text/markdown")
        .header("authorization", format!("Bearer {}", admin.bearer().unwrap()))
        .body(String::new())
        .unwrap();
    let markdown = admin.send(request).await.unwrap();
    assert_eq!(markdown.header("content-type"), Some("text/markdown; charset=utf-8"));
    let markdown = std::str::from_utf8(&markdown.body).unwrap();
    for part in [
        "a \\| leaked &lt;backup>",
        "`JWT_SECRET` | done",
        "cut off everywhere since",
        "user@example.com",
    ] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
}

async fn a_plan_is_dropped_and_what_is_wrong_is_refused(api: &Api) {
    let admin = api.as_administrator().await;
    for body in [
        exposed(&[]),
        json!({ "secrets": ["JWT_SECRET"], "exposedSince": 4_000_000_000_000_i64, "reason": "x" }),
        json!({ "secrets": ["JWT_SECRET"], "exposedSince": 0, "reason": " " }),
        json!({ "secrets": ["NO_SECRET"], "exposedSince": 0, "reason": "x" }),
    ] {
        admin.post("/admin/incidents", body).await.expect(422);
    }
    let opened = admin.post("/admin/incidents", exposed(&["JWT_SECRET"])).await;
    let path = opened.header("location").unwrap().to_owned();
    let because = json!({ "reason": "a false alarm" });
    let cancelled = admin.post(&format!("{path}/cancel"), because.clone()).await.expect(200);
    assert_eq!(cancelled["state"], "cancelled");
    let late = admin.post(&format!("{path}/confirm"), json!({})).await.expect(409);
    assert_eq!(late["code"], "not_planned");
    let nobody = "/admin/incidents/6a0e21c4-6a3c-4b8e-a5c8-9f4b1b3f7a10";
    admin.get(nobody).await.expect(404);
    admin.get("/admin/incidents/seven").await.expect(404);
    api.client.post("/admin/incidents", exposed(&["JWT_SECRET"])).await.expect(401);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(admin.get("/admin/rollovers").await.expect(200)["rollovers"], json!([]));
    // Another may be opened, and confirmed twice: it runs once.
    let opened = admin.post("/admin/incidents", exposed(&["SESSION_SECRET"])).await;
    let path = opened.header("location").unwrap().to_owned();
    for _ in 0..2 {
        admin.post(&format!("{path}/confirm"), json!({})).await.expect(202);
    }
    let late = admin.post(&format!("{path}/cancel"), because).await.expect(409);
    assert_eq!(late["code"], "not_planned");
    for _ in 0..300 {
        if states(&admin, &path).await.0 == "done" {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let rollovers = admin.get("/admin/rollovers").await.expect(200);
    assert_eq!(rollovers["rollovers"].as_array().unwrap().len(), 1, "{rollovers}");
}
