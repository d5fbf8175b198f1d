//! The store on PostgreSQL: control tables in the schema `rollover`.

use sqlx::PgPool;

/// The store on PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgStore {
    pool: PgPool,
}

impl PgStore {
    /// A store on the database of `pool`.
    #[must_use]
    pub const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The pool that it works on.
    #[must_use]
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }
}
