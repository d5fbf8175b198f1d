//! What a process begins and does not go on with costs the others seconds, and nobody the
//! lease.

use std::{
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use breeze_rollover::{
    catalog::Secret,
    ids::{Epoch, ReplicaId},
    keyring::KeyState::{Primary, Retiring, Staged},
    store::{Beat, Change, Committed, Store, postgres::PgStore},
};
use futures_util::future::{Either, select};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use crate::{
    audit::entry,
    backend::{Server, add, done, key, keys, step},
    on_postgres,
};

on_postgres! {
    a_change_that_nobody_goes_on_with_holds_up_the_next_one_alone_and_not_for_long,
    an_entry_that_nobody_goes_on_with_holds_up_nobody,
}

const JWT: Secret = Secret::JwtSecret;

/// How long the server lets a transaction be that nobody goes on with.
const HOLD: Duration = Duration::from_secs(3);

/// What a busy machine may take for one exchange.
const MOMENT: Duration = Duration::from_secs(2);

/// A process that was stopped in the middle of a call, and can go on with it.
struct Stopped<T> {
    goes_on: mpsc::Sender<()>,
    process: JoinHandle<T>,
}

impl<T: Send + 'static> Stopped<T> {
    /// Makes `call` on a thread with a runtime of its own, and stops all of it at `moment`:
    /// nothing is sent from then on, and no answer is read.
    async fn at<F: Future<Output = T>>(
        moment: impl Future<Output = ()>,
        call: impl FnOnce() -> F + Send + 'static,
    ) -> Self {
        let (stop, stops) = oneshot::channel::<()>();
        let (stopped, has_stopped) = oneshot::channel();
        let (goes_on, resumes) = mpsc::channel();
        let process = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let call = std::pin::pin!(call());
                match select(call, stops).await {
                    Either::Left(_) => panic!("it was through before it could be stopped"),
                    Either::Right((_, call)) => {
                        stopped.send(()).unwrap();
                        resumes.recv().unwrap();
                        call.await
                    }
                }
            })
        });
        moment.await;
        stop.send(()).unwrap();
        has_stopped.await.unwrap();
        Self { goes_on, process }
    }

    fn goes_on(self) -> T {
        self.goes_on.send(()).unwrap();
        self.process.join().unwrap()
    }
}

/// What the server tells of sessions in this database that are as `what`.
async fn sessions(on: &impl Server, what: &str) -> usize {
    let of = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND";
    on.texts(&format!("{of} {what}")).await.len()
}

async fn until_one(on: &impl Server, what: &str) {
    let is_one = async {
        while sessions(on, what).await != 1 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), is_one).await.unwrap_or_else(|_| panic!("nobody: {what}"));
}

/// A process that makes `call`, and is stopped when the server has done all of it but the
/// commit.
async fn stopped_before_its_commit<T: Send + 'static, F: Future<Output = T>>(
    on: &impl Server,
    call: impl FnOnce(PgStore) -> F + Send + 'static,
) -> Stopped<T> {
    // Its last statement waits for this lock, so that the moment is sure.
    let mut trail = on.pool().begin().await.unwrap();
    let lock = "LOCK TABLE public.audit_logs IN SHARE ROW EXCLUSIVE MODE";
    sqlx::query(lock).execute(&mut *trail).await.unwrap();
    let waits = "wait_event_type = 'Lock' AND query LIKE '%INSERT INTO public.audit_logs%'";
    let url = on.store_url();
    let call = async move || call(PgStore::connect(&url, "stopped", 1).await.unwrap()).await;
    let stopped = Stopped::at(until_one(on, waits), call).await;
    trail.commit().await.unwrap();
    until_one(on, ABANDONED).await;
    stopped
}

/// A transaction that nobody goes on with.
const ABANDONED: &str = "state = 'idle in transaction'";

fn beat(replica: ReplicaId) -> Beat {
    Beat {
        replica,
        name: "api-1".to_owned(),
        version: "0.1.0".to_owned(),
        applied: Epoch(1),
        settled: Epoch(1),
        root_keys: vec![],
        lease: Duration::from_secs(30),
        accepts_while_fenced: false,
        columns: [].into(),
    }
}

async fn a_change_that_nobody_goes_on_with_holds_up_the_next_one_alone_and_not_for_long(
    on: impl Server,
) {
    let known = ReplicaId::new();
    done(on.store(), &keys([add(key(JWT, "old", Primary)), add(key(JWT, "new", Staged))])).await;
    on.store().renew(&beat(known)).await.unwrap();
    let change = Change {
        keys: vec![step(JWT, "old", Primary, Retiring), step(JWT, "new", Staged, Primary)],
        audit: vec![entry("rollover.promote")],
        ..Change::default()
    };
    let theirs = change.clone();
    let commit = move |store: PgStore| async move { store.commit(&theirs).await };
    let stopped = stopped_before_its_commit(&on, commit).await;

    let began = Instant::now();
    let other = on.another().await;
    let next = tokio::spawn(async move { other.commit(&change).await });
    let mut renewals = 0;
    while sessions(&on, ABANDONED).await == 1 {
        for replica in [known, ReplicaId::new()] {
            let renewal = timeout(MOMENT, on.store().renew(&beat(replica))).await;
            renewal.expect("it waits for nobody").unwrap();
        }
        renewals += 1;
    }
    assert!(renewals > 0, "it was not stopped in the middle");
    let next = timeout((HOLD + MOMENT).saturating_sub(began.elapsed()), next)
        .await
        .expect("for how long?");
    assert_eq!(next.unwrap().unwrap(), Committed::Done(Epoch(2)), "nothing else was done");

    let late = stopped.goes_on();
    assert!(late.is_err(), "{late:?}");
    assert_eq!(on.store().epoch().await.unwrap(), Epoch(2));
    assert_eq!(on.store().audit(None, 10).await.unwrap().len(), 1);
}

async fn an_entry_that_nobody_goes_on_with_holds_up_nobody(on: impl Server) {
    let record = |store: PgStore| async move { store.record(&entry("admin.call")).await };
    let stopped = stopped_before_its_commit(&on, record).await;
    let told = async {
        on.store().record(&entry("admin.call")).await.unwrap();
        let audit = vec![entry("key.adopt")];
        done(on.store(), &Change { audit, ..keys([add(key(JWT, "a", Primary))]) }).await;
    };
    timeout(MOMENT, told).await.expect("the chain is nobody's before the commit");
    assert_eq!(sessions(&on, ABANDONED).await, 1, "it was not stopped in the middle");
    let ends = async {
        while sessions(&on, ABANDONED).await == 1 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(HOLD + MOMENT, ends).await.expect("the server ends it");
    let late = stopped.goes_on();
    assert!(late.is_err(), "{late:?}");
    assert_eq!(on.store().audit(None, 10).await.unwrap().len(), 2);
}
