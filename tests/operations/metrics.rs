//! Metrics for whoever presents the token, and a token that rolls over without a gap.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use http::Request;
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use crate::{
    app::{Api, Db, KEYS, text},
    on_both_databases, on_either_database,
    support::{
        free_port,
        http::{Answer, Client},
        postgres, sqlite,
    },
};

on_both_databases!(without_a_token_there_are_no_metrics);

const OLD: &str = "an-old-token-of-metrics-0123456789abcdef";
const NEW: &str = "a-new-token-of-metrics-0123456789abcdef";

async fn without_a_token_there_are_no_metrics(api: &Api) {
    let off = api.client.bearing(OLD).get("/metrics/scrape").await.expect(503);
    assert_eq!(off["code"], "metrics_off");
}

async fn with_metrics(db: Db, more: &[(&str, &str)]) -> Api {
    let token = [("METRICS_SCRAPE_TOKEN", OLD)];
    let secrets: Vec<_> = KEYS.iter().chain(&token).copied().collect();
    let grace = [("METRICS_SCRAPE_GRACE_SECONDS", "3")];
    let settings: Vec<_> = grace.iter().chain(more).copied().collect();
    Api::with(db, &secrets, &settings).await
}

async fn authorized(api: &Api, values: &[&str]) -> Answer {
    let mut request = Request::get("/metrics/scrape");
    for value in values {
        request = request.header("authorization", *value);
    }
    api.client.send(request.body(String::new()).unwrap()).await.unwrap()
}

/// The value of the series that begins so; nothing if there is none.
fn series(answer: &Answer, begins: &str) -> Option<f64> {
    let body = std::str::from_utf8(&answer.body).unwrap();
    let line = body.lines().find(|line| line.starts_with(begins))?;
    line.rsplit(' ').next().unwrap().parse().ok()
}

async fn only_the_exact_token_is_admitted(db: Db) {
    let api = with_metrics(db, &[]).await;
    let exact = authorized(&api, &[&format!("Bearer {OLD}")]).await;
    assert_eq!(exact.status, 200);
    assert_eq!(exact.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(series(&exact, "breeze_store_up"), Some(1.0));
    assert_eq!(series(&exact, "breeze_fenced"), Some(0.0));
    assert_eq!(series(&exact, "breeze_replicas{state=\"live\"}"), Some(1.0));
    assert!(series(&exact, "breeze_secret_age_seconds{secret=\"JWT_SECRET\"}").unwrap() < 60.0);
    assert_eq!(series(&exact, "breeze_secret_due{secret=\"JWT_SECRET\",due=\"later\"}"), Some(1.0));
    let (long, wrong) = (format!("Bearer {OLD}x"), format!("Bearer {}", &OLD[1..]));
    let (lower, spaces) = (format!("bearer {OLD}"), format!("Bearer  {OLD}"));
    let right = format!("Bearer {OLD}");
    for values in [
        &[][..],
        &[&*long],
        &[&*wrong],
        &[&*lower],
        &[&*spaces],
        &[OLD],
        &["Bearer "],
        &[&*right, &*wrong],
        &[&*wrong, &*right],
    ] {
        assert_eq!(authorized(&api, values).await.status, 401, "{values:?}");
    }
    // No token, key, value or address of a user is told.
    let body = std::str::from_utf8(&exact.body).unwrap();
    for (_, secret) in KEYS.iter().chain(&[("", OLD)]) {
        assert!(!body.contains(secret));
    }
    assert!(!body.contains('@'));
    api.end().await;
}

async fn other_addresses_are_refused(db: Db) {
    let api = with_metrics(db, &[("METRICS_SCRAPE_IP_ALLOWLIST", "10.0.0.0/8, 127.0.0.2")]).await;
    let token = format!("Bearer {OLD}");
    assert_eq!(authorized(&api, &[&token]).await.status, 403);
    let forwarded = Request::get("/metrics/scrape")
        .header("authorization", &token)
        .header("x-forwarded-for", "10.0.0.1")
        .body(String::new())
        .unwrap();
    assert_eq!(api.client.send(forwarded).await.unwrap().status, 403);
    let db = api.stop().await;
    let api = with_metrics(db, &[("METRICS_SCRAPE_IP_ALLOWLIST", "127.0.0.0/8")]).await;
    assert_eq!(authorized(&api, &[&token]).await.status, 200);
    api.end().await;
}

async fn the_old_token_is_accepted_until_nobody_presents_it(db: Db) {
    let api = with_metrics(db, &[]).await;
    let admin = api.as_administrator().await;
    let body = json!({ "secret": "METRICS_SCRAPE_TOKEN", "reason": "a test", "value": NEW });
    let id = text(&admin.post("/admin/rollovers", body).await.expect(202)["id"]);
    // Presented all the time, for longer than the grace.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        let scraped = authorized(&api, &[&format!("Bearer {OLD}")]).await;
        assert_eq!(scraped.status, 200, "after {:?}", began.elapsed());
        sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(authorized(&api, &[&format!("Bearer {NEW}")]).await.status, 200);
    let rollover = admin.get(&format!("/admin/rollovers/{id}")).await.expect(200);
    assert_eq!(rollover["phase"], "promoted", "{rollover}");
    let now = authorized(&api, &[&format!("Bearer {NEW}")]).await;
    let promoted = "breeze_rollover_phase{secret=\"METRICS_SCRAPE_TOKEN\",mode=\"graceful\",phase=\"promoted\"}";
    assert_eq!(series(&now, promoted), Some(1.0));
    phase_is_reached(&admin, &id, "retired").await;
    assert_eq!(authorized(&api, &[&format!("Bearer {OLD}")]).await.status, 401);
    assert_eq!(authorized(&api, &[&format!("Bearer {NEW}")]).await.status, 200);
    let now = authorized(&api, &[&format!("Bearer {NEW}")]).await;
    assert_eq!(series(&now, promoted), None, "what is over leaves nothing behind");
    api.end().await;
}

pub(crate) async fn phase_is_reached(admin: &Client, id: &str, phase: &str) -> Value {
    for _ in 0..300 {
        let rollover = admin.get(&format!("/admin/rollovers/{id}")).await.expect(200);
        if rollover["phase"] == phase {
            return rollover;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!(
        "{phase} was not reached: {}",
        admin.get(&format!("/admin/rollovers/{id}")).await.json()
    );
}

/// A Prometheus of this test's own, ended with this value.
struct Prometheus {
    client: Client,
    folder: tempfile::TempDir,
    _server: Child,
}

impl Prometheus {
    /// Scrapes `target` every second.
    async fn scraping(target: u16) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let token = folder.path().join("token");
        std::fs::write(&token, OLD).unwrap();
        let config = folder.path().join("prometheus.yml");
        let yaml = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}
scrape_configs:
  - job_name: breeze
    metrics_path: /metrics/scrape
    authorization: {{ type: Bearer, credentials_file: {} }}
    static_configs: [{{ targets: ['127.0.0.1:{target}'] }}]
",
            token.display()
        );
        std::fs::write(&config, yaml).unwrap();
        let server = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let prometheus = Self { client: Client::on(port), folder, _server: server };
        for _ in 0..300 {
            let asked = prometheus.client.ask(http::Method::GET, "/-/ready", None).await;
            if asked.is_ok_and(|answer| answer.status == 200) {
                return prometheus;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("Prometheus does not start");
    }

    /// The value of a query, once it has one.
    async fn query(&self, query: &str) -> f64 {
        for _ in 0..100 {
            let answer = self.client.get(&format!("/api/v1/query?query={query}")).await.expect(200);
            if let Some(value) = answer["data"]["result"][0]["value"][1].as_str() {
                return value.parse().unwrap();
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("{query} has no value");
    }

    fn present(&self, token: &str) {
        std::fs::write(self.folder.path().join("token"), token).unwrap();
    }
}

async fn a_real_prometheus_scrapes_through_a_rollover_without_a_gap(db: Db) {
    let api = with_metrics(db, &[]).await;
    let admin = api.as_administrator().await;
    let prometheus = Prometheus::scraping(api.client.port()).await;
    while prometheus.query("count_over_time(up[1m])").await < 3.0 {
        sleep(Duration::from_millis(200)).await;
    }
    let body = json!({ "secret": "METRICS_SCRAPE_TOKEN", "reason": "a test", "value": NEW });
    let id = text(&admin.post("/admin/rollovers", body).await.expect(202)["id"]);
    phase_is_reached(&admin, &id, "promoted").await;
    sleep(Duration::from_secs(5)).await;
    // Longer than the grace, and Prometheus still presents the old one.
    phase_is_reached(&admin, &id, "promoted").await;
    prometheus.present(NEW);
    phase_is_reached(&admin, &id, "retired").await;
    sleep(Duration::from_secs(3)).await;
    let scrapes = prometheus.query("count_over_time(up[1m])").await;
    assert!(scrapes >= 12.0, "{scrapes} scrapes");
    assert_eq!(prometheus.query("min_over_time(up[1m])").await, 1.0, "of {scrapes} scrapes");
    let presented = "sum(breeze_key_presented_total%7Bsecret=%22METRICS_SCRAPE_TOKEN%22%7D)";
    assert!(prometheus.query(presented).await >= 1.0);
    assert_eq!(authorized(&api, &[&format!("Bearer {OLD}")]).await.status, 401);
    api.end().await;
}

on_either_database!(
    only_the_exact_token_is_admitted,
    other_addresses_are_refused,
    the_old_token_is_accepted_until_nobody_presents_it,
);

mod a_real_prometheus {
    use super::*;

    #[tokio::test]
    #[cfg_attr(not(prometheus_tests), ignore = "needs Prometheus; tests/run installs it")]
    async fn on_sqlite() {
        let db = Db::Sqlite(sqlite::file());
        a_real_prometheus_scrapes_through_a_rollover_without_a_gap(db).await;
    }

    #[tokio::test]
    #[cfg_attr(
        not(all(prometheus_tests, postgres_tests)),
        ignore = "needs Prometheus and PostgreSQL; tests/run has both"
    )]
    async fn on_postgres() {
        let db = Db::Postgres(Box::new(postgres::database().await));
        a_real_prometheus_scrapes_through_a_rollover_without_a_gap(db).await;
    }
}

/// What Breeze's own code answers, each environment by a process of its own. A token as
/// short as those of the vectors is refused at start: they stand for longer ones. And the
/// token of Breeze's templates, which everybody knows, is none in development either.
#[tokio::test]
async fn answers_are_those_of_breeze() {
    let vectors = include_str!("../vectors/breeze-vectors.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let longer = |text: &str| text.replace("tok-1", "tok-1-0123456789abcdef");
    let mut by_environment = std::collections::BTreeMap::<String, Vec<&Value>>::new();
    for v in vectors["vectors"].as_array().unwrap().iter().filter(|v| v["group"] == "metrics") {
        by_environment.entry(longer(&v["env"].to_string())).or_default().push(v);
    }
    let mut judged = 0;
    for (environment, vectors) in by_environment {
        let set: std::collections::BTreeMap<String, String> =
            serde_json::from_str(&environment).unwrap();
        let set: Vec<_> = set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let more = [
            ("ENROLLMENT_KEY_PEPPER", "a-pepper-of-enrolment-keys-0123456789"),
            ("MFA_RECOVERY_CODE_PEPPER", "a-pepper-of-recovery-codes-0123456789"),
        ];
        let keys: Vec<_> = KEYS.into_iter().chain(more).chain(set).collect();
        let api = Api::on(Db::Sqlite(sqlite::file()), &keys).await;
        for v in vectors {
            let sent = v["args"][0]["Authorization"].as_str().map(longer);
            let sent: Vec<_> = sent.iter().map(String::as_str).collect();
            let answer = authorized(&api, &sent).await;
            let is_known_to_all = v["note"] == "placeholder dev";
            let expected = if is_known_to_all { json!(503) } else { v["expected"]["ok"].clone() };
            assert_eq!(expected, answer.status.as_u16(), "{}", v["id"]);
            judged += 1;
        }
        api.stop().await;
    }
    assert_eq!(judged, 14);
}
