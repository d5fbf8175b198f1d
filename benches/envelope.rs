//! Opening and sealing envelopes against the bare cipher, in one run.
//!
//! The floor is `aes-gcm` alone with a prepared cipher and the binary ciphertext
//! ready: no base64, no parsing, no key lookup, no nonce, no allocation. `decrypt`
//! and `encrypt` are the same through that crate's allocating functions.
//!
//! `cargo bench --bench envelope` ends with a table of ratios. For it the candidates
//! take turns in short rounds, and a ratio is the median of the rounds' own ratios, so
//! that a busy machine slows both sides alike.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)] // a bench is no library

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aes_gcm::{
    AeadInOut, Aes256Gcm, KeyInit,
    aead::{Aead, Payload, inout::InOutBuf},
};
use breeze_rollover::{
    catalog::Secret,
    column::{Column, RowKey},
    envelope::{self, Envelope, Form, Target},
    ids::{Epoch, KeyId},
    keyring::{AnyKeyring, Key, KeyState, Keychain, KeychainHandle, Keyring, SealBudget},
    material::Material,
};
use criterion::Criterion;

const AAD: &str = "sso_providers.client_secret";
/// Name, bytes, and how many times the floor an envelope may cost.
const SIZES: [(&str, usize, f64); 3] =
    [("64B", 64, 1.6), ("1KiB", 1024, 1.5), ("16KiB", 16 * 1024, 1.35)];

fn keychain() -> Keychain {
    let key = |id, state, source: &str| {
        let budget = Arc::new(SealBudget::new(0, u64::MAX));
        let material = Material::new(source).unwrap();
        Key::sealing(KeyId::new(id).unwrap(), state, true, &material, budget)
    };
    let keys = vec![
        key("k-2026", KeyState::Primary, "the present key of this bench"),
        key("k-2025", KeyState::Retiring, "the previous key of this bench"),
    ];
    Keychain::new(Epoch(1))
        .with(Secret::AppEncryptionKey, AnyKeyring::Sealing(Keyring::new(keys).unwrap()))
}

fn cipher() -> Aes256Gcm {
    let material = Material::new("the present key of this bench").unwrap();
    Aes256Gcm::new(&(*material.derive_aes256()).into())
}

/// Something to measure against others of its group; the first is the floor.
type Candidate<'a> = (&'static str, Box<dyn FnMut() + 'a>);

/// Measures one group of candidates.
trait Measure {
    fn group(&mut self, name: &str, goal: f64, candidates: Vec<Candidate<'_>>);
}

fn open(measure: &mut impl Measure) {
    let (chain, cipher) = (keychain(), cipher());
    let ring = chain.sealing(Secret::AppEncryptionKey).unwrap();
    let column = Column::text("sso_providers", "client_secret");
    let row = RowKey::from("0b5f8a2e-6d3c-4a11-9a77-0c2f4b1d9e10");
    let nonce = [7; 12].into();
    for (name, size, goal) in SIZES {
        let plaintext = "s".repeat(size);
        let text = envelope::seal(ring, Form::EncV3, AAD, &plaintext).unwrap();
        let mut sealed = vec![0; size];
        let buffer = InOutBuf::new(plaintext.as_bytes(), &mut sealed).unwrap();
        let tag = cipher.encrypt_inout_detached(&nonce, AAD.as_bytes(), buffer).unwrap();
        let mut out = vec![0; size];
        let with_tag = [sealed.as_slice(), tag.as_slice()].concat();

        let floor = || {
            let buffer = InOutBuf::new(black_box(&sealed), &mut out).unwrap();
            cipher.decrypt_inout_detached(&nonce, AAD.as_bytes(), buffer, &tag).unwrap();
            black_box(&out);
        };
        let decrypt = || {
            let payload = Payload { msg: black_box(&with_tag), aad: AAD.as_bytes() };
            black_box(cipher.decrypt(&nonce, payload).unwrap());
        };
        let envelope = || {
            let envelope = Envelope::parse(black_box(&text)).unwrap().unwrap();
            black_box(envelope::open(ring, AAD, &envelope).unwrap());
        };
        let column = || {
            black_box(column.open(&chain, &row, black_box(&text), Target::Bound).unwrap());
        };
        let candidates: Vec<Candidate<'_>> = vec![
            ("floor", Box::new(floor)),
            ("aes-gcm", Box::new(decrypt)),
            ("envelope", Box::new(envelope)),
            ("column", Box::new(column)),
        ];
        measure.group(&format!("open/{name}"), goal, candidates);
    }
}

fn seal(measure: &mut impl Measure) {
    let (chain, cipher) = (keychain(), cipher());
    let ring = chain.sealing(Secret::AppEncryptionKey).unwrap();
    let column = Column::text("sso_providers", "client_secret");
    let row = RowKey::from("0b5f8a2e-6d3c-4a11-9a77-0c2f4b1d9e10");
    let nonce = [7; 12].into();
    let plaintext = "s".repeat(64);
    let mut out = vec![0; plaintext.len()];

    let floor = || {
        let buffer = InOutBuf::new(black_box(plaintext.as_bytes()), &mut out).unwrap();
        black_box(cipher.encrypt_inout_detached(&nonce, AAD.as_bytes(), buffer).unwrap());
    };
    let encrypt = || {
        let payload = Payload { msg: black_box(plaintext.as_bytes()), aad: AAD.as_bytes() };
        black_box(cipher.encrypt(&nonce, payload).unwrap());
    };
    let envelope = || {
        black_box(envelope::seal(ring, Form::EncV3, AAD, black_box(&plaintext)).unwrap());
    };
    let column = || {
        black_box(column.seal(&chain, &row, black_box(&plaintext), Target::Bound).unwrap());
    };
    let candidates: Vec<Candidate<'_>> = vec![
        ("floor", Box::new(floor)),
        ("aes-gcm", Box::new(encrypt)),
        ("envelope", Box::new(envelope)),
        ("column", Box::new(column)),
    ];
    measure.group("seal/64B", 2.0, candidates);
}

/// A snapshot that is counted takes two locked instructions, one to take it and one to
/// give it back: the floor does them on memory of its own, an `Arc` on memory that
/// every thread shares. In tens of nanoseconds a call counts: hence many in each turn.
fn load() -> Vec<Candidate<'static>> {
    const TIMES: usize = 100;
    let handle = KeychainHandle::new(keychain());
    let (slot, shared) = (AtomicUsize::new(0), handle.load_full());
    let floor = move || {
        for _ in 0..TIMES {
            let slot = black_box(&slot);
            slot.swap(1, Ordering::SeqCst);
            let _ = black_box(slot.compare_exchange(1, 0, Ordering::SeqCst, Ordering::SeqCst));
        }
    };
    let arc = move || (0..TIMES).for_each(|_| drop(black_box(Arc::clone(black_box(&shared)))));
    let load = move || (0..TIMES).for_each(|_| drop(black_box(black_box(&handle).load())));
    vec![("floor", Box::new(floor)), ("arc", Box::new(arc)), ("load", Box::new(load))]
}

/// The nanoseconds of taking a snapshot, without giving it back: of some at a time, as
/// requests under way have theirs, less the two readings of the clock around them.
fn take() -> f64 {
    const UNDER_WAY: usize = 6;
    let handle = KeychainHandle::new(keychain());
    let time = |times: usize| {
        let mut taken: [_; UNDER_WAY] = std::array::from_fn(|_| None);
        let start = Instant::now();
        for place in &mut taken[..times] {
            *place = Some(black_box(&handle).load());
        }
        let time = start.elapsed();
        black_box(taken);
        time.as_nanos() as f64
    };
    let mut times: Vec<f64> = (0..200_001).map(|_| time(UNDER_WAY) - time(0)).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2] / UNDER_WAY as f64
}

impl Measure for Criterion {
    fn group(&mut self, name: &str, _goal: f64, candidates: Vec<Candidate<'_>>) {
        let mut group = self.benchmark_group(name);
        for (name, mut candidate) in candidates {
            group.bench_function(name, |b| b.iter(&mut candidate));
        }
        group.finish();
    }
}

/// Prints one row a group.
struct Ratios;

impl Measure for Ratios {
    fn group(&mut self, name: &str, goal: f64, candidates: Vec<Candidate<'_>>) {
        let (floor, ratios) = compare(candidates);
        print!("{name:<12} {floor:>8.0} ns");
        for ratio in ratios {
            print!(" {ratio:>9.2} ×");
        }
        println!(" {goal:>9.2} ×");
    }
}

/// The nanoseconds of the first candidate, and how many times as many the others take.
fn compare(mut candidates: Vec<Candidate<'_>>) -> (f64, Vec<f64>) {
    const ROUND: Duration = Duration::from_micros(200);
    let start = Instant::now();
    (0..1000).for_each(|_| candidates[0].1());
    let turns = (1000.0 * ROUND.as_secs_f64() / start.elapsed().as_secs_f64()) as u32 + 1;

    let rounds: Vec<Vec<f64>> = (0..1001)
        .map(|_| {
            let time = |(_, candidate): &mut Candidate<'_>| {
                let start = Instant::now();
                (0..turns).for_each(|_| candidate());
                start.elapsed().as_secs_f64() * 1e9 / f64::from(turns)
            };
            candidates.iter_mut().map(time).collect()
        })
        .collect();
    let median = |of: &dyn Fn(&Vec<f64>) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let ratios = (1..candidates.len()).map(|index| median(&|round| round[index] / round[0]));
    (median(&|round| round[0]), ratios.collect())
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    open(&mut criterion);
    seal(&mut criterion);
    criterion.final_summary();

    println!(
        "\n{:<12} {:>11} {:>11} {:>11} {:>11} {:>11}",
        "median", "floor", "aes-gcm", "envelope", "column", "goal"
    );
    open(&mut Ratios);
    seal(&mut Ratios);

    let (floor, ratios) = compare(load());
    let [arc, load] = [0, 1].map(|index| floor * ratios[index] / 100.0);
    println!("\nkeychain load {:.1} ns (goal ≤ 10); with giving it back {load:.1} ns,", take());
    println!("where two locked instructions take {:.1} ns, and an Arc {arc:.1} ns", floor / 100.0);
}
