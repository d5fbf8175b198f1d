//! How far this process's resident memory grows.

use std::fs;

/// Runs `work`, and answers by how many MiB resident memory grew at its highest.
pub async fn growth_of<T>(work: impl Future<Output = T>) -> (f64, T) {
    // Makes the highest so far the present one: proc(5), clear_refs.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = kib("VmRSS:");
    let done = work.await;
    (kib("VmHWM:").saturating_sub(before) as f64 / 1024.0, done)
}

fn kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
