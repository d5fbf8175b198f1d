//! Opening and sealing envelopes against the bare cipher, in one run.
//!
//! The floor is `aes-gcm` alone with a prepared cipher and the binary ciphertext
//! ready: no base64, no parsing, no key lookup, no nonce, no allocation. `decrypt`
//! and `encrypt` are the same through that crate's allocating functions.
//!
//! `cargo bench --bench envelope` ends with a table of the ratios.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::{hint::black_box, sync::Arc, time::Duration};

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
use criterion::{Criterion, Throughput};

const AAD: &str = "sso_providers.client_secret";
const SIZES: [(&str, usize); 3] = [("64B", 64), ("1KiB", 1024), ("16KiB", 16 * 1024)];

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

fn open(c: &mut Criterion) {
    let (chain, cipher) = (keychain(), cipher());
    let ring = chain.sealing(Secret::AppEncryptionKey).unwrap();
    let column = Column::text("sso_providers", "client_secret");
    let row = RowKey::from("0b5f8a2e-6d3c-4a11-9a77-0c2f4b1d9e10");
    let nonce = [7; 12].into();
    for (name, size) in SIZES {
        let plaintext = "s".repeat(size);
        let text = envelope::seal(ring, Form::EncV3, AAD, &plaintext).unwrap();
        let mut sealed = vec![0; size];
        let buffer = InOutBuf::new(plaintext.as_bytes(), &mut sealed).unwrap();
        let tag = cipher.encrypt_inout_detached(&nonce, AAD.as_bytes(), buffer).unwrap();
        let mut out = vec![0; size];
        let with_tag = [sealed.as_slice(), tag.as_slice()].concat();

        let mut group = c.benchmark_group(format!("open/{name}"));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function("floor", |b| {
            b.iter(|| {
                let buffer = InOutBuf::new(black_box(&sealed), &mut out).unwrap();
                cipher.decrypt_inout_detached(&nonce, AAD.as_bytes(), buffer, &tag).unwrap();
                black_box(&out);
            });
        });
        group.bench_function("decrypt", |b| {
            b.iter(|| {
                let payload = Payload { msg: black_box(&with_tag), aad: AAD.as_bytes() };
                cipher.decrypt(&nonce, payload).unwrap()
            });
        });
        group.bench_function("envelope", |b| {
            b.iter(|| {
                let envelope = Envelope::parse(black_box(&text)).unwrap().unwrap();
                envelope::open(ring, AAD, &envelope).unwrap()
            });
        });
        group.bench_function("column", |b| {
            b.iter(|| column.open(&chain, &row, black_box(&text), Target::Bound).unwrap());
        });
        group.finish();
    }
}

fn seal(c: &mut Criterion) {
    let (chain, cipher) = (keychain(), cipher());
    let ring = chain.sealing(Secret::AppEncryptionKey).unwrap();
    let column = Column::text("sso_providers", "client_secret");
    let row = RowKey::from("0b5f8a2e-6d3c-4a11-9a77-0c2f4b1d9e10");
    let nonce = [7; 12].into();
    let plaintext = "s".repeat(64);
    let mut out = vec![0; plaintext.len()];

    let mut group = c.benchmark_group("seal/64B");
    group.bench_function("floor", |b| {
        b.iter(|| {
            let buffer = InOutBuf::new(black_box(plaintext.as_bytes()), &mut out).unwrap();
            cipher.encrypt_inout_detached(&nonce, AAD.as_bytes(), buffer).unwrap()
        });
    });
    group.bench_function("encrypt", |b| {
        b.iter(|| {
            let payload = Payload { msg: black_box(plaintext.as_bytes()), aad: AAD.as_bytes() };
            cipher.encrypt(&nonce, payload).unwrap()
        });
    });
    group.bench_function("envelope", |b| {
        b.iter(|| envelope::seal(ring, Form::EncV3, AAD, black_box(&plaintext)).unwrap());
    });
    group.bench_function("column", |b| {
        b.iter(|| column.seal(&chain, &row, black_box(&plaintext), Target::Bound).unwrap());
    });
    group.finish();
}

fn load(c: &mut Criterion) {
    let handle = KeychainHandle::new(keychain());
    c.bench_function("keychain/load", |b| b.iter(|| black_box(handle.load().epoch())));
}

/// The median that criterion has just written, in nanoseconds.
fn median(group: &str, function: &str) -> Option<f64> {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let group = group.replace('/', "_");
    let path = format!("{target}/criterion/{group}/{function}/new/estimates.json");
    let estimates: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

fn ratios() {
    println!("\n{:<12} {:>10} {:>12} {:>12} {:>8}", "", "floor", "envelope", "column", "goal");
    for (group, goal) in
        [("open/64B", 1.6), ("open/1KiB", 1.5), ("open/16KiB", 1.35), ("seal/64B", 2.0)]
    {
        let medians = [median(group, "floor"), median(group, "envelope"), median(group, "column")];
        if let [Some(floor), Some(envelope), Some(column)] = medians {
            let (e, c) = (envelope / floor, column / floor);
            println!("{group:<12} {floor:>7.0} ns {e:>10.2} × {c:>10.2} × {goal:>6.2} ×");
        }
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    open(&mut criterion);
    seal(&mut criterion);
    load(&mut criterion);
    criterion.final_summary();
    ratios();
}
