//! A value that was sealed before its key was retired, and written after.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    app::{Api, text},
    on_both_databases,
    support::http::Client,
};

on_both_databases!(
    a_straggler_is_read_rewrapped_and_told,
    a_straggler_under_a_compromised_key_is_refused,
);

/// Makes a webhook; answers its path.
async fn webhook(api: &Api, admin: &Client) -> String {
    let secret = api.secret("a-webhook-secret-abcd");
    let token = api.secret("a-header-token-efgh");
    let body = json!({
        "name": "Pager", "url": "https://hooks.example.test/T0/B0", "secret": secret,
        "headers": { "token": token },
    });
    let made = admin.post("/api/v1/webhooks", body).await.expect(201);
    format!("/api/v1/webhooks/{}", text(&made["id"]))
}

/// Rolls over the encryption key while a process keeps what it has sealed to itself, and
/// has it write that after the key is retired and cut off. Answers the old key.
async fn write_after_the_end(api: &Api, admin: &Client, mode: &str) -> String {
    api.db.execute("CREATE TABLE kept AS SELECT id, secret, headers FROM webhooks").await;
    let ask = json!({ "secret": "APP_ENCRYPTION_KEY", "mode": mode, "reason": "a test" });
    let begun = admin.post("/admin/rollovers", ask).await.expect(202);
    let path = format!("/admin/rollovers/{}", text(&begun["id"]));
    let mut rollover = Value::Null;
    for _ in 0..600 {
        rollover = admin.get(&path).await.expect(200);
        if rollover["phase"] == "retired" && rollover["cutOff"]["at"].is_number() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let [replica] = rollover["cutOff"]["replicas"].as_array().unwrap().as_slice() else {
        panic!("one process serves: {rollover}")
    };
    assert_eq!(replica["state"], "acknowledged", "{rollover}");
    let kept = api.db.texts("SELECT secret FROM kept").await;
    assert_ne!(api.db.texts("SELECT secret FROM webhooks").await, kept, "it was rewrapped");
    api.db
        .execute(
            "UPDATE webhooks SET
                secret = (SELECT secret FROM kept WHERE kept.id = webhooks.id),
                headers = (SELECT headers FROM kept WHERE kept.id = webhooks.id)",
        )
        .await;
    text(&rollover["fromKey"])
}

async fn told(admin: &Client) -> Vec<Value> {
    let trail = admin.get("/admin/audit?limit=500").await.expect(200);
    let entries = trail["entries"].as_array().unwrap().iter();
    entries.filter(|entry| entry["action"] == "key.straggler").cloned().collect()
}

async fn a_straggler_is_read_rewrapped_and_told(api: &Api) {
    let admin = api.as_administrator().await;
    let path = webhook(api, &admin).await;
    let old = write_after_the_end(api, &admin, "graceful").await;
    assert_eq!(told(&admin).await, [] as [Value; 0]);

    let read = admin.get(&path).await.expect(200);
    assert_eq!(read["secretHint"], "abcd", "{read}");
    assert_eq!(read["headers"], json!({ "token": "********" }), "{read}");
    assert!(read.get("unreadable").is_none(), "{read}");

    let mut names_it = true;
    for _ in 0..200 {
        let stored = api.db.texts("SELECT secret || headers FROM webhooks").await;
        names_it = stored[0].contains(&format!(":{old}:"));
        if !names_it {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(!names_it, "the row is rewrapped");
    let listed = admin.get("/api/v1/webhooks").await.expect(200);
    assert_eq!(listed["data"][0]["secretHint"], "abcd", "{listed}");

    let told = told(&admin).await;
    let columns: Vec<_> =
        told.iter().rev().map(|entry| text(&entry["details"]["column"])).collect();
    assert_eq!(columns, ["webhooks.secret", "webhooks.headers"], "each once");
    let id = path.rsplit('/').next().unwrap();
    for entry in &told {
        let details = json!({
            "column": entry["details"]["column"], "row": [id], "keys": [old], "withheld": 0,
            "resource": format!("APP_ENCRYPTION_KEY/{old}"),
        });
        assert_eq!(entry["details"], details);
        assert_eq!(entry["resourceName"], format!("APP_ENCRYPTION_KEY/{old}"));
    }
}

async fn a_straggler_under_a_compromised_key_is_refused(api: &Api) {
    let admin = api.as_administrator().await;
    let path = webhook(api, &admin).await;
    let old = write_after_the_end(api, &admin, "hard").await;

    let read = admin.get(&path).await.expect(200);
    assert_eq!(read["unreadable"], json!(["secret", "headers"]), "{read}");
    let test = admin.post(&format!("{path}/test"), json!(null)).await;
    assert_eq!(test.expect(409)["code"], "secret_unreadable");
    assert_eq!(told(&admin).await, [] as [Value; 0]);
    let stored = api.db.texts("SELECT secret FROM webhooks").await;
    assert!(stored[0].contains(&format!(":{old}:")), "it is left as it is");

    let secrets = admin.get("/admin/secrets").await.expect(200);
    let secrets = secrets["secrets"].as_array().unwrap();
    let keys =
        secrets.iter().find(|s| s["secret"] == "APP_ENCRYPTION_KEY").unwrap()["keys"].clone();
    for key in keys.as_array().unwrap() {
        assert_eq!(key["compromisedAt"].is_string(), key["state"] != "primary", "{key}");
    }
}
