//! Every resource: made, read, edited, deleted, and sealed in between.

use hmac::{Hmac, KeyInit, Mac};
use http::Request;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    app::{Api, assert_problem, text},
    on_both_databases,
    support::http::Client,
};

on_both_databases!(
    a_client_secret_is_write_only_and_sealed,
    a_webhook_signs_with_its_secret,
    communities_are_sealed_one_by_one,
    a_tenant_variable_opens_in_its_own_row_only,
    whoever_edits_an_old_version_is_told,
    an_organization_sees_its_own_rows_only,
    lists_have_pages,
);

const ORG: &str = "7c0c3b1e-0c7e-4c0a-9b36-3a6f1f0e7a12";
const OTHER: &str = "00000000-0000-4000-8000-000000000001";

/// Makes a row, and answers its path and view.
async fn make(client: &Client, collection: &str, body: Value) -> (String, Value) {
    let answer = client.post(&format!("/api/v1/{collection}"), body).await;
    let view = answer.expect(201);
    let path = format!("/api/v1/{collection}/{}", text(&view["id"]));
    assert_eq!(answer.header("location"), Some(path.as_str()));
    assert_eq!(client.get(&path).await.expect(200), view);
    (path, view)
}

async fn a_client_secret_is_write_only_and_sealed(api: &Api) {
    let admin = api.as_administrator().await;
    let secret = api.secret("an-oidc-client-secret-1234");
    let body = json!({ "name": "Okta", "clientId": "breeze", "clientSecret": secret });
    let (path, view) = make(&admin, "sso/providers", body).await;
    assert_eq!(
        (&view["clientSecretHint"], &view["hasClientSecret"]),
        (&json!("1234"), &json!(true))
    );
    assert!(!view.to_string().contains(secret), "{view}");
    let sealed = api.db.texts("SELECT client_secret FROM sso_providers").await;
    assert!(sealed[0].starts_with("enc:v3:"), "{sealed:?}");

    let tested = admin.post(&format!("{path}/test"), json!(null)).await.expect(200);
    assert_eq!(tested["ok"], true);
    // An edit without the secret leaves the very ciphertext that is there.
    let edited = admin.patch(&path, json!({ "name": "Okta 2" })).await.expect(200);
    assert_eq!((&edited["name"], &edited["version"]), (&json!("Okta 2"), &json!(2)));
    assert_eq!(api.db.texts("SELECT client_secret FROM sso_providers").await, sealed);
    let next = api.secret("the-next-client-secret-5678");
    let edited = admin.patch(&path, json!({ "clientSecret": next })).await.expect(200);
    assert_eq!(edited["clientSecretHint"], "5678");
    let cleared = admin.patch(&path, json!({ "clientSecret": "" })).await.expect(200);
    assert_eq!(cleared["hasClientSecret"], false);
    assert_problem(&admin.post(&format!("{path}/test"), json!(null)).await, 409, "no_secret");

    admin.delete(&path).await.expect(204);
    assert_problem(&admin.get(&path).await, 404, "not_found");
    assert_problem(&admin.delete(&path).await, 404, "not_found");
}

async fn a_webhook_signs_with_its_secret(api: &Api) {
    let admin = api.as_administrator().await;
    let (secret, token) = (api.secret("a-webhook-secret-abcd"), api.secret("a-header-token-efgh"));
    let body = json!({
        "name": "Pager", "url": "https://hooks.example.test/T0/B0", "secret": secret,
        "headers": { "token": token, "X-Plain": "plain", "retries": 3 },
    });
    let (path, view) = make(&admin, "webhooks", body).await;
    assert_eq!(view["url"], "https://hooks.example.test/T0/B0");
    assert_eq!(view["secretHint"], "abcd");
    assert_eq!(
        view["headers"],
        json!({ "token": "********", "X-Plain": "********", "retries": 3 })
    );
    let url = api.db.texts("SELECT url FROM webhooks").await;
    assert!(url[0].starts_with("enc:v3:"), "{url:?}");
    let headers = api.db.texts("SELECT CAST(headers AS text) FROM webhooks").await;
    let headers: Value = serde_json::from_str(&headers[0]).unwrap();
    assert!(text(&headers["token"]).starts_with("enc:v3:"), "{headers}");
    assert_eq!((&headers["X-Plain"], &headers["retries"]), (&json!("plain"), &json!(3)));

    let tested = admin.post(&format!("{path}/test"), json!(null)).await.expect(200);
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .unwrap()
        .chain_update(text(&tested["payload"]));
    let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(tested["signature"], hex);

    let bad = admin.patch(&path, json!({ "url": "ftp://x" })).await;
    assert_problem(&bad, 422, "unprocessable");
    let bad = admin.patch(&path, json!({ "headers": ["x"] })).await;
    assert_problem(&bad, 422, "unprocessable");
    admin.delete(&path).await.expect(204);
}

async fn communities_are_sealed_one_by_one(api: &Api) {
    let admin = api.as_administrator().await;
    let (first, second) = (api.secret("community-one"), api.secret("community-two"));
    let body = json!({
        "name": "LAN", "snmpCommunities": [first, second],
        "snmpCredentials": { "username": "snmp", "authPassphrase": api.secret("pass-phrase-1") },
    });
    let (path, view) = make(&admin, "discovery/profiles", body).await;
    assert_eq!(view["snmpCommunityCount"], 2);
    assert_eq!(
        view["snmpCredentials"],
        json!({ "username": "********", "authPassphrase": "********" })
    );
    let stored =
        api.db.texts("SELECT CAST(snmp_communities AS text) FROM discovery_profiles").await;
    assert_eq!(stored[0].matches("enc:v3:").count(), 2, "{stored:?}");
    assert!(!stored[0].contains("community"), "{stored:?}");

    let kept = admin.patch(&path, json!({ "name": "LAN 2" })).await.expect(200);
    assert_eq!(kept["snmpCommunityCount"], 2);
    let emptied = admin.patch(&path, json!({ "snmpCommunities": [] })).await.expect(200);
    assert_eq!(emptied["snmpCommunityCount"], 0);
    assert_eq!(emptied["snmpCredentials"], view["snmpCredentials"]);
    admin.delete(&path).await.expect(204);
}

async fn a_tenant_variable_opens_in_its_own_row_only(api: &Api) {
    let admin = api.as_administrator().await;
    let values = ["value of the first row", "value of the second row"];
    let mut paths = Vec::new();
    for value in values {
        let body = json!({ "name": "V", "value": api.secret(value) });
        let (path, view) = make(&admin, "tenant-variables", body).await;
        assert_eq!(view["value"], value);
        paths.push(path);
    }
    // Each other's ciphertext does not open, and hides neither row nor list.
    api.db
        .texts("UPDATE tenant_variables SET value = (SELECT max(value) FROM tenant_variables) RETURNING value")
        .await;
    let list = admin.get("/api/v1/tenant-variables").await.expect(200);
    let shown: Vec<_> = list["data"].as_array().unwrap().iter().map(|row| &row["value"]).collect();
    assert_eq!(shown.iter().filter(|value| value.is_null()).count(), 1, "{list}");
    let bad = list["data"].as_array().unwrap().iter().find(|row| row["value"].is_null()).unwrap();
    assert_eq!(bad["unreadable"], json!(["value"]));

    // Set again, it opens again.
    for path in &paths {
        let edited = admin.patch(path, json!({ "value": "mended" })).await.expect(200);
        assert_eq!((&edited["value"], edited.get("unreadable")), (&json!("mended"), None));
    }
}

async fn whoever_edits_an_old_version_is_told(api: &Api) {
    let admin = api.as_administrator().await;
    let body = json!({ "name": "V", "value": "one" });
    let (path, _) = make(&admin, "tenant-variables", body).await;
    let etag = admin.get(&path).await.header("etag").unwrap().to_owned();
    assert_eq!(etag, "\"1\"");
    let token = admin.bearer().unwrap();
    let edit = async |etag: &str, value: &str| {
        let request = Request::patch(&path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("if-match", etag);
        let body = json!({ "value": value }).to_string();
        api.client.send(request.body(body).unwrap()).await.unwrap()
    };
    assert_eq!(edit(&etag, "two").await.header("etag"), Some("\"2\""));
    assert_problem(&edit(&etag, "three").await, 412, "edited_meanwhile");
    assert_problem(&edit("2", "three").await, 400, "bad_request");
    assert_eq!(admin.get(&path).await.expect(200)["value"], "two");
}

async fn an_organization_sees_its_own_rows_only(api: &Api) {
    let admin = api.as_administrator().await;
    let ann = api.user(&admin, "ann@example.test", ORG).await;
    let ann = api.client.bearing(&text(&ann["tokens"]["accessToken"]));
    let variable = |org: Value| json!({ "name": "V", "value": "v", "orgId": org });
    let (theirs, _) = make(&admin, "tenant-variables", variable(json!(OTHER))).await;
    let (nobodys, _) = make(&admin, "tenant-variables", variable(json!(null))).await;
    let (own, view) = make(&ann, "tenant-variables", variable(json!(null))).await;
    assert_eq!(view["orgId"], ORG);

    for path in [&theirs, &nobodys] {
        assert_problem(&ann.get(path).await, 404, "not_found");
        assert_problem(&ann.patch(path, json!({ "value": "w" })).await, 404, "not_found");
        assert_problem(&ann.delete(path).await, 404, "not_found");
        assert_eq!(admin.get(path).await.expect(200)["value"], "v");
    }
    let list = ann.get("/api/v1/tenant-variables").await.expect(200);
    assert_eq!(list["data"], json!([view]));
    let placed = ann.post("/api/v1/tenant-variables", variable(json!(OTHER))).await;
    assert_problem(&placed, 403, "forbidden");

    // Users: seen within the organization, changed by administrators alone.
    assert_eq!(ann.get("/api/v1/users").await.expect(200)["data"].as_array().unwrap().len(), 1);
    let body = json!({ "email": "b@example.test", "name": "B", "password": "x", "orgId": ORG });
    assert_problem(&ann.post("/api/v1/users", body).await, 403, "insufficient_scope");
    assert_problem(&ann.get("/admin/secrets").await, 403, "insufficient_scope");
    admin.get("/admin/secrets").await.expect(200);
    admin.delete(&own).await.expect(204);

    let taken = json!({
        "email": "ANN@example.test", "name": "A", "password": "long enough, too", "orgId": ORG,
    });
    assert_problem(&admin.post("/api/v1/users", taken).await, 409, "taken");
    let short = json!({ "email": "c@example.test", "name": "C", "password": "x", "orgId": ORG });
    assert_problem(&admin.post("/api/v1/users", short).await, 422, "unprocessable");
}

async fn lists_have_pages(api: &Api) {
    let admin = api.as_administrator().await;
    let mut made = Vec::new();
    for number in 0..5 {
        let body = json!({ "name": format!("V{number}"), "value": "v" });
        made.push(make(&admin, "tenant-variables", body).await.1["id"].clone());
    }
    let (mut listed, mut path) = (Vec::new(), "/api/v1/tenant-variables?limit=2".to_owned());
    loop {
        let page = admin.get(&path).await.expect(200);
        listed.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/tenant-variables?limit=2&after={next}");
    }
    assert_eq!(listed, made);
}
