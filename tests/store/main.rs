//! What the store promises, written once and kept by both databases.
//!
//! A promise is a generic function; `on_both!` makes one test a database of it.
#![allow(clippy::unwrap_used, missing_docs)]

mod audit;
mod backend;
mod changes;
mod leases;
mod root_keys;
mod schema;
mod signals;

/// One test a promise and database.
macro_rules! on_both {
    ($($promise:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $promise() {
                super::$promise(<crate::backend::Sqlite as crate::backend::Backend>::fresh().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            #[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
            async fn $promise() {
                super::$promise(<crate::backend::Postgres as crate::backend::Backend>::fresh().await).await;
            })*
        }
    };
}
pub(crate) use on_both;
