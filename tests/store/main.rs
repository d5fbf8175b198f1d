//! What the store promises, written once and kept by both databases.
//!
//! A promise is a generic function; `on_both!` makes one test a database of it, and one
//! more behind a pooler in transaction mode where it says so.
#![allow(clippy::unwrap_used, missing_docs)]

mod abandoned;
mod audit;
mod backend;
mod changes;
mod leases;
mod root_keys;
mod schema;
mod signals;

/// One test a promise and database.
macro_rules! on_both {
    (and behind a pooler: $($promise:ident),* $(,)?) => {
        crate::on_both! { $($promise),* }
        mod pooled {
            crate::on! { Pooled, pgbouncer_tests, "needs PgBouncer; tests/run starts one": $($promise),* }
        }
    };
    ($($promise:ident),* $(,)?) => {
        mod sqlite {
            crate::on! { Sqlite, all(), "": $($promise),* }
        }
        mod postgres {
            crate::on! { Postgres, postgres_tests, "needs PostgreSQL; tests/run starts one": $($promise),* }
        }
    };
}

/// One test a promise that PostgreSQL keeps, and keeps behind a pooler.
macro_rules! on_postgres {
    ($($promise:ident),* $(,)?) => {
        mod server {
            crate::on! { Postgres, postgres_tests, "needs PostgreSQL; tests/run starts one": $($promise),* }
        }
        mod pooled_server {
            crate::on! { Pooled, pgbouncer_tests, "needs PgBouncer; tests/run starts one": $($promise),* }
        }
    };
}

/// One test a promise of one backend, ignored where its server is not there.
macro_rules! on {
    ($backend:ident, $has:meta, $why:literal: $($promise:ident),*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        #[cfg_attr(not($has), ignore = $why)]
        async fn $promise() {
            super::$promise(<crate::backend::$backend as crate::backend::Backend>::fresh().await).await;
        })*
    };
}
pub(crate) use {on, on_both, on_postgres};
