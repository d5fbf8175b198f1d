//! The guard's triggers: two on each table, one for each way to write.
//!
//! 1. They look at registered columns alone, and at those only where they are set and
//!    change. A string that was in the column before may stay in it.
//! 2. Each table is a transaction of its own, with its audit entry: no lock is waited for
//!    longer than [`LOCK_TIMEOUT`], and none on a table while another is waited for.
//! 3. What is installed is read from the catalogue, so that it is true after a restore,
//!    after a trigger was disabled, and after the registry has changed.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, PgConnection, PgPool, PgTransaction};

use super::{audit, rows::resolve};
use crate::{
    column::{Column, Registry, Table},
    store::{AuditEntry, Guarding, StoreError, TableGuard, rows::sql::quote},
};

/// The functions of the guard. Safe to run again.
const FUNCTIONS: &str = include_str!("guard.sql");

/// Takes both away. Refused while a trigger needs them.
const DROP_FUNCTIONS: &str = "
    DROP FUNCTION IF EXISTS rollover.refuse_retired_key();
    DROP FUNCTION IF EXISTS rollover.retired_key_in(text, text, text)";

/// One change of the guard at a time, and traffic waits for it this long at most, also where
/// its process does not go on with it.
const BEGIN_CHANGING: &str = "
    BEGIN;
    SET LOCAL lock_timeout = '3s';
    SET LOCAL idle_in_transaction_session_timeout = '3s';
    SELECT pg_advisory_xact_lock(1000201, 0)";

/// How long a lock is waited for, as [`BEGIN_CHANGING`] says.
const LOCK_TIMEOUT: &str = "3 s";

/// The two triggers of a table.
const TRIGGERS: [&str; 2] = ["rollover_guard_insert", "rollover_guard_update"];

/// Every trigger of the guard, with whether it fires; those of partitions go with their
/// table's. Served by the catalogue's indexes.
const INSTALLED: &str = "
    SELECT n.nspname::text, c.relname::text, t.tgname::text, t.tgenabled <> 'D', t.tgargs
    FROM pg_proc p
    JOIN pg_namespace pn ON pn.oid = p.pronamespace AND pn.nspname = 'rollover'
    JOIN pg_trigger t ON t.tgfoid = p.oid AND t.tgparentid = 0
    JOIN pg_class c ON c.oid = t.tgrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE p.proname = 'refuse_retired_key'
    ORDER BY 1, 2, 3";

/// The columns of the wanted tables, with whether they are documents that do not compare.
/// Served by the catalogue's indexes on names.
const COLUMNS: &str = "
    SELECT n.nspname::text, c.relname::text, a.attname::text, a.atttypid = 'json'::regtype
    FROM unnest($1::text[], $2::text[]) AS w (nspname, relname)
    JOIN pg_namespace n ON n.nspname = w.nspname
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relname
        AND c.relkind IN ('r', 'p')
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped";

/// A table by schema and name.
type Name = (String, String);

/// The guard on one table, as it is installed.
#[derive(Debug, Default)]
struct Installed {
    triggers: BTreeSet<String>,
    /// Each column with its secret, as often as a trigger that fires looks at it.
    looks_at: BTreeMap<(String, String), usize>,
}

/// See [`crate::store::Store::guard`].
pub(super) async fn guard(
    pool: &PgPool,
    registry: &Registry,
) -> Result<Vec<TableGuard>, StoreError> {
    let mut transaction = pool.begin().await?;
    let mut installed = installed(&mut transaction).await?;
    let live = columns(&mut transaction, registry.tables()).await?;
    transaction.commit().await?;
    let mut tables = Vec::new();
    for table in registry.tables() {
        let name = name_of(table);
        let found = installed.remove(&name).unwrap_or_default();
        let is_live = |column: &Column| {
            live.get(&name).is_some_and(|columns| columns.contains_key(column.name()))
        };
        let mut columns = found.unregistered();
        for column in table.columns() {
            let guarding = match is_live(column) {
                true if found.looks_at(column) => Guarding::Guarded,
                true => Guarding::Unguarded,
                false => Guarding::Absent,
            };
            columns.insert(column.name().to_owned(), guarding);
        }
        let (table, installed) = (table.name().to_owned(), !found.triggers.is_empty());
        tables.push(TableGuard { table, installed, columns });
    }
    tables.extend(installed.into_iter().map(|((schema, relation), found)| TableGuard {
        table: format!("{schema}.{relation}"),
        installed: true,
        columns: found.unregistered(),
    }));
    Ok(tables)
}

/// See [`crate::store::Store::guard_table`].
pub(super) async fn install(
    pool: &PgPool,
    table: &Table,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let failed = refused(table.name());
    let mut transaction = begin(pool, table.name()).await?;
    let name = name_of(table);
    let live = columns(&mut transaction, std::slice::from_ref(table)).await?;
    let live = live.get(&name).cloned().unwrap_or_default();
    let guarded: Vec<_> = table
        .columns()
        .iter()
        .filter_map(|column| live.get(column.name()).map(|is_json| (column, *is_json)))
        .collect();
    let mut statements = FUNCTIONS.to_owned();
    statements += &drop_triggers(&name, installed(&mut transaction).await?.get(&name));
    if !guarded.is_empty() {
        statements += &create_triggers(&name, &guarded);
    }
    run(&mut transaction, statements).await.map_err(failed)?;
    audit::insert(&mut transaction, None, std::slice::from_ref(entry)).await?;
    Ok(transaction.commit().await?)
}

/// See [`crate::store::Store::unguard_table`].
pub(super) async fn remove(
    pool: &PgPool,
    table: &str,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let mut transaction = begin(pool, table).await?;
    let (schema, relation) = resolve(table);
    let name = (schema.to_owned(), relation.to_owned());
    let statements = drop_triggers(&name, installed(&mut transaction).await?.get(&name));
    run(&mut transaction, statements).await.map_err(refused(table))?;
    audit::insert(&mut transaction, None, std::slice::from_ref(entry)).await?;
    Ok(transaction.commit().await?)
}

/// See [`crate::store::Store::drop_guard`].
pub(super) async fn drop(pool: &PgPool) -> Result<(), StoreError> {
    let mut transaction = begin(pool, "schema rollover").await?;
    run(&mut transaction, DROP_FUNCTIONS.to_owned()).await.map_err(refused("schema rollover"))?;
    Ok(transaction.commit().await?)
}

async fn begin(pool: &PgPool, on: &str) -> Result<PgTransaction<'static>, StoreError> {
    pool.begin_with(BEGIN_CHANGING).await.map_err(refused(on))
}

async fn run(connection: &mut PgConnection, statements: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await.map(std::mem::drop)
}

async fn installed(connection: &mut PgConnection) -> Result<BTreeMap<Name, Installed>, StoreError> {
    let rows: Vec<(String, String, String, bool, Vec<u8>)> =
        sqlx::query_as(INSTALLED).fetch_all(connection).await?;
    let mut installed = BTreeMap::<Name, Installed>::new();
    for (schema, relation, trigger, fires, arguments) in rows {
        let table = installed.entry((schema, relation)).or_default();
        table.triggers.insert(trigger);
        // Each argument ends with a zero byte.
        let arguments = String::from_utf8_lossy(&arguments);
        let arguments: Vec<_> = arguments.split_terminator('\0').collect();
        for pair in arguments.chunks_exact(2).filter(|_| fires) {
            let pair = (pair[0].to_owned(), pair[1].to_owned());
            *table.looks_at.entry(pair).or_default() += 1;
        }
    }
    Ok(installed)
}

/// Of each of `tables` that is there: its columns, and which of them are `json`.
async fn columns(
    connection: &mut PgConnection,
    tables: &[Table],
) -> Result<BTreeMap<Name, BTreeMap<String, bool>>, StoreError> {
    let (schemas, relations): (Vec<_>, Vec<_>) = tables.iter().map(name_of).unzip();
    let rows: Vec<(String, String, String, bool)> =
        sqlx::query_as(COLUMNS).bind(schemas).bind(relations).fetch_all(connection).await?;
    let mut found = BTreeMap::<Name, BTreeMap<String, bool>>::new();
    for (schema, relation, column, is_json) in rows {
        found.entry((schema, relation)).or_default().insert(column, is_json);
    }
    Ok(found)
}

fn name_of(table: &Table) -> Name {
    let (schema, relation) = resolve(table.name());
    (schema.to_owned(), relation.to_owned())
}

impl Installed {
    /// Whether both triggers look at `column`, for keys of its secret.
    fn looks_at(&self, column: &Column) -> bool {
        let pair = (column.name().to_owned(), column.secret().name().to_owned());
        self.looks_at.get(&pair).is_some_and(|&times| times == TRIGGERS.len())
    }

    /// What it looks at, as if the registry named none of it.
    fn unregistered(&self) -> BTreeMap<String, Guarding> {
        self.looks_at.keys().map(|(column, _)| (column.clone(), Guarding::Unregistered)).collect()
    }
}

fn drop_triggers((schema, relation): &Name, installed: Option<&Installed>) -> String {
    let (schema, relation) = (quote(schema), quote(relation));
    let triggers = installed.iter().flat_map(|installed| &installed.triggers);
    triggers
        .map(|trigger| format!("DROP TRIGGER {} ON {schema}.{relation};\n", quote(trigger)))
        .collect()
}

/// The condition is looked at for every row, and is all that a write costs that is not
/// refused. It is looked at after the row is written, so that no other trigger comes
/// after it, and an upsert that ends as an update is none that inserts.
fn create_triggers((schema, relation): &Name, columns: &[(&Column, bool)]) -> String {
    let [insert, update] = TRIGGERS;
    let table = format!("{}.{}", quote(schema), quote(relation));
    let names: Vec<_> = columns.iter().map(|(column, _)| quote(column.name())).collect();
    let arguments: Vec<_> = columns
        .iter()
        .flat_map(|(column, _)| [literal(column.name()), literal(column.secret().name())])
        .collect();
    let inserted: Vec<_> = columns.iter().map(|(column, _)| inserts(column)).collect();
    let updated: Vec<_> =
        columns.iter().map(|(column, is_json)| updates(column, *is_json)).collect();
    let refuse = format!("EXECUTE FUNCTION rollover.refuse_retired_key({})", arguments.join(", "));
    format!(
        "CREATE TRIGGER {insert} AFTER INSERT ON {table} FOR EACH ROW \
         WHEN ({}) {refuse};\n\
         CREATE TRIGGER {update} AFTER UPDATE OF {} ON {table} FOR EACH ROW \
         WHEN ({}) {refuse};\n",
        inserted.join(" OR "),
        names.join(", "),
        updated.join(" OR "),
    )
}

fn inserts(column: &Column) -> String {
    let (name, secret) = (quote(column.name()), literal(column.secret().name()));
    format!("rollover.retired_key_in({secret}, '', to_json(NEW.{name})::text) IS NOT NULL")
}

fn updates(column: &Column, is_json: bool) -> String {
    let (name, secret) = (quote(column.name()), literal(column.secret().name()));
    let compared = if is_json { "::text" } else { "" };
    format!(
        "(OLD.{name}{compared} IS DISTINCT FROM NEW.{name}{compared} \
         AND rollover.retired_key_in({secret}, coalesce(to_json(OLD.{name})::text, ''), \
         to_json(NEW.{name})::text) IS NOT NULL)"
    )
}

/// Text as a literal, whatever the server takes a backslash for.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// What it means when the guard cannot be changed on `table`.
fn refused(table: &str) -> impl Fn(sqlx::Error) -> StoreError {
    let table = table.to_owned();
    move |error| match error.as_database_error() {
        Some(refusal) if refusal.code().as_deref() == Some("42501") => {
            let why = refusal.message().to_owned();
            StoreError::GuardPrivilege { table: table.clone(), why }
        }
        Some(refusal) if refusal.code().as_deref() == Some("55P03") => {
            StoreError::GuardInUse { table: table.clone(), waited: LOCK_TIMEOUT }
        }
        _ => error.into(),
    }
}
