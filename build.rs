//! Tells the tests whether there is a PostgreSQL server to run against, and whether
//! there is a PgBouncer before it.
//!
//! Its effect is `cfg(postgres_tests)`, set while `BREEZE_TEST_POSTGRES` is set, and
//! `cfg(pgbouncer_tests)`, set while `BREEZE_TEST_PGBOUNCER` is: without it, a test that
//! needs one is reported as ignored. So it is with `cfg(redis_tests)`, `cfg(smtp_tests)`,
//! `cfg(turn_tests)`, `cfg(prometheus_tests)` and `cfg(managers_tests)`, for tests that
//! start such a server of their own. The server itself is in `BREEZE_TEST_POSTGRES_URL`,
//! and the pooler's port in `BREEZE_TEST_PGBOUNCER_PORT`, read when a test runs: a new
//! one builds nothing.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(postgres_tests)");
    println!("cargo::rustc-check-cfg=cfg(pgbouncer_tests)");
    println!("cargo::rustc-check-cfg=cfg(redis_tests)");
    println!("cargo::rustc-check-cfg=cfg(smtp_tests)");
    println!("cargo::rustc-check-cfg=cfg(turn_tests)");
    println!("cargo::rustc-check-cfg=cfg(prometheus_tests)");
    println!("cargo::rustc-check-cfg=cfg(managers_tests)");
    // The migrations are embedded.
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-env-changed=BREEZE_TEST_POSTGRES");
    if std::env::var_os("BREEZE_TEST_POSTGRES").is_some() {
        println!("cargo::rustc-cfg=postgres_tests");
    }
    println!("cargo::rerun-if-env-changed=BREEZE_TEST_REDIS");
    if std::env::var_os("BREEZE_TEST_REDIS").is_some() {
        println!("cargo::rustc-cfg=redis_tests");
    }
    println!("cargo::rerun-if-env-changed=BREEZE_TEST_SMTP");
    if std::env::var_os("BREEZE_TEST_SMTP").is_some() {
        println!("cargo::rustc-cfg=smtp_tests");
    }
    println!("cargo::rerun-if-env-changed=BREEZE_TEST_TURN");
    if std::env::var_os("BREEZE_TEST_TURN").is_some() {
        println!("cargo::rustc-cfg=turn_tests");
    }
    println!("cargo::rerun-if-env-changed=BREEZE_TEST_PROMETHEUS");
    if std::env::var_os("BREEZE_TEST_PROMETHEUS").is_some() {
        println!("cargo::rustc-cfg=prometheus_tests");
    }
    println!("cargo::rerun-if-env-changed=BREEZE_TEST_MANAGERS");
    if std::env::var_os("BREEZE_TEST_MANAGERS").is_some() {
        println!("cargo::rustc-cfg=managers_tests");
    }
    println!("cargo::rerun-if-env-changed=BREEZE_TEST_PGBOUNCER");
    if std::env::var_os("BREEZE_TEST_PGBOUNCER").is_some() {
        println!("cargo::rustc-cfg=pgbouncer_tests");
    }
}
