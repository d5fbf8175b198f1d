//! Each course is gone once for each place in which something can go wrong, and each way
//! in which it goes wrong there. A call that writes is one transaction: a step of the
//! state machine, a batch, or a claim of a bulk pass.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use breeze_rollover::store::{Change, StoreError};
use tokio::time::timeout;

use super::*;
use play::Place;
use support::{
    app::{on_both_databases, plaintexts},
    double::{Call, Script},
};

/// What goes wrong at one call that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fault {
    /// The process dies before the commit.
    DiesBefore,
    /// The process dies after the commit, before its answer.
    DiesAfter,
    /// The call is made twice.
    Twice,
}

impl Fault {
    const ALL: [Self; 3] = [Self::DiesBefore, Self::DiesAfter, Self::Twice];
}

/// Where each fault has struck.
type Struck = HashSet<(Fault, Place)>;

/// A process that goes wrong in the first place where its fault has not struck before.
struct Faulty {
    scene: Arc<Scene>,
    fault: Fault,
    struck: Arc<Mutex<Struck>>,
    place: Mutex<Option<Place>>,
    /// Whether the call in hand is the one.
    is_due: AtomicBool,
}

impl Faulty {
    fn at(scene: &Arc<Scene>, fault: Fault, struck: &Arc<Mutex<Struck>>) -> Arc<Self> {
        let (scene, struck) = (Arc::clone(scene), Arc::clone(struck));
        let (place, is_due) = Default::default();
        Arc::new(Self { scene, fault, struck, place, is_due })
    }

    fn has_struck(&self) -> bool {
        self.place.lock().unwrap().is_some()
    }

    /// Whether it goes wrong at this call.
    fn strikes(&self, call: Call<'_>) -> bool {
        // What is held would have no effect.
        if self.has_struck() || self.scene.play().holds(call) {
            return false;
        }
        let place = self.scene.play().place(call);
        let is_new = self.struck.lock().unwrap().insert((self.fault, place.clone()));
        if is_new {
            *self.place.lock().unwrap() = Some(place);
        }
        is_new
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?}", self.fault, self.place.lock().unwrap())
    }
}

fn gone() -> StoreError {
    StoreError::Unreachable(sqlx::Error::PoolTimedOut)
}

#[async_trait]
impl Script for Faulty {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        let was_struck = self.has_struck();
        let strikes = self.strikes(call);
        self.is_due.store(strikes, Ordering::SeqCst);
        match self.fault {
            Fault::DiesBefore if was_struck || strikes => Err(gone()),
            Fault::DiesAfter if was_struck => Err(gone()),
            _ => self.scene.before(call).await,
        }
    }

    async fn after(&self, call: Call<'_>) -> Result<(), StoreError> {
        self.scene.after(call).await?;
        let has_died = self.fault == Fault::DiesAfter && self.has_struck();
        if has_died { Err(gone()) } else { Ok(()) }
    }

    fn repeats(&self, _: Call<'_>) -> bool {
        self.fault == Fault::Twice && self.is_due.load(Ordering::SeqCst)
    }

    fn committed(&self, change: &Change) {
        self.scene.committed(change);
    }
}

impl Ground {
    /// Carries out one rollover, begun by a process that goes wrong as `script` says, and
    /// ended by the survivor. Answers its steps.
    async fn carry_out(&self, course: &Course, script: &Arc<Faulty>) -> Steps {
        let last = self.newest().await;
        self.is_set_for(course).await;
        let at_fault = async {
            let store = Double::on(Arc::clone(&self.store), Arc::clone(script));
            let joined = join(store, &self.clock, &self.scene).await?;
            // Whatever it is told: what was committed stays.
            let _ = joined.begin(course.ask()).await;
            match self.newest().await.filter(|newest| Some(*newest) != last) {
                Some(begun) => self.carry(&joined, begun).await,
                None => Ok(()),
            }
        };
        let never_ends = |_| panic!("{course:?} does not end: {script:?}");
        let _: Result<(), Refusal> = timeout(PATIENCE, at_fault).await.unwrap_or_else(never_ends);
        self.leases_run_out().await;
        let ended = async {
            self.survivor.worker.replica().refresh().await?;
            let id = match self.newest().await.filter(|newest| Some(*newest) != last) {
                Some(begun) => begun,
                None => self.survivor.begin(course.ask()).await?.id,
            };
            self.carry(&self.survivor, id).await?;
            self.survivor.operator().rollover(id).await
        };
        let never_ends = |_| panic!("{course:?} is not ended by another: {script:?}");
        let ended: Result<_, Refusal> = timeout(PATIENCE, ended).await.unwrap_or_else(never_ends);
        let ended = ended.unwrap();
        self.assert_done(course, &ended, script).await;
        self.steps(ended.id).await
    }
}

/// Each place of each course, in each way in which it can go wrong.
async fn whatever_goes_wrong(database: Database, class: Class, mode: Mode) {
    let courses = Course::all(class, mode);
    let ground = Ground::of(&courses[0], database).await;
    let before = plaintexts(ground.survivor.worker.replica()).await;
    assert_eq!(before.len() as u64, 4 * u64::from(ROWS));
    let (struck, mut told) = (Arc::<Mutex<Struck>>::default(), BTreeSet::new());
    for course in &courses {
        let sound = ground.goes(course).await;
        let steps = ground.steps(sound.id).await;
        told.extend(steps.keys().cloned());
        for fault in Fault::ALL {
            loop {
                let script = Faulty::at(&ground.scene, fault, &struck);
                assert_eq!(
                    ground.carry_out(course, &script).await,
                    steps,
                    "{course:?}: {script:?}"
                );
                if class == Class::Sealing {
                    let now = plaintexts(ground.survivor.worker.replica()).await;
                    assert!(now == before, "{course:?}: {script:?}");
                }
                if !script.has_struck() {
                    break;
                }
            }
        }
    }
    let struck = struck.lock().unwrap();
    for fault in Fault::ALL {
        let places = struck.iter().filter(|(with, _)| *with == fault);
        let calls: BTreeSet<_> = places.map(|(_, place)| place.call.clone()).collect();
        let spared: Vec<_> = told.difference(&calls).collect();
        assert!(spared.is_empty(), "{fault:?} never struck {spared:?}");
    }
}

each_class!(
    whatever_goes_wrong:
    Signing: a_graceful_rollover_of_a_signing_key_ends_well a_hard_rollover_of_a_signing_key_ends_well,
    Sealing: a_graceful_rollover_of_a_sealing_key_ends_well a_hard_rollover_of_a_sealing_key_ends_well,
    Pepper: a_graceful_rollover_of_a_pepper_ends_well a_hard_rollover_of_a_pepper_ends_well,
    Shared: a_graceful_rollover_of_a_shared_secret_ends_well a_hard_rollover_of_a_shared_secret_ends_well,
    Provider: a_graceful_rollover_of_a_credential_ends_well a_hard_rollover_of_a_credential_ends_well,
    Issued: a_graceful_rollover_of_what_is_issued_ends_well a_hard_rollover_of_what_is_issued_ends_well,
);
