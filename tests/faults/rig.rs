//! The whole: replicas on a database with rows in it, what is asked of them, and the
//! verdict at the end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use breeze_rollover::{
    catalog::Secret, clock::Timestamp, embed, ids::RolloverId, rollover::Rollover,
};
use futures_util::future::join_all;
use serde_json::json;
use sqlx::{AssertSqlSafe, raw_sql};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{
    cluster::Cluster,
    drive::gate,
    figures::{Figures, Wrong},
    fleet::{Backing, Replica, Terms},
    judge::Shared,
    plan::SECRETS,
    traffic::User,
    windows::Windows,
};
use crate::support::{
    breeze_api::breeze_api,
    deployment::{KEYS, Opened, Plaintexts},
    http::Client,
    sqlite,
};

/// Replicas on a database, with rows of the old formats in it.
pub(crate) struct Rig {
    pub(crate) backing: Backing,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) windows: Arc<Windows>,
    pub(crate) figures: Arc<Figures>,
    pub(crate) terms: Terms,
    opened: Opened,
    filled: Plaintexts,
}

impl Rig {
    /// `count` replicas on a PostgreSQL server of their own.
    pub(crate) async fn on_postgres(count: usize, terms: Terms, rows: u128) -> Self {
        Self::on_cluster(Cluster::start().await, count, terms, rows).await
    }

    /// The same, with a pooler in transaction mode between it and the replicas.
    pub(crate) async fn behind_a_pooler(count: usize, terms: Terms, rows: u128) -> Self {
        let cluster = Cluster::start().await.behind_a_pooler().await;
        Self::on_cluster(cluster, count, terms, rows).await
    }

    async fn on_cluster(cluster: Cluster, count: usize, terms: Terms, rows: u128) -> Self {
        let (api, superuser) = (cluster.url_by(cluster.port()), cluster.url());
        Self::on(Backing::Postgres(Box::new(cluster)), (&api, &superuser), count, terms, rows).await
    }

    /// `count` processes on one file.
    pub(crate) async fn on_sqlite(count: usize, terms: Terms, rows: u128) -> Self {
        let file = sqlite::file();
        let url = file.url();
        Self::on(Backing::Sqlite(file), (&url, &url), count, terms, rows).await
    }

    async fn on(
        backing: Backing,
        (api, own): (&str, &str),
        count: usize,
        terms: Terms,
        rows: u128,
    ) -> Self {
        let migrate = breeze_api(["migrate"]).envs(KEYS).env("DATABASE_URL", api);
        let migrated = migrate.finish().await;
        assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
        let opened = Opened::at(own).await;
        let filled = opened.fill(rows).await;
        opened.execute(gate(&opened)).await;
        let mut replicas = Vec::new();
        for _ in 0..count {
            replicas.push(Replica::of(&backing, terms).await);
        }
        let rig = Self {
            backing,
            replicas,
            windows: Arc::default(),
            figures: Arc::new(Figures::new()),
            terms,
            opened,
            filled,
        };
        // The first one makes the keys of the store, and the administrator.
        rig.replicas[0].start().await;
        join_all(rig.replicas[1..].iter().map(Replica::start)).await;
        rig
    }

    /// What the clients share.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::new(Shared {
            ports: self.replicas.iter().map(|replica| replica.port).collect(),
            terms: self.terms,
            windows: Arc::clone(&self.windows),
            figures: Arc::clone(&self.figures),
            logging_in: Semaphore::new(1),
        })
    }

    /// Makes users, each with a password.
    pub(crate) async fn users(&self, count: usize) -> Vec<User> {
        let organization = Uuid::new_v4();
        let mut users = Vec::new();
        for number in 0..count {
            let password = Uuid::new_v4().to_string();
            let email = format!("client-{number}@example.test");
            let user = json!({
                "email": email, "name": "a client", "password": password, "orgId": organization,
            });
            self.operator(0).await.post("/api/v1/users", user).await.expect(201);
            users.push(User { email, password });
        }
        users
    }

    /// An operator at one replica.
    pub(crate) async fn operator(&self, replica: usize) -> Client {
        let lifetime = self.terms.lifetimes.access;
        let token = self.opened.operator_token(lifetime).await;
        Client::on(self.replicas[replica].port).bearing(&token)
    }

    /// Asks for a rollover of `secret`.
    pub(crate) async fn begin(&self, secret: Secret) -> RolloverId {
        let body = json!({
            "secret": secret.name(), "mode": "graceful", "reason": "a test of faults",
            "maxRowsPerSecond": 500,
        });
        let begun = self.operator(0).await.post("/admin/rollovers", body).await.expect(202);
        begun["id"].as_str().unwrap().parse().unwrap()
    }

    /// Runs statements on a database that may be away; whether they ran.
    pub(crate) async fn execute(&self, sql: &str) -> bool {
        let sql = raw_sql(AssertSqlSafe(sql));
        match &*self.opened {
            embed::Database::Postgres(store) => sql.execute(store.pool()).await.is_ok(),
            embed::Database::Sqlite(store) => sql.execute(store.pool()).await.is_ok(),
            _ => false,
        }
    }

    /// The rollover; nothing while the database is away.
    pub(crate) async fn rollover(&self, id: RolloverId) -> Option<Rollover> {
        self.opened.store().rollover(id).await.ok().flatten()
    }

    /// Until when each replica has its lease, by its name, once the database tells.
    pub(crate) async fn leases(&self) -> BTreeMap<String, Timestamp> {
        loop {
            if let Ok(replicas) = self.opened.store().replicas().await {
                let mut leases = BTreeMap::new();
                for replica in replicas {
                    let until = leases.entry(replica.name).or_insert(replica.lease_until);
                    *until = replica.lease_until.max(*until);
                }
                return leases;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// What must hold at the end, whatever was struck: every replica is at the epoch of
    /// the database, every secret has one primary key, every row that nobody edited
    /// holds what it held, and every process ends well when it is asked to.
    pub(crate) async fn verdict(&self) {
        let agree = async {
            loop {
                let present = self.opened.store().epoch().await.unwrap().0;
                let epochs = join_all(self.replicas.iter().map(Replica::epoch)).await;
                if epochs.iter().all(|epoch| *epoch == Some(present)) {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        if timeout(self.terms.lease, agree).await.is_err() {
            self.figures.wrong(Wrong::Stuck, "the replicas disagree about the epoch");
        }
        for secret in SECRETS {
            let primaries = self.opened.primaries(secret).await;
            if primaries.len() != 1 {
                self.figures
                    .wrong(Wrong::Lost, format!("{secret} has the primaries {primaries:?}"));
            }
        }
        let found = self.opened.plaintexts().await;
        for (place, text) in &self.filled {
            if found.get(place) != Some(text) {
                self.figures.wrong(Wrong::Lost, format!("{place} does not hold what it held"));
            }
        }
        self.figures.row_checked(self.filled.len() as u64);
        for (number, replica) in self.replicas.iter().enumerate() {
            let code = replica.terminate().await;
            if code != Some(0) {
                let told = format!("replica {number} ended with {code:?} when it was asked to");
                self.figures.wrong(Wrong::Stuck, told);
            }
        }
    }

    /// The end of what every process has told.
    pub(crate) async fn logs(&self) -> String {
        let mut logs = String::new();
        for (number, replica) in self.replicas.iter().enumerate() {
            logs += &format!("--- replica {number}\n{}\n", replica.log().await);
        }
        if let Backing::Postgres(cluster) = &self.backing {
            logs += &format!("--- PostgreSQL\n{}\n", cluster.log());
        }
        logs
    }
}
