//! People whose seeds are stored in every form that Breeze and this crate have written, and
//! who log in without a pause.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use argon2::{Algorithm, Argon2, Params, Version, password_hash::PasswordHasher};
use breeze_rollover::{
    catalog::Secret,
    column::{Column, Registry, RowKey},
    envelope::Target,
    ids::Epoch,
    keyring::{
        Keychain,
        sources::{Declared, Environment},
    },
};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::task::JoinHandle;
use totp_rs::Secret as Seed;
use uuid::Uuid;

use crate::{
    device::Device,
    service::{PASSWORD, Person},
    support::{deployment::Opened, http::Client},
};

/// How a seed may be stored.
pub const FORMS: [&str; 6] = ["mfa:v1", "mfa:v2", "enc:v1", "enc:v2", "enc:v3", "plaintext"];

/// Seeds by `users.id`.
pub type Seeds = BTreeMap<String, String>;

/// People of every form of seed, in turn.
pub struct Crowd {
    people: Vec<Person>,
    next: usize,
}

impl Crowd {
    /// Adds `each` users of every form to `database`, sealed with the keys of
    /// `environment`, whose older application key is `older`.
    pub async fn join(
        database: &Opened,
        environment: &[(String, String)],
        older: &str,
        each: usize,
    ) -> Self {
        let (hash, mut people) = (hash(), vec![]);
        let sealers = Sealers::of(environment, older);
        for number in 0..each {
            for form in FORMS {
                let (id, seed) = (Uuid::now_v7(), Seed::generate().to_base32());
                let email = format!("{}-{number}@example.test", form.replace(':', "-"));
                let stored = sealers.seal(form, id, &seed);
                database
                    .execute(&format!(
                        "INSERT INTO users (id, email, password_hash, mfa_secret, mfa_enabled)
                         VALUES ('{id}', '{email}', '{hash}', '{stored}', true)"
                    ))
                    .await;
                people.push(person(email, &seed));
            }
        }
        Self { people, next: 0 }
    }

    /// One of each form logs in at each of `clients`, whatever else they do.
    pub async fn all_forms_log_in(&mut self, clients: &[Client; 2]) {
        let count = self.people.len();
        for client in clients {
            for _ in FORMS {
                let person = &mut self.people[self.next % count];
                self.next += 1;
                log_in(person, client).await;
            }
        }
    }

    /// Makes them log in, one after the other, until they are told to end.
    pub fn keep_logging_in(mut self, clients: [Client; 2]) -> Traffic {
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let task = tokio::spawn(async move {
            let mut logins = 0;
            while !told.load(Ordering::Relaxed) {
                let (number, count) = (self.next, self.people.len());
                self.next += 1;
                let person = &mut self.people[number % count];
                let Some(code) = person.device.as_mut().unwrap().code_now().await else {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    continue;
                };
                let answer = person.log_in_with(&clients[number / count % 2], Some(code)).await;
                assert_eq!(answer.status, 200, "{} is locked out: {answer:?}", person.email);
                logins += 1;
            }
            logins
        });
        Traffic { is_over, task }
    }
}

/// Logins that go on.
pub struct Traffic {
    is_over: Arc<AtomicBool>,
    task: JoinHandle<u32>,
}

impl Traffic {
    /// Ends them. None was refused.
    pub async fn end(self) -> u32 {
        self.is_over.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }

    /// Whether nobody was refused so far.
    pub fn goes_on(&self) -> bool {
        !self.task.is_finished()
    }
}

/// Someone who is in the database already, with this seed.
pub fn person(email: String, seed: &str) -> Person {
    Person { email, password: PASSWORD.into(), device: Some(Device::new(seed)) }
}

pub async fn log_in(person: &mut Person, client: &Client) {
    let answer = person.log_in(client).await;
    assert_eq!(answer.status, 200, "{} is locked out: {answer:?}", person.email);
}

/// The hash of [`PASSWORD`], as cheap as there is one.
pub fn hash() -> String {
    let params = Params::new(Params::MIN_M_COST, 1, 1, Some(32)).unwrap();
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    hasher.hash_password(PASSWORD.as_bytes()).unwrap().to_string()
}

/// Every seed that is stored in `database`, opened with every key that there is.
pub async fn seeds(database: &Opened) -> Seeds {
    let keychain = database.keychain().await;
    let registry = Registry::breeze();
    let column = registry.column("users", "mfa_secret").unwrap();
    stored(database)
        .await
        .into_iter()
        .map(|(id, value)| {
            let key = RowKey::from(id.as_str());
            let opened = column.open(&keychain, &key, &value, Target::Bound).unwrap();
            (id, opened.plaintext.expose_secret().to_owned())
        })
        .collect()
}

/// Every seed as it is stored.
pub async fn stored(database: &Opened) -> Seeds {
    const ALL: &str =
        "SELECT CAST(id AS text) || ' ' || mfa_secret FROM users WHERE mfa_secret IS NOT NULL";
    let rows = database.texts(ALL).await;
    let parts = |row: &String| row.split_once(' ').map(|(id, value)| (id.into(), value.into()));
    rows.iter().map(|row| parts(row).unwrap()).collect()
}

/// How many values of `users.mfa_secret` there are of each form, by the census.
pub async fn census(operator: &Client) -> BTreeMap<String, u64> {
    let census = operator.get("/admin/census").await.expect(200);
    let columns = census["columns"].as_array().unwrap();
    let found = columns.iter().find(|column| column["column"] == "users.mfa_secret").unwrap();
    serde_json::from_value(found["values"].clone()).unwrap()
}

/// What writes a seed in each form.
struct Sealers {
    /// With the present keys.
    now: Keychain,
    /// With the application key that has no name, and with an older one that has.
    unnamed: Keychain,
    older: Keychain,
}

impl Sealers {
    fn of(environment: &[(String, String)], older: &str) -> Self {
        let with = |id: Option<&str>| {
            let mut all: BTreeMap<_, _> = environment.iter().cloned().collect();
            if let Some(id) = id {
                all.insert("APP_ENCRYPTION_KEY_ID".to_owned(), id.to_owned());
            }
            let environment = Environment::given(all);
            Declared::read(&environment, &[]).unwrap().keychain(Epoch(0)).unwrap()
        };
        Self { now: with(None), unnamed: with(Some("v1")), older: with(Some(older)) }
    }

    fn seal(&self, form: &str, id: Uuid, seed: &str) -> String {
        let row = RowKey::from(id);
        let mfa = Column::text("users", "mfa_secret").under(Secret::MfaEncryptionKey);
        let general = Column::text("users", "mfa_secret");
        let sealed = match form {
            "mfa:v1" => mfa.seal(&self.now, &row, seed, Target::Compatible),
            "mfa:v2" => mfa.bound_by_row().seal(&self.now, &row, seed, Target::Bound),
            // `enc:v1` is `enc:v2` without the key's name.
            "enc:v1" => general
                .seal(&self.unnamed, &row, seed, Target::Compatible)
                .map(|sealed| sealed.replace("enc:v2:v1:", "enc:v1:")),
            "enc:v2" => general.seal(&self.older, &row, seed, Target::Compatible),
            "enc:v3" => general.seal(&self.older, &row, seed, Target::Bound),
            _ => Ok(seed.to_owned()),
        };
        let sealed = sealed.unwrap();
        assert!(form == "plaintext" || sealed.starts_with(form), "{sealed}");
        sealed
    }
}

/// A body that begins a rollover of `secret`, slow enough to be watched.
pub fn slowly(secret: &str, rows_a_second: u32) -> serde_json::Value {
    json!({ "secret": secret, "maxRowsPerSecond": rows_a_second })
}
