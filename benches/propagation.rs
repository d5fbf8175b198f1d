//! How long a change of the keys takes to be applied on eight replicas, each a process
//! of its own: pushed, and by polling alone.
//!
//! ```sh
//! tests/postgres cargo bench --bench propagation
//! ```
//!
//! From the call that commits the change to the moment in which the last of the eight
//! serves with it. `BREEZE_BENCH_CHANGES` changes are made, 400 by default, at irregular
//! intervals, whether the one before has arrived or not.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::{
    env,
    process::{ExitCode, Stdio},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use breeze_rollover::{
    catalog::Secret,
    clock::SystemClock,
    embed::Database,
    envelope::Target,
    ids::Epoch,
    keyring::{
        KeyState::{Retiring, Staged},
        Origin,
        sources::Environment,
    },
    material::Material,
    replica::{Membership, Replica},
    store::{Change, Committed, KeyChange, custody::RootKeys},
};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::mpsc,
    time::sleep,
};

const REPLICAS: usize = 8;

/// What a replica process is told, and by this it knows that it is one.
const URL: &str = "BREEZE_BENCH_REPLICA_OF";
const LISTEN_URL: &str = "BREEZE_BENCH_LISTEN_ON";

/// As `breeze-api` polls.
const POLL: Duration = Duration::from_secs(1);

/// How changes arrive, and within which time 99 of 100 should.
const WAYS: [(Way, Duration); 2] =
    [(Way::Push, Duration::from_millis(50)), (Way::Poll, Duration::from_millis(1100))];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Push,
    Poll,
}

#[tokio::main]
async fn main() -> ExitCode {
    if let Ok(url) = env::var(URL) {
        serve(&url).await;
    }
    // `cargo test --benches` runs it, too, and has no server for it.
    let Ok(server) = env::var("BREEZE_TEST_POSTGRES_URL") else {
        eprintln!("no server; run `tests/postgres cargo bench --bench propagation`");
        return ExitCode::SUCCESS;
    };
    let changes = env::var("BREEZE_BENCH_CHANGES").map_or(400, |n| n.parse().unwrap());
    println!("{REPLICAS} replicas, {changes} changes; from the commit to the last of them:");
    let mut missed = false;
    for (way, goal) in WAYS {
        let mut times = measure(&server, way, changes).await;
        times.sort_unstable();
        let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize];
        let (p50, p99, most) = (at(0.5), at(0.99), at(1.0));
        let verdict = if p99 <= goal { "reached" } else { "MISSED" };
        missed |= p99 > goal;
        println!(
            "{way:?}: p50 {p50:.1?}, p99 {p99:.1?}, most {most:.1?}; goal p99 ≤ {goal:?}: {verdict}"
        );
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// How long each change took to arrive everywhere.
async fn measure(server: &str, way: Way, changes: usize) -> Vec<Duration> {
    let url = fresh(server).await;
    let database = Database::connect(&url, 4).await.unwrap();
    database.migrate().await.unwrap();
    let author = member(&database).await;
    let (told, mut hears) = mpsc::unbounded_channel();
    let _replicas: Vec<Child> =
        (0..REPLICAS).map(|number| start(number, &url, way, told.clone())).collect();
    for _ in 0..REPLICAS {
        hears.recv().await.unwrap();
    }
    // Every listener has proven itself by then.
    sleep(Duration::from_secs(2)).await;

    let material = Material::generate().unwrap();
    let key = author.staged_key(Secret::JwtSecret, &material, Origin::Generated).await.unwrap();
    let id = key.id.clone();
    let mut next = KeyChange::Add(Box::new(key));
    let (mut committed, mut state) = (Vec::new(), Staged);
    for number in 0..changes {
        let now = SystemTime::now();
        committed.push((commit(&author, next).await, now));
        let to = if state == Staged { Retiring } else { Staged };
        let at = author.clock().now();
        next = KeyChange::Move { secret: Secret::JwtSecret, key: id.clone(), from: state, to, at };
        state = to;
        // Out of step with every poll.
        sleep(Duration::from_millis(50 + (number as u64 * 7919) % 230)).await;
    }

    let last = committed.last().unwrap().0;
    let mut applied: Vec<Vec<(Epoch, SystemTime)>> = vec![vec![]; REPLICAS];
    while applied.iter().any(|seen| seen.last().is_none_or(|(epoch, _)| *epoch < last)) {
        let (number, epoch, at) = hears.recv().await.unwrap();
        applied[number].push((epoch, at));
    }
    let arrival = |epoch: Epoch| {
        let first = |seen: &Vec<(Epoch, SystemTime)>| {
            seen.iter().find(|(applied, _)| *applied >= epoch).unwrap().1
        };
        applied.iter().map(first).max().unwrap()
    };
    committed.iter().map(|(epoch, at)| arrival(*epoch).duration_since(*at).unwrap()).collect()
}

async fn commit(author: &Replica, change: KeyChange) -> Epoch {
    let change = Change { keys: vec![change], ..Change::default() };
    match author.store().commit(&change).await.unwrap() {
        Committed::Done(epoch) => epoch,
        refused => panic!("{refused:?}"),
    }
}

/// A replica in a process of its own. It says which epoch it has applied, and when.
fn start(
    number: usize,
    url: &str,
    way: Way,
    told: mpsc::UnboundedSender<(usize, Epoch, SystemTime)>,
) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.env(URL, url).stdout(Stdio::piped()).kill_on_drop(true);
    if way == Way::Poll {
        // Nobody pushes anything from there.
        command.env(LISTEN_URL, "postgres://nobody@127.0.0.1:1/nothing");
    }
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let (epoch, nanos) = line.split_once(' ').unwrap();
            let at = UNIX_EPOCH + Duration::from_nanos(nanos.parse().unwrap());
            if told.send((number, Epoch(epoch.parse().unwrap()), at)).is_err() {
                break;
            }
        }
    });
    child
}

/// The life of a replica process: until it is killed.
async fn serve(url: &str) -> ! {
    let mut database = Database::connect(url, 4).await.unwrap();
    if let Ok(url) = env::var(LISTEN_URL) {
        database = database.listening_on(&url).unwrap();
    }
    let replica = member(&database).await;
    let keys = replica.keychain();
    tokio::spawn(replica.run(std::future::pending()));
    let mut told = None;
    loop {
        let epoch = keys.load().epoch();
        if told != Some(epoch) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            println!("{} {}", epoch.0, now.as_nanos());
            told = Some(epoch);
        }
        sleep(Duration::from_millis(1)).await;
    }
}

async fn member(database: &Database) -> Arc<Replica> {
    let environment = Environment::given([
        ("JWT_SECRET", "a signing secret of the benchmark 0123456789abcdef"),
        ("APP_ENCRYPTION_KEY", "an application key of the benchmark 0123456789"),
        ("MFA_ENCRYPTION_KEY", "a key of the benchmark for one-time codes 0123"),
        ("BREEZE_ROOT_KEY", "a root key of the benchmark 0123456789 0123456789"),
    ]);
    let membership = Membership {
        store: database.store(),
        root: RootKeys::open(&environment, None).unwrap(),
        environment,
        name: "propagation".to_owned(),
        signs: vec![(Secret::JwtSecret, Duration::from_secs(900))],
        target: Target::Bound,
        columns: vec![],
        lease: Duration::from_secs(15),
        poll: POLL,
        accepts_while_fenced: false,
        clock: Arc::new(SystemClock),
    };
    membership.join().await.unwrap().replica
}

/// An empty database; it goes with the throw-away server.
async fn fresh(server: &str) -> String {
    let name = format!("propagation_{}", uuid::Uuid::new_v4().simple());
    let pool = PgPool::connect(server).await.unwrap();
    let create = format!("CREATE DATABASE {name} TEMPLATE template0");
    sqlx::query(AssertSqlSafe(create)).execute(&pool).await.unwrap();
    let (head, _) = server.rsplit_once('/').unwrap();
    format!("{head}/{name}")
}
