//! The rows of the demo: sealed in Breeze's old formats, and read back at the end.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, bail};
use breeze_rollover::{
    column::{Binding, Kind, Registry, RowKey},
    embed::Database,
    envelope::Target,
    ids::Epoch,
    keyring::{
        Keychain,
        sources::{Declared, Environment},
    },
    store::{
        TableShape, Window,
        custody::{self, RootKeys, Usage},
    },
};
use indicatif::ProgressBar;
use secrecy::ExposeSecret;
use sqlx::SqlitePool;
use uuid::Uuid;

use super::{server::Keys, traffic::Edits};

/// The organization that every row belongs to.
pub(super) const ORGANIZATION: Uuid = Uuid::from_u128(0xdec0_de00_0000_4000_8000_0000_0000_0001);

/// The ids of the rows, by table. What a row holds follows from its id.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) providers: Vec<Uuid>,
    pub(super) webhooks: Vec<Uuid>,
    pub(super) profiles: Vec<Uuid>,
    pub(super) variables: Vec<Uuid>,
}

/// What `column` of row `id` holds until somebody edits it.
pub(super) fn original(table: &str, column: &str, id: Uuid) -> String {
    let text = format!("{column} of {table} {id}");
    match (table, column) {
        ("webhooks", "url") => format!("https://hooks.example/{id}"),
        ("webhooks", "headers") => {
            format!(r#"{{"X-Count": 12345678901234567890, "token": "{text}", "rate": 1.10}}"#)
        }
        ("discovery_profiles", "snmp_communities") => format!(r#"["{text}", "public"]"#),
        _ => text,
    }
}

const INSERTS: [(&str, &str); 4] = [
    (
        "sso_providers",
        "INSERT INTO sso_providers (id, org_id, name, client_secret) VALUES (?1, ?2, 'demo', ?3)",
    ),
    (
        "webhooks",
        "INSERT INTO webhooks (id, org_id, name, url, secret, headers) VALUES (?1, ?2, 'demo', ?3, ?4, ?5)",
    ),
    (
        "discovery_profiles",
        "INSERT INTO discovery_profiles (id, org_id, name, snmp_communities) VALUES (?1, ?2, 'demo', ?3)",
    ),
    (
        "tenant_variables",
        "INSERT INTO tenant_variables (id, org_id, name, value) VALUES (?1, ?2, 'demo', ?3)",
    ),
];

/// The sealed columns of each table, in the order of its insert.
fn columns(table: &str) -> &'static [&'static str] {
    match table {
        "sso_providers" => &["client_secret"],
        "webhooks" => &["url", "secret", "headers"],
        "discovery_profiles" => &["snmp_communities"],
        _ => &["value"],
    }
}

fn pool(database: &Database) -> anyhow::Result<&SqlitePool> {
    match database {
        Database::Sqlite(store) => Ok(store.pool()),
        _ => bail!("the demo runs on SQLite"),
    }
}

/// Inserts `count` rows, each sealed as Breeze once did: `enc:v1`, or `enc:v2` under
/// one of two keys of its ring.
pub(super) async fn fill(
    database: &Database,
    keys: &Keys,
    count: u32,
    bar: &ProgressBar,
) -> anyhow::Result<Rows> {
    let ring = |active: &str| -> anyhow::Result<Keychain> {
        let environment = Environment::given(keys.environment(active));
        Ok(Declared::read(&environment, &[])?.keychain(Epoch(0))?)
    };
    let chains = [ring("k-2023")?, ring("k-2024")?, ring("v1")?];
    let registry = Registry::breeze();
    let mut rows = Rows::default();
    let mut transaction = pool(database)?.begin().await?;
    for number in 0..count {
        let (table, insert) = INSERTS[match number % 10 {
            0..4 => 0,
            4..6 => 1,
            6..7 => 2,
            _ => 3,
        }];
        let id = Uuid::new_v4();
        let key = RowKey::from(id);
        let age = (number / 10 % 3) as usize;
        let mut query = sqlx::query(insert).bind(id.to_string()).bind(ORGANIZATION.to_string());
        for name in columns(table) {
            let column = registry.column(table, name).context("a column of the registry")?;
            let text = original(table, name, id);
            // What is bound to its row names its key, in Breeze too.
            let chain = match column.binding() {
                Binding::Row => &chains[age % 2],
                Binding::Column => &chains[age],
            };
            let sealed = match column.kind() {
                Kind::Text => column.seal(chain, &key, &text, Target::Compatible)?,
                _ => column.seal_document(chain, &key, &text, Target::Compatible)?,
            };
            // `enc:v1` is `enc:v2` without the key's name.
            query = query.bind(sealed.replace("enc:v2:v1:", "enc:v1:"));
        }
        query.execute(&mut *transaction).await?;
        match table {
            "sso_providers" => rows.providers.push(id),
            "webhooks" => rows.webhooks.push(id),
            "discovery_profiles" => rows.profiles.push(id),
            _ => rows.variables.push(id),
        }
        if number % 500 == 0 {
            bar.set_position(u64::from(number));
        }
    }
    transaction.commit().await?;
    Ok(rows)
}

/// How many values there are of each form.
pub(super) async fn describe(database: &Database) -> anyhow::Result<String> {
    let store = database.store();
    let mut forms = BTreeMap::<String, u64>::new();
    for table in &store.survey(&Registry::breeze()).await?.tables {
        for column in store.census(table).await? {
            for (form, count) in column.values {
                *forms.entry(form).or_default() += count;
            }
        }
    }
    let forms: Vec<_> = forms.iter().map(|(form, count)| format!("{count} {form}")).collect();
    Ok(forms.join(", "))
}

/// What reading everything back found.
#[derive(Debug, Default)]
pub(super) struct Verified {
    pub(super) read: u64,
    pub(super) on_the_new_key: u64,
    pub(super) lost: u64,
}

/// Opens every row with the keys in custody, and compares it with the last edit that
/// was acknowledged, or with what it held at first.
pub(super) async fn verify(
    database: &Database,
    environment: &[(&'static str, String)],
    rows: &Rows,
    edits: &Edits,
    bar: &ProgressBar,
) -> anyhow::Result<Verified> {
    let store = database.store();
    let environment =
        Environment::given(environment.iter().map(|(name, value)| (*name, value.clone())));
    let root = RootKeys::open(&environment, None)?;
    let custody = store.custody().await?;
    let keychain = custody::keychain(&custody, &root, &Usage::default(), &[])?;
    let mut verified = Verified::default();
    for shape in &store.survey(&Registry::breeze()).await?.tables {
        if INSERTS.iter().any(|(table, _)| *table == shape.table.name()) {
            verify_table(database, shape, &keychain, edits, bar, &mut verified).await?;
        }
    }
    let written = [&rows.providers, &rows.webhooks, &rows.profiles, &rows.variables];
    let written: usize = written.iter().map(|ids| ids.len()).sum();
    verified.lost += (written as u64).saturating_sub(verified.read);
    Ok(verified)
}

async fn verify_table(
    database: &Database,
    shape: &TableShape,
    keychain: &Keychain,
    edits: &Edits,
    bar: &ProgressBar,
    verified: &mut Verified,
) -> anyhow::Result<()> {
    let store = database.store();
    // No form is final: every row is read.
    let aims = vec![breeze_rollover::column::Aim { prefixes: vec![] }; shape.columns().len()];
    let mut cursor = None;
    loop {
        let window = Window { after: cursor.as_ref(), upto: None };
        let page = store.stale(shape, &aims, window, 1000).await?;
        let Some(last) = page.last() else { return Ok(()) };
        cursor = Some(last.key.clone());
        for row in &page {
            let id: Uuid = row.key.to_string().parse()?;
            let (mut is_right, mut is_final) = (true, true);
            for (column, value) in shape.columns().iter().zip(&row.values) {
                let Some(value) = value.as_deref().filter(|value| !value.is_empty()) else {
                    continue;
                };
                if !columns(column.table()).contains(&column.name()) {
                    continue;
                }
                let expected = edits
                    .last
                    .get(&(column.table().to_owned(), column.name().to_owned(), id))
                    .cloned()
                    .unwrap_or_else(|| original(column.table(), column.name(), id));
                let opened = match column.kind() {
                    Kind::Text => column
                        .open(keychain, &row.key, value, Target::Bound)
                        .map(|opened| (opened.plaintext, opened.is_stale))
                        .ok(),
                    _ => column
                        .open_document(keychain, &row.key, value, Target::Bound)
                        .map(|opened| (opened.json, opened.is_stale))
                        .ok(),
                };
                is_right &=
                    opened.as_ref().is_some_and(|(text, _)| text.expose_secret() == expected);
                is_final &= opened.is_some_and(|(_, is_stale)| !is_stale);
            }
            verified.read += 1;
            verified.on_the_new_key += u64::from(is_final);
            verified.lost += u64::from(!is_right);
        }
        bar.set_position(verified.read);
    }
}

/// The last edit of each value that was acknowledged.
pub(super) type Last = HashMap<(String, String, Uuid), String>;
