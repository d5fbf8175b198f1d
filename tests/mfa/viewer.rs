//! Viewer tokens, and a rollover of `JWT_SECRET` around them.

use std::time::{Duration, Instant};

use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    token::{NewViewerToken, sign_viewer},
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::{
    service::{Service, bearing, claims, refused},
    support::{
        deployment::{Db, on_both_databases},
        http::{Answer, Client},
    },
};

on_both_databases!(
    a_viewer_token_is_for_one_session_and_opens_nothing_else,
    a_viewer_token_of_the_old_key_works_until_it_expires,
);

async fn mint(client: &Client, session: &str) -> Answer {
    client.post("/api/v1/remote/viewer-tokens", json!({ "sessionId": session })).await
}

async fn watch(client: &Client, token: &Value) -> Answer {
    client.bearing(token.as_str().unwrap()).get("/api/v1/remote/viewer").await
}

async fn a_viewer_token_is_for_one_session_and_opens_nothing_else(db: Db) {
    let service = Service::start(db, &[]).await;
    let [client, other] = &service.clients;
    let mut ann = service.person("ann@example.test").await;
    let tokens = ann.session(client).await;
    let me = bearing(client, &tokens);
    let answer = mint(&me, "session-7").await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let minted = answer.expect(201);
    let says = claims(&minted["token"]);
    assert_eq!(says["exp"].as_i64().unwrap() - says["iat"].as_i64().unwrap(), 2 * 60 * 60);
    assert_eq!(
        (&says["aud"], &says["purpose"], &says["sessionId"], &says["iss"]),
        (&json!("breeze-viewer"), &json!("viewer"), &json!("session-7"), &json!("breeze"))
    );
    assert!(says["jti"].is_string() && says.get("mfaSatisfied").is_none(), "{says}");

    let watched = watch(other, &minted["token"]).await.expect(200);
    assert_eq!(watched["sessionId"], "session-7");
    assert_eq!(watched["assuredUntil"], Value::Null);
    // Each token opens its own door.
    let viewer = client.bearing(minted["token"].as_str().unwrap());
    for path in ["/api/v1/users/me", "/admin/secrets"] {
        refused(&viewer.get(path).await, 401, "unauthorized");
    }
    refused(&watch(client, &tokens["accessToken"]).await, 401, "unauthorized");
    refused(&watch(client, &tokens["refreshToken"]).await, 401, "unauthorized");
    refused(&mint(&viewer, "another").await, 401, "unauthorized");
    refused(&client.get("/api/v1/remote/viewer").await, 401, "unauthorized");
    mint(&me, " ").await.expect(422);

    // What was passed is said, as long as the token lives; a pair that says more is refused.
    let database = service.db.open().await;
    let keychain = database.keychain().await;
    let ring = keychain.signing(Secret::JwtSecret).unwrap();
    let now = SystemClock.now();
    let says_until = |seconds| {
        let token = NewViewerToken::new(says["sub"].as_str().unwrap(), "", "session-7", "j");
        let token = token.assured_until(now.plus(Duration::from_secs(seconds)));
        json!(sign_viewer(ring, &token, now).unwrap().expose_secret())
    };
    let assured = watch(client, &says_until(2 * 60 * 60)).await.expect(200);
    assert_eq!(assured["assuredUntil"], assured["expiresAt"]);
    for seconds in [2 * 60 * 60 - 1, 2 * 60 * 60 + 1] {
        refused(&watch(client, &says_until(seconds)).await, 401, "unauthorized");
    }
}

/// Access and refresh tokens are over before the viewer token is.
async fn a_viewer_token_of_the_old_key_works_until_it_expires(db: Db) {
    let lifetimes = [
        ("JWT_ACCESS_TTL_SECONDS", "5"),
        ("JWT_REFRESH_TTL_SECONDS", "5"),
        ("JWT_VIEWER_TTL_SECONDS", "12"),
    ];
    let mut service = Service::start(db, &lifetimes).await;
    let [client, other] = &service.clients.clone();
    let mut ann = service.person("ann@example.test").await;
    let old = service.primary("JWT_SECRET").await;
    let mut token = mint(&bearing(client, &ann.session(client).await), "s").await.expect(201);
    let id = service.begin(json!({ "secret": "JWT_SECRET" })).await;
    // The last one that the old key signs.
    let (mut minted, mut made) = (token["token"].clone(), Instant::now());
    while service.rollover(&id).await["phase"] != "promoted" {
        token = mint(&bearing(client, &ann.session(client).await), "s").await.expect(201);
        if kid(&token["token"]) == old {
            (minted, made) = (token["token"].clone(), Instant::now());
        }
    }
    let until = claims(&minted)["exp"].as_i64().unwrap();
    loop {
        let answer = watch(other, &minted).await;
        let now = SystemClock.now().as_seconds();
        if answer.status != 200 {
            assert!(now >= until, "refused {} s before its end", until - now);
            break;
        }
        // Near the end of it, the operator's token may end with the key.
        if now < until - 3 {
            let rollover = service.rollover(&id).await;
            assert_eq!(rollover["phase"], "promoted", "{rollover}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(made.elapsed() > Duration::from_secs(8), "it lived as long as it should");
    // The operator's own token is of the old key, too.
    let token = service.db.open().await.operator_token(Duration::from_secs(900)).await;
    service.operator = client.bearing(&token);
    service.ends(&id, "retired").await;
    let token = mint(&bearing(client, &ann.session(client).await), "s").await.expect(201);
    assert_ne!(kid(&token["token"]), old);
    watch(other, &token["token"]).await.expect(200);
}

/// The key that a token names.
fn kid(token: &Value) -> Value {
    let header = token.as_str().unwrap().split('.').next().unwrap().to_owned();
    let json = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(header).unwrap();
    serde_json::from_slice::<Value>(&json).unwrap()["kid"].clone()
}
