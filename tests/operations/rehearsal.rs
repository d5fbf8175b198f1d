//! A rehearsal does the whole of a rollover, on a copy, and leaves nothing behind.

use serde_json::json;

use crate::{
    app::{Api, Db, KEYS},
    on_both_databases,
    support::breeze_api::{Finished, breeze_api},
};

on_both_databases!(
    a_rehearsal_carries_the_whole_rollover_out_on_a_copy,
    a_credential_at_a_provider_is_not_rehearsed,
    nothing_is_rehearsed_beside_a_rollover_that_would_go_on_in_the_copy,
);

async fn rehearse(api: &Api, secret: &str) -> Finished {
    let arguments = ["rollover", secret, "--mode", "graceful", "--reason", "a test"];
    breeze_api(arguments.into_iter().chain(["--rehearse", "--json"]))
        .envs(KEYS)
        .env("DATABASE_URL", api.db.url())
        .finish()
        .await
}

/// Everything that a rollover would have changed.
async fn state(api: &Api) -> Vec<Vec<String>> {
    let (keys, rollovers) = match api.db {
        Db::Sqlite(_) => ("rollover_key", "rollover_rollover"),
        Db::Postgres(_) => ("rollover.key", "rollover.rollover"),
    };
    let texts = async |sql: String| api.db.texts(Box::leak(sql.into_boxed_str())).await;
    vec![
        texts(format!("SELECT id || state FROM {keys} ORDER BY id, 1")).await,
        texts(format!("SELECT CAST(id AS text) FROM {rollovers}")).await,
        texts("SELECT value FROM tenant_variables ORDER BY id".to_owned()).await,
        texts("SELECT CAST(id AS text) FROM audit_logs ORDER BY id".to_owned()).await,
    ]
}

async fn a_rehearsal_carries_the_whole_rollover_out_on_a_copy(api: &Api) {
    let admin = api.as_administrator().await;
    for n in 0..3 {
        let variable = json!({ "name": format!("V{n}"), "value": "a value of a tenant" });
        admin.post("/api/v1/tenant-variables", variable).await.expect(201);
    }
    // The day's look at the schedule is no part of it.
    while api.db.texts("SELECT action FROM audit_logs WHERE action = 'schedule.notice' OR action = 'schedule.review'").await.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let before = state(api).await;
    for secret in ["APP_ENCRYPTION_KEY", "JWT_SECRET"] {
        let rehearsed = rehearse(api, secret).await;
        assert_eq!(rehearsed.code, Some(0), "{rehearsed:?}");
        let told = rehearsed.json();
        assert_eq!(told["rehearsed"]["phase"], "retired", "{told}");
        assert_eq!(told["gaveUp"], false, "{told}");
        if secret == "APP_ENCRYPTION_KEY" {
            assert!(told["rehearsed"]["progress"]["rewrapped"].as_u64().unwrap() >= 3, "{told}");
        }
    }
    assert_eq!(state(api).await, before);
    if let Db::Postgres(_) = api.db {
        let copies =
            "SELECT datname::text FROM pg_database WHERE datname LIKE 'breeze_rehearsal_%'";
        let left = api.db.texts(copies).await;
        assert!(left.is_empty(), "{left:?}");
    }
}

/// On SQLite the root key may be in a file of its own, beside the database.
#[tokio::test]
async fn a_copy_has_the_root_key_of_the_original() {
    let keys: Vec<_> = KEYS.into_iter().filter(|(name, _)| *name != "BREEZE_ROOT_KEY").collect();
    let api = Api::on(Db::Sqlite(crate::support::sqlite::file()), &keys).await;
    let arguments = ["rollover", "JWT_SECRET", "--mode", "graceful", "--reason", "a test"];
    let rehearsed = breeze_api(arguments.into_iter().chain(["--rehearse", "--json"]))
        .envs(keys)
        .env("DATABASE_URL", api.db.url())
        .finish()
        .await;
    assert_eq!(rehearsed.code, Some(0), "{rehearsed:?}");
    assert_eq!(rehearsed.json()["rehearsed"]["phase"], "retired");
    api.end().await;
}

/// What it leaves behind when it is stopped half-way: nothing.
#[tokio::test]
async fn a_rehearsal_that_is_stopped_removes_its_copy() {
    let api = Api::on_sqlite().await;
    let place = tempfile::tempdir().unwrap();
    let arguments = ["rollover", "MFA_RECOVERY_CODE_PEPPER", "--mode", "graceful"];
    let process = breeze_api(arguments.into_iter().chain(["--reason", "x", "--rehearse"]))
        .envs(KEYS)
        .env("DATABASE_URL", api.db.url())
        .env("TMPDIR", place.path().to_str().unwrap())
        .start();
    let copies = || std::fs::read_dir(place.path()).unwrap().count();
    while copies() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let ended = process.terminate().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("asked to stop"), "{}", ended.stderr);
    assert_eq!(copies(), 0);
    api.end().await;
}

async fn a_credential_at_a_provider_is_not_rehearsed(api: &Api) {
    let refused = rehearse(api, "CLOUDFLARE_API_TOKEN").await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("no copy to rehearse on"), "{}", refused.stderr);
}

async fn nothing_is_rehearsed_beside_a_rollover_that_would_go_on_in_the_copy(api: &Api) {
    let admin = api.as_administrator().await;
    // It waits for tokens of a week, here and in any copy.
    let body = json!({ "secret": "JWT_SECRET", "reason": "a test" });
    let begun = admin.post("/admin/rollovers", body).await.expect(202);
    let refused = rehearse(api, "APP_ENCRYPTION_KEY").await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let id = begun["id"].as_str().unwrap();
    let told = format!("rollover {id} is in progress, and would go on in the copy");
    assert!(refused.stderr.contains(&told), "{}", refused.stderr);
}
