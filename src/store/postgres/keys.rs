//! The epoch, and every key in custody.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sqlx::PgConnection;

use super::Pool;
use crate::{
    catalog::Secret,
    clock::Timestamp,
    ids::{Epoch, KeyId},
    material::Fingerprint,
    store::{
        Custody, KeyChange, StoreError,
        refusal::{Refusal, expect_rows},
        stored::{KeyRow, millis, signed, unsigned},
    },
};

/// The epoch: one row, one page.
const EPOCH: &str = "SELECT epoch FROM rollover.meta";

/// The epoch, and the right to be the only change until the transaction ends.
const LOCK_EPOCH: &str = "SELECT epoch FROM rollover.meta FOR UPDATE";

/// The next epoch. The row is locked.
const BUMP_EPOCH: &str = "UPDATE rollover.meta SET epoch = epoch + 1 RETURNING epoch";

/// Wakes every listener when, and only when, the transaction commits.
const NOTIFY: &str = "SELECT pg_notify('breeze_rollover', $1)";

/// Every key. A handful of rows a secret.
const KEYS: &str = "
    SELECT secret, id, fingerprint, state, unnamed, origin, rank, sealed,
           created_at, promoted_at, retired_at, compromised_at, seals,
           longest_lifetime, presented, presented_at
    FROM rollover.key
    ORDER BY secret, rank, id";

/// How many keys are sealed under each root key, which the material names.
const SEALED_UNDER: &str = "
    SELECT substr(sealed, 9, 16), count(*) FROM rollover.key
    WHERE sealed IS NOT NULL GROUP BY substr(sealed, 9, 16)";

/// The secrets that have a primary key. Served by `key_one_primary_a_secret`.
const PRIMARIES: &str = "SELECT secret FROM rollover.key WHERE state = 'primary'";

/// A new key. The primary key refuses one that is there already.
const ADD: &str = "
    INSERT INTO rollover.key
        (secret, id, fingerprint, state, unnamed, origin, rank, sealed,
         created_at, promoted_at, retired_at, compromised_at, seals, longest_lifetime,
         presented, presented_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

/// From state $3 to $4, if it still is in $3. Served by the primary key.
const MOVE: &str = "
    UPDATE rollover.key SET
        state = $4,
        sealed = CASE WHEN $4 = 'destroyed' THEN NULL ELSE sealed END,
        promoted_at = CASE WHEN $4 = 'primary' THEN coalesce(promoted_at, $5) ELSE promoted_at END,
        retired_at = CASE WHEN $4 = 'retired' THEN $5 ELSE retired_at END,
        compromised_at = CASE WHEN $4 = 'destroyed' THEN compromised_at END
    WHERE secret = $1 AND id = $2 AND state = $3";

/// A retired key is compromised since $3. Served by the primary key.
const COMPROMISE: &str = "
    UPDATE rollover.key SET compromised_at = $3
    WHERE secret = $1 AND id = $2 AND state = 'retired'";

/// Other sealed material, if it still is the one that was read. Served by the primary key.
const RESEAL: &str =
    "UPDATE rollover.key SET sealed = $4 WHERE secret = $1 AND id = $2 AND sealed = $3";

/// Never lower than before. Served by the primary key.
const RAISE_LIFETIME: &str = "
    UPDATE rollover.key SET longest_lifetime = greatest(longest_lifetime, $3)
    WHERE secret = $1 AND id = $2";

/// Added up by the database, so that no replica's count is lost. Served by the primary key.
const SETTLE_SEALS: &str =
    "UPDATE rollover.key SET seals = seals + $3 WHERE secret = $1 AND id = $2 RETURNING seals";

/// Added up like seals; the last time never goes back. Served by the primary key.
const NOTE_PRESENTED: &str = "
    UPDATE rollover.key SET presented = presented + $3,
        presented_at = greatest(coalesce(presented_at, $4), $4)
    WHERE secret = $1 AND id = $2";

pub(super) async fn epoch(connection: &mut PgConnection) -> Result<Epoch, StoreError> {
    let epoch = sqlx::query_scalar(EPOCH).fetch_one(connection).await?;
    Ok(Epoch(unsigned("meta", "epoch", epoch)?))
}

pub(super) async fn custody(pool: &Pool) -> Result<Custody, StoreError> {
    let mut snapshot = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let epoch = epoch(&mut snapshot).await?;
    let rows: Vec<KeyRow> = sqlx::query_as(KEYS).fetch_all(&mut *snapshot).await?;
    snapshot.commit().await?;
    let keys = rows.into_iter().filter_map(KeyRow::known).collect::<Result<_, _>>()?;
    Ok(Custody { epoch, keys })
}

pub(super) async fn sealed_under(pool: &Pool) -> Result<BTreeMap<Fingerprint, u64>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(SEALED_UNDER).fetch_all(pool).await?;
    let known =
        rows.into_iter().filter_map(|(root_key, count)| Some((root_key.parse().ok()?, count)));
    known.map(|(root_key, count)| Ok((root_key, unsigned("key", "sealed", count)?))).collect()
}

pub(super) async fn raise_lifetime(
    pool: &Pool,
    secret: Secret,
    key: &KeyId,
    lifetime: Duration,
) -> Result<(), StoreError> {
    let raised = sqlx::query(RAISE_LIFETIME)
        .bind(secret.name())
        .bind(key.as_str())
        .bind(millis(lifetime))
        .execute(pool)
        .await?;
    match raised.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::NoKey { secret, key: key.clone() }),
    }
}

pub(super) async fn settle_seals(
    pool: &Pool,
    secret: Secret,
    key: &KeyId,
    count: u64,
) -> Result<u64, StoreError> {
    let seals = sqlx::query_scalar(SETTLE_SEALS)
        .bind(secret.name())
        .bind(key.as_str())
        .bind(signed(count))
        .fetch_optional(pool)
        .await?
        .ok_or_else(|| StoreError::NoKey { secret, key: key.clone() })?;
    unsigned("key", "seals", seals)
}

pub(super) async fn note_presented(
    pool: &Pool,
    secret: Secret,
    key: &KeyId,
    count: u64,
    last: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(NOTE_PRESENTED)
        .bind(secret.name())
        .bind(key.as_str())
        .bind(signed(count))
        .bind(last.as_millis())
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn lock_epoch(transaction: &mut PgConnection) -> Result<Epoch, StoreError> {
    let epoch = sqlx::query_scalar(LOCK_EPOCH).fetch_one(transaction).await?;
    Ok(Epoch(unsigned("meta", "epoch", epoch)?))
}

pub(super) async fn bump_epoch(transaction: &mut PgConnection) -> Result<Epoch, StoreError> {
    let epoch: i64 = sqlx::query_scalar(BUMP_EPOCH).fetch_one(&mut *transaction).await?;
    sqlx::query(NOTIFY).bind(epoch.to_string()).execute(transaction).await?;
    Ok(Epoch(unsigned("meta", "epoch", epoch)?))
}

/// Applies `changes` in order. No secret loses its primary key over it.
pub(super) async fn change(
    transaction: &mut PgConnection,
    changes: &[KeyChange],
) -> Result<(), Refusal> {
    let before = primaries(transaction).await?;
    for change in changes {
        apply(transaction, change).await?;
    }
    let after = primaries(transaction).await?;
    match before.difference(&after).next() {
        Some(&secret) => Err(StoreError::NoPrimary(secret).into()),
        None => Ok(()),
    }
}

async fn apply(transaction: &mut PgConnection, change: &KeyChange) -> Result<(), Refusal> {
    let statement = match change {
        KeyChange::Add(key) => {
            let row = KeyRow::from(&**key);
            sqlx::query(ADD)
                .bind(row.secret)
                .bind(row.id)
                .bind(row.fingerprint)
                .bind(row.state)
                .bind(row.unnamed)
                .bind(row.origin)
                .bind(row.rank)
                .bind(row.sealed)
                .bind(row.created_at)
                .bind(row.promoted_at)
                .bind(row.retired_at)
                .bind(row.compromised_at)
                .bind(row.seals)
                .bind(row.longest_lifetime)
                .bind(row.presented)
                .bind(row.presented_at)
        }
        KeyChange::Move { secret, key, from, to, at } => sqlx::query(MOVE)
            .bind(secret.name())
            .bind(key.as_str())
            .bind(from.as_str())
            .bind(to.as_str())
            .bind(at.as_millis()),
        KeyChange::Compromise { secret, key, at } => {
            sqlx::query(COMPROMISE).bind(secret.name()).bind(key.as_str()).bind(at.as_millis())
        }
        KeyChange::Reseal { secret, key, old, new } => {
            sqlx::query(RESEAL).bind(secret.name()).bind(key.as_str()).bind(old).bind(new)
        }
    };
    expect_rows(statement.execute(transaction).await?.rows_affected(), 1)
}

async fn primaries(transaction: &mut PgConnection) -> Result<BTreeSet<Secret>, StoreError> {
    let names: Vec<String> = sqlx::query_scalar(PRIMARIES).fetch_all(transaction).await?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}
