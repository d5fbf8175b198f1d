//! Admin calls by those who may not, and calls that cannot be.

use std::{sync::Arc, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    embed::{Database, Rollovers},
    ids::ReplicaId,
    token::{NewToken, Scope, sign},
};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::{
    app::{TestApp, fill, on_both_databases},
    by_hand::ByHand,
    http::Client,
};

const WHO: &str = "6a0e21c4-6a3c-4b8e-a5c8-9f4b1b3f7a10";

/// The admin router of `rollovers`, over HTTP, for whoever asks.
pub(crate) async fn serve(rollovers: &Rollovers) -> Client {
    let router = axum::Router::new().nest("/admin", rollovers.admin().unwrap());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Client::on(port)
}

/// An access token, signed by this process.
pub(crate) fn token(rollovers: &Rollovers, scope: Scope, mfa: bool) -> String {
    let keys = rollovers.replica().keychain().load_full();
    let token = NewToken::access(WHO, scope).mfa(mfa);
    let now = rollovers.replica().clock().now();
    let token = sign(keys.signing(Secret::JwtSecret).unwrap(), &token, now).unwrap();
    token.expose_secret().to_owned()
}

async fn a_call_without_scope_or_mfa_is_refused_and_recorded(database: Database) {
    fill(&database, 1).await;
    let app = TestApp::start(database).await;
    let client = serve(&app.rollovers).await;
    let body = || json!({ "secret": "JWT_SECRET", "reason": "because" });
    let anonymous = client.post("/admin/rollovers", body()).await;
    assert_eq!(anonymous.expect(401)["status"], 401);
    for (scope, mfa) in [
        (Scope::System, false),
        (Scope::Partner, true),
        (Scope::Organization, true),
        (Scope::Organization, false),
    ] {
        let caller = client.bearing(&token(&app.rollovers, scope, mfa));
        for path in ["secrets", "rollovers", "census", "audit", "replicas", "no-such-path"] {
            let refused = caller.get(&format!("/admin/{path}")).await;
            let problem = refused.expect(403);
            assert_eq!(refused.header("content-type"), Some("application/problem+json"));
            assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
        }
        caller.post("/admin/rollovers", body()).await.expect(403);
    }
    assert_eq!(app.database.store().rollovers(None, 1).await.unwrap(), []);
    let entries = app.database.store().audit(None, 100).await.unwrap();
    let (known, unknown): (Vec<_>, Vec<_>) = entries
        .iter()
        .filter(|entry| entry.action == "admin.call")
        .partition(|entry| entry.actor_id.to_string() == WHO);
    assert_eq!((known.len(), unknown.len()), (4 * 7, 1), "one for each call");
    assert!(known.iter().chain(&unknown).all(|entry| entry.result == "denied"));
    app.rollovers.leave().await;
}

async fn a_second_rollover_gets_409_and_the_name_of_the_first(database: Database) {
    fill(&database, 1).await;
    let app = Arc::new(TestApp::start(database).await);
    let client = serve(&app.rollovers).await;
    let admin = client.bearing(&token(&app.rollovers, Scope::System, true));
    let begin = |secret: &str| json!({ "secret": secret, "reason": "because" });
    let first = admin.post("/admin/rollovers", begin("JWT_SECRET")).await.expect(202);
    let second = admin.post("/admin/rollovers", begin("JWT_SECRET")).await.expect(409);
    assert_eq!(second["code"], "rollover_in_progress");
    assert_eq!(second["rollover"], first["id"]);
    let mut beside = begin("APP_ENCRYPTION_KEY");
    admin.post("/admin/rollovers", beside.clone()).await.expect(409);
    beside["alongside"] = true.into();
    admin.post("/admin/rollovers", beside).await.expect(202);
    app.rollovers.leave().await;
}

async fn a_body_that_is_wrong_is_refused_without_being_quoted(database: Database) {
    let app = TestApp::start(database).await;
    let admin = serve(&app.rollovers).await.bearing(&token(&app.rollovers, Scope::System, true));
    for body in [
        json!({}),
        json!({ "secret": "SESSION_SECRET_X", "reason": "x" }),
        json!({ "secret": "JWT_SECRET", "mode": "gentle", "reason": "x" }),
        json!({ "secret": "JWT_SECRET", "reason": "x", "valeu": "a-value-that-nobody-may-see" }),
        json!({ "secret": "JWT_SECRET", "reason": 7, "value": "a-value-that-nobody-may-see" }),
        json!(["JWT_SECRET"]),
    ] {
        let refused = admin.post("/admin/rollovers", body).await;
        let problem = refused.expect(422);
        assert_eq!(problem["code"], "invalid_body");
        assert!(!problem.to_string().contains("nobody-may-see"), "{problem}");
    }
    let id = breeze_rollover::ids::RolloverId::new();
    let body = json!({ "reason": "because" });
    admin.post(&format!("/admin/rollovers/{id}/pause"), body.clone()).await.expect(404);
    admin.post("/admin/rollovers/seven/pause", body).await.expect(404);
    admin.delete("/admin/secrets").await.expect(405);
    app.rollovers.leave().await;
}

async fn a_replica_is_deregistered_only_when_it_is_there_and_without_a_lease(database: Database) {
    let app = TestApp::start(database).await;
    let admin = serve(&app.rollovers).await.bearing(&token(&app.rollovers, Scope::System, true));
    let gone = ByHand::join_for(app.database.store(), Duration::from_millis(1)).await.unwrap();
    let [live, gone] = [app.rollovers.replica(), gone.worker.replica()].map(|it| it.id());
    let deregister = async |replica: &str| {
        let path = format!("/admin/replicas/{replica}/deregister");
        admin.post(&path, json!({ "reason": "the host is gone" })).await
    };
    let refused = deregister(&live.to_string()).await.expect(409);
    assert_eq!(refused["code"], "replica_lives");
    for nobody in [&ReplicaId::new().to_string(), "seven"] {
        assert_eq!(deregister(nobody).await.expect(404)["code"], "no_such_replica");
    }
    assert_eq!(deregister(&gone.to_string()).await.status, 204);
    let entries = app.database.store().audit(None, 100).await.unwrap();
    let told: Vec<_> =
        entries.iter().filter(|entry| entry.action == "replica.deregister").collect();
    assert!(told.len() == 1 && told[0].actor_id.to_string() == WHO, "{told:?}");
    app.rollovers.leave().await;
}

on_both_databases!(
    a_replica_is_deregistered_only_when_it_is_there_and_without_a_lease,
    a_call_without_scope_or_mfa_is_refused_and_recorded,
    a_second_rollover_gets_409_and_the_name_of_the_first,
    a_body_that_is_wrong_is_refused_without_being_quoted,
);
