//! A copy of a database, for the time of one command.
//!
//! 1. On SQLite, `VACUUM INTO` a file in a folder that only this user can read.
//! 2. On PostgreSQL, a database of its own on the same server: from the original as its
//!    template where nobody is connected to it, else by `pg_dump` and `psql`. The role
//!    needs `CREATEDB`, and the right to read everything.
//! 3. It holds what the original holds: it is removed whatever becomes of the rehearsal.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context, bail, ensure};
use breeze_rollover::embed::Database;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, postgres::PgConnectOptions, types::Uuid};
use tokio::process::Command;

/// A copy of a database.
pub(crate) struct Copy {
    url: SecretString,
    place: Place,
}

enum Place {
    Folder(PathBuf),
    Database { server: Box<PgConnectOptions>, name: String },
}

impl Copy {
    /// A copy of `original`, whose connections are closed.
    pub(crate) async fn of(original: Database, url: &SecretString) -> anyhow::Result<Self> {
        match original {
            Database::Sqlite(store) => {
                let folder =
                    std::env::temp_dir().join(format!("breeze-rehearsal-{}", Uuid::now_v7()));
                private_folder(&folder)
                    .with_context(|| format!("cannot make the folder {}", folder.display()))?;
                let file = folder.join("copy.db");
                let own_root_key = Database::Sqlite(store.clone()).root_key_file();
                let copy = Self {
                    url: format!("sqlite://{}", file.display()).into(),
                    place: Place::Folder(folder.clone()),
                };
                let made = sqlx::query("VACUUM INTO $1")
                    .bind(file.display().to_string())
                    .execute(store.pool())
                    .await;
                store.pool().close().await;
                let made = made.map_err(anyhow::Error::from).and_then(|_| {
                    // Its key store is sealed under it, unless a variable has another.
                    let own = own_root_key.filter(|own| own.exists());
                    own.map(|own| std::fs::copy(own, folder.join("copy.db.root-key")))
                        .transpose()?;
                    Ok(())
                });
                copy.or_nothing(made).await
            }
            Database::Postgres(store) => {
                let options = store.pool().connect_options().as_ref().clone();
                store.pool().close().await;
                let name = format!("breeze_rehearsal_{}", Uuid::now_v7().simple());
                let copy = Self {
                    url: renamed(url, &name)?,
                    place: Place::Database {
                        server: Box::new(options.clone().database("postgres")),
                        name: name.clone(),
                    },
                };
                let made = copy_database(&options, &name).await;
                copy.or_nothing(made).await
            }
            _ => bail!("only PostgreSQL and SQLite can be copied"),
        }
    }

    /// Where it is.
    pub(crate) const fn url(&self) -> &SecretString {
        &self.url
    }

    /// Itself, unless it could not be made: then what there is of it is removed.
    async fn or_nothing(self, made: anyhow::Result<()>) -> anyhow::Result<Self> {
        match made {
            Ok(()) => Ok(self),
            Err(error) => {
                drop(self.remove().await);
                Err(error.context("the database could not be copied"))
            }
        }
    }

    /// Removes it.
    pub(crate) async fn remove(self) -> anyhow::Result<()> {
        match self.place {
            Place::Folder(folder) => std::fs::remove_dir_all(&folder)
                .with_context(|| format!("remove the copy in {} by hand", folder.display())),
            Place::Database { server, name } => {
                execute(&server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
                    .await
                    .with_context(|| format!("drop the copy, the database {name}, by hand"))
            }
        }
    }
}

fn private_folder(folder: &PathBuf) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// `url` with another database's name.
fn renamed(url: &SecretString, name: &str) -> anyhow::Result<SecretString> {
    let (head, query) = match url.expose_secret().split_once('?') {
        Some((head, query)) => (head, format!("?{query}")),
        None => (url.expose_secret(), String::new()),
    };
    let after_scheme = head.find("://").map_or(0, |at| at + 3);
    let authority = head[after_scheme..].find('/').map_or(head, |at| &head[..after_scheme + at]);
    ensure!(authority.len() > after_scheme, "DATABASE_URL names no server");
    Ok(format!("{authority}/{name}{query}").into())
}

async fn copy_database(original: &PgConnectOptions, name: &str) -> anyhow::Result<()> {
    let server = original.clone().database("postgres");
    let from = original.get_database().context("DATABASE_URL names no database")?;
    let from = from.replace('"', "\"\"");
    let made = execute(&server, &format!("CREATE DATABASE {name} TEMPLATE \"{from}\"")).await;
    let Err(error) = made else { return Ok(()) };
    // Somebody is connected: the API that serves.
    let is_in_use = matches!(
        error.downcast_ref::<sqlx::Error>(),
        Some(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55006")
    );
    ensure!(is_in_use, "{error}; the role needs CREATEDB, and to own the database");
    execute(&server, &format!("CREATE DATABASE {name} TEMPLATE template0")).await?;
    pipe(original, name).await
}

async fn execute(server: &PgConnectOptions, sql: &str) -> anyhow::Result<()> {
    let mut connection = server.connect().await?;
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
    connection.close().await?;
    Ok(done.map(drop)?)
}

/// `pg_dump` of the original into `psql` on the copy, over connections as safe as ours. The
/// password goes by environment: arguments are for all to see.
async fn pipe(original: &PgConnectOptions, name: &str) -> anyhow::Result<()> {
    let url = original.to_url_lossy();
    let decoded =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let run = |program: &str, database: &str| {
        let mut command = Command::new(program);
        command
            .env("PGHOST", original.get_host())
            .env("PGPORT", original.get_port().to_string())
            .env("PGUSER", original.get_username())
            .env("PGDATABASE", database)
            .kill_on_drop(true);
        if let Some(password) = url.password() {
            command.env("PGPASSWORD", decoded(password));
        }
        for (name, value) in url.query_pairs() {
            let variable = match &*name {
                "sslmode" => "PGSSLMODE",
                "sslrootcert" => "PGSSLROOTCERT",
                "sslcert" => "PGSSLCERT",
                "sslkey" => "PGSSLKEY",
                _ => continue,
            };
            command.env(variable, &*value);
        }
        command
    };
    let database = original.get_database().unwrap_or_default();
    let missing = "the database is in use, so that it is copied by pg_dump and psql; install them";
    let mut dump = run("pg_dump", database)
        .args(["--no-owner", "--no-privileges"])
        .stdout(Stdio::piped())
        .spawn()
        .context(missing)?;
    let out: Stdio = dump.stdout.take().context("pg_dump has no output")?.try_into()?;
    let load = run("psql", name)
        .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"])
        .stdin(out)
        .stdout(Stdio::null())
        .status()
        .await
        .context(missing)?;
    let dumped = dump.wait().await?;
    ensure!(dumped.success() && load.success(), "pg_dump or psql failed; what they say is above");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gets_another_name_and_keeps_all_else() {
        let renamed =
            |url: &str| renamed(&url.into(), "copy").map(|url| url.expose_secret().to_owned());
        assert_eq!(
            renamed("postgres://u:p@h:1/db?sslmode=require").unwrap(),
            "postgres://u:p@h:1/copy?sslmode=require"
        );
        assert_eq!(renamed("postgres://u@h").unwrap(), "postgres://u@h/copy");
        assert!(renamed("postgres://").is_err());
    }
}
