//! The connections, with single statements that stay whole behind a pooler.
//!
//! A statement with parameters takes two exchanges: it is parsed, then bound and
//! executed. A pooler in transaction mode may carry them out on two sessions of the
//! server, unless a transaction holds them together. So where the URL says
//! `statement-cache-capacity=0`, as it must before such a pooler, each single statement
//! is a transaction. Nothing else that outlives a transaction is relied on: settings
//! are `SET LOCAL`, locks are of rows or transactions.

use std::ops::Deref;

use futures_util::{
    FutureExt, StreamExt, TryFutureExt, TryStreamExt, future::BoxFuture, stream::BoxStream,
};
use sqlx::{
    ConnectOptions, Describe, Either, Error, Execute, Executor, PgPool, Postgres, SqlStr,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

/// How a transaction begins that may lock something. Each of its statements sees what was
/// committed before it. Where a process does not go on with it, because it is stopped or
/// out of reach, the server ends it, and its locks, within a fifth of the default lease;
/// whatever the connection's own time-out is, which a pooler may have dropped.
pub(super) const BEGIN_LOCKING: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SET LOCAL idle_in_transaction_session_timeout = '3s'";

/// The connections of a process. Dereferences to sqlx's pool, for transactions.
#[derive(Debug, Clone)]
pub struct Pool {
    pool: PgPool,
    is_pooled: bool,
}

impl Pool {
    /// Statements on `pool`.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        let url = pool.connect_options().to_url_lossy();
        let is_pooled = url
            .query_pairs()
            .any(|(name, value)| name == "statement-cache-capacity" && value == "0");
        Self { pool, is_pooled }
    }
}

impl Deref for Pool {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.pool
    }
}

impl<'p> Executor<'p> for &'p Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if !self.is_pooled {
            return self.pool.fetch_many(query);
        }
        let whole = async move {
            let mut transaction = self.pool.begin_with(BEGIN_LOCKING).await?;
            let rows: Vec<_> = transaction.fetch_many(query).try_collect().await?;
            transaction.commit().await?;
            Ok(futures_util::stream::iter(rows).map(Ok))
        };
        whole.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if !self.is_pooled {
            return self.pool.fetch_optional(query);
        }
        let whole = async move {
            let mut transaction = self.pool.begin_with(BEGIN_LOCKING).await?;
            let row = transaction.fetch_optional(query).await?;
            transaction.commit().await?;
            Ok(row)
        };
        whole.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        self.pool.prepare_with(sql, parameters)
    }

    // Part of the trait with sqlx's feature `macros`, which is on.
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        self.pool.describe(sql)
    }
}
