//! Tells the tests whether there is a PostgreSQL server to run against.
//!
//! Its effect is `cfg(postgres_tests)`, set while `BREEZE_TEST_POSTGRES` is set:
//! without it, a test that needs PostgreSQL is reported as ignored. The server itself
//! is in `BREEZE_TEST_POSTGRES_URL`, read when a test runs: a new URL builds nothing.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(postgres_tests)");
    // The migrations are embedded.
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-env-changed=BREEZE_TEST_POSTGRES");
    if std::env::var_os("BREEZE_TEST_POSTGRES").is_some() {
        println!("cargo::rustc-cfg=postgres_tests");
    }
}
