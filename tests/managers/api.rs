//! `breeze-api` with its keys in a manager alone.

use std::time::Duration;

use http::Request;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::{
    server::{Server, serving_with_both_managers},
    support::{
        breeze_api::{Process, Run, breeze_api},
        deployment::{Db, KEYS, administrator},
        free_port,
        http::Client,
    },
};

const SCRAPER: &str = "a token of the tests that Prometheus presents";

/// What the manager holds at first: every key, the root key too, and what is none.
pub fn keys() -> Value {
    let mut fields: Map<_, _> =
        KEYS.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    fields.insert("METRICS_SCRAPE_TOKEN".to_owned(), json!(SCRAPER));
    fields.insert("OWNED_BY".to_owned(), json!({ "team": "platform", "tier": 1 }));
    Value::Object(fields)
}

/// Prepares `breeze-api ARGUMENTS` with the manager, and no key beside it.
fn run<'a>(db: &Db, server: &Server, arguments: impl IntoIterator<Item = &'a str>) -> Run {
    let variables = server.variables();
    let run = breeze_api(arguments).env("DATABASE_URL", db.url());
    run.envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
}

/// One process.
pub struct Api {
    pub port: u16,
    pub process: Process,
}

impl Api {
    pub async fn start(db: &Db, server: &Server) -> Self {
        let port = free_port();
        let mut process = run(db, server, ["serve"])
            .env("BREEZE_LISTEN", format!("127.0.0.1:{port}"))
            .env("BREEZE_SECRETS_POLL_SECONDS", "1")
            .env("BREEZE_SECRETS_WRITE_BACK", "1")
            .env("BREEZE_LEASE_SECONDS", "2")
            .env("RUST_LOG", "trace")
            .start();
        process.listens_on(port).await;
        Self { port, process }
    }

    /// Waits until its log has `text`, and answers how often.
    pub async fn logs(&self, text: &str) -> usize {
        for _ in 0..600 {
            let times = self.process.stderr().matches(text).count();
            if times > 0 {
                return times;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("it never told `{text}`");
    }

    async fn scraped(&self, gauge: &str) -> bool {
        let request =
            Request::get("/metrics/scrape").header("Authorization", format!("Bearer {SCRAPER}"));
        let answer =
            Client::on(self.port).send(request.body(String::new()).unwrap()).await.unwrap();
        assert_eq!(answer.status, 200);
        String::from_utf8(answer.body.to_vec()).unwrap().lines().any(|line| line == gauge)
    }

    /// Ends it, and answers its log, in which none of `secrets` is.
    pub async fn end(self, secrets: &[String]) -> String {
        let ended = self.process.terminate().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        tells_none(&ended.stderr, secrets);
        ended.stderr
    }
}

/// No text of `secrets` is in `log`, as it is, escaped, or in base64.
fn tells_none(log: &str, secrets: &[String]) {
    for secret in secrets {
        let base64 = base64_simd::STANDARD.encode_to_string(secret);
        let json = Value::from(secret.as_str()).to_string();
        for form in [secret.as_str(), base64.trim_end_matches('='), json.trim_matches('"')] {
            assert!(!log.contains(form), "the log holds {secret}");
        }
    }
}

/// Everything that must not be told: of every version, and what the manager is asked with.
fn secrets(server: &Server, versions: &[&Value]) -> Vec<String> {
    let credentials = server.variables();
    let credentials = credentials
        .into_iter()
        .filter(|(name, _)| ["VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY"].contains(name))
        .map(|(_, value)| value);
    let texts = versions.iter().flat_map(|fields| fields.as_object().unwrap().values());
    let texts = texts.filter_map(Value::as_str).filter(|text| text.len() >= 12);
    credentials.chain(texts.map(str::to_owned)).collect()
}

async fn begin(admin: &Client, secret: &str) -> String {
    let body = json!({ "secret": secret, "mode": "graceful", "reason": "a test" });
    let begun = admin.post("/admin/rollovers", body).await.expect(202);
    begun["id"].as_str().unwrap().to_owned()
}

async fn is_retired(admin: &Client, id: &str) {
    let path = format!("/admin/rollovers/{id}");
    for _ in 0..1200 {
        if admin.get(&path).await.expect(200)["phase"] == "retired" {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?}", admin.get(&path).await);
}

/// What the manager holds, once `is` holds of it.
pub async fn holds(server: &Server, is: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..600 {
        let (_, fields) = server.held().await;
        if is(&fields) {
            return fields;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("it never held that: {:?}", server.held().await);
}

async fn a_process_starts_rolls_over_and_starts_again_with_its_keys_in_a_manager(
    server: Server,
    db: Db,
) {
    let first = keys();
    server.holds(&first).await;
    db.migrate().await;
    let api = Api::start(&db, &server).await;
    let admin = administrator(&Client::on(api.port), &api.process.stdout()).await;
    let origin = async |admin: &Client| {
        let secrets = admin.get("/admin/secrets").await.expect(200);
        let secrets = secrets["secrets"].as_array().unwrap().clone();
        let mfa = secrets.into_iter().find(|it| it["secret"] == "MFA_ENCRYPTION_KEY").unwrap();
        mfa["keys"].to_string()
    };
    assert!(origin(&admin).await.contains("secrets manager MFA_ENCRYPTION_KEY"));

    let id = begin(&admin, "MFA_ENCRYPTION_KEY").await;
    is_retired(&admin, &id).await;
    let is_new = |fields: &Value| {
        fields["MFA_ENCRYPTION_KEY"] != first["MFA_ENCRYPTION_KEY"]
            && fields.get("MFA_ENCRYPTION_KEY_PREVIOUS").is_none()
    };
    let second = holds(&server, is_new).await;
    let without = |fields: &Value| {
        let mut fields = fields.as_object().unwrap().clone();
        fields.remove("MFA_ENCRYPTION_KEY");
        fields
    };
    assert_eq!(without(&second), without(&first), "nothing else has changed");
    // It is told once it was read back.
    let told = async || admin.get("/admin/audit?limit=200").await.expect(200).to_string();
    let mut audit = told().await;
    for _ in 0..100 {
        if audit.contains("secrets_manager.write") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        audit = told().await;
    }
    assert!(audit.contains("secrets_manager.write"), "it is never told");
    let secrets = secrets(&server, &[&first, &second]);
    tells_none(&audit, &secrets);
    api.process.kill().await;

    let again = Api::start(&db, &server).await;
    let client = Client::on(again.port);
    client.get("/ready").await.expect(200);
    assert!(again.scraped("breeze_secrets_manager_up 1").await);
    let log = again.end(&secrets).await;
    assert!(!log.contains("and stays it"), "what was written is what is in use: {log}");

    // A command finds its keys there as well.
    let told = run(&db, &server, ["rewrap", "--json"]).finish().await;
    assert_eq!(told.code, Some(0), "{}", told.stderr);
}

async fn a_manager_that_goes_away_takes_no_key_and_is_told_once(mut server: Server, db: Db) {
    let first = keys();
    server.holds(&first).await;
    db.migrate().await;
    let api = Api::start(&db, &server).await;
    let admin = administrator(&Client::on(api.port), &api.process.stdout()).await;
    assert!(api.scraped("breeze_secrets_manager_up 1").await);

    server.goes_away().await;
    api.logs("gives no keys; those that it gave last stay in use").await;
    // Nothing waits for it.
    let id = begin(&admin, "MFA_ENCRYPTION_KEY").await;
    is_retired(&admin, &id).await;
    admin.get("/api/v1/users/me").await.expect(200);
    Client::on(api.port).get("/ready").await.expect(200);
    assert!(api.scraped("breeze_secrets_manager_up 0").await);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(api.logs("gives no keys; those that it gave last stay in use").await, 1, "once");

    server.comes_back().await;
    api.logs("gives the keys again").await;
    let changed = |fields: &Value| fields["MFA_ENCRYPTION_KEY"] != first["MFA_ENCRYPTION_KEY"];
    let second = holds(&server, changed).await;
    assert!(api.scraped("breeze_secrets_manager_up 1").await);
    let secrets = secrets(&server, &[&first, &second]);
    api.end(&secrets).await;
}

async fn a_manager_that_is_away_at_the_start_is_an_error(mut server: Server, db: Db) {
    server.holds(&keys()).await;
    server.goes_away().await;
    for arguments in [&["serve"][..], &["rewrap"]] {
        let ended = run(&db, &server, arguments.iter().copied()).finish().await;
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("the keys cannot be read from"), "{}", ended.stderr);
        assert!(ended.stderr.contains("see to it, or to the network"), "{}", ended.stderr);
        tells_none(&ended.stderr, &secrets(&server, &[&keys()]));
    }
}

serving_with_both_managers!(
    a_process_starts_rolls_over_and_starts_again_with_its_keys_in_a_manager,
    a_manager_that_goes_away_takes_no_key_and_is_told_once,
    a_manager_that_is_away_at_the_start_is_an_error,
);

#[tokio::test]
async fn what_is_set_up_wrongly_is_told_by_its_variable() {
    for (variables, told) in [
        (&[("BREEZE_VAULT_SECRET", "breeze/api")][..], "VAULT_ADDR is not set"),
        (
            &[("BREEZE_VAULT_SECRET", "b"), ("VAULT_ADDR", "http://127.0.0.1:9")],
            "neither VAULT_TOKEN nor VAULT_ROLE_ID is set",
        ),
        (&[("BREEZE_AWS_SECRET", "breeze/api")], "AWS_REGION is not set"),
    ] {
        let ended = breeze_api(["serve"]).envs(variables.iter().copied()).finish().await;
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }
}
