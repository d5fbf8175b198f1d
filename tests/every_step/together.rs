//! Two replicas drive the same rollover at the same moment, and each step has its effect
//! once.

use std::sync::Mutex;

use async_trait::async_trait;
use breeze_rollover::store::{Change, RolloverChange, StoreError};
use tokio::{
    sync::Barrier,
    time::{sleep, timeout},
};

use super::*;
use support::{
    app::{on_both_databases, plaintexts},
    double::{Call, Double, Script},
};

/// How often each course is gone.
const ROUNDS: usize = 8;

/// Whoever has planned a step waits for the other one, and both commit it.
#[derive(Debug)]
struct Together {
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
        Ok(())
    }

    fn committed(&self, change: &Change) {
        let rollover = match &change.rollover {
            Some(RolloverChange::Begin { rollover, .. } | RolloverChange::Move(rollover)) => {
                rollover
            }
            None => return,
        };
        self.committed.lock().unwrap().push((rollover.id, rollover.revision));
    }
}

async fn each_step_is_done_once(database: Database, course: Course) {
    let ground = Ground::on(database).await;
    let before = plaintexts(ground.survivor.worker.replica()).await;
    let begun = ground.survivor.begin(request(course.secret, course.mode)).await.unwrap();
    course.carry(&ground.survivor, &ground.clock, begun.id).await.unwrap();
    let steps = ground.steps(begun.id).await;

    let script = Arc::new(Together { barrier: Barrier::new(2), committed: Mutex::default() });
    let join = || join(Double::on(Arc::clone(&ground.store), Arc::clone(&script)), &ground.clock);
    let (one, two) = (join().await.unwrap(), join().await.unwrap());
    ground.leases_run_out().await;
    for round in 0..ROUNDS {
        let what = format!("{course:?}: round {round}");
        let begun = one.begin(request(course.secret, course.mode)).await.unwrap();
        // Now the one is a moment ahead, now the other.
        let ahead =
            |ahead: bool| sleep(Duration::from_millis(if ahead { 0 } else { round as u64 }));
        let driving = async {
            tokio::join!(
                async {
                    ahead(round % 2 == 0).await;
                    course.carry(&one, &ground.clock, begun.id).await
                },
                async {
                    ahead(round % 2 == 1).await;
                    course.carry(&two, &ground.clock, begun.id).await
                },
            )
        };
        let (first, second) = timeout(PATIENCE, driving).await.expect(&what);
        first.unwrap();
        second.unwrap();
        let ended = one.operator().rollover(begun.id).await.unwrap();
        course.assert_done(&two, &ended, &what).await;
        assert_eq!(ground.steps(begun.id).await, steps, "{what}");
        let mut revisions: Vec<_> = script.committed.lock().unwrap().drain(..).collect();
        revisions.sort_by_key(|(_, revision)| *revision);
        let each_once: Vec<_> = (0..=ended.revision).map(|revision| (begun.id, revision)).collect();
        assert_eq!(revisions, each_once, "{what}");
        assert_eq!(plaintexts(two.worker.replica()).await, before, "{what}");
    }
}

courses!(
    each_step_is_done_once:
    of_a_graceful_rollover_of_a_sealing_key: AppEncryptionKey Graceful false,
    of_a_hard_rollover_of_a_sealing_key: AppEncryptionKey Hard false,
    of_a_graceful_rollover_of_a_signing_key: JwtSecret Graceful false,
    of_a_hard_rollover_of_a_signing_key: JwtSecret Hard false,
    of_rolling_back_a_signing_key: JwtSecret Graceful true,
);
