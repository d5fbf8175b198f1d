//! Every row of the catalog, by the one admin endpoint: inventory, dry run, refusals,
//! graceful and hard, the way back, metrics and audit. What each secret does in between
//! is shown by tests of its own.

use std::{collections::BTreeMap, time::Duration};

use breeze_rollover::catalog::{Class, Secret};
use serde_json::{Value, json};

use crate::{
    served::{Served, path_of},
    support::deployment::{Db, KEYS, on_both_databases},
};

/// Secrets that have no key unless they are set. Their providers are nowhere.
const SET: [(&str, &str); 21] = [
    ("AGENT_ENROLLMENT_SECRET", "what an installer of the tests presents 0123456789"),
    ("ANTHROPIC_API_KEY", "sk-ant-the-key-of-the-tests-0123456789"),
    ("ANTHROPIC_API_URL", NOWHERE),
    ("CLOUDFLARE_API_TOKEN", "a token of the tests at Cloudflare 0123456789"),
    ("CLOUDFLARE_API_URL", NOWHERE),
    ("CLOUDFLARE_ZONE_ID", "0123456789abcdef0123456789abcdef"),
    ("MAILGUN_API_KEY", "a key of the tests at Mailgun 0123456789"),
    ("MAILGUN_API_URL", NOWHERE),
    ("MAILGUN_DOMAIN", "mail.example.test"),
    ("METRICS_SCRAPE_TOKEN", SCRAPER),
    ("REDIS_URL", "redis://api:the-password-of-the-tests-0123456789@127.0.0.1:1"),
    ("RESEND_API_KEY", "re_the_key_of_the_tests_0123456789"),
    ("RESEND_API_URL", NOWHERE),
    ("S3_ACCESS_KEY", "AKIA0123456789TESTS0"),
    ("S3_SECRET_KEY", "a secret key of the tests at S3 0123456789"),
    ("SMTP_USER", "breeze"),
    ("SMTP_PASS", "a password of the tests for mail 0123456789"),
    ("TURN_SECRET", "a secret that the tests share with coturn 0123456789"),
    ("TWILIO_ACCOUNT_SID", "AC0123456789abcdef0123456789abcdef"),
    ("TWILIO_AUTH_TOKEN", "0123456789abcdef0123456789abcdef"),
    ("TWILIO_FROM", "+15550100"),
];

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

const SCRAPER: &str = "a token that Prometheus presents in the tests 0123456789";

/// Every secret that has a key here, by name.
async fn inventory(served: &Served) -> BTreeMap<String, Value> {
    let rows = served.admin.get("/admin/secrets").await.expect(200);
    let rows = rows["secrets"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["secret"].as_str().unwrap()).collect();
    assert_eq!(names, Secret::all().map(Secret::name).collect::<Vec<_>>(), "the whole catalog");
    let has_key = |row: &&Value| !row["keys"].as_array().unwrap().is_empty();
    let by_name = |row: &Value| (row["secret"].as_str().unwrap().to_owned(), row.clone());
    rows.iter().filter(has_key).map(by_name).collect()
}

/// Where each key stands.
fn states(row: &Value) -> Vec<(&Value, &Value)> {
    row["keys"].as_array().unwrap().iter().map(|key| (&key["id"], &key["state"])).collect()
}

/// The key in use.
fn primary(row: &Value) -> &str {
    let keys = row["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["state"] == "primary").unwrap();
    key["id"].as_str().unwrap()
}

/// A value that a rollover of `secret` may be given, unlike any other.
fn fresh(secret: Secret) -> Option<String> {
    let value = format!("a new value of {secret} {}", uuid::Uuid::now_v7().simple());
    (secret.entry().class != Class::Issued).then_some(value)
}

async fn every_secret_is_in_the_inventory_with_its_age_and_in_the_metrics(db: Db) {
    let is_postgres = matches!(db, Db::Postgres(_));
    let served = Served::on(db, &SET).await;
    let rows = inventory(&served).await;
    let absent: Vec<_> = Secret::all().filter(|s| !rows.contains_key(s.name())).collect();
    // A file has no credential.
    let expected = if is_postgres { vec![] } else { vec![Secret::DatabaseUrl] };
    assert_eq!(absent, expected);
    let scraper = served.anybody.bearing(SCRAPER);
    let metrics = scraper.get("/metrics/scrape").await;
    assert_eq!(metrics.status, 200);
    for (name, row) in &rows {
        assert!(row["ageDays"].as_f64().unwrap() < 1.0, "{row}");
        assert!(row["dueAt"].as_str().unwrap() > row["keys"][0]["createdAt"].as_str().unwrap());
        assert_eq!(row["due"], "later", "{row}");
        for told in ["protects", "gracefulDisruption", "hardDisruption", "drainsWhen"] {
            assert!(row[told].as_str().unwrap().len() > 3, "{name} {told}");
        }
        primary(row);
        for metric in ["age_seconds", "due_timestamp_seconds"] {
            let line = format!("breeze_secret_{metric}{{secret=\"{name}\"}}");
            assert!(String::from_utf8_lossy(&metrics.body).contains(&line), "{line}");
        }
    }
}

async fn a_dry_run_of_every_secret_tells_what_it_would_do_and_does_nothing(db: Db) {
    let served = Served::on(db, &SET).await;
    let before = inventory(&served).await;
    for (name, row) in &before {
        for (mode, disruption) in [("graceful", "gracefulDisruption"), ("hard", "hardDisruption")] {
            let ask = json!({ "secret": name, "mode": mode, "reason": "a test", "dryRun": true });
            let begun = served.admin.post("/admin/rollovers", ask).await.expect(202);
            let report = served.reaches(&begun, "rehearsed").await["report"].clone();
            assert_eq!(report["disruption"], row[disruption], "{report}");
            assert_eq!(report["drainsWhen"], row["drainsWhen"], "{report}");
        }
    }
    let after = inventory(&served).await;
    for (name, row) in &before {
        assert_eq!(states(row), states(&after[name]), "{name}");
    }
}

/// A value of `secret` in which `text` is what is secret, as an operator may write it.
fn with_secret_part(secret: Secret, text: &str) -> String {
    match (secret, secret.entry().parts) {
        (Secret::DatabaseUrl | Secret::RedisUrl, _) => {
            format!("a_user_of_the_tests:{}", text.replace(' ', "%20").replace('-', "%2d"))
        }
        (_, []) => text.to_owned(),
        (_, [account, own]) => format!(r#"{{ "{own}": "{text}", "{account}": "an account" }}"#),
        (_, parts) => panic!("{parts:?}"),
    }
}

async fn a_value_that_is_no_key_is_refused_for_every_secret(db: Db) {
    let served = Served::on(db, &SET).await;
    let before = inventory(&served).await;
    let text = |name: &str| SET.into_iter().find(|(set, _)| *set == name).unwrap().1;
    // A whole value, one of a pair, one of a URL, and the key that seals the others.
    let in_use = [
        ("ANTHROPIC_API_KEY", text("ANTHROPIC_API_KEY")),
        ("SMTP_PASS", text("SMTP_PASS")),
        ("REDIS_URL", "the-password-of-the-tests-0123456789"),
        ("BREEZE_ROOT_KEY", KEYS[5].1),
    ];
    for name in before.keys() {
        let secret: Secret = name.parse().unwrap();
        let weak = ["", "x", "changeme-changeme-changeme-changeme"].map(|text| (text, None));
        let of_others = in_use.iter().filter(|(owner, _)| owner != name);
        let of_others = of_others.map(|(owner, text)| (*text, Some(*owner)));
        for (text, owner) in weak.into_iter().chain(of_others) {
            // A pair without a part is no pair, which its provider says where there is one.
            let wrapped = (!text.is_empty()).then(|| with_secret_part(secret, text));
            for wrong in [text.to_owned()].into_iter().chain(wrapped) {
                let ask =
                    json!({ "secret": name, "mode": "graceful", "reason": "x", "value": wrong });
                let problem = served.admin.post("/admin/rollovers", ask).await.expect(422);
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.len() > 10, "{problem}");
                assert!(text.len() < 2 || !problem.to_string().contains(text), "{problem}");
                if secret.entry().class != Class::Issued {
                    let told = owner.unwrap_or("what is secret in it");
                    assert!(text.is_empty() || detail.contains(told), "{name}: {problem}");
                }
            }
        }
    }
    let after = inventory(&served).await;
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, row) in &before {
        assert_eq!(states(row), states(&after[name]), "nothing of {name} was staged");
    }
}

/// Back before the new key is in use: a request under the keychain of before holds it.
async fn is_abandoned(served: &Served, secret: Secret) {
    let name = secret.name();
    let old = primary(&inventory(served).await[name]).to_owned();
    let body = json!({ "name": "a provider", "clientSecret": "its secret" });
    let in_flight = served.admin.begin("/api/v1/sso/providers", body).await;
    let begun = served.begin(name, "graceful", fresh(secret).as_deref()).await;
    served.reaches(&begun, "staged").await;
    let back = format!("{}/roll-back", path_of(&begun));
    served.admin.post(&back, json!({ "reason": "a test" })).await.expect(200);
    served.reaches(&begun, "abandoned").await;
    in_flight.finish().await.expect(201);
    assert_eq!(primary(&inventory(served).await[name]), old, "{name}");
}

/// Forward until the new value is in use, and back, of a secret whose old value is
/// accepted for a while.
async fn goes_forward_and_back(served: &Served, secret: Secret) {
    let name = secret.name();
    let due_at = |row: &Value| row["dueAt"].clone();
    let row = inventory(served).await.remove(name).unwrap();
    let (old, due) = (primary(&row).to_owned(), due_at(&row));
    let begun = served.begin(name, "graceful", fresh(secret).as_deref()).await;
    served.reaches(&begun, "promoted").await;
    assert_ne!(primary(&inventory(served).await[name]), old, "{name}");
    let back = format!("{}/roll-back", path_of(&begun));
    served.admin.post(&back, json!({ "reason": "a test" })).await.expect(200);
    served.reaches(&begun, "rolling_back").await;
    while primary(&inventory(served).await[name]) != old {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Whoever presents the new value by now is waited for, unless given up.
    let give_up = json!({ "reason": "a test", "acceptLoss": true });
    served.admin.post(&format!("{}/retire", path_of(&begun)), give_up).await.expect(200);
    served.reaches(&begun, "rolled_back").await;
    assert_eq!(due_at(&inventory(served).await[name]), due, "it is as old as it was");
}

async fn goes_hard(served: &Served, secret: Secret) {
    let name = secret.name();
    let old = primary(&inventory(served).await[name]).to_owned();
    let begun = served.begin(name, "hard", fresh(secret).as_deref()).await;
    served.reaches(&begun, "retired").await;
    served.is_cut_off(&begun).await;
    let row = &inventory(served).await[name];
    assert_ne!(primary(row), old, "{name}");
    let keys = row["keys"].as_array().unwrap();
    let old = keys.iter().find(|key| key["id"] == old.as_str()).unwrap();
    assert_eq!(old["state"], "retired", "{old}");
    let entries = served.admin.get("/admin/audit?limit=200").await.expect(200);
    for action in ["rollover.request", "rollover.promote", "rollover.retire", "rollover.cut_off"] {
        let is_told = |entry: &Value| entry["action"] == action && entry["resourceName"] == name;
        assert!(entries["entries"].as_array().unwrap().iter().any(is_told), "{action} of {name}");
    }
}

/// Credentials, which only their providers let through, are shown beside those.
async fn every_secret_goes_forward_and_back_and_hard(db: Db) {
    let served = Served::on(db, &SET).await;
    let is_ours = |secret: &Secret| secret.entry().class != Class::Provider;
    for secret in Secret::all().filter(is_ours) {
        is_abandoned(&served, secret).await;
        if secret != Secret::JwtSecret {
            goes_hard(&served, secret).await;
            if secret.entry().class == Class::Shared {
                goes_forward_and_back(&served, secret).await;
            }
        }
    }
    // And the one that logs everybody out, the administrator as well.
    let hard = json!({ "secret": "JWT_SECRET", "mode": "hard", "reason": "a test" });
    served.admin.post("/admin/rollovers", hard).await.expect(202);
    while served.admin.get("/admin/secrets").await.status != 401 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Without an enrolment secret nobody is asked for one, but in production.
async fn an_enrolment_secret_that_nobody_set_is_asked_of_nobody(db: Db) {
    const PEPPERS: [(&str, &str); 2] = [
        ("ENROLLMENT_KEY_PEPPER", "a pepper of enrolment keys of the tests 0123456789"),
        ("MFA_RECOVERY_CODE_PEPPER", "a pepper of recovery codes of the tests 0123456789"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&PEPPERS[..], more].concat();
    let production = with(&[("NODE_ENV", "production")]);
    let warned =
        with(&[("NODE_ENV", "production"), ("ENROLLMENT_SECRET_ENFORCEMENT_MODE", "warn")]);
    let mut served = Served::on(db, &PEPPERS).await;
    let org = "01900000-0000-7000-8000-000000000001";
    let key = json!({ "name": "a site", "orgId": org });
    let key = served.admin.post("/api/v1/enrollment-keys", key).await.expect(201);
    let agent = json!({
        "enrollmentKey": key["key"], "hostname": "host", "osType": "linux", "osVersion": "12",
        "architecture": "amd64", "agentVersion": "1.0",
    });
    for (set, status) in [(with(&[]), 201), (production, 403), (warned, 201)] {
        served = served.again(&set).await;
        let answer = served.anybody.post("/api/v1/agents/enroll", agent.clone()).await;
        answer.expect(status);
    }
    assert!(!inventory(&served).await.contains_key("AGENT_ENROLLMENT_SECRET"));
}

on_both_databases!(
    an_enrolment_secret_that_nobody_set_is_asked_of_nobody,
    every_secret_is_in_the_inventory_with_its_age_and_in_the_metrics,
    a_dry_run_of_every_secret_tells_what_it_would_do_and_does_nothing,
    a_value_that_is_no_key_is_refused_for_every_secret,
    every_secret_goes_forward_and_back_and_hard,
);
