//! Tells the tests which programs they find: `cfg(x_tests)` for each `BREEZE_TEST_X` that
//! is set. Without it, a test that needs the program is reported as ignored.
//!
//! PostgreSQL and the PgBouncer before it run already, at `BREEZE_TEST_POSTGRES_URL` and
//! the port `BREEZE_TEST_PGBOUNCER_PORT`, which are read when a test runs: a new one builds
//! nothing. The others are started by the tests themselves.

/// `tests/run` sets each of them.
const PROGRAMS: [&str; 9] = [
    "postgres",
    "pgbouncer",
    "redis",
    "smtp",
    "turn",
    "prometheus",
    "oathtool",
    "managers",
    "openid",
];

fn main() {
    // The migrations are embedded.
    println!("cargo::rerun-if-changed=migrations");
    for program in PROGRAMS {
        println!("cargo::rustc-check-cfg=cfg({program}_tests)");
        let variable = format!("BREEZE_TEST_{}", program.to_uppercase());
        println!("cargo::rerun-if-env-changed={variable}");
        if std::env::var_os(variable).is_some() {
            println!("cargo::rustc-cfg={program}_tests");
        }
    }
}
