//! Bad input has a clear answer, which says what to do, and nothing is lost.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what they expect")]

mod admin;
mod columns;
mod database;
mod keys;
mod refused;
#[path = "../support/mod.rs"]
mod support;
mod values;

/// `error` is a sentence with each of `parts`.
#[track_caller]
fn assert_says(error: &impl std::fmt::Display, parts: &[&str]) {
    let said = error.to_string();
    for part in parts {
        assert!(said.contains(part), "`{part}` is missing: {said}");
    }
}
