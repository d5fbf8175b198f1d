//! Credentials roll over while requests use them, and none fails; processes are killed in
//! every phase, and nothing is lost.

use std::sync::Arc;

use http::Request;
use serde_json::json;

use crate::{
    anthropic,
    api::Api,
    cloudflare::{self, Account, CSR, EVERYTHING, ZONE},
    s3,
    site::{Site, locked},
    support::deployment::{Db, on_both_databases},
};

on_both_databases!(
    certificates_are_signed_through_a_rollover,
    the_assistant_speaks_through_a_rollover,
    files_come_and_go_through_a_rollover,
    killed_while_the_provider_makes_a_token,
    killed_while_the_provider_is_probed,
    killed_while_the_provider_deletes_the_old_token,
    killed_between_the_deletion_and_its_record,
    what_is_not_set_up_says_so,
);

async fn zone(db: Db, account: &Arc<Account>) -> (Api, Site) {
    let site = cloudflare::site(account).await;
    let variables = vec![
        ("CLOUDFLARE_API_TOKEN", cloudflare::OLD.to_owned()),
        ("CLOUDFLARE_API_URL", site.address.clone()),
        ("CLOUDFLARE_ZONE_ID", ZONE.to_owned()),
    ];
    (Api::start(db, variables).await, site)
}

async fn certificates_are_signed_through_a_rollover(db: Db) {
    let account = Account::with(&[(cloudflare::OLD, EVERYTHING)]);
    let (api, _site) = zone(db, &account).await;
    let traffic = api.traffic("/api/v1/client-certificates", json!({ "csr": CSR, "days": 30 }));
    traffic.goes_on_for(5).await;
    let id = api.begin("CLOUDFLARE_API_TOKEN", None).await;
    api.is_retired(&id).await;
    traffic.goes_on_for(5).await;
    traffic.none_failed().await;
    let used = locked(&account.signed_with).clone();
    let left: Vec<_> = locked(&account.tokens).keys().cloned().collect();
    assert_eq!(left.len(), 1);
    assert_eq!(used.last(), left.first(), "the new token signs");
    assert_ne!(used.first(), left.first(), "the old one did");
    let refused = json!({ "csr": "hello" });
    api.admin.post("/api/v1/client-certificates", refused).await.expect(422);
    api.end(&[cloudflare::OLD, "a-made-token"]).await;
}

async fn the_assistant_speaks_through_a_rollover(db: Db) {
    let (site, known) = anthropic::site().await;
    let variables = vec![
        ("ANTHROPIC_API_KEY", anthropic::OLD.to_owned()),
        ("ANTHROPIC_API_URL", site.address.clone()),
    ];
    let api = Api::start(db, variables).await;
    let traffic = api.traffic("/api/v1/assistant/messages", json!({ "content": "hello" }));
    traffic.goes_on_for(5).await;
    let id = api.begin("ANTHROPIC_API_KEY", Some(anthropic::NEW.to_owned())).await;
    api.revoked_by_hand(&id, || locked(&known.keys).retain(|key| *key != anthropic::OLD)).await;
    traffic.goes_on_for(5).await;
    traffic.none_failed().await;
    assert_eq!(locked(&known.used).last().unwrap(), anthropic::NEW);
    api.end(&[anthropic::OLD, anthropic::NEW]).await;
}

async fn files_come_and_go_through_a_rollover(db: Db) {
    let (site, pairs, _folder) = s3::server().await;
    let variables = vec![
        ("S3_ACCESS_KEY", s3::OLD.0.to_owned()),
        ("S3_SECRET_KEY", s3::OLD.1.to_owned()),
        ("S3_ENDPOINT", site.address.clone()),
        ("S3_BUCKET", s3::BUCKET.to_owned()),
    ];
    let api = Api::start(db, variables).await;
    let bearer = format!("Bearer {}", api.admin.bearer().unwrap());
    let send = |content: &str| {
        let request = Request::post("/api/v1/files")
            .header("authorization", bearer.as_str())
            .header("content-type", "text/plain");
        api.admin.send(request.body(content.to_owned()).unwrap())
    };
    let kept = send("kept").await.unwrap().expect(201);
    let kept = format!("/api/v1/files/{}", kept["id"].as_str().unwrap());
    let traffic = api.traffic("/api/v1/files", json!({ "any": "content" }));
    traffic.goes_on_for(5).await;
    let id = api.begin("S3_SECRET_KEY", Some(s3::value(s3::NEW))).await;
    api.revoked_by_hand(&id, || pairs.revoke(s3::OLD)).await;
    traffic.goes_on_for(5).await;
    traffic.none_failed().await;
    assert_eq!(locked(&pairs.used).last().unwrap(), s3::NEW.0);

    let read = api.admin.get(&kept).await;
    assert_eq!((read.status.as_u16(), &*read.body), (200, &b"kept"[..]));
    assert_eq!(read.header("content-type"), Some("text/plain"));
    assert_eq!(read.header("content-disposition"), Some("attachment"));
    let another = json!({ "email": "a@example.test", "name": "A", "password": "correct horse battery",
        "orgId": "0198c5a0-0000-7000-8000-000000000001" });
    api.admin.post("/api/v1/users", another).await.expect(201);
    let login = json!({ "email": "a@example.test", "password": "correct horse battery" });
    let session = api.admin.post("/api/v1/auth/login", login).await.expect(200);
    let other = api.admin.bearing(session["tokens"]["accessToken"].as_str().unwrap());
    other.get(&kept).await.expect(404);
    api.admin.delete(&kept).await.expect(204);
    api.admin.get(&kept).await.expect(404);
    api.end(&[s3::OLD.1, s3::NEW.1]).await;
}

/// Kills the process when the provider has done `what`, and has not yet said so.
async fn killed_while(db: Db, what: &str, value: Option<&str>) {
    let account = Account::with(&[(cloudflare::OLD, EVERYTHING), (cloudflare::NEW, EVERYTHING)]);
    let (api, site) = zone(db, &account).await;
    site.gate.shut_for(what);
    let id = api.begin("CLOUDFLARE_API_TOKEN", value.map(str::to_owned)).await;
    site.gate.reached().await;
    let api = api.kill_and_start_again().await;
    site.gate.open();
    let sign = json!({ "csr": CSR });
    api.admin.post("/api/v1/client-certificates", sign.clone()).await.expect(201);
    api.is_retired(&id).await;
    api.admin.post("/api/v1/client-certificates", sign).await.expect(201);
    let tokens = locked(&account.tokens).clone();
    let spare = usize::from(value.is_none()); // nobody was handed the new one
    assert_eq!(tokens.len(), 1 + spare, "{tokens:?}");
    assert!(!tokens.values().any(|token| token.value == cloudflare::OLD), "{tokens:?}");
    api.end(&[cloudflare::OLD, cloudflare::NEW, "a-made-token"]).await;
}

async fn killed_while_the_provider_makes_a_token(db: Db) {
    killed_while(db, "POST /user/tokens", None).await;
}

async fn killed_while_the_provider_is_probed(db: Db) {
    killed_while(db, "GET /zones", Some(cloudflare::NEW)).await;
}

async fn killed_while_the_provider_deletes_the_old_token(db: Db) {
    killed_while(db, "DELETE /user/tokens", Some(cloudflare::NEW)).await;
}

/// Whoever wants the old token back then is refused: it is dead, though nobody has noted it.
async fn killed_between_the_deletion_and_its_record(db: Db) {
    let account = Account::with(&[(cloudflare::OLD, EVERYTHING), (cloudflare::NEW, EVERYTHING)]);
    let (api, site) = zone(db, &account).await;
    site.gate.shut_for("DELETE /user/tokens");
    let id = api.begin("CLOUDFLARE_API_TOKEN", Some(cloudflare::NEW.to_owned())).await;
    site.gate.reached().await;
    site.gate.shut_for("/user/tokens/verify");
    let api = api.kill_and_start_again().await;
    assert_eq!(locked(&account.tokens).len(), 1);
    let back = json!({ "reason": "the new one is no good" });
    let back = api.admin.post(&format!("/admin/rollovers/{id}/roll-back"), back).await;
    let refused = back.expect(409);
    assert_eq!(refused["code"], "wrong_phase");
    assert!(refused["detail"].as_str().unwrap().contains("may have done so"), "{refused}");
    site.gate.open();
    api.is_retired(&id).await;
    api.admin.post("/api/v1/client-certificates", json!({ "csr": CSR })).await.expect(201);
    api.end(&[cloudflare::OLD, cloudflare::NEW]).await;
}

async fn what_is_not_set_up_says_so(db: Db) {
    let api = Api::start(db, vec![]).await;
    for (path, body) in [
        ("/api/v1/assistant/messages", json!({ "content": "hello" })),
        ("/api/v1/client-certificates", json!({ "csr": CSR })),
        ("/api/v1/files", json!({})),
    ] {
        let problem = api.admin.post(path, body).await.expect(503);
        assert_eq!(problem["code"], "not_configured", "{path}");
    }
    api.end(&[]).await;
}
