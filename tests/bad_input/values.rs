//! A value that an operator hands in is judged, and never told on.

use std::fmt::Write as _;

use breeze_rollover::{embed::Database, rollover::Phase, token::Scope};
use serde_json::json;

use super::admin::{serve, token};
use crate::support::{
    self,
    app::{JWT_SECRET, MFA_KEY, TestApp, fill},
    traces::{self, Traces},
};

const FIT: &str = "A value that is fit to sign with, 0a1b2c3d4e5f";

/// The value raw, in hex, and in base64 at each of its three alignments.
fn disguises(value: &str) -> Vec<String> {
    let hex = value.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let standard = base64_simd::STANDARD.encode_to_string(value);
    let url = base64_simd::URL_SAFE_NO_PAD.encode_to_string(value);
    vec![value.to_owned(), hex.to_uppercase(), hex, standard.trim_end_matches('=').into(), url]
}

#[track_caller]
fn assert_absent(value: &str, place: &str, text: &str) {
    for disguise in disguises(value) {
        assert!(!text.contains(&disguise), "a value is in {place}: {text}");
    }
}

async fn values_are_judged_and_never_told(database: Database, traces: Traces) {
    fill(&database, 1).await;
    let app = TestApp::start(database).await;
    let admin = serve(&app.rollovers).await.bearing(&token(&app.rollovers, Scope::System, true));
    let begin = |value: &str| json!({ "secret": "JWT_SECRET", "reason": "x", "value": value });
    let mut told = String::new();
    for (value, says) in [
        ("too short 1234", "at least 32 characters"),
        ("change-me-change-me-change-me-change-me", "is a placeholder"),
        (MFA_KEY, "is a key of MFA_ENCRYPTION_KEY; give each secret a key of its own"),
        (JWT_SECRET, "is a key of this secret already"),
    ] {
        let refused = admin.post("/admin/rollovers", begin(value)).await;
        let problem = refused.expect(422);
        assert_eq!(problem["code"], "unfit_value");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
        told += &problem.to_string();
    }
    assert_eq!(app.database.store().rollovers(None, 1).await.unwrap(), []);

    let dry = json!({ "secret": "JWT_SECRET", "reason": "x", "value": FIT, "dryRun": true });
    told += &admin.post("/admin/rollovers", dry).await.expect(202).to_string();
    let mut fit = begin(FIT);
    fit["mode"] = "hard".into();
    let begun = admin.post("/admin/rollovers", fit).await.expect(202);
    told += &begun.to_string();
    app.reaches(begun["id"].as_str().unwrap().parse().unwrap(), Phase::Retired).await;
    let admin = serve(&app.rollovers).await.bearing(&token(&app.rollovers, Scope::System, true));
    for path in ["secrets", "rollovers", "audit", "replicas"] {
        told += &admin.get(&format!("/admin/{path}")).await.expect(200).to_string();
    }
    let fingerprint = admin.get("/admin/secrets").await.expect(200)["secrets"].to_string();
    assert!(fingerprint.contains("supplied"), "it is known by its origin and fingerprint");
    let audit = format!("{:?}", app.database.store().audit(None, 500).await.unwrap());
    app.rollovers.leave().await;
    for value in ["too short 1234", "change-me-change-me", MFA_KEY, JWT_SECRET, FIT] {
        assert_absent(value, "an answer", &told);
        assert_absent(value, "the audit trail", &audit);
        assert_absent(value, "a trace", &traces.text());
    }
    assert!(traces.text().contains("rollover step"), "the traces are of this test");
}

// One thread, so that all of it is traced.
#[tokio::test]
async fn sqlite() {
    let traces = traces::capture();
    let file = support::sqlite::file();
    let database = Database::connect(&file.url(), 8).await.unwrap();
    database.migrate().await.unwrap();
    values_are_judged_and_never_told(database, traces).await;
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn postgres() {
    let traces = traces::capture();
    let own = support::postgres::database().await;
    let database = Database::connect(&own.url(), 8).await.unwrap();
    database.migrate().await.unwrap();
    values_are_judged_and_never_told(database, traces).await;
}
