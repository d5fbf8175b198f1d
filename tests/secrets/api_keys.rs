//! API keys of users: issued, rotated, revoked one by one or all together.

use http::Request;
use serde_json::{Value, json};

use crate::{
    served::{Served, path_of},
    support::{
        deployment::{Db, on_both_databases},
        http::{Answer, Client},
    },
};

/// What the API answers to whoever presents these keys.
async fn presents(served: &Served, keys: &[&str]) -> Answer {
    let mut request = Request::get("/api/v1/service/identity");
    for key in keys {
        request = request.header("X-API-Key", *key);
    }
    served.anybody.send(request.body(String::new()).unwrap()).await.unwrap()
}

async fn is_accepted(served: &Served, key: &Value) -> bool {
    let answer = presents(served, &[key["key"].as_str().unwrap()]).await;
    assert!(matches!(answer.status.as_u16(), 200 | 401), "{answer:?}");
    answer.status == 200
}

async fn issue(served: &Served, more: Value) -> Value {
    let mut body = json!({ "name": "a service" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    served.admin.post("/api/v1/api-keys", body).await.expect(201)
}

async fn a_key_is_shown_once_and_told_by_its_prefix(db: Db) {
    let served = Served::on(db, &[]).await;
    let key = issue(&served, json!({})).await;
    let text = key["key"].as_str().unwrap();
    assert!(text.starts_with("brz_") && text.len() == 36, "the form that Breeze mints");
    let answer = presents(&served, &[text]).await.expect(200);
    assert_eq!((&answer["keyId"], &answer["name"]), (&key["id"], &"a service".into()));

    let list = served.admin.get("/api/v1/api-keys").await.expect(200);
    assert_eq!(list["data"][0]["prefix"], text[..12]);
    assert!(!list.to_string().contains(text), "it is shown once");
    for wrong in [&[][..], &["brz_wrong"], &["sk_wrong"], &[text, text]] {
        let refused = presents(&served, wrong).await;
        assert_eq!(refused.status, 401, "{wrong:?}");
        assert_eq!(refused.json()["code"], "invalid_api_key");
    }
    let unnamed = served.admin.post("/api/v1/api-keys", json!({ "name": "" })).await;
    assert_eq!(unnamed.status, 422);

    // The last use is noted beside the requests, and at the end at the latest.
    assert!(list["data"][0]["lastUsedAt"].is_null());
    let Served { db, process, .. } = served;
    let log = process.terminate().await;
    assert!(!log.stderr.contains(text), "no key is logged");
    assert_eq!(used(&db).await, 1);
}

/// Keys that were used.
async fn used(db: &Db) -> i64 {
    const USED: &str = "SELECT count(*) FROM api_keys WHERE used_at_ms IS NOT NULL";
    match db {
        Db::Sqlite(file) => sqlx::query_scalar(USED).fetch_one(&file.pool().await).await,
        Db::Postgres(db) => sqlx::query_scalar(USED).fetch_one(&db.pool().await).await,
    }
    .unwrap()
}

async fn a_key_is_rotated_with_an_overlap_and_ends_by_itself(db: Db) {
    let served = Served::on(db, &[]).await;
    let old = issue(&served, json!({})).await;
    let rotate = format!("/api/v1/api-keys/{}/rotate", old["id"].as_str().unwrap());
    let new = served.admin.post(&rotate, json!({ "overlapSeconds": 2 })).await.expect(201);
    assert!(is_accepted(&served, &old).await && is_accepted(&served, &new).await);
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    assert!(!is_accepted(&served, &old).await, "it ended by itself");
    assert!(is_accepted(&served, &new).await);
    assert_eq!(
        served.admin.post(&rotate, json!({})).await.status,
        404,
        "an ended one is not rotated"
    );

    let rotate = format!("/api/v1/api-keys/{}/rotate", new["id"].as_str().unwrap());
    let too_long = served.admin.post(&rotate, json!({ "overlapSeconds": 99_999_999 })).await;
    assert_eq!(too_long.status, 422);
    let newer = served.admin.post(&rotate, json!({})).await.expect(201);
    assert!(!is_accepted(&served, &new).await && is_accepted(&served, &newer).await);
    let brief = issue(&served, json!({ "expiresInSeconds": 1 })).await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert!(!is_accepted(&served, &brief).await);
}

async fn keys_are_revoked_one_by_one_of_a_user_or_of_an_organization(db: Db) {
    let served = Served::on(db, &[]).await;
    let org = "01900000-0000-7000-8000-000000000001";
    let (one, two, of_org) = (
        issue(&served, json!({})).await,
        issue(&served, json!({})).await,
        issue(&served, json!({ "orgId": org })).await,
    );
    let path = format!("/api/v1/api-keys/{}", one["id"].as_str().unwrap());
    assert_eq!(served.admin.delete(&path).await.status, 204);
    assert_eq!(served.admin.delete(&path).await.status, 404, "it is revoked");
    assert!(!is_accepted(&served, &one).await && is_accepted(&served, &two).await);

    let revoke = |whose: Value| served.admin.post("/api/v1/api-keys/revoke", whose);
    assert_eq!(revoke(json!({ "orgId": org })).await.expect(200)["revoked"], 1);
    assert!(!is_accepted(&served, &of_org).await && is_accepted(&served, &two).await);
    assert_eq!(revoke(json!({ "userId": two["userId"] })).await.expect(200)["revoked"], 1);
    assert!(!is_accepted(&served, &two).await);
    assert_eq!(revoke(json!({})).await.status, 422, "everyone is a rollover");
}

/// A user of `org`, logged in with a password alone.
async fn user(served: &Served, email: &str, org: &str) -> (Value, Client) {
    let password = "correct horse battery staple";
    let body = json!({ "email": email, "name": "A User", "orgId": org, "password": password });
    let user = served.admin.post("/api/v1/users", body).await.expect(201);
    let body = json!({ "email": email, "password": password });
    let answer = served.anybody.post("/api/v1/auth/login", body).await.expect(200);
    (user, served.anybody.bearing(answer["tokens"]["accessToken"].as_str().unwrap()))
}

async fn a_key_is_for_its_holder_and_for_administrators_alone(db: Db) {
    let served = Served::on(db, &[]).await;
    let org = "01900000-0000-7000-8000-000000000001";
    let (ann, as_ann) = user(&served, "ann@example.com", org).await;
    let (_, as_bob) = user(&served, "bob@example.com", org).await;
    let body = json!({ "name": "hers", "expiresInSeconds": 600 });
    let hers = as_ann.post("/api/v1/api-keys", body).await.expect(201);
    let path = format!("/api/v1/api-keys/{}", hers["id"].as_str().unwrap());
    let rotate = format!("{path}/rotate");

    assert_eq!(as_bob.get("/api/v1/api-keys").await.expect(200)["data"], json!([]));
    let problem = as_bob.post(&rotate, json!({})).await.expect(403);
    assert_eq!(problem["code"], "not_the_holder");
    as_bob.delete(&path).await.expect(403);
    for whose in [json!({ "userId": ann["id"] }), json!({ "orgId": org })] {
        as_bob.post("/api/v1/api-keys/revoke", whose).await.expect(403);
    }
    // What is shown once is shown to nobody else, whoever administers.
    served.admin.post(&rotate, json!({})).await.expect(403);
    assert!(is_accepted(&served, &hers).await);

    assert_eq!(as_ann.get("/api/v1/api-keys").await.expect(200)["data"][0]["id"], hers["id"]);
    let next = as_ann.post(&rotate, json!({})).await.expect(201);
    assert_eq!(next["endsAt"], hers["endsAt"], "it ends when the old one would have");
    let longer = format!("/api/v1/api-keys/{}/rotate", next["id"].as_str().unwrap());
    let next = as_ann.post(&longer, json!({ "expiresInSeconds": 6000 })).await.expect(201);
    assert_ne!(next["endsAt"], hers["endsAt"]);
    assert!(is_accepted(&served, &next).await);

    // A user who is gone takes their keys along.
    let ann = format!("/api/v1/users/{}", ann["id"].as_str().unwrap());
    served.admin.delete(&ann).await.expect(204);
    assert!(!is_accepted(&served, &next).await);
    let rollover = served.begin("USER_API_KEYS", "graceful", None).await;
    served.reaches(&rollover, "retired").await;

    let key = json!({ "name": "a site", "orgId": org });
    let problem = as_bob.post("/api/v1/enrollment-keys", key).await.expect(403);
    assert_eq!(problem["code"], "mfa_required");
}

async fn a_hard_rollover_revokes_the_keys_of_everyone(db: Db) {
    let served = Served::on(db, &[]).await;
    let old = issue(&served, json!({})).await;
    let dry = json!({ "secret": "USER_API_KEYS", "reason": "x", "mode": "hard", "dryRun": true });
    let dry = served.admin.post("/admin/rollovers", dry).await.expect(202);
    let dry = served.reaches(&dry, "rehearsed").await;
    assert_eq!(dry["report"]["rowsThatNeedTheOldKey"], 1, "{dry}");
    assert!(is_accepted(&served, &old).await);

    let rollover = served.begin("USER_API_KEYS", "hard", None).await;
    served.is_cut_off(&rollover).await;
    assert!(!is_accepted(&served, &old).await);
    let new = issue(&served, json!({})).await;
    assert!(is_accepted(&served, &new).await);
}

async fn a_graceful_rollover_waits_for_the_keys_of_before(db: Db) {
    let served = Served::on(db, &[]).await;
    let (old, other) = (issue(&served, json!({})).await, issue(&served, json!({})).await);
    let rollover = served.begin("USER_API_KEYS", "graceful", None).await;
    served.blocked(&rollover, "2 row(s) need the old key").await;
    assert!(is_accepted(&served, &old).await);
    let retire = format!("{}/retire", path_of(&rollover));
    let refused = served.admin.post(&retire, json!({ "reason": "a test" })).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["code"]),
        (409, &"key_still_needed".into())
    );

    let rotate = |key: &Value| {
        let path = format!("/api/v1/api-keys/{}/rotate", key["id"].as_str().unwrap());
        let admin = served.admin.clone();
        async move { admin.post(&path, json!({})).await.expect(201) }
    };
    let new = rotate(&old).await;
    served.blocked(&rollover, "1 row(s) need the old key").await;
    rotate(&other).await;
    served.reaches(&rollover, "retired").await;
    assert!(is_accepted(&served, &new).await);

    // The way back: what was issued meanwhile is of the generation that is given up.
    let again = served.begin("USER_API_KEYS", "graceful", None).await;
    served.blocked(&again, "row(s) need the old key").await;
    let meanwhile = issue(&served, json!({})).await;
    let back = format!("{}/roll-back", path_of(&again));
    served.admin.post(&back, json!({ "reason": "a test" })).await.expect(200);
    served.blocked(&again, "1 row(s) need the old key").await;
    assert!(is_accepted(&served, &meanwhile).await);
    let give_up = json!({ "reason": "a test", "acceptLoss": true });
    let retire = format!("{}/retire", path_of(&again));
    served.admin.post(&retire, give_up).await.expect(200);
    served.reaches(&again, "rolled_back").await;
    served.is_cut_off(&again).await;
    assert!(!is_accepted(&served, &meanwhile).await && is_accepted(&served, &new).await);
}

on_both_databases!(
    a_key_is_shown_once_and_told_by_its_prefix,
    a_key_is_rotated_with_an_overlap_and_ends_by_itself,
    keys_are_revoked_one_by_one_of_a_user_or_of_an_organization,
    a_key_is_for_its_holder_and_for_administrators_alone,
    a_hard_rollover_revokes_the_keys_of_everyone,
    a_graceful_rollover_waits_for_the_keys_of_before,
);
