//! Nothing secret is in anything that is told: a whole run at TRACE, and everything
//! that it wrote and answered, searched for every secret that was used in it.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, reason = "a test has no reader but its own")]

mod support;

use std::{cell::RefCell, time::Duration};

use base64_simd::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use breeze_rollover::{
    keyring::KeyState,
    store::custody::{self, RootKeys},
};
use http::Method;
use serde_json::{Value, json};
use support::{
    breeze_api::breeze_api,
    deployment::{Db, KEYS, Opened, administrator_of, root},
    free_port,
    http::{Answer, Client},
};

/// Every text that would give `secret` away: raw, as a list of numbers, in hex, and in
/// either base64, wherever in a longer text it stands.
fn forms(secret: &[u8]) -> Vec<String> {
    let hex = secret.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let numbers = secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let mut forms = vec![hex.to_uppercase(), hex, numbers];
    if let Ok(text) = std::str::from_utf8(secret) {
        let json = Value::from(text).to_string();
        forms.push(json[1..json.len() - 1].to_owned());
        forms.push(text.to_owned());
    }
    for before in 0..3 {
        let whole = [&[0; 2][..before], secret].concat();
        // The characters that no byte beside it has a part in.
        let own = (before * 8).div_ceil(6)..whole.len() * 8 / 6;
        for encoded in
            [STANDARD_NO_PAD.encode_to_string(&whole), URL_SAFE_NO_PAD.encode_to_string(&whole)]
        {
            forms.push(encoded[own.clone()].to_owned());
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

/// What must not be told, and everything that was.
#[derive(Default)]
struct Record {
    secrets: RefCell<Vec<(String, Vec<u8>)>>,
    told: RefCell<Vec<(String, String)>>,
}

impl Record {
    /// Notes a secret, and returns it.
    fn secret<'a>(&self, what: &str, secret: &'a str) -> &'a str {
        self.bytes(what, secret.as_bytes());
        secret
    }

    fn bytes(&self, what: &str, secret: &[u8]) {
        assert!(secret.len() >= 10, "{what} is too short to be told from chance");
        self.secrets.borrow_mut().push((what.to_owned(), secret.to_owned()));
    }

    /// Notes the tokens of an answer: each whole, and its signature alone.
    fn tokens(&self, answer: &Value) -> (String, String) {
        ["accessToken", "refreshToken"]
            .map(|name| {
                let token = answer["tokens"][name].as_str().unwrap().to_owned();
                self.secret(name, &token);
                self.secret(&format!("the signature of {name}"), token.rsplit('.').next().unwrap());
                token
            })
            .into()
    }

    /// Notes what was told.
    fn told(&self, where_: &str, text: impl Into<String>) {
        self.told.borrow_mut().push((where_.to_owned(), text.into()));
    }

    /// Notes an answer, its head included, and returns its body.
    #[track_caller]
    fn answer(&self, where_: &str, answer: &Answer, status: u16) -> Value {
        let body = String::from_utf8_lossy(&answer.body);
        self.told(where_, format!("{:?}\n{body}", answer.headers));
        answer.expect(status)
    }

    /// Where which secret was told.
    fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        for (what, secret) in &*self.secrets.borrow() {
            for form in forms(secret) {
                for (where_, text) in &*self.told.borrow() {
                    if let Some(at) = text.find(&form) {
                        let line = text[..at].matches('\n').count() + 1;
                        leaks.push(format!("{what} is in {where_}, line {line}, as {form}"));
                    }
                }
            }
        }
        leaks
    }
}

#[test]
fn the_search_finds_a_secret_in_every_form() {
    let secret = "a secret?>~ of\u{e9} some \"length\"";
    let bytes = secret.as_bytes();
    let mut texts = vec![
        format!("told: {secret}."),
        json!({ "told": secret }).to_string(),
        format!("{bytes:?}"),
        format!("{:?}", b"x".iter().chain(bytes).collect::<Vec<_>>()),
        bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
    ];
    for before in ["", "x", "xy", "xyz"] {
        for after in ["", "x", "xy"] {
            let text = format!("{before}{secret}{after}");
            texts.push(STANDARD_NO_PAD.encode_to_string(&text));
            texts.push(base64_simd::STANDARD.encode_to_string(&text));
            texts.push(URL_SAFE_NO_PAD.encode_to_string(&text));
        }
    }
    for text in texts {
        let record = Record::default();
        record.secret("the secret", secret);
        record.told("nothing", "a secret of some length");
        assert_eq!(record.leaks(), Vec::<String>::new());
        record.told("the log", format!("a line\nand {text} in it"));
        let leaks = record.leaks();
        assert!(leaks[0].contains("the secret is in the log, line 2"), "{text}: {leaks:?}");
    }
}

async fn nothing_secret_is_told(db: Db) {
    let record = Record::default();
    for (name, value) in KEYS.into_iter().filter(|(name, _)| !name.ends_with("_ID")) {
        match serde_json::from_str::<std::collections::BTreeMap<String, String>>(value) {
            Ok(ring) => ring.values().for_each(|key| record.bytes(name, key.as_bytes())),
            Err(_) => record.bytes(name, value.as_bytes()),
        }
    }
    let previous =
        record.secret("a previous key", "an application key that was used before all others");
    let url = match &db {
        Db::Sqlite(file) => file.url(),
        Db::Postgres(database) => {
            let role = database.role().await;
            database.execute(&format!("ALTER ROLE {} SUPERUSER", role.name)).await;
            let password = role.url.split(['@', ':']).nth(2).unwrap().to_owned();
            record.secret("the database's password", &password);
            role.url
        }
    };
    let run = |arguments: &[&str]| {
        breeze_api(arguments.iter().copied())
            .envs(KEYS)
            .env("APP_ENCRYPTION_KEY_PREVIOUS", previous)
            .env("DATABASE_URL", &url)
            .env("RUST_LOG", "trace")
    };
    let command = async |arguments: &[&str], code: i32| {
        let ended = run(arguments).finish().await;
        assert_eq!(ended.code, Some(code), "{arguments:?} {}", ended.stdout);
        record.told(&format!("the output of {arguments:?}"), ended.stdout);
        record.told(&format!("the log of {arguments:?}"), ended.stderr);
    };
    command(&["migrate"], 0).await;
    let opened = db.open().await;
    for plaintext in opened.fill(20).await.values() {
        // Of documents what is secret in them.
        for secret in plaintext.split('"').filter(|part| part.len() > 30 && !part.starts_with(':'))
        {
            record.secret("a value from before", secret);
        }
    }

    let port = free_port();
    let mut server = run(&["serve"])
        .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
        .env("JWT_ACCESS_TTL_SECONDS", "20")
        .env("JWT_REFRESH_TTL_SECONDS", "20")
        .env("JWT_VIEWER_TTL_SECONDS", "1")
        .start();
    server.listens_on(port).await;
    let client = Client::on(port);
    let told = administrator_of(&server.stdout());
    record.secret("the administrator's password", &told.password);
    record.secret("the administrator's seed", told.seed());

    // Sessions, right and wrong.
    let log_in = |password: &str, code: Value| {
        let body = json!({ "email": told.email, "password": password, "mfaCode": code });
        client.ask(Method::POST, "/api/v1/auth/login", Some(body))
    };
    let wrong = record.secret("a wrong password", "a wrong password 0123456789");
    record.answer("a wrong password", &log_in(wrong, json!(null)).await.unwrap(), 401);
    record.answer("no code", &log_in(&told.password, json!(null)).await.unwrap(), 401);
    record.answer("a wrong code", &log_in(&told.password, json!("000000")).await.unwrap(), 401);
    let session = log_in(&told.password, json!(told.code())).await.unwrap().expect(200);
    let (access, _) = record.tokens(&session);
    let admin = client.bearing(&access);
    let (head, tail) = access.split_at(access.len() - 12);
    let other = if tail.starts_with('A') { 'B' } else { 'A' };
    let tampered = format!("{head}{other}{}", &tail[1..]);
    record.secret("a tampered token", &tampered);
    for token in [&tampered[..], &access[..access.len() - 8]] {
        let answer = client.bearing(token).get("/admin/secrets").await;
        record.answer("a tampered token", &answer, 401);
    }
    let password = record.secret("a user's password", "correct horse battery staple");
    let user = json!({
        "email": "ann@example.test", "name": "Ann", "password": password,
        "orgId": "7c0c3b1e-0c7e-4c0a-9b36-3a6f1f0e7a12",
    });
    record.answer("a user", &admin.post("/api/v1/users", user).await, 201);
    let ann = json!({ "email": "ann@example.test", "password": password });
    let ann = client.post("/api/v1/auth/login", ann).await.expect(200);
    let (ann, refresh) = record.tokens(&ann);
    let refreshing = json!({ "refreshToken": refresh });
    let again = client.post("/api/v1/auth/refresh", refreshing.clone()).await.expect(200);
    record.tokens(&again);
    record.answer("a spent token", &client.post("/api/v1/auth/refresh", refreshing).await, 401);
    let forbidden = client.bearing(&ann).get("/admin/secrets").await;
    record.answer("an admin call of a user", &forbidden, 403);

    // Every resource, with secrets in it.
    let secrets = |number: u32| {
        let secret = |what: &str| {
            let secret = format!("{what}-{number}-that-nobody-may-see");
            record.secret(what, &secret);
            secret
        };
        [
            (
                "sso/providers",
                json!({
                    "name": "Okta", "clientId": "breeze", "clientSecret": secret("a client secret"),
                }),
            ),
            (
                "webhooks",
                json!({
                    "name": "Pager", "secret": secret("a webhook's secret"),
                    "url": format!("https://hooks.example.test/{}", secret("a-path")),
                    "headers": { "token": secret("a header"), "retries": 3 },
                }),
            ),
            (
                "discovery/profiles",
                json!({
                    "name": "LAN", "snmpCommunities": [secret("a community")],
                    "snmpCredentials": { "authPassphrase": secret("a passphrase") },
                }),
            ),
            ("tenant-variables", json!({ "name": "V", "value": secret("a variable") })),
        ]
    };
    let mut paths = Vec::new();
    for (collection, body) in secrets(1) {
        // A view tells to whom it is due what a log or an error may not.
        let made = admin.post(&format!("/api/v1/{collection}"), body).await.expect(201);
        let path = format!("/api/v1/{collection}/{}", made["id"].as_str().unwrap());
        admin.get(&path).await.expect(200);
        paths.push(path);
    }
    for (path, (_, body)) in paths.iter().zip(secrets(2)) {
        admin.patch(path, body).await.expect(200);
        let unknown =
            json!({ "nonsense": record.secret("nonsense", "what a client sent by mistake") });
        record.answer("an unknown member", &admin.patch(path, unknown).await, 422);
    }
    for path in &paths[..2] {
        admin.post(&format!("{path}/test"), json!(null)).await.expect(200);
    }
    for collection in ["sso/providers", "webhooks", "discovery/profiles", "tenant-variables"] {
        admin.get(&format!("/api/v1/{collection}?limit=200")).await.expect(200);
    }

    // Rollovers: refused, rehearsed, and of both secrets.
    let begin = async |more: Value, status: u16| {
        let mut body = json!({ "secret": "JWT_SECRET", "mode": "graceful", "reason": "a test" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        record.answer("a rollover", &admin.post("/admin/rollovers", body).await, status)
    };
    let short = record.secret("a value that is too short", "a short value 12");
    begin(json!({ "value": short }), 422).await;
    begin(json!({ "value": KEYS[1].1 }), 422).await;
    begin(json!({ "value": [record.secret("a value in a list", "a value that is no text 0123456789")] }), 422).await;
    begin(json!({ "reason": "" }), 422).await;
    let dry = begin(json!({ "dryRun": true, "secret": "APP_ENCRYPTION_KEY" }), 202).await;
    let reaches = async |rollover: Value, phase: &str| {
        let path = format!("/admin/rollovers/{}", rollover["id"].as_str().unwrap());
        for _ in 0..1200 {
            let answer = admin.get(&path).await;
            if answer.expect(200)["phase"] == phase {
                record.answer("a rollover", &answer, 200);
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{phase} was not reached: {:?}", admin.get(&path).await);
    };
    reaches(dry, "rehearsed").await;
    let app = begin(json!({ "secret": "APP_ENCRYPTION_KEY" }), 202).await;
    begin(json!({ "secret": "APP_ENCRYPTION_KEY" }), 409).await;
    reaches(app, "retired").await;
    let supplied =
        record.secret("a supplied value", "a signing secret that the operator chose, 0123456789");
    let jwt = begin(json!({ "value": supplied, "mode": "hard" }), 202).await;

    // Everything that the administrator can read, before and after the old key is cut off.
    let session = async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        log_in(&told.password, json!(told.next_code())).await.unwrap().expect(200)
    };
    let renewed = session().await;
    let (renewed, _) = record.tokens(&renewed);
    record.answer("a token of the old key", &admin.get("/admin/secrets").await, 401);
    let admin = client.bearing(&renewed);
    for path in ["secrets", "rollovers", "census", "replicas", "lazy", "audit?limit=500"] {
        record.answer(path, &admin.get(&format!("/admin/{path}")).await, 200);
    }
    let path = format!("/admin/rollovers/{}/destroy", jwt["id"].as_str().unwrap());
    record.answer("a destroy", &admin.post(&path, json!({ "reason": "too early" })).await, 409);

    for json in [None, Some("--json")] {
        let with =
            |arguments: &[&'static str]| arguments.iter().copied().chain(json).collect::<Vec<_>>();
        command(&with(&["census"]), 0).await;
        command(&with(&["keys"]), 0).await;
        // The store's keys are newer than the environment's.
        command(&with(&["rewrap"]), 1).await;
        let rollover =
            ["rollover", "MFA_ENCRYPTION_KEY", "--mode", "graceful", "--reason", "a test"];
        command(&with(&[&rollover[..], &["--dry-run"]].concat()), 0).await;
        command(&with(&[&rollover[..], &["--wait"]].concat()), 0).await;
    }
    let ended = server.terminate().await;
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("TRACE"), "everything was traced");
    record.told("the server's log", ended.stderr);
    // But for the block of the first start.
    let told = ended.stdout.lines().filter(|line| !line.starts_with(['┌', '│', '└']));
    record.told("the server's output", told.collect::<Vec<_>>().join("\n"));
    let trail = match &db {
        Db::Postgres(_) => "SELECT CAST(audit_logs AS text) FROM audit_logs",
        Db::Sqlite(_) => {
            "SELECT concat_ws('|', actor_email, action, resource_name, details, error_message) FROM audit_logs"
        }
    };
    let trail = opened.texts(trail).await;
    assert!(trail.len() > 10, "{trail:?}");
    record.told("the audit trail", trail.join("\n"));
    // The keys that the rollovers made, too, and what is derived from each.
    note_keys(&record, &opened, &root()).await;
    assert_eq!(record.leaks(), Vec::<String>::new());
}

async fn note_keys(record: &Record, opened: &Opened, root: &RootKeys) {
    let custody = opened.store().custody().await.unwrap();
    assert!(custody.keys.iter().filter(|key| key.state == KeyState::Retired).count() >= 3);
    for key in &custody.keys {
        let material = custody::open(root, key).unwrap();
        record.secret(&format!("{} {}", key.secret, key.id), material.expose_source());
        record.bytes(
            &format!("what {} {} seals with", key.secret, key.id),
            &*material.derive_aes256(),
        );
    }
}

#[tokio::test]
async fn nothing_secret_is_told_on_sqlite() {
    nothing_secret_is_told(Db::on_sqlite()).await;
}

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn nothing_secret_is_told_on_postgres() {
    nothing_secret_is_told(Db::on_postgres().await).await;
}
