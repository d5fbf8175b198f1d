//! A deployment of `breeze-api`: its keys, and a database full of values in Breeze's
//! old formats.

use std::{
    collections::BTreeMap,
    ops::Deref,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use breeze_rollover::{
    catalog::Secret,
    clock::{Clock, SystemClock},
    column::{Aim, Binding, Column, Kind, Registry, RowKey},
    embed,
    envelope::Target,
    ids::{Epoch, KeyId},
    keyring::{
        KeyState, Keychain,
        sources::{Declared, Environment},
    },
    material::Material,
    store::{
        Custody,
        custody::{self, RootKeys, Usage},
    },
    token::{NewToken, Scope, sign},
};
use secrecy::ExposeSecret;
use serde_json::json;
use totp_rs::Totp;
use uuid::Uuid;

use super::{
    breeze_api::{Run, breeze_api},
    http::Client,
    postgres, sqlite,
};

/// What it sets. `k-2024` seals; what is stored is older.
pub const KEYS: [(&str, &str); 6] = [
    ("JWT_SECRET", "a signing secret of the tests 0123456789abcdef"),
    ("APP_ENCRYPTION_KEY", "an application key of the tests, of a time without names"),
    ("APP_ENCRYPTION_KEYRING", RING),
    ("APP_ENCRYPTION_KEY_ID", "k-2024"),
    ("MFA_ENCRYPTION_KEY", "a key of the tests for the seeds of one-time codes"),
    ("BREEZE_ROOT_KEY", "a root key of the tests that seals every other key"),
];

/// The two keys that have names.
pub const RING: &str =
    r#"{"k-2023":"an application key of 2023 0123","k-2024":"an application key of 2024 4567"}"#;

/// A database of either kind, gone with this value.
#[derive(Debug)]
pub enum Db {
    Sqlite(sqlite::File),
    Postgres(Box<postgres::Database>),
}

impl Db {
    pub fn on_sqlite() -> Self {
        Self::Sqlite(sqlite::file())
    }

    pub async fn on_postgres() -> Self {
        Self::Postgres(Box::new(postgres::database().await))
    }

    /// Behind a pooler in transaction mode, for whatever serves; migrated without it.
    pub async fn behind_a_pooler() -> Self {
        Self::Postgres(Box::new(postgres::database().await.behind_a_pooler()))
    }

    /// The database's own URL.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(file) => file.url(),
            Self::Postgres(database) => database.url(),
        }
    }

    /// Prepares `breeze-api ARGUMENTS` with the keys, on this database.
    pub fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let run = breeze_api(arguments).envs(KEYS).env("DATABASE_URL", self.url());
        match self {
            Self::Postgres(own) if own.is_pooled() => {
                run.env("DATABASE_URL", own.pooled_url()).env("DATABASE_LISTEN_URL", own.url())
            }
            _ => run,
        }
    }

    /// Makes every table.
    pub async fn migrate(&self) {
        let migrate = self.run(["migrate"]).env("DATABASE_URL", self.url());
        let migrated = migrate.finish().await;
        assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    }

    /// Runs statements, one or many; PostgreSQL's or SQLite's.
    pub async fn execute(&self, postgres: &str, sqlite: &str) {
        match self {
            Self::Sqlite(file) => file.execute(sqlite).await,
            Self::Postgres(database) => database.execute(postgres).await,
        }
    }

    /// This process's own way into it.
    pub async fn open(&self) -> Opened {
        Opened::at(&self.url()).await
    }
}

/// A database as the library sees it; its connections are closed with this value.
#[derive(Debug)]
pub struct Opened(embed::Database);

impl Deref for Opened {
    type Target = embed::Database;

    fn deref(&self) -> &embed::Database {
        &self.0
    }
}

/// The tables of the API, with the sealed columns that are filled.
const TABLES: [(&str, &[&str]); 4] = [
    ("sso_providers", &["client_secret"]),
    ("webhooks", &["url", "secret", "headers"]),
    ("discovery_profiles", &["snmp_communities"]),
    ("tenant_variables", &["value"]),
];

/// Every value's plaintext, by `<table>.<column> <row>`.
pub type Plaintexts = BTreeMap<String, String>;

impl Opened {
    /// The database of `url`.
    pub async fn at(url: &str) -> Self {
        Self(embed::Database::connect(url, 2).await.unwrap())
    }

    /// Inserts `count` rows, sealed as Breeze once did (`enc:v1`, or `enc:v2` and
    /// `enc:v3` under names), and answers what is in them.
    pub async fn fill(&self, count: u128) -> Plaintexts {
        let chains = ["k-2023", "v1"].map(sealing_with);
        let registry = Registry::breeze();
        let mut plaintexts = Plaintexts::new();
        for (number, (table, names)) in TABLES.iter().enumerate() {
            let mut rows = Vec::new();
            for id in (0..count).filter(|id| id % 4 == number as u128) {
                // Spread over all keys, as random ids are.
                let id =
                    Uuid::from_u128(id.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
                let mut row = vec![format!("'{id}'")];
                for name in *names {
                    let column = registry.column(table, name).unwrap();
                    let plaintext = original(column, id);
                    let value = seal(column, &chains, id, &plaintext);
                    row.push(self.literal(column, &value));
                    plaintexts.insert(format!("{column} {id}"), plaintext);
                }
                rows.push(format!("({})", row.join(",")));
            }
            for rows in rows.chunks(500) {
                let columns = names.join(",");
                let rows = rows.join(",");
                self.execute(&format!("INSERT INTO {table} (id,{columns}) VALUES {rows}")).await;
            }
        }
        plaintexts
    }

    /// Opens every value with every key that there is, destroyed ones aside.
    pub async fn plaintexts(&self) -> Plaintexts {
        let (keychain, store) = (self.keychain().await, self.store());
        let mut plaintexts = Plaintexts::new();
        for shape in store.survey(&Registry::breeze()).await.unwrap().tables {
            if !TABLES.iter().any(|(table, _)| *table == shape.table.name()) {
                continue;
            }
            let nothing_is_final = vec![Aim { prefixes: vec![] }; shape.columns().len()];
            let window = Default::default();
            let rows = store.stale(&shape, &nothing_is_final, window, 1_000_000).await.unwrap();
            for row in rows {
                for (column, value) in shape.columns().iter().zip(&row.values) {
                    let Some(value) = value else { continue };
                    let plaintext = open(column, &keychain, &row.key, value);
                    plaintexts.insert(format!("{column} {}", row.key), plaintext);
                }
            }
        }
        plaintexts
    }

    /// The keys in custody; of a store that has none yet, those of the environment.
    pub async fn keychain(&self) -> Keychain {
        let custody = self.store().custody().await.unwrap();
        if custody.keys.is_empty() {
            return sealing_with("k-2024");
        }
        let retired: Vec<_> = custody
            .keys
            .iter()
            .filter(|key| key.state == KeyState::Retired)
            .map(|key| (key.secret, key.id.clone()))
            .collect();
        custody::keychain(&custody, &root(), &Usage::default(), &retired).unwrap()
    }

    /// What an operator who passed MFA bears for `lifetime`: of the present primary.
    pub async fn operator_token(&self, lifetime: Duration) -> String {
        let keychain = self.keychain().await;
        let ring = keychain.signing(Secret::JwtSecret).unwrap();
        let token = NewToken::access(Uuid::nil(), Scope::System).mfa(true).lifetime(lifetime);
        sign(ring, &token, SystemClock.now()).unwrap().expose_secret().to_owned()
    }

    /// The primary keys of `secret`: exactly one, always.
    pub async fn primaries(&self, secret: Secret) -> Vec<KeyId> {
        let Custody { keys, .. } = self.store().custody().await.unwrap();
        keys.into_iter()
            .filter(|key| key.secret == secret && key.state == KeyState::Primary)
            .map(|key| key.id)
            .collect()
    }

    /// Waits until nothing is at work in it: what a process sent before it was killed,
    /// PostgreSQL carries out.
    pub async fn settles(&self) {
        const AT_WORK: &str = "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' \
            AND datname = current_database() AND pid <> pg_backend_pid()";
        if let embed::Database::Postgres(_) = &self.0 {
            while self.number(AT_WORK).await > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// The one number that `sql` selects.
    pub async fn number(&self, sql: &'static str) -> i64 {
        match &self.0 {
            embed::Database::Postgres(store) => {
                sqlx::query_scalar(sql).fetch_one(store.pool()).await
            }
            embed::Database::Sqlite(store) => sqlx::query_scalar(sql).fetch_one(store.pool()).await,
            other => panic!("{other:?} is of a third kind"),
        }
        .unwrap()
    }

    /// The text of the first column of every row.
    pub async fn texts(&self, sql: &'static str) -> Vec<String> {
        match &self.0 {
            embed::Database::Postgres(store) => {
                sqlx::query_scalar(sql).fetch_all(store.pool()).await
            }
            embed::Database::Sqlite(store) => sqlx::query_scalar(sql).fetch_all(store.pool()).await,
            other => panic!("{other:?} is of a third kind"),
        }
        .unwrap()
    }

    /// Runs statements, one or many.
    pub async fn execute(&self, sql: &str) {
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
        match &self.0 {
            embed::Database::Postgres(store) => sql.execute(store.pool()).await.map(drop),
            embed::Database::Sqlite(store) => sql.execute(store.pool()).await.map(drop),
            other => panic!("{other:?} is of a third kind"),
        }
        .unwrap();
    }

    /// `value` in a statement; PostgreSQL keeps arrays as arrays.
    fn literal(&self, column: &Column, value: &str) -> String {
        let quoted = format!("'{}'", value.replace('\'', "''"));
        match (&self.0, column.kind()) {
            (embed::Database::Postgres(_), Kind::TextArray) => {
                format!("ARRAY(SELECT jsonb_array_elements_text({quoted}::jsonb))")
            }
            _ => quoted,
        }
    }
}

/// What a row holds at first.
fn original(column: &Column, id: Uuid) -> String {
    match column.kind() {
        Kind::Text => format!("{column} of {id}"),
        Kind::TextArray => format!(r#"["{column} of {id}","public"]"#),
        Kind::Json => {
            format!(r#"{{"rate": 1.10, "count": 12345678901234567890, "token": "{id}"}}"#)
        }
    }
}

/// As Breeze would have: with a key that has a name, or with one that has none.
fn seal(column: &Column, chains: &[Keychain; 2], id: Uuid, plaintext: &str) -> String {
    // What is bound to its row names its key, in Breeze too.
    let is_named = column.binding() == Binding::Row || !id.as_u128().is_multiple_of(3);
    let chain = if is_named { &chains[0] } else { &chains[1] };
    let row = RowKey::from(id);
    let sealed = match column.kind() {
        Kind::Text => column.seal(chain, &row, plaintext, Target::Compatible).unwrap(),
        _ => column.seal_document(chain, &row, plaintext, Target::Compatible).unwrap(),
    };
    // `enc:v1` is `enc:v2` without the key's name.
    sealed.replace("enc:v2:v1:", "enc:v1:")
}

fn open(column: &Column, keychain: &Keychain, row: &RowKey, value: &str) -> String {
    let target = Target::Bound;
    match column.kind() {
        Kind::Text => column.open(keychain, row, value, target).unwrap().plaintext,
        _ => column.open_document(keychain, row, value, target).unwrap().json,
    }
    .expose_secret()
    .to_owned()
}

/// The keys of the environment, with `active` as the one that seals.
fn sealing_with(active: &str) -> Keychain {
    let others = KEYS.into_iter().filter(|(name, _)| *name != "APP_ENCRYPTION_KEY_ID");
    let environment = Environment::given(others.chain([("APP_ENCRYPTION_KEY_ID", active)]));
    Declared::read(&environment, &[]).unwrap().keychain(Epoch(0)).unwrap()
}

/// How an administrator logs in, as a first start tells it.
#[derive(Debug)]
pub struct Administrator {
    pub email: String,
    pub password: String,
    otpauth: String,
}

/// The administrator of a first start, whom its standard output tells of.
pub fn administrator_of(stdout: &str) -> Administrator {
    let field = |name: &str| {
        let line = stdout.lines().find(|line| line.starts_with(&format!("│ {name}"))).unwrap();
        line.split_whitespace().last().unwrap().to_owned()
    };
    Administrator { email: field("e-mail"), password: field("password"), otpauth: field("TOTP") }
}

impl Administrator {
    /// What codes are made from.
    pub fn seed(&self) -> &str {
        self.otpauth.split("secret=").nth(1).unwrap().split('&').next().unwrap()
    }

    /// The code of this half minute.
    pub fn code(&self) -> String {
        Totp::from_url(&self.otpauth).unwrap().generate_current().to_string()
    }

    /// The code of the next half minute, which is accepted already, and only counts once.
    pub fn next_code(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Totp::from_url(&self.otpauth).unwrap().generate(now + 30).to_string()
    }
}

/// The administrator of a first start, logged in.
pub async fn administrator(client: &Client, stdout: &str) -> Client {
    let told = administrator_of(stdout);
    let body = json!({ "email": told.email, "password": told.password, "mfaCode": told.code() });
    let answer = client.post("/api/v1/auth/login", body).await.expect(200);
    client.bearing(answer["tokens"]["accessToken"].as_str().unwrap())
}

/// What seals the keys in custody.
pub fn root() -> RootKeys {
    let (_, root) = KEYS[5];
    RootKeys::new(Material::new(root).unwrap(), Vec::new())
}

/// Runs a scenario of one name on PostgreSQL, and behind a pooler in transaction mode.
#[allow(unused_macros, reason = "most tests are on both databases")]
macro_rules! on_postgres {
    ($($scenario:ident),* $(,)?) => {$(
        mod $scenario {
            use crate::support::deployment::Db;

            #[tokio::test(flavor = "multi_thread")]
            #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
            async fn on_postgres() {
                super::$scenario(Db::on_postgres().await).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            #[cfg_attr(not(pgbouncer_tests), ignore = "needs PgBouncer; tests/run starts one")]
            async fn behind_a_pooler() {
                super::$scenario(Db::behind_a_pooler().await).await;
            }
        }
    )*};
}
#[allow(unused_imports, reason = "most tests are on both databases")]
pub(crate) use on_postgres;

/// Runs a scenario of one name on both databases; ignored where it needs a program that
/// is not there.
#[allow(unused_macros, reason = "some tests are on one database")]
macro_rules! on_both_databases {
    (with $program:ident, $why:literal: $($scenario:ident),* $(,)?) => {
        on_both_databases!(@ [$program, $why] $($scenario),*);
    };
    ($($scenario:ident),* $(,)?) => {
        on_both_databases!(@ [all(), ""] $($scenario),*);
    };
    (@ $if:tt $($scenario:ident),*) => {
        on_both_databases!(@each $($if $scenario),*);
    };
    (@each $([$has:meta, $why:literal] $scenario:ident),*) => {$(
        mod $scenario {
            use crate::support::deployment::Db;

            #[tokio::test]
            #[cfg_attr(not($has), ignore = $why)]
            async fn on_sqlite() {
                super::$scenario(Db::on_sqlite()).await;
            }

            #[tokio::test]
            #[cfg_attr(
                not(all(postgres_tests, $has)),
                ignore = "needs PostgreSQL; tests/run starts one"
            )]
            async fn on_postgres() {
                super::$scenario(Db::on_postgres().await).await;
            }
        }
    )*};
}
#[allow(unused_imports, reason = "some tests are on one database")]
pub(crate) use on_both_databases;
