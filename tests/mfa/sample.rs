//! A database that Breeze's own code filled, under logins with the codes of its seeds.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use crate::{
    crowd::{Crowd, census, hash, log_in, person, seeds, slowly},
    service::{Person, Service},
    support::{
        deployment::{Db, KEYS},
        postgres,
    },
};

const MFA: &str = "MFA_ENCRYPTION_KEY";
const APP: &str = "APP_ENCRYPTION_KEY";

/// `tests/vectors/breeze-sample.expected.json`.
struct Sample {
    environment: Vec<(String, String)>,
    rows: Vec<Value>,
}

impl Sample {
    fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
        let file = std::fs::read_to_string(folder.join("breeze-sample.expected.json")).unwrap();
        let file: Value = serde_json::from_str(&file).unwrap();
        let mut environment: Vec<_> = file["keys"]["target"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| {
                let name = match name.as_str() {
                    "previous_APP_ENCRYPTION_KEY" => "APP_ENCRYPTION_KEY_PREVIOUS",
                    name => name,
                };
                (name.to_owned(), value.as_str().map_or_else(|| value.to_string(), Into::into))
            })
            .collect();
        let (name, root) = KEYS[5];
        environment.push((name.into(), root.into()));
        Self { environment, rows: file["rows"].as_array().unwrap().clone() }
    }

    async fn database() -> Db {
        let database = postgres::database().await;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/breeze-sample.sql");
        database.execute(&std::fs::read_to_string(path).unwrap()).await;
        Db::Postgres(Box::new(database))
    }

    /// The plaintexts of its seeds, by row.
    fn seeds(&self) -> BTreeMap<String, String> {
        let rows = self.rows.iter().filter(|row| row["t"] == "users" && row["p"].is_string());
        let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        rows.map(|row| (text(row, "id"), text(row, "p"))).collect()
    }

    /// Its users of whom an app can compute codes: not every seed of the sample is base32.
    fn people(&self) -> Vec<Person> {
        let is_base32 =
            |seed: &str| seed.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'));
        let seeds = self.seeds();
        let found = seeds.iter().filter(|(_, seed)| is_base32(seed));
        found.map(|(id, seed)| person(format!("{id}@example.test"), seed)).collect()
    }
}

/// Its users get addresses and passwords, which it has none of.
async fn serve(sample: &Sample) -> Service {
    let service = Service::under(Sample::database().await, sample.environment.clone()).await;
    let hash = hash();
    let database = service.db.open().await;
    database
        .execute(&format!(
            "UPDATE users SET email = id::text || '@example.test', password_hash = '{hash}',
                mfa_enabled = mfa_secret IS NOT NULL WHERE email IS NULL"
        ))
        .await;
    service
}

/// A digest of every row of every table of the sample but `users`.
async fn others(db: &Db) -> Vec<String> {
    const DIGESTS: &str = "
        SELECT c.relname || ' ' || (xpath('/row/d/text()', query_to_xml(format(
            'SELECT md5(string_agg(t::text, ''|'' ORDER BY id)) AS d FROM %I t', c.relname),
            false, true, '')))[1]::text
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'id'
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
          AND c.relname IN ('webhooks', 'sso_providers', 'organizations', 'sites', 'invoices',
                            'tenant_variables', 'discovery_profiles', 'psa_connections')
        ORDER BY 1";
    db.open().await.texts(DIGESTS).await
}

#[tokio::test]
#[cfg_attr(not(all(postgres_tests, oathtool_tests)), ignore = "needs PostgreSQL and oathtool")]
async fn breezes_users_log_in_before_during_and_after_a_rollover_that_is_of_seeds_alone() {
    let sample = Sample::read();
    let service = serve(&sample).await;
    let (database, clients) = (service.db.open().await, &service.clients);
    let mut people = sample.people();
    assert_eq!(people.len(), 7);
    let crowd = Crowd::join(&database, &sample.environment, "k-2023", 10).await;
    let (before, untouched) = (seeds(&database).await, others(&service.db).await);
    assert!(untouched.len() > 5, "{untouched:?}");
    assert!(sample.seeds().iter().all(|(id, seed)| before[id] == *seed));

    let (first, rest) = people.split_at_mut(2);
    let traffic = crowd.keep_logging_in(clients.clone());
    for person in first {
        log_in(person, &clients[0]).await;
    }
    let id = service.begin(slowly(MFA, 30)).await;
    service.reaches(&id, "promoted").await;
    for person in rest {
        log_in(person, &clients[1]).await;
    }
    // The sample has values of other columns that no key opens. They are no concern of it.
    service.ends(&id, "retired").await;
    traffic.end().await;
    assert_eq!(seeds(&database).await, before);
    let form = format!("mfa:v2:{}", service.primary(MFA).await);
    let all = BTreeMap::from([(form, before.len() as u64)]);
    assert_eq!(census(&service.operator).await, all);
    assert_eq!(others(&service.db).await, untouched);
    for person in &mut people {
        log_in(person, &clients[0]).await;
    }
}

#[tokio::test]
#[cfg_attr(not(all(postgres_tests, oathtool_tests)), ignore = "needs PostgreSQL and oathtool")]
async fn both_keys_of_breeze_roll_over_at_once_and_no_seed_is_lost() {
    let sample = Sample::read();
    let service = serve(&sample).await;
    let (database, clients) = (service.db.open().await, &service.clients);
    let crowd = Crowd::join(&database, &sample.environment, "k-2023", 10).await;
    let before = seeds(&database).await;
    let traffic = crowd.keep_logging_in(clients.clone());
    let app = service.begin(slowly(APP, 200)).await;
    service.waits_for(&app, "no key opens").await;
    let beside = json!({ "secret": MFA, "alongside": true, "force": ["quarantine"] });
    let mfa = service.begin(beside).await;
    service.ends(&mfa, "retired").await;
    let decided = json!({ "reason": "they were lost long ago", "acceptQuarantined": true });
    service.tell(&app, "retire", decided).await.expect(200);
    service.ends(&app, "retired").await;
    traffic.end().await;
    assert_eq!(seeds(&database).await, before);
    let form = format!("mfa:v2:{}", service.primary(MFA).await);
    let all = BTreeMap::from([(form, before.len() as u64)]);
    assert_eq!(census(&service.operator).await, all);
    for person in &mut sample.people() {
        log_in(person, &clients[1]).await;
    }
}
