//! An honest cut-off: a retired key is said to be accepted nowhere once, and only once,
//! no replica accepts it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod support;

use std::{sync::Arc, time::Duration};

use breeze_rollover::{
    catalog::Secret,
    clock::Timestamp,
    embed::Database,
    ids::{Epoch, ReplicaId, RolloverId},
    operator::{Acknowledgement, Operator, Refusal},
    rollover::{Acceptance, Blocker, CutOff, Mode, Phase, Rollover},
    store::{Actor, Beat, Store},
    worker::Next,
};
use support::{
    app::{fill, on_both_databases, request},
    by_hand::ByHand,
};

/// The database's clock, as a live replica sees it.
async fn now(store: &Arc<dyn Store>) -> Timestamp {
    store.replicas().await.unwrap()[0].as_of
}

async fn rollover(store: &Arc<dyn Store>, id: RolloverId) -> Rollover {
    store.rollover(id).await.unwrap().unwrap()
}

/// How often the audit trail says that `id` is cut off.
async fn told(store: &Arc<dyn Store>, id: RolloverId) -> usize {
    let entries = store.audit(None, 100).await.unwrap();
    let is_told = |action: &str| action == "rollover.cut_off";
    entries.iter().filter(|e| e.resource_id == Some(id.0) && is_told(&e.action)).count()
}

/// What `of` the cut-off says of `replica`.
fn acceptance(of: &CutOff, replica: ReplicaId) -> Acceptance {
    of.replicas.iter().find(|acceptor| acceptor.replica == replica).unwrap().acceptance
}

/// A lease that holds on a busy machine.
const LASTING: Duration = Duration::from_secs(2);

/// A driver, and a replica beside it that reads the new key when the old one is retired,
/// and not yet that it is.
struct Two {
    store: Arc<dyn Store>,
    driver: ByHand,
    slow: ByHand,
    id: RolloverId,
}

impl Two {
    /// `slow` renews its lease without ever applying the epoch that lacks the old key.
    async fn until_retired(database: &Database, mode: Mode) -> Self {
        let store = database.store();
        let driver = ByHand::join_for(Arc::clone(&store), LASTING).await.unwrap();
        let slow = ByHand::join_for(Arc::clone(&store), LASTING).await.unwrap();
        let id = driver.begin(request(Secret::JwtSecret, mode)).await.unwrap().id;
        let two = Self { store, driver, slow, id };
        loop {
            two.both_renew().await;
            two.driver.worker.drive(id).await.unwrap();
            let rollover = rollover(&two.store, id).await;
            if rollover.cut_off.is_some() {
                return two;
            }
            two.slow.worker.replica().refresh().await.unwrap();
        }
    }

    async fn both_renew(&self) {
        self.driver.worker.replica().beat().await.unwrap();
        self.slow.worker.replica().beat().await.unwrap();
    }

    async fn drive(&self) -> Next {
        self.driver.worker.replica().beat().await.unwrap();
        self.driver.worker.drive(self.id).await.unwrap()
    }

    async fn cut_off(&self) -> CutOff {
        self.driver.operator().inspect(self.id).await.unwrap().rollover.cut_off.unwrap()
    }
}

async fn nothing_is_cut_off_before_every_replica_has_acknowledged(database: Database) {
    fill(&database, 1).await;
    let two = Two::until_retired(&database, Mode::Hard).await;
    let slow = two.slow.worker.replica();
    let late = ByHand::join(Arc::clone(&two.store)).await.unwrap();
    // Longer than a lease, so that it is renewed over and over.
    for _ in 0..12 {
        two.both_renew().await;
        two.drive().await;
        let cut_off = two.cut_off().await;
        assert_eq!((cut_off.at, told(&two.store, two.id).await), (None, 0));
        assert!(matches!(acceptance(&cut_off, slow.id()), Acceptance::LeaseRuns { .. }));
        let seen = two.driver.operator().replicas().await.unwrap().replicas;
        let seen = seen.iter().find(|view| view.replica.id == slow.id()).unwrap();
        assert!(seen.awaited.iter().any(|a| a.acknowledgement == Acknowledgement::CutOff));
        tokio::time::sleep(LASTING / 10).await;
    }

    // It applies the epoch, and one request goes on with the keychain of before.
    let in_flight = slow.keychain().load_full();
    slow.refresh().await.unwrap();
    slow.beat().await.unwrap();
    two.drive().await;
    assert_eq!((two.cut_off().await.at, told(&two.store, two.id).await), (None, 0));

    drop(in_flight);
    let before = now(&two.store).await;
    slow.beat().await.unwrap();
    let after = now(&two.store).await;
    two.drive().await;
    let cut_off = two.cut_off().await;
    let at = cut_off.at.unwrap();
    assert!(before <= at && at <= after, "{before} {at} {after}");
    assert_eq!(acceptance(&cut_off, slow.id()), Acceptance::Acknowledged { at });
    let own = acceptance(&cut_off, two.driver.worker.replica().id());
    assert!(matches!(own, Acceptance::Acknowledged { at: own } if own < at), "{own:?}");
    assert_eq!(cut_off.replicas.len(), 2, "who joined later began without the key");
    drop(late);

    two.both_renew().await;
    two.slow.worker.drive(two.id).await.unwrap();
    assert_eq!(told(&two.store, two.id).await, 1, "and once");
    assert_eq!(two.cut_off().await, cut_off);
    let entries = two.store.audit(None, 100).await.unwrap();
    let entry = entries.iter().find(|entry| entry.action == "rollover.cut_off").unwrap();
    let details = entry.details.as_ref().unwrap();
    assert_eq!(details["cutOff"], serde_json::to_value(&cut_off).unwrap());
}

async fn a_replica_that_is_silent_is_cut_off_when_its_lease_runs_out(database: Database) {
    fill(&database, 1).await;
    let two = Two::until_retired(&database, Mode::Hard).await;
    two.both_renew().await;
    let slow = two.slow.worker.replica().id();
    let replicas = two.store.replicas().await.unwrap();
    let lease_until = replicas.iter().find(|replica| replica.id == slow).unwrap().lease_until;
    let cut_off = loop {
        let asked = now(&two.store).await;
        two.drive().await;
        let cut_off = two.cut_off().await;
        if cut_off.at.is_some() {
            assert!(now(&two.store).await >= lease_until, "not a moment earlier");
            break cut_off;
        }
        assert!(asked <= lease_until.plus(Duration::from_secs(5)), "nor for ever");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(cut_off.at, Some(lease_until));
    assert_eq!(acceptance(&cut_off, slow), Acceptance::LeaseRanOut { at: lease_until });
    let own = acceptance(&cut_off, two.driver.worker.replica().id());
    assert!(matches!(own, Acceptance::Acknowledged { .. }), "{own:?}");

    // Back again, it is told of the epoch before it serves: what was said holds.
    two.slow.worker.replica().beat().await.unwrap();
    two.drive().await;
    assert_eq!(two.cut_off().await, cut_off);
}

async fn a_graceful_rollover_is_cut_off_after_its_end(database: Database) {
    fill(&database, 1).await;
    let two = Two::until_retired(&database, Mode::Graceful).await;
    let retired = rollover(&two.store, two.id).await;
    assert_eq!(retired.phase, Phase::Retired);
    assert_eq!(two.drive().await, Next::After(Duration::from_secs(1), Blocker::Accepted(1)));
    let without_horizon = Operator::new(two.driver.worker.clone(), Duration::ZERO);
    let refused = without_horizon.destroy(two.id, Actor::System, "a test").await;
    let Err(Refusal::StillNeeded(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("may still be accepted: replica by hand has not"), "{why}");
    assert!(two.store.awaiting_cut_off().await.unwrap().iter().any(|r| r.id == two.id));

    two.store.deregister(two.slow.worker.replica().id()).await.unwrap();
    assert_eq!(two.drive().await, Next::Never);
    let cut_off = two.cut_off().await;
    let left = acceptance(&cut_off, two.slow.worker.replica().id());
    assert!(matches!(left, Acceptance::Left { at } if Some(at) == cut_off.at), "{cut_off:?}");
    assert_eq!(two.store.awaiting_cut_off().await.unwrap(), []);
    let after = rollover(&two.store, two.id).await;
    assert_eq!((after.phase, after.updated_at), (Phase::Retired, retired.updated_at));
}

async fn one_that_accepts_while_fenced_is_waited_for_until_it_is_known_to_be_stopped(
    database: Database,
) {
    fill(&database, 1).await;
    let store = database.store();
    let driver = ByHand::join(Arc::clone(&store)).await.unwrap();
    let operator = driver.operator();
    let unfenced = ReplicaId::new();
    let renew = async |applied| {
        let beat = Beat {
            replica: unfenced,
            name: "unfenced".to_owned(),
            version: "0.1.0".to_owned(),
            applied,
            root_keys: vec![],
            settled: applied,
            lease: Duration::from_millis(300),
            accepts_while_fenced: true,
            columns: [].into(),
        };
        store.renew(&beat).await.unwrap()
    };
    let id = driver.begin(request(Secret::JwtSecret, Mode::Hard)).await.unwrap().id;
    let mut applied = Epoch(0);
    while rollover(&store, id).await.phase < Phase::Promoted {
        driver.worker.replica().beat().await.unwrap();
        applied = renew(applied).await.epoch;
        renew(applied).await;
        driver.worker.drive(id).await.unwrap();
    }
    let early = operator.deregister(unfenced, Actor::System, "a test").await;
    assert!(matches!(early, Err(Refusal::ReplicaLives { .. })), "{early:?}");

    tokio::time::sleep(Duration::from_millis(400)).await;
    driver.worker.replica().beat().await.unwrap();
    let next = driver.worker.drive(id).await.unwrap();
    assert_eq!(next, Next::After(Duration::from_secs(60), Blocker::Unfenced(1)), "retired");
    let view = operator.inspect(id).await.unwrap().rollover;
    let cut_off = view.cut_off.unwrap();
    assert_eq!(cut_off.at, None);
    assert!(matches!(acceptance(&cut_off, unfenced), Acceptance::AcceptsWhileFenced { .. }));
    assert!(view.blocked_by.unwrap().contains("stop them and deregister them"));
    let nobody = operator.deregister(ReplicaId::new(), Actor::System, "a test").await;
    assert!(matches!(nobody, Err(Refusal::NoReplica(_))), "{nobody:?}");

    operator.deregister(unfenced, Actor::System, "the host is gone").await.unwrap();
    operator.deregister(unfenced, Actor::System, "and once more").await.unwrap();
    driver.worker.replica().beat().await.unwrap();
    assert_eq!(driver.worker.drive(id).await.unwrap(), Next::Never);
    let cut_off = rollover(&store, id).await.cut_off.unwrap();
    let left = acceptance(&cut_off, unfenced);
    assert!(matches!(left, Acceptance::Left { at } if Some(at) == cut_off.at), "{cut_off:?}");
    let entries = store.audit(None, 100).await.unwrap();
    let told = entries.iter().filter(|entry| entry.action == "replica.deregister").count();
    assert_eq!(told, 1);
}

async fn who_wants_the_old_key_back_takes_back_that_it_is_cut_off(database: Database) {
    fill(&database, 5).await;
    let store = database.store();
    let alone = ByHand::join(Arc::clone(&store)).await.unwrap();
    let ask = request(Secret::AppEncryptionKey, Mode::Hard);
    let id = alone.begin(ask).await.unwrap().id;
    alone.carry_until(id, |blocker| blocker == Blocker::Bulk).await.unwrap();
    let hard = rollover(&store, id).await;
    assert_eq!(hard.phase, Phase::Promoted);
    assert!(hard.cut_off.as_ref().unwrap().at.is_some(), "while values are rewrapped: {hard:?}");
    assert_eq!(told(&store, id).await, 1);

    alone.operator().roll_back(id, Actor::System, "a test").await.unwrap();
    assert_eq!(rollover(&store, id).await.cut_off, None);
    alone.carry(id).await.unwrap();
    let back = rollover(&store, id).await;
    assert_eq!(back.phase, Phase::RolledBack);
    let cut_off = back.cut_off.unwrap();
    assert_eq!((Some(&cut_off.key), cut_off.at.is_some()), (back.to_key.as_ref(), true));
    assert_eq!(told(&store, id).await, 2, "of each key");
}

on_both_databases!(
    and behind a pooler:
    nothing_is_cut_off_before_every_replica_has_acknowledged,
    a_replica_that_is_silent_is_cut_off_when_its_lease_runs_out,
    a_graceful_rollover_is_cut_off_after_its_end,
    one_that_accepts_while_fenced_is_waited_for_until_it_is_known_to_be_stopped,
    who_wants_the_old_key_back_takes_back_that_it_is_cut_off,
);
