//! Two replicas drive the same rollover at the same moment, and each step has its effect
//! once.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use breeze_rollover::store::{Change, RolloverChange, StoreError};
use tokio::{
    sync::Barrier,
    time::{sleep, timeout},
};

use super::*;
use support::{
    app::{on_both_databases, plaintexts},
    double::{Call, Script},
};

/// How often each course is gone.
const ROUNDS: u64 = 2;

/// Whoever has planned a step waits for the other one, and both commit it.
#[derive(Debug)]
struct Together {
    scene: Arc<Scene>,
    barrier: Barrier,
    /// What took effect.
    committed: Mutex<Vec<(RolloverId, u64)>>,
}

#[async_trait]
impl Script for Together {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        if matches!(call, Call::Commit(Change { rollover: Some(_), .. })) {
            // Alone when the other one has seen it done already.
            let _ = timeout(Duration::from_millis(100), self.barrier.wait()).await;
        }
        self.scene.before(call).await
    }

    fn committed(&self, change: &Change) {
        self.scene.committed(change);
        let rollover = match &change.rollover {
            Some(RolloverChange::Begin { rollover, .. } | RolloverChange::Move(rollover)) => {
                rollover
            }
            None => return,
        };
        self.committed.lock().unwrap().push((rollover.id, rollover.revision));
    }
}

async fn each_step_is_done_once(database: Database, class: Class, mode: Mode) {
    let courses = Course::all(class, mode);
    let ground = Ground::of(&courses[0], database).await;
    let before = plaintexts(ground.survivor.worker.replica()).await;
    let script = Arc::new(Together {
        scene: Arc::clone(&ground.scene),
        barrier: Barrier::new(2),
        committed: Mutex::default(),
    });
    let joins = || {
        let store = Double::on(Arc::clone(&ground.store), Arc::clone(&script));
        join(store, &ground.clock, &ground.scene)
    };
    let (one, two) = (joins().await.unwrap(), joins().await.unwrap());
    let rounds = AtomicU64::new(0);
    for course in &courses {
        let sound = ground.goes(course).await;
        let steps = ground.steps(sound.id).await;
        for _ in 0..ROUNDS {
            let round = rounds.fetch_add(1, Ordering::Relaxed) % 8;
            let what = format!("{course:?}: round {round}");
            ground.is_set_for(course).await;
            for process in [&one, &two] {
                process.worker.replica().refresh().await.unwrap();
                process.worker.replica().beat().await.unwrap();
            }
            let begun = one.begin(course.ask()).await.unwrap();
            // Now the one is a moment ahead, now the other.
            let ahead = |ahead: bool| sleep(Duration::from_millis(if ahead { 0 } else { round }));
            let driving = async {
                tokio::join!(
                    async {
                        ahead(round.is_multiple_of(2)).await;
                        ground.carry(&one, begun.id).await
                    },
                    async {
                        ahead(!round.is_multiple_of(2)).await;
                        ground.carry(&two, begun.id).await
                    },
                )
            };
            let (first, second) = timeout(PATIENCE, driving).await.expect(&what);
            first.unwrap();
            second.unwrap();
            let ended = one.operator().rollover(begun.id).await.unwrap();
            ground.assert_done(course, &ended, &what).await;
            assert_eq!(ground.steps(begun.id).await, steps, "{what}");
            let mut revisions: Vec<_> = script.committed.lock().unwrap().drain(..).collect();
            revisions.sort_by_key(|(_, revision)| *revision);
            let each_once: Vec<_> =
                (0..=ended.revision).map(|revision| (begun.id, revision)).collect();
            assert_eq!(revisions, each_once, "{what}");
            assert_eq!(plaintexts(two.worker.replica()).await, before, "{what}");
        }
    }
}

each_class!(
    each_step_is_done_once:
    Signing: of_a_graceful_rollover_of_a_signing_key of_a_hard_rollover_of_a_signing_key,
    Sealing: of_a_graceful_rollover_of_a_sealing_key of_a_hard_rollover_of_a_sealing_key,
    Pepper: of_a_graceful_rollover_of_a_pepper of_a_hard_rollover_of_a_pepper,
    Shared: of_a_graceful_rollover_of_a_shared_secret of_a_hard_rollover_of_a_shared_secret,
    Provider: of_a_graceful_rollover_of_a_credential of_a_hard_rollover_of_a_credential,
    Issued: of_a_graceful_rollover_of_what_is_issued of_a_hard_rollover_of_what_is_issued,
);
