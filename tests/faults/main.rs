//! Several `breeze-api` processes on one database, struck again and again while a key
//! rolls over: no request fails that need not, no edit is lost, no living token is
//! refused.
//!
//! One seed says what is struck, when, and for how long; what a process is at in that
//! moment it cannot say. A run that fails prints the seed, and the command that repeats
//! it.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where it fails")]
#![allow(missing_docs, reason = "a test has no reader but its own")]

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod drive;
mod fault;
mod figures;
mod fleet;
mod judge;
mod ledger;
mod plan;
mod pooler;
mod proxy;
mod resource;
mod rig;
mod steady;
mod strike;
mod traffic;
mod windows;

use std::{
    env,
    sync::atomic::Ordering,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use breeze_rollover::{catalog::Secret, rollover::Phase, token::Lifetimes};
use fault::Fault;
use fleet::Terms;
use plan::{Course, Dealer};
use rig::Rig;
use steady::Steady;
use traffic::Traffic;

/// Short, so that a key drains in seconds.
const TERMS: Terms = Terms {
    lease: Duration::from_secs(4),
    lifetimes: Lifetimes {
        access: Duration::from_secs(4),
        refresh: Duration::from_secs(8),
        viewer: Duration::from_secs(4),
    },
};

/// A number of the environment.
fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Ends a run: prints its figures, and panics if anything was wrong.
async fn conclude(rig: &Rig, traffic: Traffic, repeat: &str) {
    let logs = rig.logs().await;
    traffic.finish().await;
    rig.verdict().await;
    eprintln!("{}", rig.figures);
    let wrongs = rig.figures.wrongs();
    assert!(wrongs.is_empty(), "{}\n{logs}\nrepeat it by: {repeat}", wrongs.join("\n"));
}

/// Each fault once, over both secrets, forward and back; then a process sleeps through
/// a whole rollover, and must make nothing with the old key.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn each_fault_strikes_once_and_nothing_is_lost() {
    let seed = number("BREEZE_FAULTS_SEED").unwrap_or(3);
    let rig = Rig::on_postgres(3, TERMS, 1000).await;
    let traffic = Traffic::start(&rig.shared(), rig.users(4).await, seed);
    let dealer = Dealer::new(seed, &Fault::ALL, rig.replicas.len(), TERMS.lease);
    let mut dealer = dealer.briefly(Duration::from_millis(1500));
    let mut faults = dealer.shuffled().into_iter();
    let forward = dealer.course(Secret::JwtSecret, None, &mut faults);
    let back = dealer.course(Secret::AppEncryptionKey, Some(Phase::Drained), &mut faults);
    assert_eq!(faults.next(), None, "each fault is in the plan");
    for course in [forward, back, Course::slept_through(Secret::JwtSecret)] {
        if !rig.run(&course).await {
            break;
        }
    }
    let repeat = format!("BREEZE_FAULTS_SEED={seed} tests/run --test faults each_fault");
    conclude(&rig, traffic, &repeat).await;
}

/// The same behind a pooler in transaction mode, with a fault of each kind: of a process,
/// of the server and of the network.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(pgbouncer_tests), ignore = "needs PgBouncer; tests/run starts one")]
async fn behind_a_pooler_nothing_is_lost_either() {
    const FAULTS: [Fault; 5] =
        [Fault::Kill, Fault::Pause, Fault::Crash, Fault::DeafDown, Fault::Cut];
    let seed = number("BREEZE_FAULTS_SEED").unwrap_or(3);
    let rig = Rig::behind_a_pooler(3, TERMS, 1000).await;
    let traffic = Traffic::start(&rig.shared(), rig.users(4).await, seed);
    let dealer = Dealer::new(seed, &FAULTS, rig.replicas.len(), TERMS.lease);
    let mut dealer = dealer.briefly(Duration::from_millis(1500));
    let mut faults = dealer.shuffled().into_iter();
    rig.run(&dealer.course(Secret::AppEncryptionKey, None, &mut faults)).await;
    let repeat = format!("BREEZE_FAULTS_SEED={seed} tests/run --test faults behind_a_pooler");
    conclude(&rig, traffic, &repeat).await;
}

/// One replica of three is killed, again and again, while a key rolls over: a client
/// that asks another one once gets its answer. A token counts for longer than the test
/// takes: a refresh token counts once, so that its request cannot be asked again.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn a_replica_that_is_killed_costs_no_client_a_request() {
    let hour = Duration::from_secs(3600);
    let lifetimes = Lifetimes { access: hour, refresh: hour, viewer: hour };
    let rig = Rig::on_postgres(3, Terms { lifetimes, ..TERMS }, 1000).await;
    let steady = Steady::start(&rig.shared(), rig.users(4).await, true).await;
    let sealing = rig.begin(Secret::AppEncryptionKey).await;
    for (replica, phase) in rig.replicas.iter().zip([Phase::Staged, Phase::Promoted]) {
        assert!(rig.passes(sealing, phase).await);
        replica.comes_and_goes().await;
    }
    assert!(rig.reaches(sealing, Phase::Retired).await);
    let signing = rig.begin(Secret::JwtSecret).await;
    assert!(rig.passes(signing, Phase::Promoted).await);
    rig.replicas[2].comes_and_goes().await;
    let totals = steady.finish().await;
    eprintln!("{totals:?}");
    assert!(totals.retried.load(Ordering::Relaxed) > 0, "nobody noticed: {totals:?}");
    assert_eq!(totals.failed.load(Ordering::Relaxed), 0, "{totals:?}");
}

/// Two processes work on one SQLite file, and either, or both, may be killed in any
/// phase: nothing is lost, as nothing is by a power cut that finds the file written.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_file_that_are_killed_in_every_phase_lose_nothing() {
    let seed = number("BREEZE_FAULTS_SEED").unwrap_or(3);
    let rig = Rig::on_sqlite(2, TERMS, 500).await;
    let traffic = Traffic::start(&rig.shared(), rig.users(3).await, seed);
    let dealer = Dealer::new(seed, &Fault::OF_A_FILE, rig.replicas.len(), TERMS.lease);
    let mut dealer = dealer.briefly(Duration::from_millis(300));
    let mut faults = Fault::OF_A_FILE.into_iter().cycle();
    for (secret, way) in plan::SECRETS.into_iter().zip([None, Some(Phase::Drained)]) {
        if !rig.run(&dealer.course(secret, way, &mut faults)).await {
            break;
        }
    }
    let repeat = format!("BREEZE_FAULTS_SEED={seed} tests/run --test faults two_processes");
    conclude(&rig, traffic, &repeat).await;
}

/// Many requests to three replicas, and one rollover after another, with no fault.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes many minutes; tests/run --calm does it"]
async fn long_calm() {
    let wanted = number("BREEZE_CALM_REQUESTS").unwrap_or(1_000_000);
    let rig = Rig::on_postgres(3, TERMS, 3000).await;
    let steady = Steady::start(&rig.shared(), rig.users(9).await, false).await;
    let mut dealer = Dealer::new(0, &Fault::ALL, rig.replicas.len(), TERMS.lease);
    let mut secrets = plan::SECRETS.into_iter().cycle();
    while steady.totals.requests.load(Ordering::Relaxed) < wanted {
        let secret = secrets.next().expect("they come again and again");
        assert!(rig.run(&dealer.course(secret, None, &mut std::iter::empty())).await);
    }
    let totals = steady.finish().await;
    eprintln!("{}{totals:?}", rig.figures);
    assert_eq!(totals.failed.load(Ordering::Relaxed), 0, "{totals:?}");
}

/// Every fault in every phase, for as long as one likes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as long as it is told; tests/run --long does it"]
async fn long_run() {
    let minutes = number("BREEZE_FAULTS_MINUTES").unwrap_or(30);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = number("BREEZE_FAULTS_SEED").unwrap_or(now);
    let repeat = format!("tests/run --long {minutes} {seed}");
    let replicas = 3 + (seed % 3) as usize;
    eprintln!("{repeat}: {replicas} replicas");
    let rig = Rig::on_postgres(replicas, TERMS, 3000).await;
    let traffic = Traffic::start(&rig.shared(), rig.users(8).await, seed);
    let mut dealer = Dealer::new(seed, &Fault::ALL, replicas, TERMS.lease);
    rig.figures.awaits(plan::kinds(&Fault::ALL));
    let end = Duration::from_secs(minutes * 60);
    let sleeps = plan::SECRETS.into_iter().map(Course::slept_through);
    for course in sleeps.chain(std::iter::from_fn(|| Some(dealer.deal()))) {
        let is_over = rig.figures.elapsed() > end || rig.figures.is_enough();
        if is_over || !rig.run(&course).await {
            break;
        }
    }
    conclude(&rig, traffic, &repeat).await;
}
