//! How each fault is done, and undone.
//!
//! A strike is over when what it struck has renewed its lease since, and says that it
//! is ready again: from then on no request to it may fail.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use sqlx::{PgConnection, raw_sql};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    cluster::{Cluster, DATABASE, SLOTS},
    fault::Fault,
    figures::Wrong,
    fleet::{Backing, PATIENCE, Replica},
    plan::Strike,
    proxy::Link,
    rig::Rig,
    windows::Struck,
};

/// How much longer everything takes each way while the database is slow.
const DELAY: Duration = Duration::from_millis(40);

/// Requests that wait for a lock: more than a process has connections.
const WAITING: usize = 24;

impl Fault {
    /// Whether neither the database nor any replica can be talked to meanwhile.
    pub(crate) const fn leaves_nobody(self) -> bool {
        matches!(self, Self::KillAll | Self::Crash | Self::Slots)
    }

    /// Whom it strikes. A slow database is no excuse for anybody.
    const fn struck(self, victim: usize) -> Option<Struck> {
        match self {
            Self::Slow => None,
            Self::KillAll | Self::Crash | Self::Slots => Some(Struck::Database),
            _ => Some(Struck::Replica(victim)),
        }
    }
}

impl Rig {
    /// Strikes, lets `during` go by, and mends.
    pub(crate) async fn strike(&self, strike: &Strike, during: impl Future<Output = ()>) {
        let Strike { fault, victim, .. } = *strike;
        let window = fault.struck(victim).map(|struck| self.windows.open(struck));
        let replica = &self.replicas[victim];
        match fault {
            Fault::Kill => {
                replica.kill().await;
                during.await;
                replica.start().await;
            }
            Fault::KillAll => {
                join_all(self.replicas.iter().map(Replica::kill)).await;
                during.await;
                join_all(self.replicas.iter().map(Replica::start)).await;
            }
            Fault::Pause => {
                replica.signal("STOP").await;
                during.await;
                replica.signal("CONT").await;
            }
            Fault::Crash => {
                self.cluster().crash().await;
                during.await;
                self.cluster().go_on().await;
            }
            Fault::Cut => during_link(replica, Link::Cut, during).await,
            Fault::Deaf => during_link(replica, Link::Deaf, during).await,
            Fault::DeafUp => during_link(replica, Link::DeafUp, during).await,
            Fault::DeafDown => during_link(replica, Link::DeafDown, during).await,
            Fault::Slow => {
                self.replicas.iter().for_each(|replica| replica.link(Link::Delays(DELAY)));
                during.await;
                self.replicas.iter().for_each(|replica| replica.link(Link::Passes));
            }
            Fault::Slots => {
                let taken = take_slots(self.cluster()).await;
                during.await;
                drop(taken);
            }
            Fault::Pool => self.fill_pool(victim, during).await,
        }
        self.recovers(fault).await;
        if let Some(window) = window {
            self.windows.close(window);
        }
    }

    /// Waits until every replica has renewed its lease since, and says that it is ready.
    async fn recovers(&self, fault: Fault) {
        let mended = self.leases().await;
        let renewed = async {
            loop {
                let leases = self.leases().await;
                if mended.iter().all(|(name, until)| leases.get(name) > Some(until)) {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let is_renewed = timeout(PATIENCE, renewed).await.is_ok();
        for (number, replica) in self.replicas.iter().enumerate() {
            if !is_renewed || replica.epoch().await.is_none() {
                let told = format!("replica {number} is not ready after {fault:?}");
                self.figures.wrong(Wrong::Stuck, told);
            }
        }
    }

    fn cluster(&self) -> &Cluster {
        match &self.backing {
            Backing::Postgres(cluster) => cluster,
            Backing::Sqlite(_) => panic!("no plan for a file has this fault"),
        }
    }

    /// Locks a table that no client reads, and lets requests for it wait at one replica.
    async fn fill_pool(&self, victim: usize, during: impl Future<Output = ()>) {
        let operator = self.operator(victim).await;
        let mut locking = self.cluster().connect(DATABASE).await.unwrap();
        let lock = "BEGIN; LOCK TABLE discovery_profiles IN ACCESS EXCLUSIVE MODE";
        raw_sql(lock).execute(&mut locking).await.unwrap();
        let mut waiting = JoinSet::new();
        for _ in 0..WAITING {
            let operator = operator.clone();
            waiting.spawn(async move {
                operator.ask(Method::GET, "/api/v1/discovery/profiles", None).await.is_ok()
            });
        }
        during.await;
        raw_sql("ROLLBACK").execute(&mut locking).await.unwrap();
        while waiting.join_next().await.is_some() {}
    }
}

async fn during_link(replica: &Replica, link: Link, during: impl Future<Output = ()>) {
    replica.link(link);
    during.await;
    replica.link(Link::Passes);
}

/// Takes every connection that the server has, those of the replicas too.
async fn take_slots(cluster: &Cluster) -> Vec<PgConnection> {
    const PUT_OUT: &str =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'breeze_api'";
    let mut taken: Vec<PgConnection> = Vec::new();
    for _ in 0..2 {
        let free = (0..SLOTS).map(|_| cluster.connect(DATABASE));
        taken.extend(join_all(free).await.into_iter().flatten());
        if let Some(first) = taken.first_mut() {
            raw_sql(PUT_OUT).execute(first).await.unwrap();
        }
    }
    taken
}
