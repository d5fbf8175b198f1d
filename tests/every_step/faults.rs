//! A rollover is carried out once for each call that writes and each way in which it goes
//! wrong there. A call is one transaction: a step of the state machine, a batch, or a
//! claim of a bulk pass.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use breeze_rollover::store::StoreError;
use tokio::time::timeout;

use super::*;
use support::{
    app::{on_both_databases, plaintexts},
    double::{Call, Double, Script},
};

/// What goes wrong at one call that writes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// The process dies before the commit.
    DiesBefore,
    /// The process dies after the commit, before its answer.
    DiesAfter,
    /// The call is made twice.
    Twice,
}

/// The `nth` call that writes goes wrong; a process that is dead makes no more of them.
#[derive(Debug)]
struct Faulty {
    nth: usize,
    fault: Fault,
    calls: AtomicUsize,
    /// Whether the call in hand is the one.
    is_due: AtomicBool,
}

impl Faulty {
    fn at(nth: usize, fault: Fault) -> Arc<Self> {
        Arc::new(Self { nth, fault, calls: AtomicUsize::new(0), is_due: Default::default() })
    }

    /// Whether the process made that many calls.
    fn came_to_it(&self) -> bool {
        self.calls.load(Ordering::SeqCst) > self.nth
    }
}

fn gone() -> StoreError {
    StoreError::Unreachable(sqlx::Error::PoolTimedOut)
}

#[async_trait]
impl Script for Faulty {
    async fn before(&self, _: Call<'_>) -> Result<(), StoreError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        self.is_due.store(call == self.nth, Ordering::SeqCst);
        match self.fault {
            Fault::DiesBefore if call >= self.nth => Err(gone()),
            Fault::DiesAfter if call > self.nth => Err(gone()),
            _ => Ok(()),
        }
    }

    async fn after(&self, _: Call<'_>) -> Result<(), StoreError> {
        let has_died = self.fault == Fault::DiesAfter && self.came_to_it();
        if has_died { Err(gone()) } else { Ok(()) }
    }

    fn repeats(&self, _: Call<'_>) -> bool {
        self.fault == Fault::Twice && self.is_due.load(Ordering::SeqCst)
    }
}

impl Course {
    /// What can go wrong. After one commit is before the next: only the plain courses tell
    /// the two apart.
    const fn faults(self) -> &'static [Fault] {
        match (self.mode, self.back) {
            (Mode::Graceful, false) => &[Fault::DiesBefore, Fault::DiesAfter, Fault::Twice],
            _ => &[Fault::DiesBefore, Fault::Twice],
        }
    }
}

impl Ground {
    /// Carries out one rollover, begun by a process that goes wrong as `script` says, and
    /// ended by the survivor. Answers its steps.
    async fn carry_out(
        &self,
        course: Course,
        script: &Arc<Faulty>,
        what: &str,
    ) -> BTreeMap<String, usize> {
        let last = self.newest().await;
        let ask = || request(course.secret, course.mode);
        let at_fault = async {
            let store = Double::on(Arc::clone(&self.store), Arc::clone(script));
            let joined = join(store, &self.clock).await?;
            // Whatever it is told: what was committed stays.
            let _ = joined.begin(ask()).await;
            match self.newest().await.filter(|newest| Some(*newest) != last) {
                Some(begun) => course.carry(&joined, &self.clock, begun).await,
                None => Ok(()),
            }
        };
        self.leases_run_out().await;
        let _: Result<(), Refusal> = timeout(PATIENCE, at_fault).await.expect(what);
        self.leases_run_out().await;
        let ended = async {
            self.survivor.worker.replica().refresh().await?;
            let id = match self.newest().await.filter(|newest| Some(*newest) != last) {
                Some(begun) => begun,
                None => self.survivor.begin(ask()).await?.id,
            };
            course.carry(&self.survivor, &self.clock, id).await?;
            self.survivor.operator().rollover(id).await
        };
        let ended: Result<_, Refusal> = timeout(PATIENCE, ended).await.expect(what);
        let ended = ended.unwrap();
        course.assert_done(&self.survivor, &ended, what).await;
        self.steps(ended.id).await
    }
}

/// Each call of `course`, in each way in which it can go wrong.
async fn whatever_goes_wrong(database: Database, course: Course) {
    let ground = Ground::on(database).await;
    let before = plaintexts(ground.survivor.worker.replica()).await;
    assert_eq!(before.len() as u64, 2 * ALL);
    let nothing = Faulty::at(usize::MAX, Fault::Twice);
    let steps = ground.carry_out(course, &nothing, "nothing goes wrong").await;
    for fault in course.faults() {
        for nth in 0.. {
            let what = format!("{course:?}: call {nth} {fault:?}");
            let script = Faulty::at(nth, *fault);
            assert_eq!(ground.carry_out(course, &script, &what).await, steps, "{what}");
            ground.survivor.worker.replica().refresh().await.unwrap();
            assert_eq!(plaintexts(ground.survivor.worker.replica()).await, before, "{what}");
            if !script.came_to_it() {
                assert!(nth > steps.values().sum(), "{what}: no more calls than steps");
                break;
            }
        }
    }
}

courses!(
    whatever_goes_wrong:
    a_graceful_rollover_of_a_sealing_key_ends_well: AppEncryptionKey Graceful false,
    a_hard_rollover_of_a_sealing_key_ends_well: AppEncryptionKey Hard false,
    rolling_back_a_sealing_key_ends_well: AppEncryptionKey Graceful true,
    a_graceful_rollover_of_a_signing_key_ends_well: JwtSecret Graceful false,
    a_hard_rollover_of_a_signing_key_ends_well: JwtSecret Hard false,
    rolling_back_a_signing_key_ends_well: JwtSecret Graceful true,
);
