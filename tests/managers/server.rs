//! Either secrets manager, as a test sees it.

use std::{sync::Arc, time::Duration};

use breeze_rollover::{manager::Manager, provider::Limits};
use serde_json::Value;
use tokio::process::Command;

pub use crate::support::moto::program;
use crate::{bao::Bao, moto::Moto};

/// A server of either kind, ended with this value.
#[derive(Debug)]
pub enum Server {
    Bao(Bao),
    Moto(Moto),
}

/// Short: a manager of the tests is on this machine.
pub fn limits() -> Limits {
    Limits {
        connect: Duration::from_millis(500),
        answer: Duration::from_secs(2),
        tries: 2,
        wait: Duration::from_millis(10),
    }
}

impl Server {
    pub async fn bao() -> Self {
        Self::Bao(Bao::start().await)
    }

    pub async fn moto() -> Self {
        Self::Moto(Moto::start().await)
    }

    /// An operator writes a version.
    pub async fn holds(&self, fields: &Value) {
        match self {
            Self::Bao(bao) => bao.holds(fields).await,
            Self::Moto(moto) => moto.holds(fields).await,
        }
    }

    /// What an operator reads: the version, and the fields.
    pub async fn held(&self) -> (String, Value) {
        match self {
            Self::Bao(bao) => bao.held().await,
            Self::Moto(moto) => moto.held().await,
        }
    }

    /// An operator deletes it.
    pub async fn delete(&self) {
        match self {
            Self::Bao(bao) => bao.delete().await,
            Self::Moto(moto) => moto.delete().await,
        }
    }

    /// It answers nobody any more: sealed, or cut off.
    pub async fn goes_away(&mut self) {
        match self {
            Self::Bao(bao) => bao.seal().await,
            Self::Moto(moto) => moto.goes_away(),
        }
    }

    /// It answers again, and holds what it held.
    pub async fn comes_back(&mut self) {
        match self {
            Self::Bao(bao) => bao.unseal().await,
            Self::Moto(moto) => moto.comes_back().await,
        }
    }

    /// Sends its process a signal, by its name without `SIG`.
    pub async fn signal(&self, name: &str) {
        let pid = match self {
            Self::Bao(bao) => bao.pid(),
            Self::Moto(moto) => moto.pid(),
        };
        let kill = format!("kill -{name} {pid}");
        assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
    }

    /// What names it to a process.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Bao(bao) => bao.variables(),
            Self::Moto(moto) => moto.variables(),
        }
    }

    /// A client of it.
    pub fn manager(&self) -> Arc<dyn Manager> {
        match self {
            Self::Bao(bao) => bao.manager(),
            Self::Moto(moto) => moto.manager(),
        }
    }
}

/// Runs a scenario with either manager, on both databases.
macro_rules! with_both_managers {
    ($($scenario:ident),* $(,)?) => {$(
        mod $scenario {
            use crate::{server::Server, support::app::on_both_databases};

            async fn with_openbao(database: breeze_rollover::embed::Database) {
                super::$scenario(Server::bao().await, database).await;
            }

            async fn with_aws(database: breeze_rollover::embed::Database) {
                super::$scenario(Server::moto().await, database).await;
            }

            on_both_databases!(
                with managers_tests, "needs secrets managers; tests/run installs them":
                with_openbao, with_aws
            );
        }
    )*};
}
pub(crate) use with_both_managers;

/// Runs a scenario with either manager, where no database matters.
macro_rules! with_either_manager {
    ($($scenario:ident),* $(,)?) => {$(
        mod $scenario {
            #[tokio::test]
            #[cfg_attr(not(managers_tests), ignore = "needs OpenBao; tests/run installs it")]
            async fn with_openbao() {
                super::$scenario(crate::server::Server::bao().await).await;
            }

            #[tokio::test]
            #[cfg_attr(not(managers_tests), ignore = "needs moto; tests/run installs it")]
            async fn with_aws() {
                super::$scenario(crate::server::Server::moto().await).await;
            }
        }
    )*};
}
pub(crate) use with_either_manager;

/// Runs a scenario of the compiled API with either manager, on both databases.
macro_rules! serving_with_both_managers {
    ($($scenario:ident),* $(,)?) => {$(
        mod $scenario {
            use crate::{server::Server, support::deployment::Db};

            #[tokio::test]
            #[cfg_attr(not(managers_tests), ignore = "needs OpenBao; tests/run installs it")]
            async fn with_openbao_on_sqlite() {
                super::$scenario(Server::bao().await, Db::on_sqlite()).await;
            }

            #[tokio::test]
            #[cfg_attr(not(managers_tests), ignore = "needs moto; tests/run installs it")]
            async fn with_aws_on_sqlite() {
                super::$scenario(Server::moto().await, Db::on_sqlite()).await;
            }

            #[tokio::test]
            #[cfg_attr(
                not(all(postgres_tests, managers_tests)),
                ignore = "needs PostgreSQL and OpenBao; tests/run has both"
            )]
            async fn with_openbao_on_postgres() {
                super::$scenario(Server::bao().await, Db::on_postgres().await).await;
            }

            #[tokio::test]
            #[cfg_attr(
                not(all(postgres_tests, managers_tests)),
                ignore = "needs PostgreSQL and moto; tests/run has both"
            )]
            async fn with_aws_on_postgres() {
                super::$scenario(Server::moto().await, Db::on_postgres().await).await;
            }
        }
    )*};
}
pub(crate) use serving_with_both_managers;
