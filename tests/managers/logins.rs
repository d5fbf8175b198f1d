//! How a process is known to a manager, and what that may do.

use std::{fs, time::Duration};

use axum::{Json, Router, routing::get};
use breeze_rollover::manager::{Manager, ManagerError, replace};
use http::Method;
use serde_json::json;
use tokio::{net::TcpListener, time::sleep};

use crate::{
    bao::{Bao, POLICY},
    moto::Moto,
    reading::fields,
};

fn is_denied(told: &ManagerError) -> bool {
    matches!(told, ManagerError::Denied { .. })
}

/// An AppRole with these properties: its role id and a secret id.
async fn role(bao: &Bao, properties: serde_json::Value) -> (String, String) {
    bao.post("sys/auth/approle", json!({ "type": "approle" })).await;
    bao.post("auth/approle/role/breeze", properties).await;
    let role = bao.ask(Method::GET, "auth/approle/role/breeze/role-id", None).await.expect(200);
    let secret = bao.post("auth/approle/role/breeze/secret-id", json!({})).await;
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    (text(&role["data"]["role_id"]), text(&secret["data"]["secret_id"]))
}

#[tokio::test]
#[cfg_attr(not(managers_tests), ignore = "needs OpenBao; tests/run installs it")]
async fn a_role_logs_in_its_login_is_renewed_and_made_anew_when_it_ends() {
    let bao = Bao::start().await;
    bao.holds(&fields(&[])).await;
    let lasting = json!({ "token_policies": ["breeze"], "token_ttl": "3s", "token_max_ttl": "8s" });
    let (role, secret) = role(&bao, lasting).await;
    let manager =
        bao.known_by([("VAULT_ROLE_ID", role.clone()), ("VAULT_SECRET_ID", secret.clone())]);
    let logins = async || {
        let tokens = bao.ask(Method::GET, "auth/token/accessors?list=true", None).await.expect(200);
        tokens["data"]["keys"].as_array().unwrap().len()
    };
    let before = logins().await;
    manager.read().await.unwrap();
    assert_eq!(logins().await, before + 1);
    // Past its time, and short of what it may last at most: it is still the same login.
    for _ in 0..10 {
        sleep(Duration::from_millis(500)).await;
        manager.read().await.unwrap();
    }
    assert_eq!(logins().await, before + 1, "renewed");
    for _ in 0..10 {
        sleep(Duration::from_millis(500)).await;
        manager.read().await.unwrap();
    }

    let wrong = bao.known_by([("VAULT_ROLE_ID", role), ("VAULT_SECRET_ID", format!("{secret}x"))]);
    let told = wrong.read().await.unwrap_err();
    assert!(matches!(told, ManagerError::NoLogin(_)), "{told:?}");
    assert!(!told.to_string().contains(&secret), "{told}");
}

#[tokio::test]
#[cfg_attr(not(managers_tests), ignore = "needs OpenBao; tests/run installs it")]
async fn a_login_that_is_revoked_is_made_anew_from_what_the_file_holds_by_then() {
    let bao = Bao::start().await;
    bao.holds(&fields(&[])).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let token = async || bao.token_with(json!({ "policies": ["breeze"], "ttl": "1h" })).await;
    let (first, second) = (token().await, token().await);
    fs::write(&file, format!("{first}\n")).unwrap();
    let manager = bao.known_by([("VAULT_TOKEN_FILE", file.to_str().unwrap().to_owned())]);
    manager.read().await.unwrap();
    bao.post("auth/token/revoke", json!({ "token": first })).await;
    let told = manager.read().await.unwrap_err();
    assert!(is_denied(&told) && !told.to_string().contains(&first), "{told:?}");
    fs::write(&file, second).unwrap();
    manager.read().await.unwrap();
}

#[tokio::test]
#[cfg_attr(not(managers_tests), ignore = "needs OpenBao; tests/run installs it")]
async fn a_token_of_limited_time_is_renewed() {
    let bao = Bao::start().await;
    bao.holds(&fields(&[])).await;
    let token = bao.token_with(json!({ "policies": ["breeze"], "period": "3s" })).await;
    let manager = bao.known_by([("VAULT_TOKEN", token)]);
    for _ in 0..10 {
        manager.read().await.unwrap();
        sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
#[cfg_attr(not(managers_tests), ignore = "needs OpenBao; tests/run installs it")]
async fn what_a_policy_does_not_grant_is_denied() {
    let bao = Bao::start().await;
    bao.holds(&fields(&[])).await;
    let nothing = bao.token_with(json!({ "policies": ["default"] })).await;
    let told = bao.known_by([("VAULT_TOKEN", nothing.clone())]).read().await.unwrap_err();
    assert!(is_denied(&told) && told.to_string().contains("reading the secret"), "{told:?}");
    assert!(!told.to_string().contains(&nothing));

    bao.allows("reader", &POLICY.replace(r#", "update""#, "")).await;
    let reading = bao.token_with(json!({ "policies": ["reader"] })).await;
    let manager = bao.known_by([("VAULT_TOKEN", reading)]);
    let read = manager.read().await.unwrap();
    let told = replace(manager.as_ref(), &read.fields, &read.version).await.unwrap_err();
    assert!(is_denied(&told) && told.to_string().contains("writing the secret"), "{told:?}");
}

#[tokio::test]
#[cfg_attr(not(managers_tests), ignore = "needs OpenBao; tests/run installs it")]
async fn a_secret_of_another_namespace_and_mount_is_found() {
    let bao = Bao::start().await;
    bao.post("sys/namespaces/team", json!({})).await;
    bao.post("team/sys/mounts/kv/api", json!({ "type": "kv", "options": { "version": "2" } }))
        .await;
    let path = "team/kv/api/data/breeze/api";
    bao.post(path, json!({ "data": fields(&[]) })).await;
    let vault = bao.vault([("VAULT_TOKEN", crate::bao::ROOT.to_owned())]);
    let elsewhere = vault.read().await.unwrap_err();
    assert!(matches!(elsewhere, ManagerError::Missing(_)), "{elsewhere:?}");
    let vault = vault.mounted_at("/kv/api/").in_namespace("team").unwrap();
    assert!(vault.name().ends_with("(kv/api/breeze/api)"), "{}", vault.name());
    let read = vault.read().await.unwrap();
    assert_eq!(read.version, "1");
    assert_eq!(replace(&vault, &read.fields, "1").await.unwrap().version, "2");
}

#[tokio::test]
#[cfg_attr(not(managers_tests), ignore = "needs OpenBao; tests/run installs it")]
async fn a_version_that_is_destroyed_is_gone() {
    let bao = Bao::start().await;
    bao.holds(&fields(&[])).await;
    bao.post("secret/destroy/breeze/api", json!({ "versions": [1] })).await;
    let told = bao.manager().read().await.unwrap_err();
    assert_eq!(told, ManagerError::Gone("1".to_owned()));
}

#[tokio::test]
#[cfg_attr(not(managers_tests), ignore = "needs moto; tests/run installs it")]
async fn aws_checks_who_asks_and_what_that_one_may_do() {
    let moto = Moto::start().await;
    moto.holds(&fields(&[])).await;
    moto.manager().read().await.unwrap();
    let mut wrong = moto.user().clone();
    wrong.secret.push('x');
    for known in [wrong, moto.stranger().await] {
        let told = moto.known_as(&known).read().await.unwrap_err();
        assert!(is_denied(&told), "{told:?}");
        assert!(!told.to_string().contains(&known.secret), "{told}");
    }
}

#[tokio::test]
#[cfg_attr(not(managers_tests), ignore = "needs moto; tests/run installs it")]
async fn aws_knows_a_process_by_a_role_and_by_that_of_its_container() {
    let moto = Moto::start().await;
    moto.holds(&fields(&[])).await;
    let (known, token) = moto.role().await;
    moto.known_by([
        ("AWS_ACCESS_KEY_ID", known.id.clone()),
        ("AWS_SECRET_ACCESS_KEY", known.secret.clone()),
        ("AWS_SESSION_TOKEN", token.clone()),
    ])
    .read()
    .await
    .unwrap();
    let credential = json!({
        "AccessKeyId": known.id, "SecretAccessKey": known.secret, "Token": token,
        "Expiration": "2099-01-01T00:00:00Z", "RoleArn": "arn:aws:iam::123456789012:role/api",
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let uri = format!("http://{}/role", listener.local_addr().unwrap());
    let router = Router::new().route("/role", get(move || async move { Json(credential) }));
    let agent = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    moto.known_by([("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)]).read().await.unwrap();
    agent.abort();
    // Nowhere to have a credential from: no metadata of a machine either.
    let nobody = moto.known_by([("AWS_EC2_METADATA_DISABLED", "true".to_owned())]);
    let told = nobody.read().await.unwrap_err();
    assert!(matches!(told, ManagerError::NoLogin(_)), "{told:?}");
}
