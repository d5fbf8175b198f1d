//! Tells the tests whether there is a PostgreSQL server to run against.
//!
//! Its effect is `cfg(postgres_tests)`, set while `BREEZE_TEST_POSTGRES_URL`
//! is set: without it, a test that needs PostgreSQL is reported as ignored.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(postgres_tests)");
    // The migrations are embedded.
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-env-changed=BREEZE_TEST_POSTGRES_URL");
    if std::env::var_os("BREEZE_TEST_POSTGRES_URL").is_some() {
        println!("cargo::rustc-cfg=postgres_tests");
    }
}
